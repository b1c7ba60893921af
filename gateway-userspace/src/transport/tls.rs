//! TLS on both sides: leaves minted by our own authority for jobs, verified connections to
//! databases.

use std::{
    collections::HashMap,
    fs, io,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
    SigningKey,
};
use ring::digest;
use rustls::{
    DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::{Socket, Stream};

/// Leaves kept; a job that asks for ever new names makes us mint again, not grow.
const MAX_LEAVES: usize = 256;

/// Why the authority is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the authority.
    #[error("the certificate authority's file {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Making or reading a certificate.
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// rustls refuses a configuration.
    #[error("TLS configuration")]
    Rustls(#[from] rustls::Error),
    /// Handshake.
    #[error("TLS handshake")]
    Handshake(#[source] io::Error),
    /// The name to verify is not one.
    #[error("{0:?} is not a host name or address that a certificate can carry")]
    Name(String),
}

/// Signs as the host's certificate authority: ECDSA over P-256 with SHA-256, in ASN.1 DER.
pub trait AuthorityKey: Send + Sync {
    /// The public key: an uncompressed point, 65 bytes.
    fn public(&self) -> &[u8];

    /// The signature of `data`.
    ///
    /// # Errors
    /// If it cannot be had.
    fn sign(&self, data: &[u8]) -> io::Result<Vec<u8>>;
}

/// The authority's key and certificate in files: `ca.key` (0600) and `ca.pem`.
pub struct AuthorityFiles {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

/// As rcgen wants it.
struct Signer(Arc<dyn AuthorityKey>);

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.0.public()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Signer {
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(data).map_err(|error| {
            tracing::error!(%error, "the authority's key cannot be used");
            rcgen::Error::RemoteKeyError
        })
    }
}

/// The host's own certificate authority; jobs trust its certificate.
pub struct Authority {
    issuer: Issuer<'static, Signer>,
    certificate: CertificateDer<'static>,
    leaves: Mutex<HashMap<(String, IpAddr), Leaf>>,
    provider: Arc<CryptoProvider>,
}

/// A certificate that a job is shown.
#[derive(Clone)]
struct Leaf {
    config: Arc<ServerConfig>,
    /// Its `tls-server-end-point` (RFC 5929): SHA-256, which is what it is signed with.
    hash: Vec<u8>,
}

/// A client inside TLS.
#[derive(Debug)]
pub struct Accepted {
    /// The stream.
    pub stream: Stream,
    /// SHA-256 of the certificate that the client was shown: `tls-server-end-point`, RFC 5929.
    pub certificate_hash: Vec<u8>,
}

impl AuthorityFiles {
    /// Opens the authority below `dir`, or makes it.
    ///
    /// # Errors
    /// If its files cannot be read, written or understood.
    pub fn open(dir: &Path) -> Result<Self, TlsError> {
        let key_path = dir.join("ca.key");
        let cert_path = dir.join("ca.pem");
        let file = |path: &Path, source| TlsError::File {
            path: path.to_owned(),
            source,
        };
        let key = match fs::read_to_string(&key_path) {
            Ok(pem) => KeyPair::from_pem(&pem)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(dir).map_err(|e| file(dir, e))?;
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                write_new(&key_path, 0o600, key.serialize_pem().as_bytes())
                    .map_err(|e| file(&key_path, e))?;
                key
            }
            Err(error) => return Err(file(&key_path, error)),
        };
        let params = authority_params()?;
        let certificate = match fs::read_to_string(&cert_path) {
            Ok(pem) => {
                use rustls::pki_types::pem::PemObject;
                CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| {
                    file(
                        &cert_path,
                        io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
                    )
                })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let certificate = params.self_signed(&key)?;
                write_new(&cert_path, 0o644, certificate.pem().as_bytes())
                    .map_err(|e| file(&cert_path, e))?;
                certificate.der().clone()
            }
            Err(error) => return Err(file(&cert_path, error)),
        };
        Ok(Self { key, certificate })
    }

    /// The authority's certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The authority's certificate in PEM, for the jobs' trust stores.
    pub fn certificate_pem(&self) -> String {
        pem(&self.certificate)
    }
}

impl AuthorityKey for AuthorityFiles {
    fn public(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn sign(&self, data: &[u8]) -> io::Result<Vec<u8>> {
        SigningKey::sign(&self.key, data).map_err(io::Error::other)
    }
}

impl Authority {
    /// The authority below `dir`, which is made if there is none.
    ///
    /// # Errors
    /// If its files cannot be read, written or understood.
    pub fn open(dir: &Path) -> Result<Self, TlsError> {
        let files = AuthorityFiles::open(dir)?;
        let certificate = files.certificate.to_vec();
        Self::new(Arc::new(files), certificate)
    }

