//! The daemon's configuration: as written in the file, then resolved into a [`Config`] that is valid.
//!
//! A `Config` can only be had by loading: durations are parsed, names resolved to addresses and
//! uids, secrets and certificates read. What the rest of the daemon takes from it needs no
//! further checking.

mod bytes;
mod certificates;
mod console;
mod database;
mod duration;
mod error;
mod file;
mod notify;
mod password;
mod resolve;
mod secret;
#[cfg(test)]
mod tests;
mod users;
mod witness;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use console::{Console, ConsoleAt, ConsoleLogin, ConsoleTcp};
pub use database::{Admin, Database, Login, TlsMode};
pub use error::ConfigError;
pub use notify::{Notify, NotifyEvent, Webhook, WebhookFormat};
pub use password::{LoginName, PasswordKeeper, PasswordSource};
pub use secret::Secret;
pub use witness::{Witness, Witnesses};

pub(crate) use duration::parse as parse_duration;

pub(crate) use certificates::{read_roots, system_roots};

/// Where the configuration is looked for if nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/cordon/cordon.yaml";
/// The runtime folder if nothing else is said; the control socket is in it.
pub const DEFAULT_RUNTIME_DIR: &str = "/run/cordon";
/// The user of the process that speaks with jobs and databases, if nothing else is said.
pub const GATEWAY_USER: &str = "cordon";
/// File name of the control socket in the runtime folder.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The valid configuration of a daemon.
#[derive(Clone, Debug)]
pub struct Config {
    /// Evidence, keys and state.
    pub state_dir: PathBuf,
    /// Control socket and the CA certificate.
    pub runtime_dir: PathBuf,
    /// The user of the process that speaks with jobs and databases; `None`: this host does not have
    /// the usual one, [`GATEWAY_USER`].
    pub user: Option<GatewayUser>,
    /// What is intercepted, and how.
    pub intercept: Intercept,
    /// The life of jobs.
    pub jobs: JobLimits,
    /// Issuers of tokens, with unique names and URLs. At least one.
    pub issuers: Vec<Issuer>,
    /// Protected databases, with unique names. At least one.
    pub databases: Vec<Database>,
    /// Folder of the policy files.
    pub policy_dir: PathBuf,
    /// Approvers' groups and the uids of their members.
    pub approvers: BTreeMap<String, BTreeSet<u32>>,
    /// Evidence.
    pub evidence: Evidence,
    /// Who is told of requests for approval.
    pub notify: Notify,
    /// The web console; `None`: off.
    pub console: Option<Console>,
}

impl Config {
    /// Reads, checks and resolves the file at `path`. Resolves host names, so it may block.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = file::read(path)?;
        Self::parse(&text, path)
    }

    /// As [`Config::load`], for text that is already read. `path` names the file in errors, and
    /// relative paths in the text are relative to its folder.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        resolve::resolve(file::parse(text, path)?, path)
    }

    /// Forgets the passwords of databases: `keeper` is asked for them.
    pub fn keep_passwords(&mut self, keeper: &Arc<dyn PasswordKeeper>) {
        for database in &mut self.databases {
            let named = |user: &str, admin| LoginName {
                database: database.name.clone(),
                user: user.to_owned(),
                admin,
            };
            for login in database.logins.values_mut() {
                login.password.kept_by(keeper, named(&login.user, false));
            }
            if let Some(admin) = &mut database.admin {
                let login = &mut admin.login;
                login.password.kept_by(keeper, named(&login.user, true));
            }
        }
    }

    /// Where the password of a login is.
    pub fn password(&self, login: &LoginName) -> Option<&PasswordSource> {
        let database = self
            .databases
            .iter()
            .find(|database| database.name == login.database)?;
        let found = if login.admin {
            database.admin.as_ref().map(|admin| &admin.login)
        } else {
            database
                .logins
                .values()
                .find(|known| known.user == login.user)
        };
        found
            .filter(|found| found.user == login.user)
            .map(|found| &found.password)
    }

    /// The database meant by a process that dialled `original` and asked for `requested_dbname`.
    ///
    /// Clients may use the configured name or the name the server knows; no two databases with
    /// a common address share either, so the answer is never ambiguous.
    pub fn database_for(&self, original: SocketAddr, requested_dbname: &str) -> Option<&Database> {
        let original = canonical(original);
        self.databases
            .iter()
            .filter(|database| database.is_at(original))
            .find(|database| {
                database.name == requested_dbname || database.dbname == requested_dbname
            })
    }

    /// Every address under which a protected database can be dialled.
    pub fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.databases
            .iter()
            .flat_map(Database::addresses)
            .collect()
    }

    /// Names of the approvers' groups this user is a member of.
    pub fn approver_groups(&self, uid: u32) -> Vec<&str> {
        self.approvers
            .iter()
            .filter(|(_, members)| members.contains(&uid))
            .map(|(group, _)| group.as_str())
            .collect()
    }

    /// Whether anybody could be a member of this approvers' group: a user of this host, or a person
    /// who logs in at the console.
    pub fn has_approvers(&self, group: &str) -> bool {
        let at_console = self.console.as_ref().and_then(Console::login);
        self.approvers.contains_key(group)
            || at_console.is_some_and(|login| login.approvers.contains_key(group))
    }

    /// What the process that speaks with jobs and databases keeps: requests for approval, used tokens.
    pub fn gateway_dir(&self) -> PathBuf {
        self.state_dir.join("gateway")
    }

    /// The evidence.
    pub fn evidence_dir(&self) -> PathBuf {
        self.state_dir.join("evidence")
    }

    /// Private keys, which that process cannot read.
    pub fn keys_dir(&self) -> PathBuf {
        self.state_dir.join("keys")
    }

    /// Path of the control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime_dir.join(CONTROL_SOCKET)
    }

    /// Path of the CA certificate that jobs trust.
    pub fn ca_file(&self) -> PathBuf {
        self.runtime_dir.join("ca.pem")
    }
}

