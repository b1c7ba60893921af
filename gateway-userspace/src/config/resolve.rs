//! From the configuration as written to one that is valid.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, ToSocketAddrs},
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::RootCertStore;
use serde_saphyr::{Location, Spanned};

use super::{
    Admin, CgroupPath, Config, ConfigError, Console, DEFAULT_RUNTIME_DIR, Database, Evidence,
    GatewayUser, Intercept, Issuer, JobLimits, JwksSource, Login, PasswordSource, Preset,
    Recognise, Scope, Ship, TlsMode, bytes, canonical, certificates, duration, file, secret, users,
};

const VERSION: u32 = 1;
const DEFAULT_PORT: u16 = 15431;
const POSTGRES_PORT: u16 = 5432;
const DEFAULT_MAX_DURATION: Duration = Duration::from_hours(6);
const SHORTEST_KEEP: Duration = Duration::from_hours(24);
const LONGEST_KEEP: Duration = Duration::from_hours(100 * 365 * 24);
const DEFAULT_SHIP_EVERY: Duration = Duration::from_secs(5);
const DEFAULT_BACKLOG: u64 = 1024 * 1024 * 1024;
const DEFAULT_MAX_LIFETIME: Duration = Duration::from_mins(10);
/// Enough for the pools of a test run.
const DEFAULT_CONNECTIONS: u32 = 50;
/// GitHub's.
const DEFAULT_WORKER: &str = "Runner.Worker";
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
/// A wider window would accept tokens long after their end.
const MAX_LEEWAY: Duration = Duration::from_mins(5);

/// Checks everything and reads what the file refers to.
pub(super) fn resolve(written: file::File, path: &Path) -> Result<Config, ConfigError> {
    let at = Place { path };
    if let Some(version) = written.version.filter(|version| version.value != VERSION) {
        return Err(at.error(
            version.referenced,
            format!(
                "this version of Cordon reads configurations of version {VERSION}, not {}",
                version.value
            ),
        ));
    }
    let jobs = at.jobs(written.jobs)?;
    let evidence = at.evidence(written.evidence, jobs.max_duration)?;
    let console = written
        .console
        .map(|console| at.console(console))
        .transpose()?;
    let mut notify = at.notify(written.notify)?;
    if notify.console_url.is_none() {
        notify.console_url = console.as_ref().and_then(Console::url).map(str::to_owned);
    }
    Ok(Config {
        state_dir: at.absolute(written.state_dir, "/var/lib/cordon", "state_dir")?,
        runtime_dir: at.absolute(written.runtime_dir, DEFAULT_RUNTIME_DIR, "runtime_dir")?,
        user: at.user(written.user.as_ref())?,
        intercept: at.intercept(written.intercept)?,
        jobs,
        issuers: at.issuers(written.issuers)?,
        databases: at.databases(written.databases)?,
        policy_dir: at.beside(&written.policy_dir.value),
        approvers: at.approvers(written.approvers)?,
        evidence,
        notify,
        console,
    })
}

/// The file, so that errors can say where.
pub(super) struct Place<'a> {
    path: &'a Path,
}

