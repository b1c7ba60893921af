//! The witnesses of the configuration, and what reaches them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use reqwest::{Client, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto};

use crate::{
    audit::{WitnessAddress, WitnessConfig, Witnesses},
    config,
};

/// How long a witness's answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What asks them to cosign the log in `dir`.
///
/// # Errors
/// If TLS cannot be set up.
pub fn witnesses(config: &config::Witnesses, dir: PathBuf) -> anyhow::Result<Arc<Witnesses>> {
    let witnesses = config
        .list
        .iter()
        .map(|witness| {
            Ok(WitnessAddress {
                key: witness.key.clone(),
                url: witness.url.clone(),
                client: client(witness)
                    .with_context(|| format!("the witness {}", witness.key.name()))?,
                timeout: TIMEOUT,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Witnesses::new(WitnessConfig {
        dir,
        every: config.every,
        quorum: config.quorum,
        witnesses,
    }))
}

fn client(witness: &config::Witness) -> anyhow::Result<Client> {
    let plain = witness.url.scheme() == "http";
    let roots = match &witness.roots {
        Some(roots) => Arc::clone(roots),
        None if plain => Arc::new(RootCertStore::empty()),
        None => config::system_roots().map_err(anyhow::Error::msg)?,
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .referer(false)
        .user_agent(concat!("cordon/", env!("CARGO_PKG_VERSION")));
    // What is on this host needs no proxy.
    let builder = if plain { builder.no_proxy() } else { builder };
    builder.build().context("the HTTP client cannot be set up")
}
