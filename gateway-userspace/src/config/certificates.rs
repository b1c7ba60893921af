//! Roots of trust: from a file, or the system's.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

const MAX_CA_FILE: u64 = 4 * 1024 * 1024;

/// Reads every certificate of a PEM file. None in it is an error: trusting nobody is never meant.
pub(crate) fn read_roots(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let shown = path.display();
    let size = std::fs::metadata(path)
        .map_err(|error| format!("cannot read the CA file {shown}: {error}"))?
        .len();
    if size > MAX_CA_FILE {
        return Err(format!(
            "the CA file {shown} is larger than {MAX_CA_FILE} bytes"
        ));
    }
    let pem =
        std::fs::read(path).map_err(|error| format!("cannot read the CA file {shown}: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate
            .map_err(|error| format!("the CA file {shown} is not valid PEM: {error}"))?;
        roots.add(certificate).map_err(|error| {
            format!("a certificate in the CA file {shown} is not valid: {error}")
        })?;
    }
    if roots.is_empty() {
        return Err(format!("the CA file {shown} contains no certificate"));
    }
    Ok(Arc::new(roots))
}

/// The system's roots. Single certificates that cannot be read are left out, as others do.
pub(crate) fn system_roots() -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "this system has no root certificates; install ca-certificates, or name a `ca_file`"
                .to_owned(),
        );
    }
    Ok(Arc::new(roots))
}
