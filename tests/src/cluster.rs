//! A private database cluster with the shop in it.
//!
//! It listens on a loopback port of its own (TLS on, scram-sha-256) and on a Unix socket that only
//! the fixtures use: a test can always look at the database from the side, whatever the hooks do.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    host::{self, Scratch, User, eventually},
    live::LivePsql,
    output::Output,
    reaper, tools,
};

/// The name on the server's certificate besides 127.0.0.1.
pub const SERVER_NAME: &str = "db.cordon.test";
/// The one database.
pub const DATABASE: &str = "shop";
/// What a job's connection string names as password.
pub const PLACEHOLDER: &str = "placeholder";

const SETTINGS: &[&str] = &[
    // Else jobs could reach it without Cordon.
    "unix_socket_permissions=0700",
    "listen_addresses=127.0.0.1",
    "ssl=on",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "jit=off",
    "shared_buffers=32MB",
    "max_connections=60",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_connections=on",
    "log_disconnections=on",
    "log_statement=all",
    "log_error_verbosity=verbose",
    "log_line_prefix=%m [%p] %q%u@%d ",
];

/// A running server. Stopped and removed on drop.
#[derive(Debug)]
pub struct Cluster {
    child: Child,
    port: u16,
    scratch: Scratch,
}

impl Cluster {
    /// Starts a new cluster holding `fixtures/shop.sql`.
    pub fn start() -> Result<Self> {
        Self::start_as(host::free_port()?, &[])
    }

    /// As [`Cluster::start`], on a port that its clients cannot choose.
    pub fn start_at(port: u16) -> Result<Self> {
        Self::start_as(port, &[])
    }

