//! A gateway between a client and a server that are both in memory.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use ring::rand::SystemRandom;
use tokio::{
    io::DuplexStream,
    runtime::Runtime,
    task::{JoinError, JoinHandle},
};

use super::server::{self, Script};
use crate::{
    approval::Approvals,
    audit::{Fsync, Log, LogConfig},
    config::{Login, PasswordSource},
    identity::{Assurance, JobIdentity, Principal},
    intercept::InterceptedConn,
    masking::MaskKey,
    policy::Policy,
    protocol::postgres::{Database, Service, Verifier},
    session::Gate,
    sql::BigStack,
    transport::{Address, Authority, Memory},
    upstream::Logins,
};

/// What the placeholder of the database that asks for one is.
pub(super) const PLACEHOLDER: &str = "placeholder";
/// Databases: a plain one, one that asks for the placeholder, and one with limits.
const DATABASES: [(&str, &str); 3] = [
    ("shop", ""),
    ("asks", ""),
    ("limited", "    limits: { rows: 2, statement: 1s }\n"),
];
/// Room in a pipe, in bytes.
const PIPE: usize = 64 * 1024;
/// After so many connections everything is made anew, so that the evidence does not fill the disk.
const RUNS: usize = 4096;

/// The gateway.
pub(crate) struct Stand {
    /// Dropped first, with all that still runs.
    runtime: Runtime,
    service: Arc<Service>,
    databases: Vec<Arc<Database>>,
    script: Arc<Mutex<Script>>,
    /// The servers' side of the connections so far.
    servers: Servers,
    /// The certificate that clients trust.
    pub certificate: String,
    folder: PathBuf,
    runs: usize,
}

type Servers = Arc<Mutex<Vec<JoinHandle<()>>>>;

/// How a client comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrival {
    /// How the gateway gets what it sends.
    pub cut: Cut,
    /// What the server does.
    pub script: Script,
}

/// How a stream is cut into reads. Between two of them its reader works with what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As it comes.
    #[default]
    Nowhere,
    /// No read gives more bytes than this.
    Pieces(usize),
    /// No read goes across this position.
    At(usize),
}

impl Cut {
    /// Pieces of this many bytes; 0: no limit.
    pub fn pieces(bytes: u8) -> Self {
        match bytes {
            0 => Self::Nowhere,
            bytes => Self::Pieces(usize::from(bytes)),
        }
    }

    /// Cuts a stream.
    pub fn apply(self, memory: Memory) -> Memory {
        match self {
            Self::Nowhere => memory,
            Self::Pieces(bytes) => memory.in_pieces(bytes),
            Self::At(position) => memory.split_at(position),
        }
    }
}

/// What a stand stands before.
struct Upstream {
    address: Address,
    /// `None`: as the client names it.
    dbname: Option<String>,
    login: &'static str,
}

impl Stand {
    /// Starts one under the rules of a grant, as YAML, before servers in memory. Time is virtual: it
    /// passes when nothing else happens.
    pub fn start(rules: &str) -> Self {
        let script: Arc<Mutex<Script>> = Arc::default();
        let servers: Servers = Arc::default();
        let (given, started) = (Arc::clone(&script), Arc::clone(&servers));
        let address = Address::Memory(Arc::new(move || {
            let script = given.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let cut = script.cut;
            let (ours, theirs) = tokio::io::duplex(PIPE);
            let server = tokio::spawn(server::serve(theirs, script));
            started
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(server);
            cut.apply(Memory::new(ours))
        }));
        let upstream = Upstream {
            address,
            dbname: None,
            login: "agent",
        };
        let mut stand = Self::open(rules, &upstream, true);
        (stand.script, stand.servers) = (script, servers);
        stand
    }

    /// Starts one before a real server, with the clock of everybody.
    #[cfg(test)]
    pub fn before(rules: &str, address: Address, dbname: &str, login: &'static str) -> Self {
        let upstream = Upstream {
            address,
            dbname: Some(dbname.to_owned()),
            login,
        };
        Self::open(rules, &upstream, false)
    }

