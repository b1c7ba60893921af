//! The daemon as a process of its own, with its configuration, policy, cgroups and pins.

use std::{
    fmt::Write,
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    canary,
    cluster::{Cluster, DATABASE, signal},
    host::{self, Cgroup, PATIENCE, Scratch, eventually},
    issuer::{AUDIENCE, Issuer},
    job::JobCommand,
    output::Output,
    people::CLIENT_SECRET,
    policies, reaper, tools,
};

/// Local users whom the tests' configuration lists as approvers (group `dba`). Every Debian has
/// them, and nobody logs in as them.
pub const APPROVERS: [&str; 2] = ["backup", "games"];

/// The user of daemons' gateways: nobody's on any Debian, and not among those of jobs.
pub const GATEWAY_UID: u32 = 64_646;

/// How a daemon is set up. `Default` is the shop's policy, refusing only the tests' own cgroup.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Text of the policy file.
    pub policy: String,
    /// Refuse every process of the host that has no job, not only the tests' runner cgroup.
    /// Only this daemon's database port is concerned.
    pub host_scope: bool,
    /// Members of the approvers' group `dba`.
    pub approvers: Vec<String>,
    /// Members of the approvers' group `security`; none: there is no such group.
    pub security: Vec<String>,
    /// Have the daemon find the issuer's keys by discovery instead of from a file.
    pub discovery: bool,
    /// `address` of the database; default: the cluster's.
    pub address: Option<String>,
    /// `jobs.max_duration`.
    pub max_duration: String,
    /// `client_password` of the database.
    pub client_password: Option<String>,
    /// A further database of the cluster: its name, a login and the login's password.
    pub database: Option<(String, String, String)>,
    /// Further keys of the issuer, each a line with four blanks before it.
    pub issuer_keys: String,
    /// The `admin` of the shop: its login, the login's password, and further keys (`procedures: true`).
    pub admin: Option<(String, String, String)>,
    /// The lines below `console:`; `{here}` is the daemon's own folder. None: no console.
    pub console: Option<String>,
    /// A further database `relayed`, which is the cluster's behind this address, and its `tls`.
    pub relay: Option<(String, &'static str)>,
    /// Further lines of the configuration's `intercept:`, indented by two.
    pub intercept: String,
    /// Further lines of the configuration.
    pub further: String,
    /// Further lines of the configuration's `evidence:`, indented by two.
    pub evidence: String,
    /// Keep the state on a file system of its own, of so many bytes, which can be filled.
    pub state_bytes: Option<u64>,
    /// Another daemon than the one next to the tests.
    pub binary: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policy: policies::SHOP.to_owned(),
            host_scope: false,
            approvers: APPROVERS.map(str::to_owned).to_vec(),
            security: Vec::new(),
            discovery: false,
            address: None,
            max_duration: "1h".to_owned(),
            client_password: None,
            database: None,
            issuer_keys: String::new(),
            admin: None,
            console: None,
            relay: None,
            intercept: String::new(),
            further: String::new(),
            evidence: String::new(),
            state_bytes: None,
            binary: None,
        }
    }
}

/// A running (or stopped) daemon. Uninstalled on drop.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    started: bool,
    cordon: PathBuf,
    port: u16,
    pin_dir: PathBuf,
    jobs: String,
    cluster: Arc<Cluster>,
    issuer: Arc<Issuer>,
    runner: Cgroup,
    scratch: Scratch,
}

