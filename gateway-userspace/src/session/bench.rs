//! A session without a client and a server, for benchmarks: its texts are understood, judged and
//! kept as those of any other, and nothing is ever sent.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use tokio::runtime::Runtime;

use super::{Gate, Opening, Session, names::Snapshot};
use crate::{
    approval::Approvals,
    audit::{Fsync, Log, LogConfig},
    identity::{Assurance, JobIdentity, Principal},
    masking::MaskKey,
    policy::{Kinship, Policy},
    sql::{BigStack, SavedCatalog},
};

const POLICY: &str = "version: 1\ngrants:\n  - name: bench\n    who: { issuer: i }\n    database: shop\n    role: { login: l }\n    allow: [{ all: '*.*' }]\n    mask: [{ column: '*.*.ssn', with: redact, where: equality }]\n";

/// The session.
pub struct Desk {
    session: Session,
    runtime: Runtime,
    folder: PathBuf,
}

impl Desk {
    /// Opens it over the catalog of the example.
    pub fn open() -> Result<Self, Box<dyn Error>> {
        let folder = std::env::temp_dir().join(format!("cordon-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let policy = Policy::from_sources(&[(PathBuf::from("bench.yaml"), POLICY.to_owned())])
            .map_err(|error| format!("{error:?}"))?;
        let (log, _) = Log::open(LogConfig::new(folder.join("log"), Fsync::Risky, "bench"))?;
        let gate = Gate::new(
            policy,
            log.clone(),
            Approvals::new(log),
            BigStack::start(2)?,
            MaskKey::open(&folder.join("mask.key"))?,
        );
        let job = JobIdentity::supposed(
            "i".to_owned(),
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
        let principal = Principal::supposed(job);
        let mut session = runtime
            .block_on(gate.admit(principal, opening))
            .map_err(|refusal| format!("{refusal:?}"))?;
        let saved = include_str!("../../../docs/examples/shop/shop.catalog.json");
        let (catalog, _) = SavedCatalog::parse(saved)?.open()?;
        let cell = |text: &str| vec![vec![Some("1:1:".to_owned()), Some(text.to_owned())]];
        let namespace = vec![vec![
            Some(r#"["pg_catalog","public"]"#.to_owned()),
            Some("agent".to_owned()),
        ]];
        session.names.install_namespace(
            &[namespace, cell("bench")],
            false,
            session.gate.epoch.load(std::sync::atomic::Ordering::SeqCst),
        )?;
        let fingerprint = session.names.fingerprint().ok_or("no names")?.clone();
        session.names.adopt(Snapshot {
            fingerprint,
            kinship: Arc::new(Kinship::of(&catalog)),
            catalog: Arc::new(catalog),
            versions: Arc::default(),
        });
        Ok(Self {
            session,
            runtime,
            folder,
        })
    }

    /// Understands and judges a text that the session has not seen, and keeps what is known of it.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        self.session.forget();
        let Self {
            session, runtime, ..
        } = self;
        runtime.block_on(async {
            let parsed = session
                .split(text)
                .await
                .map_err(|refusal| format!("{refusal:?}"))?;
            for one in &parsed {
                let understood = session
                    .analyze(one)
                    .await
                    .map_err(|error| error.to_string())?;
                session.confirm(&understood);
                session.remember(text, &understood);
            }
            Ok(())
        })
    }

    /// What a protocol does with a text first; true if it was seen and still holds.
    pub fn again(&mut self, text: &str) -> bool {
        let Some(understood) = self.session.cached(text) else {
            return false;
        };
        std::hint::black_box(self.session.names_due());
        self.session.is_current(&understood) && self.session.unconfirmed(&understood).is_none()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