impl Place<'_> {
    pub(super) fn error(&self, location: Location, message: impl Into<String>) -> ConfigError {
        ConfigError::at(self.path, location, message)
    }

    /// Relative paths are relative to the configuration's folder, wherever the daemon is started.
    pub(super) fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(path)
    }

    pub(super) fn absolute(
        &self,
        written: Option<Spanned<PathBuf>>,
        default: &str,
        key: &str,
    ) -> Result<PathBuf, ConfigError> {
        let Some(written) = written else {
            return Ok(PathBuf::from(default));
        };
        if !written.value.is_absolute()
            || written
                .value
                .components()
                .any(|part| part == Component::ParentDir)
        {
            return Err(self.error(
                written.referenced,
                format!("`{key}` must be an absolute path without `..`"),
            ));
        }
        Ok(written.value)
    }

    pub(super) fn duration(
        &self,
        written: Option<Spanned<String>>,
        default: Duration,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        let Some(written) = written else {
            return Ok(default);
        };
        let parsed = duration::parse(&written.value)
            .map_err(|message| self.error(written.referenced, message))?;
        if range.contains(&parsed) {
            return Ok(parsed);
        }
        Err(self.error(
            written.referenced,
            format!(
                "`{}` is out of range; it may be {:?} to {:?}",
                written.value,
                range.start(),
                range.end()
            ),
        ))
    }

    fn user(&self, written: Option<&Spanned<String>>) -> Result<Option<GatewayUser>, ConfigError> {
        let place = written.map_or(Location::UNKNOWN, |user| user.referenced);
        users::gateway(written.map(|user| user.value.as_str()))
            .map_err(|message| self.error(place, message))
    }

    fn evidence(
        &self,
        mut written: file::Evidence,
        longest_job: Duration,
    ) -> Result<Evidence, ConfigError> {
        let usual = Evidence::default();
        let keep = match written.keep.take() {
            None => None,
            // A recording that is written must not be taken for an old one.
            keep @ Some(_) => Some(self.duration(
                keep,
                LONGEST_KEEP,
                longest_job.max(SHORTEST_KEEP)..=LONGEST_KEEP,
            )?),
        };
        let witnesses = self.witnesses(&mut written)?;
        Ok(Evidence {
            keep,
            witnesses,
            fsync: written.fsync.unwrap_or(usual.fsync),
            recording: written.recording.unwrap_or(usual.recording),
            recorded_result: match written.recorded_result {
                None => usual.recorded_result,
                Some(size) => bytes::parse(&size.value)
                    .and_then(|bytes| {
                        usize::try_from(bytes).map_err(|_large| "that is too large".to_owned())
                    })
                    .map_err(|message| self.error(size.referenced, message))?,
            },
            ship: written.ship.map(|ship| self.ship(ship)).transpose()?,
        })
    }

    fn ship(&self, written: file::Ship) -> Result<Ship, ConfigError> {
        let secret = |path: Spanned<PathBuf>| {
            secret::read(&self.beside(&path.value))
                .map_err(|message| self.error(path.referenced, message))
        };
        if let Some(endpoint) = &written.endpoint
            && !endpoint.value.starts_with("https://")
            && !endpoint.value.starts_with("http://")
        {
            return Err(self.error(
                endpoint.referenced,
                "the endpoint must be a URL that begins with https://".to_owned(),
            ));
        }
        let prefix = match written.prefix {
            Some(prefix) if prefix.value.trim_matches('/').is_empty() => {
                return Err(self.error(
                    prefix.referenced,
                    "the prefix is empty; several hosts may share a bucket".to_owned(),
                ));
            }
            Some(prefix) => prefix.value,
            None => format!(
                "cordon/{}",
                rustix::system::uname().nodename().to_string_lossy()
            ),
        };
        Ok(Ship {
            endpoint: written.endpoint.map(|endpoint| endpoint.value),
            region: written.region.unwrap_or_else(|| "us-east-1".to_owned()),
            bucket: written.bucket.value,
            prefix,
            access_key: secret(written.access_key_file)?,
            secret_key: secret(written.secret_key_file)?,
            every: self.duration(
                written.every,
                DEFAULT_SHIP_EVERY,
                Duration::from_secs(1)..=Duration::from_hours(1),
            )?,
            backlog: match written.backlog {
                None => DEFAULT_BACKLOG,
                Some(size) => bytes::parse(&size.value)
                    .map_err(|message| self.error(size.referenced, message))?,
            },
        })
    }

    fn intercept(&self, written: file::Intercept) -> Result<Intercept, ConfigError> {
        let scope = match written.scope {
            None | Some(file::Scope::Host) => Scope::Host,
            Some(file::Scope::Cgroups(cgroups)) => {
                if cgroups.value.is_empty() {
                    return Err(self.error(
                        cgroups.referenced,
                        "the list of cgroups is empty; name at least one, or write `scope: host`",
                    ));
                }
                Scope::Cgroups(
                    cgroups
                        .value
                        .iter()
                        .map(|cgroup| self.cgroup(cgroup))
                        .collect::<Result<_, _>>()?,
                )
            }
        };
        let place = written
            .pin_dir
            .as_ref()
            .map_or(Location::UNKNOWN, |dir| dir.referenced);
        let pin_dir = self.absolute(written.pin_dir, "/sys/fs/bpf/cordon", "pin_dir")?;
        if !pin_dir.starts_with("/sys/fs/bpf") || pin_dir == Path::new("/sys/fs/bpf") {
            return Err(self.error(
                place,
                "`pin_dir` must be a folder of its own below /sys/fs/bpf",
            ));
        }
        let port = match written.port {
            None => DEFAULT_PORT,
            Some(port) if port.value == 0 => {
                return Err(self.error(
                    port.referenced,
                    "`port` must be a port number from 1 to 65535",
                ));
            }
            Some(port) => port.value,
        };
        Ok(Intercept {
            scope,
            pin_dir,
            port,
            recognise: self.recognise(&written.recognise)?,
            namespaces: written.namespaces.unwrap_or_default(),
            unix_sockets: written.unix_sockets.unwrap_or_default(),
        })
    }

    fn recognise(&self, written: &file::Recognise) -> Result<Recognise, ConfigError> {
        let mut except = BTreeSet::new();
        for destination in &written.except {
            let port = has_port(&destination.value);
            for address in self.lookup(destination)? {
                except.insert((address.ip(), port.then_some(address.port())));
            }
        }
        Ok(Recognise {
            action: written.action.unwrap_or_default(),
            host: written.host.unwrap_or(false),
            except,
        })
    }

    fn cgroup(&self, written: &Spanned<String>) -> Result<CgroupPath, ConfigError> {
        CgroupPath::new(&written.value).map_err(|message| self.error(written.referenced, message))
    }

    fn jobs(&self, written: file::Jobs) -> Result<JobLimits, ConfigError> {
        let cgroup = match &written.cgroup {
            None => Spanned::new(
                "cordon.jobs".to_owned(),
                Location::UNKNOWN,
                Location::UNKNOWN,
            ),
            Some(cgroup) => cgroup.clone(),
        };
        let place = cgroup.referenced;
        let cgroup = self.cgroup(&cgroup)?;
        if cgroup.as_str() == "/" {
            return Err(self.error(place, "jobs cannot live in the root cgroup; name a cgroup of their own, such as `cordon.jobs`"));
        }
        Ok(JobLimits {
            cgroup,
            runners: self.users(&written.runners)?,
            max_duration: self.duration(
                written.max_duration,
                DEFAULT_MAX_DURATION,
                Duration::from_secs(1)..=Duration::from_hours(31 * 24),
            )?,
            worker: match written.worker {
                None => DEFAULT_WORKER.to_owned(),
                Some(worker)
                    if worker.value.is_empty()
                        || (worker.value.contains('/') && !worker.value.starts_with('/')) =>
                {
                    return Err(self.error(
                        worker.referenced,
                        "`worker` must be an absolute path, or the name of a file",
                    ));
                }
                Some(worker) => worker.value,
            },
        })
    }

    pub(super) fn users(&self, written: &[Spanned<String>]) -> Result<BTreeSet<u32>, ConfigError> {
        written
            .iter()
            .map(|user| {
                users::resolve(&user.value).map_err(|message| self.error(user.referenced, message))
            })
            .collect()
    }

    fn approvers(
        &self,
        written: BTreeMap<String, Vec<Spanned<String>>>,
    ) -> Result<BTreeMap<String, BTreeSet<u32>>, ConfigError> {
        written
            .into_iter()
            .map(|(group, members)| Ok((group, self.users(&members)?)))
            .collect()
    }

    fn issuers(
        &self,
        written: Spanned<Vec<Spanned<file::Issuer>>>,
    ) -> Result<Vec<Issuer>, ConfigError> {
        if written.value.is_empty() {
            return Err(self.error(
                written.referenced,
                "no issuer is listed; without one no job can prove who it is",
            ));
        }
        let mut issuers: Vec<Issuer> = Vec::new();
        for issuer in written.value {
            let issuer = issuer.value;
            self.name(&issuer.name, "an issuer")?;
            if issuers.iter().any(|other| other.name == issuer.name.value) {
                return Err(self.error(
                    issuer.name.referenced,
                    format!("there are two issuers named `{}`", issuer.name.value),
                ));
            }
            let place = issuer
                .url
                .as_ref()
                .map_or(issuer.name.referenced, |url| url.referenced);
            let issuer = self.issuer(issuer)?;
            if issuers.iter().any(|other| other.url == issuer.url) {
                return Err(self.error(
                    place,
                    "another issuer has this URL; a token must belong to one issuer only",
                ));
            }
            issuers.push(issuer);
        }
        Ok(issuers)
    }

    fn issuer(&self, issuer: file::Issuer) -> Result<Issuer, ConfigError> {
        let url = match (&issuer.url, issuer.preset.and_then(Preset::url)) {
            (Some(url), _) => {
                self.url(url)?;
                url.value.clone()
            }
            (None, Some(url)) => url.to_owned(),
            (None, None) => {
                return Err(self.error(
                    issuer.name.referenced,
                    "the key `url` is missing; it is the exact `iss` of the tokens",
                ));
            }
        };
        let asserted = match &issuer.asserted {
            Some(asserted) if asserted.value && issuer.preset.is_none() => {
                return Err(self.error(
                    asserted.referenced,
                    "`asserted` needs a `preset`, which tells what the runner's environment says",
                ));
            }
            other => other.as_ref().is_some_and(|asserted| asserted.value),
        };
        if issuer.audience.value.is_empty() {
            return Err(self.error(
                issuer.audience.referenced,
                "`audience` is empty; use a value that only Cordon uses",
            ));
        }
        let jwks = match issuer.jwks {
            None => JwksSource::Discovery,
            Some(jwks) if jwks.value.contains("://") => {
                self.url(&jwks)?;
                JwksSource::Url(jwks.value)
            }
            Some(jwks) => JwksSource::File(self.beside(Path::new(&jwks.value))),
        };
        let roots = match &issuer.ca_file {
            None => None,
            Some(path) => Some(self.roots(path)?),
        };
        Ok(Issuer {
            name: issuer.name.value,
            url,
            audience: issuer.audience.value,
            jwks,
            max_lifetime: self.duration(
                issuer.max_lifetime,
                issuer
                    .preset
                    .map_or(DEFAULT_MAX_LIFETIME, Preset::max_lifetime),
                Duration::from_secs(1)..=Duration::from_hours(31 * 24),
            )?,
            leeway: self.duration(issuer.leeway, DEFAULT_LEEWAY, Duration::ZERO..=MAX_LEEWAY)?,
            groups_claim: issuer.groups_claim.unwrap_or_else(|| "groups".to_owned()),
            preset: issuer.preset,
            forks: issuer.forks == Some(file::Forks::Allow),
            asserted,
            token_expiry: issuer.token_expiry.unwrap_or_default(),
            roots,
        })
    }

    /// https, or http where the host is this one: keys fetched in clear could be exchanged.
    pub(super) fn url(&self, written: &Spanned<String>) -> Result<(), ConfigError> {
        let wrong = |message: String| Err(self.error(written.referenced, message));
        let Ok(url) = reqwest::Url::parse(&written.value) else {
            return wrong(format!("`{}` is not a URL", written.value));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("a URL with user name or password is not accepted here".to_owned());
        }
        match url.scheme() {
            "https" => Ok(()),
            "http" if crate::identity::is_loopback(&url) => Ok(()),
            "http" => wrong(format!(
                "`{}` is not encrypted; use https (http is accepted for loopback addresses only)",
                written.value
            )),
            other => wrong(format!("the scheme `{other}` is not supported; use https")),
        }
    }

    pub(super) fn roots(
        &self,
        written: &Spanned<PathBuf>,
    ) -> Result<Arc<RootCertStore>, ConfigError> {
        certificates::read_roots(&self.beside(&written.value))
            .map_err(|message| self.error(written.referenced, message))
    }

    fn databases(
        &self,
        written: Spanned<Vec<Spanned<file::Database>>>,
    ) -> Result<Vec<Database>, ConfigError> {
        if written.value.is_empty() {
            return Err(self.error(
                written.referenced,
                "no database is listed; there is nothing to protect",
            ));
        }
        let mut databases: Vec<Database> = Vec::new();
        for Spanned {
            value: database, ..
        } in written.value
        {
            self.name(&database.name, "a database")?;
            if databases
                .iter()
                .any(|other| other.name == database.name.value)
            {
                return Err(self.error(
                    database.name.referenced,
                    format!("there are two databases named `{}`", database.name.value),
                ));
            }
            let place = database
                .dbname
                .as_ref()
                .map_or(database.name.referenced, |name| name.referenced);
            let database = self.database(database)?;
            let names = |database: &Database| [database.name.clone(), database.dbname.clone()];
            let twin = databases.iter().find(|other| {
                database.addresses().any(|address| other.is_at(address))
                    && names(&database)
                        .iter()
                        .any(|name| names(other).contains(name))
            });
            if let Some(twin) = twin {
                return Err(self.error(
                    place,
                    format!(
                        "`{}` and `{}` share an address and a name, so a client could mean either",
                        twin.name, database.name
                    ),
                ));
            }
            databases.push(database);
        }
        Ok(databases)
    }

    fn database(&self, database: file::Database) -> Result<Database, ConfigError> {
        let (host, port) = split_address(&database.address.value)
            .map_err(|message| self.error(database.address.referenced, message))?;
        let addrs = self.lookup(&database.address)?;
        let mut aliases = BTreeSet::new();
        for alias in &database.aliases {
            aliases.extend(self.lookup(alias)?);
        }
        let tls = database.tls.unwrap_or(TlsMode::VerifyFull);
        let roots = match (tls, &database.ca_file) {
            (TlsMode::VerifyFull, Some(path)) => self.roots(path)?,
            (TlsMode::VerifyFull, None) => certificates::system_roots()
                .map_err(|message| self.error(database.address.referenced, message))?,
            (TlsMode::Require | TlsMode::Disable, None) => Arc::new(RootCertStore::empty()),
            (TlsMode::Require | TlsMode::Disable, Some(path)) => {
                return Err(self
                    .error(
                        path.referenced,
                        "`ca_file` has no effect unless `tls` is `verify-full`",
                    )
                    .suggest(Some(
                        "set `tls: verify-full`, or remove `ca_file`".to_owned(),
                    )));
            }
        };
        let mut logins = BTreeMap::new();
        for written in database.logins {
            let place = written.user.referenced;
            let login = self.database_login(written)?;
            let user = login.user.clone();
            if logins.insert(user.clone(), login).is_some() {
                return Err(self.error(place, format!("there are two logins of the user `{user}`")));
            }
        }
        let admin = database
            .admin
            .map(|admin| self.admin(admin.value))
            .transpose()?;
        if logins.is_empty() && admin.is_none() {
            return Err(self.error(
                database.name.referenced,
                "neither `logins` nor `admin` is given; Cordon cannot reach the database without one",
            ));
        }
        let client_password = database.client_password;
        if let Some(written) = &client_password
            && !((1..=128).contains(&written.value.len())
                && written.value.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(self.error(
                written.referenced,
                "`client_password` must be 1 to 128 printable ASCII characters without blanks",
            ));
        }
        let name = database.name.value;
        let dbname = match database.dbname {
            None => name.clone(),
            Some(dbname) if dbname.value.is_empty() || dbname.value.contains('\0') => {
                return Err(self.error(
                    dbname.referenced,
                    "`dbname` must be the database's name at the server",
                ));
            }
            Some(dbname) => dbname.value,
        };
        Ok(Database {
            name,
            dbname,
            host,
            port,
            addrs,
            aliases,
            tls,
            roots,
            client_password: client_password.map(|written| written.value),
            logins,
            admin,
        })
    }

    fn database_login(&self, login: file::Login) -> Result<Login, ConfigError> {
        let user = login.user;
        if user.value.is_empty() || user.value.contains('\0') {
            return Err(self.error(
                user.referenced,
                "`user` must be the name of a role of the database",
            ));
        }
        let mut sources = Vec::new();
        if let Some(path) = login.password_file {
            let file = self.beside(&path.value);
            sources.push((path.referenced, PasswordSource::file(file)));
        }
        if let Some(name) = login.password_env {
            sources.push((name.referenced, PasswordSource::environment(&name.value)));
        }
        if let Some(name) = login.password_credential {
            sources.push((name.referenced, PasswordSource::credential(&name.value)));
        }
        if let Some(argv) = login.password_command {
            sources.push((argv.referenced, PasswordSource::command(argv.value)));
        }
        let password = match (sources.pop(), sources.is_empty()) {
            (None, _) => PasswordSource::None,
            (Some((place, source)), true) => {
                source.map_err(|message| self.error(place, message))?
            }
            (Some((place, _)), false) => {
                return Err(self.error(
                    place,
                    "a login has one password: name one of `password_file`, `password_env`, `password_credential`, `password_command`",
                ));
            }
        };
        Ok(Login {
            user: user.value,
            password,
        })
    }

    fn admin(&self, admin: file::Admin) -> Result<Admin, ConfigError> {
        let connections = match admin.connections {
            None => DEFAULT_CONNECTIONS,
            Some(written) if written.value == 0 || written.value > 10_000 => {
                return Err(self.error(
                    written.referenced,
                    "`connections` must be a number from 1 to 10000",
                ));
            }
            Some(written) => written.value,
        };
        let login = self.database_login(file::Login {
            user: admin.user,
            password_file: admin.password_file,
            password_env: admin.password_env,
            password_credential: admin.password_credential,
            password_command: admin.password_command,
        })?;
        Ok(Admin {
            login,
            procedures: admin.procedures.unwrap_or(false),
            connections,
        })
    }

    fn lookup(&self, written: &Spanned<String>) -> Result<Vec<SocketAddr>, ConfigError> {
        let (host, port) = split_address(&written.value)
            .map_err(|message| self.error(written.referenced, message))?;
        let found = (host.as_str(), port).to_socket_addrs().map_err(|error| {
            self.error(
                written.referenced,
                format!("cannot resolve the host `{host}`: {error}"),
            )
        })?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found.map(canonical) {
            if address.ip().is_unspecified() || address.ip().is_multicast() {
                return Err(self.error(
                    written.referenced,
                    format!("`{}` is not the address of a server", address.ip()),
                ));
            }
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(self.error(
                written.referenced,
                format!("the host `{host}` has no address"),
            ));
        }
        Ok(addresses)
    }

    fn name(&self, name: &Spanned<String>, of: &str) -> Result<(), ConfigError> {
        let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.value.is_empty() && name.value.len() <= 63 && name.value.chars().all(fine) {
            return Ok(());
        }
        Err(self.error(
            name.referenced,
            format!("the name of {of} must be 1 to 63 letters, digits, `-`, `_` or `.`"),
        ))
    }
}

/// Whether an address as [`split_address`] takes it names a port.
fn has_port(written: &str) -> bool {
    written
        .rsplit_once(']')
        .map_or(written, |(_, rest)| rest)
        .contains(':')
}

/// `host:port`, `host`, `[v6]:port`, `[v6]`.
fn split_address(written: &str) -> Result<(String, u16), String> {
    let wrong = || {
        format!("`{written}` is not an address; write `host:port`, or `[address]:port` for IPv6")
    };
    let (host, rest) = match written.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').ok_or_else(wrong)?,
        None => written
            .find(':')
            .map_or((written, ""), |colon| written.split_at(colon)),
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => POSTGRES_PORT,
        None => return Err(wrong()),
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(wrong)?,
    };
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}