impl Daemon {
    /// Writes the configuration, starts the daemon and waits until it is ready.
    pub fn start(cluster: &Arc<Cluster>, issuer: &Arc<Issuer>, setup: &Setup) -> Result<Self> {
        host::require_root()?;
        let original = match &setup.binary {
            Some(binary) => binary.clone(),
            None => tools::cordon()?,
        };
        let scratch = Scratch::new("cordon")?;
        let cordon = shared_copy(&original, scratch.path())?;
        let name = format!("cordon-test-{}", host::unique());
        let runner = Cgroup::create(&format!("{name}.runner"))?;
        let mut daemon = Self {
            child: None,
            started: false,
            cordon,
            port: host::free_port()?,
            pin_dir: Path::new("/sys/fs/bpf").join(&name),
            jobs: format!("{name}.jobs"),
            cluster: Arc::clone(cluster),
            issuer: Arc::clone(issuer),
            runner,
            scratch,
        };
        daemon.write_files(setup)?;
        if let Some(bytes) = setup.state_bytes {
            daemon.mount_state(bytes)?;
        }
        reaper::at_exit(&format!(
            "rmdir {root}/{jobs}/* {root}/{jobs} 2>/dev/null; rm -rf {pins}",
            root = host::cgroup_root()?.display(),
            jobs = daemon.jobs,
            pins = daemon.pin_dir.display()
        ))?;
        let config = daemon.config();
        reaper::at_exit(&format!(
            "if [ -e {config} ]; then {cordon} uninstall --config {config}; fi",
            config = config.display(),
            cordon = daemon.cordon.display(),
        ))?;
        reaper::at_exit(&reaper::end_process(
            &daemon.pid_file(),
            &config.display().to_string(),
            "KILL",
        ))?;
        daemon.launch()?;
        daemon.started = true;
        Ok(daemon)
    }

    fn write_files(&self, setup: &Setup) -> Result<()> {
        let dir = self.scratch.path();
        for folder in ["policy.d", "secrets", "tokens"] {
            fs::create_dir(dir.join(folder))?;
        }
        private(&dir.join("secrets"), 0o700)?;
        private(&dir.join("tokens"), 0o700)?;
        self.write_policy(&setup.policy)?;
        for (login, password) in ["agent_rw", "reader"].iter().zip(canary::GATEWAY_PASSWORDS) {
            let path = dir.join("secrets").join(login);
            fs::write(&path, format!("{password}\n"))?;
            private(&path, 0o600)?;
        }
        let secret = dir.join("secrets/console");
        fs::write(&secret, CLIENT_SECRET)?;
        private(&secret, 0o600)?;
        self.issuer.write_jwks(&dir.join("jwks.json"))?;
        let here = dir.display();
        let scope = if setup.host_scope {
            "host".to_owned()
        } else {
            format!("{{ cgroups: [{}] }}", self.runner.relative())
        };
        let jwks = if setup.discovery {
            String::new()
        } else {
            format!("    jwks: {here}/jwks.json\n")
        };
        let security = if setup.security.is_empty() {
            String::new()
        } else {
            format!("  security: [{}]\n", setup.security.join(", "))
        };
        let address = setup
            .address
            .clone()
            .unwrap_or_else(|| self.cluster.address());
        let asks = setup
            .client_password
            .as_ref()
            .map(|password| format!("    client_password: {password}\n"))
            .unwrap_or_default();
        let mut further = String::new();
        if let Some((name, login, password)) = &setup.database {
            let file = dir.join("secrets").join(login);
            fs::write(&file, password)?;
            private(&file, 0o600)?;
            further = format!(
                "  - name: {name}\n    address: {address}\n    tls: verify-full\n    ca_file: {ca}\n    logins:\n      \
                 - user: {login}\n        password_file: {file}\n",
                ca = self.cluster.ca_file().display(),
                file = file.display(),
            );
        }
        if let Some((address, tls)) = &setup.relay {
            let _ = write!(
                further,
                "  - name: relayed\n    dbname: {DATABASE}\n    address: {address}\n    tls: {tls}\n    logins:\n      \
                 - user: agent_rw\n        password_file: {here}/secrets/agent_rw\n",
            );
        }
        let mut admin = String::new();
        if let Some((user, password, keys)) = &setup.admin {
            let file = dir.join("secrets/admin");
            fs::write(&file, password)?;
            private(&file, 0o600)?;
            admin = format!(
                "    admin: {{ user: {user}, password_file: {}, {keys} }}\n",
                file.display()
            );
        }
        let console = setup.console.as_ref().map_or(String::new(), |lines| {
            format!("console:\n{lines}")
                .replace("{here}", &here.to_string())
                .replace("{issuer}", self.issuer.url())
        });
        let config = format!(
            "version: 1\n\
             state_dir: {here}/state\n\
             runtime_dir: {here}/run\n\
             user: \"{GATEWAY_UID}\"\n\
             intercept:\n  scope: {scope}\n  pin_dir: {pins}\n  port: {port}\n{intercept}\
             jobs:\n  cgroup: {jobs}\n  runners: [daemon]\n  max_duration: {max_duration}\n\
             issuers:\n  - name: test\n    url: {issuer}\n    audience: {AUDIENCE}\n{jwks}{issuer_keys}    max_lifetime: 10m\n\
             databases:\n  - name: {DATABASE}\n    address: {address}\n    tls: verify-full\n    ca_file: {ca}\n{asks}{admin}    logins:\n      \
             - user: agent_rw\n        password_file: {here}/secrets/agent_rw\n      \
             - user: reader\n        password_file: {here}/secrets/reader\n\
             {further}policy_dir: {here}/policy.d\n\
             approvers:\n  dba: [{approvers}]\n{security}\
             evidence:\n{fsync}{evidence}{console}",
            pins = self.pin_dir.display(),
            intercept = setup.intercept,
            port = self.port,
            jobs = self.jobs,
            max_duration = setup.max_duration,
            issuer = self.issuer.url(),
            issuer_keys = setup.issuer_keys,
            ca = self.cluster.ca_file().display(),
            approvers = setup.approvers.join(", "),
            evidence = setup.evidence,
            fsync = if setup.evidence.contains("fsync:") {
                ""
            } else {
                "  fsync: always\n"
            },
        );
        fs::write(self.config(), config + &setup.further).context("writing the configuration")
    }