/// The user of the process that speaks with jobs and databases: nobody else's, and not root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GatewayUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What is intercepted, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intercept {
    /// Which processes without a job are refused.
    pub scope: Scope,
    /// Where links and maps are pinned; below `/sys/fs/bpf`.
    pub pin_dir: PathBuf,
    /// Loopback port of the proxy.
    pub port: u16,
    /// What is done about database connections to other destinations.
    pub recognise: Recognise,
    /// What becomes of jobs in other network namespaces.
    pub namespaces: Namespaces,
    /// What is done about jobs that can reach a protected database's Unix socket.
    pub unix_sockets: UnixSockets,
}

/// What becomes of jobs in network namespaces other than the daemon's, such as containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespaces {
    /// They are served there.
    #[default]
    Serve,
    /// Their connects to protected databases are refused.
    Refuse,
}

/// What is done about a job that can reach a protected database's Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnixSockets {
    /// It is not started.
    #[default]
    Refuse,
    /// It is in the operational log.
    Report,
}

/// What is done about flows to destinations that are not protected and begin as a database's do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recognise {
    /// What happens to them.
    pub action: RecogniseAction,
    /// Those of every process of the host, not only of jobs and of the scope's cgroups.
    pub host: bool,
    /// Destinations that may be databases; without a port: all of an address.
    pub except: BTreeSet<(IpAddr, Option<u16>)>,
}

/// What happens to a flow that was recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecogniseAction {
    /// It is dropped, ended and on record.
    #[default]
    Refuse,
    /// It is on record.
    Report,
    /// Nothing: flows are not looked at.
    Off,
}

/// Which processes without a job are refused. Jobs are always intercepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of this host.
    Host,
    /// Those below these cgroups.
    Cgroups(Vec<CgroupPath>),
}

/// The life of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLimits {
    /// Parent of the job cgroups.
    pub cgroup: CgroupPath,
    /// Users who may start and end jobs, besides root.
    pub runners: BTreeSet<u32>,
    /// No job lives longer.
    pub max_duration: Duration,
    /// The executable of the runner's process above its hooks, a path or a file name.
    pub worker: String,
}

/// An issuer of job tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Name in policies.
    pub name: String,
    /// The exact `iss` of its tokens.
    pub url: String,
    /// The `aud` that its tokens must have.
    pub audience: String,
    /// Where its keys are.
    pub jwks: JwksSource,
    /// Greatest `exp - iat` (or `exp - nbf`) accepted.
    pub max_lifetime: Duration,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// Claim that holds the groups.
    pub groups_claim: String,
    /// The CI system, if it is a known one.
    pub preset: Option<Preset>,
    /// Jobs are accepted whose code may be a fork's, or that a person has logged in to.
    pub forks: bool,
    /// The runner's word is enough for a job, without a token.
    pub asserted: bool,
    /// What the end of a token means for its job.
    pub token_expiry: TokenExpiry,
    /// Roots for its TLS connections; `None`: the system's.
    pub roots: Option<Arc<rustls::RootCertStore>>,
}