    /// As [`Cluster::start`], with further settings (`name=value`).
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        Self::start_as(host::free_port()?, settings)
    }

    fn start_as(port: u16, settings: &[&str]) -> Result<Self> {
        host::require_root()?;
        let postgres = host::user("postgres")?;
        let scratch = Scratch::new("pg")?;
        own(scratch.path(), &postgres)?;
        copy(&template(&postgres)?, &scratch.path().join("data"))?;
        certificates(scratch.path(), &postgres)?;
        let child = serve(scratch.path(), port, &postgres, settings)?;
        Ok(Self {
            child,
            port,
            scratch,
        })
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The Unix socket, which asks for no password.
    pub fn socket(&self) -> PathBuf {
        self.scratch.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// The CA of the server's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.scratch.path().join("ca.pem")
    }

    /// The server's log so far. Every statement, connection and disconnection is in it.
    pub fn log(&self) -> Result<String> {
        read_log(self.scratch.path())
    }

    /// Runs SQL as superuser over the Unix socket; rows come unaligned, `|` between columns.
    pub fn admin(&self, sql: &str) -> Result<String> {
        self.admin_in(DATABASE, sql)
    }

    /// As [`Cluster::admin`], in another database of the cluster.
    pub fn admin_in(&self, database: &str, sql: &str) -> Result<String> {
        let output: Output =
            psql_admin(self.scratch.path(), self.port, &["-d", database, "-c", sql])?
                .output()?
                .into();
        Ok(output.success()?.stdout.trim_end().to_owned())
    }

    /// Connection string of the superuser over the Unix socket, for tests that bring their own
    /// client.
    pub fn admin_url(&self) -> String {
        format!(
            "host={} port={} user=postgres dbname=postgres",
            self.scratch.path().display(),
            self.port
        )
    }

    /// Puts lines before those of `pg_hba.conf`.
    pub fn trust(&self, lines: &str) -> Result<()> {
        let file = self.scratch.path().join("data/pg_hba.conf");
        let rest = fs::read_to_string(&file).context("reading pg_hba.conf")?;
        fs::write(&file, format!("{lines}{rest}"))?;
        self.admin("SELECT pg_reload_conf()")?;
        let wrong = self.count("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL")?;
        ensure!(wrong == 0, "pg_hba.conf has {wrong} lines that are wrong");
        Ok(())
    }

    /// A number from the superuser's side.
    pub fn count(&self, sql: &str) -> Result<u64> {
        let answer = self.admin(sql)?;
        answer
            .parse()
            .with_context(|| format!("`{sql}` gave `{answer}`"))
    }

    /// The login of every backend that serves a client, but for the fixtures' superuser.
    pub fn logins(&self) -> Result<Vec<String>> {
        let rows = self.admin(
            "SELECT usename FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND usename <> 'postgres' ORDER BY 1",
        )?;
        Ok(rows.lines().map(str::to_owned).collect())
    }

    /// The statements that the server logged as run, in order.
    pub fn statements(&self) -> Result<Vec<String>> {
        let log = self.log()?;
        let run = log.lines().filter_map(|line| {
            let (head, text) = line
                .split_once("LOG:  ")
                .map(|(head, rest)| (head, rest.get(7..).unwrap_or(rest)))?;
            let text = text.strip_prefix("statement: ").or_else(|| {
                let (_, text) = text.strip_prefix("execute ")?.split_once(": ")?;
                Some(text)
            })?;
            (!head.contains(" postgres@")).then(|| text.to_owned())
        });
        Ok(run.collect())
    }

    /// A psql that dials the server itself, as `user`, outside of any job.
    pub fn direct_psql(&self, user: &str, password: &str) -> Result<Command> {
        let mut command = Command::new(tools::postgres("psql")?);
        command
            .args(["-X", "-v", "VERBOSITY=verbose"])
            .env_clear()
            .current_dir("/");
        command.envs(self.client_env(user, password));
        Ok(command)
    }

    /// A psql of the superuser over the Unix socket, driven line by line.
    pub fn live_admin(&self) -> Result<LivePsql> {
        let psql = tools::postgres("psql")?.display().to_string();
        let [shell, rest @ ..] = LivePsql::argv(&psql);
        let mut command = Command::new(shell);
        command
            .args(rest)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PGHOST", self.scratch.path())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", DATABASE)
            .current_dir("/");
        LivePsql::start(command)
    }

    /// The environment of a client that dials the server's address.
    pub fn client_env(&self, user: &str, password: &str) -> Vec<(String, String)> {
        [
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("HOME", "/nonexistent".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.port.to_string()),
            ("PGDATABASE", DATABASE.to_owned()),
            ("PGUSER", user.to_owned()),
            ("PGPASSWORD", password.to_owned()),
            ("PGCONNECT_TIMEOUT", "30".to_owned()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Immediate shutdown; the data is thrown away.
        let _ = signal(&self.child, Signal::QUIT);
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("not a process id")?;
    kill_process(pid, signal).with_context(|| format!("sending {signal:?}"))
}

fn read_log(dir: &Path) -> Result<String> {
    let bytes = fs::read(dir.join("server.log")).context("reading the server's log")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn psql_admin(dir: &Path, port: u16, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(tools::postgres("psql")?);
    command.args([
        "-X",
        "-A",
        "-t",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "postgres",
        "-h",
    ]);
    command
        .arg(dir)
        .args(["-p", &port.to_string()])
        .args(args)
        .env_clear()
        .current_dir("/");
    Ok(command)
}

/// Starts the server in `dir` and waits until it says that it is ready.
fn serve(dir: &Path, port: u16, postgres: &User, settings: &[&str]) -> Result<Child> {
    let log = fs::File::create(dir.join("server.log"))?;
    let data = dir.join("data");
    let mut command = Command::new(tools::server("postgres")?);
    command
        .arg("-D")
        .arg(&data)
        .env_clear()
        .env("LANG", "C.UTF-8")
        .current_dir("/");
    let settings = SETTINGS.iter().chain(settings);
    for setting in settings.map(|setting| (*setting).to_owned()).chain([
        format!("port={port}"),
        format!("unix_socket_directories={}", dir.display()),
        format!("ssl_cert_file={}/server.pem", dir.display()),
        format!("ssl_key_file={}/server.key", dir.display()),
    ]) {
        command.args(["-c", &setting]);
    }
    let status = data.join("postmaster.pid");
    reaper::at_exit(&reaper::end_process(
        &status,
        &data.display().to_string(),
        "QUIT",
    ))?;
    let mut child = command
        .uid(postgres.uid)
        .gid(postgres.gid)
        // An interrupt at the terminal is for the test; the server ends in `Drop` or by the reaper.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting postgres")?;
    eventually("PostgreSQL to be ready", || {
        if let Some(exit) = child.try_wait()? {
            bail!("PostgreSQL ended at once ({exit}):\n{}", read_log(dir)?);
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        Ok(text
            .lines()
            .nth(7)
            .is_some_and(|state| state.trim() == "ready")
            .then_some(()))
    })?;
    Ok(child)
}

/// An initialised cluster with the shop, made once and kept in Cargo's target folder.
fn template(postgres: &User) -> Result<PathBuf> {
    const SHOP: &str = include_str!("../fixtures/shop.sql");
    const OWN_TEXT: &str = include_str!("cluster.rs");
    let digest = ring::digest::digest(
        &ring::digest::SHA256,
        // Each release has data of its own form.
        format!("{}{SHOP}{OWN_TEXT}", tools::server("initdb")?.display()).as_bytes(),
    );
    let name = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..9).unwrap_or_default());

    let base = tools::kept_dir()?;
    let lock = fs::File::create(base.join("template.lock"))?;
    lock.lock()
        .context("waiting for another process to make the template cluster")?;
    let kept = base.join(format!("shop-{name}"));
    if kept.exists() {
        return Ok(kept);
    }

    let scratch = Scratch::new("template")?;
    own(scratch.path(), postgres)?;
    let data = scratch.path().join("data");
    let output: Output = Command::new(tools::server("initdb")?)
        .arg("-D")
        .arg(&data)
        .args([
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ])
        .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .uid(postgres.uid)
        .gid(postgres.gid)
        .output()
        .context("starting initdb")?
        .into();
    output.success()?;
    certificates(scratch.path(), postgres)?;
    let port = host::free_port()?;
    let mut child = serve(scratch.path(), port, postgres, &[])?;
    let loaded = load(
        scratch.path(),
        port,
        &scratch.share("shop.sql", SHOP.as_bytes())?,
    );
    // Fast shutdown with a checkpoint, so that copies need no recovery.
    signal(&child, Signal::INT)?;
    child.wait()?;
    loaded?;
    copy(&data, &kept)?;
    Ok(kept)
}

fn load(dir: &Path, port: u16, file: &Path) -> Result<()> {
    let create = format!("CREATE DATABASE {DATABASE}");
    Output::from(psql_admin(dir, port, &["-d", "postgres", "-c", &create])?.output()?).success()?;
    Output::from(
        psql_admin(dir, port, &["-d", DATABASE, "-1", "-f"])?
            .arg(file)
            .output()?,
    )
    .success()?;
    Ok(())
}

/// Copies a data directory with its owner, by way of a rename so that no half copy is ever seen.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let partial = to.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    let output: Output = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(from)
        .arg(&partial)
        .output()?
        .into();
    output.success()?;
    fs::rename(&partial, to).with_context(|| format!("moving {}", to.display()))
}

fn own(path: &Path, user: &User) -> Result<()> {
    chown(path, Some(user.uid), Some(user.gid))
        .with_context(|| format!("giving {} to postgres", path.display()))
}

/// A CA and a server certificate for [`SERVER_NAME`] and 127.0.0.1.
fn certificates(dir: &Path, postgres: &User) -> Result<()> {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    let mut ca = CertificateParams::new(Vec::<String>::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(DnType::CommonName, "Cordon tests: database CA");
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = [SERVER_NAME, "localhost", "127.0.0.1"]
        .map(str::to_owned)
        .to_vec();
    let leaf = CertificateParams::new(names)?.signed_by(&key, &ca)?;
    for (name, text, mode) in [
        ("ca.pem", ca.pem(), 0o644),
        ("server.pem", leaf.pem(), 0o644),
        ("server.key", key.serialize_pem(), 0o600),
    ] {
        let path = dir.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        own(&path, postgres)?;
    }
    Ok(())
}