    fn mount_state(&self, bytes: u64) -> Result<()> {
        let state = self.state_dir();
        fs::create_dir(&state)?;
        reaper::at_exit(&format!("umount -l {} 2>/dev/null", state.display()))?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={bytes},mode=0700"))
            .arg("cordon-test")
            .arg(&state)
            .status()?;
        ensure!(status.success(), "mount ended with {status}");
        Ok(())
    }

    /// The folder of evidence, keys and state.
    pub fn state_dir(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Replaces the policy file. A running daemon follows.
    pub fn write_policy(&self, policy: &str) -> Result<()> {
        fs::write(self.policy_dir().join("policy.yaml"), policy).context("writing the policy")
    }

    /// The folder of the policy's files.
    pub fn policy_dir(&self) -> PathBuf {
        self.scratch.path().join("policy.d")
    }

    /// Starts it, and kills it after so long, whether it is ready or not.
    pub fn start_and_kill(&mut self, after: Duration) -> Result<()> {
        ensure!(self.child.is_none(), "the daemon still runs");
        let mut child = self.spawn()?;
        thread::sleep(after);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn spawn(&self) -> Result<Child> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let child = Command::new(&self.cordon)
            .args(["run", "--config"])
            .arg(self.config())
            .env("RUST_BACKTRACE", "1")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting cordon")?;
        fs::write(self.pid_file(), child.id().to_string())?;
        Ok(child)
    }

    fn launch(&mut self) -> Result<()> {
        let mut child = self.spawn()?;
        let stdout = child.stdout.take().context("cordon has no stdout")?;
        // Ends with the daemon's stdout; keeps reading so that the daemon never blocks on it.
        let (ready, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.trim() == "cordon: ready" {
                    let _ = ready.send(());
                }
            }
        });
        let outcome = told.recv_timeout(PATIENCE);
        let failure = match outcome {
            Ok(()) if self.control().exists() => None,
            Ok(()) => Some(format!(
                "said that it is ready but made no {}",
                self.control().display()
            )),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Some(format!("was not ready within {PATIENCE:?}"))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Some(format!("ended with {}", child.wait()?))
            }
        };
        if let Some(failure) = failure {
            let _ = child.kill();
            let _ = child.wait();
            bail!("cordon {failure}; its log:\n{}", self.log()?);
        }
        self.child = Some(child);
        Ok(())
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::terminate`].
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the daemon still runs");
        self.launch()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the daemon does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for a clean end.
    pub fn terminate(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the daemon does not run")?;
        signal(&child, Signal::TERM)?;
        let status = eventually("cordon to stop after SIGTERM", || Ok(child.try_wait()?));
        if status.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let status = status?;
        ensure!(
            status.success(),
            "cordon ended with {status}:\n{}",
            self.log()?
        );
        Ok(())
    }

    /// Fails if the daemon is not running any more.
    pub fn require_alive(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("the daemon does not run")?;
        if let Some(status) = child.try_wait()? {
            bail!("cordon ended with {status}:\n{}", self.log()?);
        }
        Ok(())
    }

    /// Process id of the running daemon.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the daemon does not run")?.id())
    }

    /// Process id of its gateway, which speaks with jobs and databases.
    pub fn gateway_pid(&self) -> Result<u32> {
        let pid = self.pid()?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        children
            .split_ascii_whitespace()
            .next()
            .context("the daemon has no gateway")?
            .parse()
            .context("no process id")
    }

    /// CPU time that its gateway has taken, in milliseconds.
    pub fn cpu_ms(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.gateway_pid()?))?;
        // Behind the name, which may hold spaces.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks =
            |at: usize| -> Result<u64> { Ok(fields.get(at).context("no such field")?.parse()?) };
        // The kernel shows 100 ticks a second to programs, whatever it counts itself.
        Ok((ticks(11)? + ticks(12)?) * 10)
    }

    /// How many descriptors its gateway has open.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.gateway_pid()?))?.count())
    }

    /// How many sessions it says are open.
    pub fn sessions(&self) -> Result<u64> {
        let output = Output::from(self.cli(&["status", "--json"]).output()?);
        output.success()?.json()?["sessions"]
            .as_u64()
            .context("no count of sessions")
    }

    /// Resident memory of its gateway in KiB: now, and the highest ever.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway_pid()?))?;
        let field = |name: &str| -> Result<u64> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .context("no such field")?;
            Ok(line
                .trim_start_matches(':')
                .trim()
                .trim_end_matches("kB")
                .trim()
                .parse()?)
        };
        Ok((field("VmRSS")?, field("VmHWM")?))
    }

    /// A job of the tests' repository, run as `nobody`.
    pub fn job(&self) -> JobCommand<'_> {
        JobCommand::new(self)
    }

    /// A `cordon` command, run by root.
    pub fn cli(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.cordon);
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("CORDON_CONTROL", self.control());
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// A `cordon` command, run by a local user.
    pub fn cli_as(&self, user: &str, args: &[&str]) -> Result<Command> {
        let user = host::user(user)?;
        let mut command = self.cli(args);
        command.uid(user.uid).gid(user.gid);
        Ok(command)
    }

    /// Held statements that wait for an answer, as the CLI lists them to an approver.
    pub fn held(&self) -> Result<Vec<Value>> {
        let [approver, _] = APPROVERS;
        let output: Output = self
            .cli_as(approver, &["approvals", "list"])?
            .output()?
            .into();
        let output = output.success()?;
        let mut objects = Vec::new();
        for document in serde_json::Deserializer::from_str(&output.stdout).into_iter::<Value>() {
            collect_objects(&document.with_context(|| output.all())?, &mut objects);
        }
        objects.retain(|object| {
            object["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("apr-"))
                && object["state"]
                    .as_str()
                    .is_none_or(|state| state == "pending")
        });
        Ok(objects)
    }

    /// Waits for exactly one held statement and gives its approval id.
    pub fn wait_for_held(&self) -> Result<String> {
        eventually("one held statement", || {
            let held = self.held()?;
            ensure!(held.len() < 2, "more than one held statement: {held:?}");
            Ok(held
                .first()
                .and_then(|object| object["id"].as_str())
                .map(str::to_owned))
        })
    }

    /// Answers a held statement as `user`.
    pub fn answer(&self, user: &str, verb: &str, id: &str, reason: &str) -> Result<Output> {
        let mut args = vec!["approvals", verb, id];
        if !reason.is_empty() {
            args.extend(["--reason", reason]);
        }
        Ok(self.cli_as(user, &args)?.output()?.into())
    }

    /// `cordon evidence verify` on this daemon's evidence.
    pub fn verify_evidence(&self) -> Result<Output> {
        let dir = self.evidence_dir();
        Ok(self
            .cli(&["evidence", "verify", "--dir", &dir.display().to_string()])
            .output()?
            .into())
    }

    /// `cordon-verify` on this daemon's evidence, with its key as if kept elsewhere.
    pub fn verify_offline(&self) -> Result<Output> {
        let dir = self.evidence_dir();
        let key = fs::read_to_string(dir.join("keys/log.pub"))?;
        Ok(Command::new(tools::cordon_verify()?)
            .args(["--json", "--key", key.trim()])
            .arg(dir)
            .env_clear()
            .output()?
            .into())
    }

    /// Everything below the state directory, recordings included, as one lossy text, to look for what must not be there.
    pub fn evidence_text(&self) -> Result<String> {
        let mut text = String::new();
        for path in files_below(&self.evidence_dir())? {
            if path.extension().is_some_and(|extension| extension == "rec") {
                text.push_str(&String::from_utf8_lossy(&recording(&path)?));
            } else {
                text.push_str(&String::from_utf8_lossy(&fs::read(path)?));
            }
        }
        Ok(text)
    }

    /// The daemon's log so far.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.log_file()).unwrap_or_default())
    }

    /// A cgroup that the configuration puts in scope and that is no job's.
    pub fn runner_cgroup(&self) -> &Cgroup {
        &self.runner
    }

    /// Where its programs are pinned.
    pub fn pin_dir(&self) -> &Path {
        &self.pin_dir
    }

    /// The proxy's own port.
    pub fn proxy_port(&self) -> u16 {
        self.port
    }

    /// The CA that jobs trust.
    pub fn ca_file(&self) -> PathBuf {
        self.scratch.path().join("run/ca.pem")
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.scratch.path().join("run/control.sock")
    }

    /// The evidence folder.
    pub fn evidence_dir(&self) -> PathBuf {
        self.scratch.path().join("state/evidence")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.scratch.path().join("cordon.yaml")
    }

    /// A place for files that jobs may read.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The database behind it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The issuer that it trusts.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    pub(crate) fn cordon(&self) -> &Path {
        &self.cordon
    }

    fn pid_file(&self) -> PathBuf {
        self.scratch.path().join("daemon.pid")
    }

    fn log_file(&self) -> PathBuf {
        self.scratch.path().join("daemon.log")
    }

    fn uninstall(&self) -> Result<()> {
        let config = self.config().display().to_string();
        Output::from(self.cli(&["uninstall", "--config", &config]).output()?).success()?;
        ensure!(
            !self.pin_dir.exists(),
            "`cordon uninstall` left {}",
            self.pin_dir.display()
        );
        let jobs = host::cgroup_root()?.join(&self.jobs);
        ensure!(!jobs.exists(), "`cordon uninstall` left {}", jobs.display());
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let stopped = if self.child.is_some() {
            self.terminate()
        } else {
            Ok(())
        };
        let removed = self.uninstall();
        if self.state_dir().is_dir() {
            // Fails where it is no file system of its own.
            let _ = Command::new("umount")
                .args(["-q", "-l"])
                .arg(self.state_dir())
                .stderr(Stdio::null())
                .status();
        }
        if !self.started {
            // Whoever started it reports why it did not.
            return;
        }
        if thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log().unwrap_or_default());
            return;
        }
        for outcome in [stopped, removed] {
            assert!(
                outcome.is_ok(),
                "cleaning up after the daemon: {:?}",
                outcome.err()
            );
        }
    }
}

fn private(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("protecting {}", path.display()))
}

/// The binary where every user of the host can run it: Cargo's target folder may be closed to
/// them.
fn shared_copy(binary: &Path, dir: &Path) -> Result<PathBuf> {
    let copy = dir.join("cordon");
    if fs::hard_link(binary, &copy).is_err() {
        fs::copy(binary, &copy).with_context(|| format!("copying {}", binary.display()))?;
    }
    Ok(copy)
}

/// What a recording holds, before compression. The end of one that is being written may be missing.
fn recording(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut decoder = zstd::Decoder::new(fs::File::open(path)?)?;
    // A frame that is being written ends too early.
    let _ = std::io::Read::read_to_end(&mut decoder, &mut bytes);
    Ok(bytes)
}

/// Every file below a folder.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn collect_objects(value: &Value, into: &mut Vec<Value>) {
    match value {
        Value::Object(fields) => {
            into.push(value.clone());
            fields
                .values()
                .for_each(|field| collect_objects(field, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_objects(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