/// A CI system whose tokens and runners are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// GitHub Actions.
    Github,
    /// GitLab CI.
    Gitlab,
    /// Buildkite.
    Buildkite,
    /// `CircleCI`.
    Circleci,
    /// Jenkins with its plugin `oidc-provider`.
    Jenkins,
}

impl Preset {
    /// The `iss` of its tokens, where it is the same for everybody.
    pub fn url(self) -> Option<&'static str> {
        match self {
            Self::Github => Some("https://token.actions.githubusercontent.com"),
            Self::Buildkite => Some("https://agent.buildkite.com"),
            Self::Gitlab | Self::Circleci | Self::Jenkins => None,
        }
    }

    /// Longest lifetime of its tokens, as it issues them by default.
    pub fn max_lifetime(self) -> Duration {
        match self {
            Self::Github | Self::Buildkite => Duration::from_mins(10),
            // GitLab: as long as the job may take, an hour if nobody says otherwise.
            Self::Gitlab | Self::Circleci | Self::Jenkins => Duration::from_hours(1),
        }
    }
}

/// What the end of a token means for the job that it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenExpiry {
    /// Nothing: the token has proven who the job is.
    #[default]
    Ignore,
    /// The job ends.
    EndJob,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// Said by the issuer's discovery document, `<url>/.well-known/openid-configuration`.
    Discovery,
    /// A JWKS at this URL: https, or http on loopback.
    Url(String),
    /// A JWKS in this file.
    File(PathBuf),
}

/// Evidence.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What is on disk before a statement goes to the database.
    pub fsync: Fsync,
    /// What is kept of the messages of sessions.
    pub recording: Recording,
    /// Most that is kept of one statement's rows or COPY data, in bytes.
    pub recorded_result: usize,
    /// How long segments and recordings are kept; `None`: for ever.
    pub keep: Option<Duration>,
    /// Where it is shipped to; `None`: nowhere.
    pub ship: Option<Ship>,
    /// Who cosigns its checkpoints; `None`: nobody.
    pub witnesses: Option<Witnesses>,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            fsync: Fsync::Always,
            recording: Recording::Full,
            recorded_result: 1024 * 1024,
            keep: None,
            ship: None,
            witnesses: None,
        }
    }
}

/// A store with the S3 interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ship {
    /// URL of the service; `None`: AWS, by region.
    pub endpoint: Option<String>,
    /// Region.
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// Objects' names begin with this.
    pub prefix: String,
    /// Access key id.
    pub access_key: Secret,
    /// Secret access key.
    pub secret_key: Secret,
    /// How often it is looked for news.
    pub every: Duration,
    /// No session opens while more than this is not shipped, in bytes.
    pub backlog: u64,
}

/// What is kept of the messages of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recording {
    /// All of them, results up to a size.
    Full,
    /// All of them, but of rows and COPY data their number and size.
    Digests,
    /// None.
    Off,
}

/// What is on disk before a statement goes to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fsync {
    /// Every decision.
    Always,
    /// Decisions on held and on writing statements.
    Risky,
}

/// A path in the cgroup v2 hierarchy: begins with `/`, has no empty, `.` or `..` parts and no
/// slash at its end (but for the root itself).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Normalises a path as people write it (`cordon.jobs`, `/system.slice/x.service/`).
    pub fn new(written: &str) -> Result<Self, String> {
        if written.contains(['\0', '\n']) {
            return Err("a cgroup path cannot contain NUL or a line break".to_owned());
        }
        let mut path = String::with_capacity(written.len() + 1);
        for part in written
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            if part == ".." {
                return Err(format!(
                    "the cgroup path `{written}` must not contain `..`; write it from the cgroup root"
                ));
            }
            path.push('/');
            path.push_str(part);
        }
        if path.is_empty() {
            path.push('/');
        }
        Ok(Self(path))
    }

    /// The path, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without the leading `/`, to join below the mount point.
    pub fn relative(&self) -> &str {
        self.0.trim_start_matches('/')
    }

    /// Whether `path` (as in `/proc/PID/cgroup`) is this cgroup or below it.
    pub fn contains(&self, path: &str) -> bool {
        if self.0 == "/" {
            return path.starts_with('/');
        }
        path.strip_prefix(self.0.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// IPv4-mapped IPv6 as IPv4, and without scope or flow: how addresses are compared.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