    /// The authority of this certificate (DER), with a key that may be elsewhere.
    ///
    /// # Errors
    /// Never, as its parameters are ours.
    pub fn new(key: Arc<dyn AuthorityKey>, certificate: Vec<u8>) -> Result<Self, TlsError> {
        Ok(Self {
            issuer: Issuer::new(authority_params()?, Signer(key)),
            certificate: certificate.into(),
            leaves: Mutex::new(HashMap::new()),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        })
    }

    /// The authority's certificate in PEM, for the jobs' trust stores.
    pub fn certificate_pem(&self) -> String {
        pem(&self.certificate)
    }

    /// Answers a TLS client hello with a leaf for the name it asks for (SNI), or `fallback`
    /// without one; the leaf carries `address` too. `alpn_required` demands the `postgresql`
    /// protocol, as direct TLS does.
    ///
    /// # Errors
    /// If the handshake fails.
    pub async fn accept(
        &self,
        stream: Socket,
        fallback: &str,
        address: IpAddr,
        alpn_required: bool,
    ) -> Result<Accepted, TlsError> {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
            .await
            .map_err(TlsError::Handshake)?;
        let hello = start.client_hello();
        let name = hello.server_name().unwrap_or(fallback).to_owned();
        let Leaf { config, hash } = self.leaf(&name, address)?;
        let tls = start
            .into_stream(config)
            .await
            .map_err(TlsError::Handshake)?;
        if alpn_required && tls.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(TlsError::Handshake(io::Error::new(
                io::ErrorKind::InvalidData,
                "direct TLS without the ALPN protocol \"postgresql\"",
            )));
        }
        Ok(Accepted {
            stream: Stream::TlsServer(Box::new(tls)),
            certificate_hash: hash,
        })
    }

    fn leaf(&self, name: &str, address: IpAddr) -> Result<Leaf, TlsError> {
        let key = (name.to_ascii_lowercase(), address);
        {
            let leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(leaf) = leaves.get(&key) {
                return Ok(leaf.clone());
            }
        }
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Cordon leaf");
        if let Ok(dns) = key.0.as_str().try_into()
            && key.0.parse::<IpAddr>().is_err()
        {
            params.subject_alt_names.push(SanType::DnsName(dns));
        }
        params.subject_alt_names.push(SanType::IpAddress(address));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&leaf_key, &self.issuer)?;
        let hash = digest::digest(&digest::SHA256, certificate.der());
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone(), self.certificate.clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
            )?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let leaf = Leaf {
            config: Arc::new(config),
            hash: hash.as_ref().to_vec(),
        };
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if leaves.len() >= MAX_LEAVES {
            leaves.clear();
        }
        leaves.insert(key, leaf.clone());
        Ok(leaf)
    }
}

const ALPN: &[u8] = b"postgresql";

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn authority_params() -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Cordon host authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    use io::Write;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// How the database's certificate is checked.
#[derive(Clone)]
pub struct UpstreamTls {
    connector: TlsConnector,
}

impl std::fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamTls").finish_non_exhaustive()
    }
}

impl UpstreamTls {
    /// Verifies the certificate's chain and name (`verify-full`).
    ///
    /// # Errors
    /// If rustls refuses the configuration.
    pub fn verified(roots: RootCertStore) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Encrypts without verifying (`require`): only what the configuration asks for by name.
    ///
    /// # Errors
    /// If rustls refuses the configuration.
    pub fn unverified() -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Runs the client side of the handshake.
    ///
    /// # Errors
    /// If the name cannot be verified or the handshake fails.
    pub async fn connect(&self, stream: Socket, host: &str) -> Result<Stream, TlsError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_invalid| TlsError::Name(host.to_owned()))?;
        let tls = self
            .connector
            .connect(name, stream)
            .await
            .map_err(TlsError::Handshake)?;
        Ok(Stream::TlsClient(Box::new(tls)))
    }
}

/// The hash of a certificate by the function of its signature, SHA-256 for MD5 and SHA-1.
pub(super) fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    use x509_parser::oid_registry::{
        OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
    };
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let signature = &parsed.signature_algorithm.algorithm;
    let is = |oids: &[x509_parser::der_parser::oid::Oid<'static>]| oids.contains(signature);
    let function = if is(&[
        OID_PKCS1_SHA256WITHRSA,
        OID_SIG_ECDSA_WITH_SHA256,
        OID_PKCS1_SHA1WITHRSA,
        OID_PKCS1_MD5WITHRSAENC,
    ]) {
        &digest::SHA256
    } else if is(&[OID_PKCS1_SHA384WITHRSA, OID_SIG_ECDSA_WITH_SHA384]) {
        &digest::SHA384
    } else if is(&[OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA512]) {
        &digest::SHA512
    } else {
        return None;
    };
    Some(digest::digest(function, certificate).as_ref().to_vec())
}

/// Accepts any certificate whose key signs the handshake.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
