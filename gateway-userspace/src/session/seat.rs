//! Sessions without a client and a server, for benchmarks and tests.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Gate, Opening, Session, names::Snapshot};
use crate::{
    approval::Approvals,
    audit::{Fsync, Log, LogConfig},
    identity::{Assurance, JobIdentity, Principal},
    masking::MaskKey,
    policy::{Kinship, Policy},
    sql::{BigStack, SavedCatalog},
};

/// What sessions need, with its files in a folder.
pub(super) fn gate(folder: &Path, policy: &str) -> Result<Arc<Gate>, Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let policy = Policy::from_sources(&[(PathBuf::from("bench.yaml"), policy.to_owned())])
        .map_err(|error| format!("{error:?}"))?;
    let (log, _) = Log::open(LogConfig::new(folder.join("log"), Fsync::Risky, "bench"))?;
    Ok(Gate::new(
        policy,
        log.clone(),
        Approvals::new(log),
        BigStack::start(2)?,
        MaskKey::open(&folder.join("mask.key"))?,
    ))
}

/// The catalog of the example.
pub(super) fn example() -> Result<Snapshot, Box<dyn Error>> {
    let saved = include_str!("../../../docs/examples/shop/shop.catalog.json");
    let (catalog, _) = SavedCatalog::parse(saved)?.open()?;
    Ok(Snapshot {
        fingerprint: Arc::from("bench"),
        kinship: Arc::new(Kinship::of(&catalog)),
        catalog: Arc::new(catalog),
        versions: Arc::default(),
    })
}

/// A session of a job of this issuer in the database `shop`, logged in there as `user`.
pub(super) async fn seat(
    gate: &Arc<Gate>,
    issuer: &str,
    user: &str,
    names: &Snapshot,
) -> Result<Session, Box<dyn Error>> {
    let job = JobIdentity::supposed(
        issuer.to_owned(),
        Assurance::OidcVerified,
        Vec::new(),
        BTreeMap::new(),
    );
    let opening = Opening {
        job_role: None,
        database: "shop".to_owned(),
        original: SocketAddr::from((Ipv4Addr::LOCALHOST, 5432)),
        parameters: BTreeMap::new(),
    };
    let mut session = gate
        .admit(Principal::supposed(job), opening)
        .await
        .map_err(|refusal| format!("{refusal:?}"))?;
    let namespace = vec![vec![
        Some(r#"["pg_catalog","public"]"#.to_owned()),
        Some(user.to_owned()),
        Some("shop".to_owned()),
        None,
    ]];
    let fingerprint = vec![vec![
        Some("1:1:".to_owned()),
        Some(names.fingerprint.to_string()),
    ]];
    let epoch = session.epoch();
    session
        .names
        .install_namespace(&[namespace, fingerprint], false, epoch)?;
    session.names.adopt(names.clone());
    Ok(session)
}