    fn open(rules: &str, upstream: &Upstream, virtual_time: bool) -> Self {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("cordon-fuzz-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let grants: Vec<String> = DATABASES
            .iter()
            .map(|(name, limits)| {
                format!("  - name: {name}\n    who: {{ issuer: i }}\n    database: {name}\n    role: {{ login: {} }}\n{rules}{limits}", upstream.login)
            })
            .collect();
        let text = format!("version: 1\ngrants:\n{}", grants.concat());
        let policy = Policy::from_sources(&[(PathBuf::from("fuzz.yaml"), text)]).expect("a policy");
        let config = LogConfig::new(folder.join("log"), Fsync::Risky, "fuzz");
        let (log, _) = Log::open(config).expect("a log");
        let gate = Gate::new(
            policy,
            log.clone(),
            Approvals::new(log),
            BigStack::start(1).expect("threads"),
            MaskKey::open(&folder.join("mask.key")).expect("a key"),
        );
        let authority = Arc::new(Authority::open(&folder).expect("an authority"));
        let databases = DATABASES
            .iter()
            .map(|(name, _)| {
                let asks = *name == "asks";
                let verifier = || Verifier::new(PLACEHOLDER, &SystemRandom::new());
                Arc::new(Database {
                    name: (*name).to_owned(),
                    dbname: upstream
                        .dbname
                        .clone()
                        .unwrap_or_else(|| (*name).to_owned()),
                    host: "localhost".to_owned(),
                    address: upstream.address.clone(),
                    tls: None,
                    client_password: asks.then(|| verifier().expect("randomness")),
                    logins: Logins::new([&Login {
                        user: upstream.login.to_owned(),
                        password: PasswordSource::None,
                    }]),
                    roles: None,
                })
            })
            .collect();
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(virtual_time)
                .build()
                .expect("a runtime"),
            certificate: authority.certificate_pem(),
            service: Service::new(gate, authority),
            databases,
            script: Arc::default(),
            servers: Arc::default(),
            folder,
            runs: 0,
        }
    }

    /// True if it has served long enough.
    pub fn is_worn(&self) -> bool {
        self.runs >= RUNS
    }

    /// Serves one connection to its end, which `client` holds the other side of.
    ///
    /// # Panics
    /// If the gateway does.
    pub fn connect<F, T>(&mut self, arrival: Arrival, client: impl FnOnce(DuplexStream) -> F) -> T
    where
        F: Future<Output = T>,
    {
        self.runs += 1;
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = arrival.script;
        let conn = InterceptedConn {
            original: SocketAddr::from((Ipv4Addr::LOCALHOST, 5432)),
            cgroup_id: 1,
            job_cgroup_id: Some(1),
            pid: 1,
            uid: 1,
            comm: "fuzz".to_owned(),
            cookie: 1,
            netns_cookie: 1,
            boot_ns: 1,
        };
        let principal = Principal::supposed(JobIdentity::supposed(
            "i".to_owned(),
            Assurance::OidcVerified,
            Vec::new(),
            BTreeMap::new(),
        ));
        let service = self.service.clone();
        let databases = self.databases.clone();
        let servers = &self.servers;
        self.runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            let socket = arrival.cut.apply(Memory::new(theirs));
            let gateway = tokio::spawn(async move {
                let find = |name: &str| {
                    let found = databases.iter().find(|database| database.name == name);
                    found.cloned()
                };
                let opening = service.open(socket.into(), conn, Ok(principal), "localhost", find);
                if let Some(opened) = opening.await {
                    opened.serve().await;
                }
            });
            let seen = client(ours).await;
            without_panic(gateway.await);
            // The connections that the gateway opened end with the one that it served.
            let servers =
                std::mem::take(&mut *servers.lock().unwrap_or_else(PoisonError::into_inner));
            for server in servers {
                without_panic(server.await);
            }
            seen
        })
    }
}

fn without_panic(outcome: Result<(), JoinError>) {
    if let Err(error) = outcome
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
