//! `cargo xtask test-machine`: Cordon is installed on a machine of its own, as `docs/operating.md`
//! says, with a CI runner that dials the database from its first moment on; then the machine goes
//! through what a host goes through. The database is this host's, so that it is known what reached it.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use cordon_tests::{
    Cluster, Issuer, Output, canary,
    cluster::{DATABASE, SERVER_NAME},
    host::{self, eventually},
    issuer::AUDIENCE,
    machine::{HOST, Image, Machine, Release},
    policies,
};
use serde_json::{Value, json};

use crate::{
    build,
    ensure::ensure_packages,
    step::{self, green, step},
    test::{self, PACKAGES},
};

const MACHINE_PACKAGES: &[(&str, &str)] = &[
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("debootstrap", "debootstrap"),
    ("openssh-client", "ssh"),
    ("binutils", "strip"),
    ("e2fsprogs", "mkfs.ext4"),
];

/// The login that the runner dials with by itself, and its true password: where nothing keeps it
/// out, it is let in.
const DIRECT: (&str, &str) = ("app", "app-direct-2b7d");

/// The unit of the runner, named as GitHub's runners are.
const RUNNER: &str = "actions.runner.acme-shop.host.service";

/// What the runner does: dials by itself as soon as it starts, runs a job if it has been given a
/// token, and goes on dialling by itself.
const RUNNER_SCRIPT: &str = "#!/bin/sh
cd /var/lib/runner
dial() { psql -X -A -t -c 'SELECT current_user'; }
dial >first 2>&1
if [ -s token ]; then
    cordon job run --token-file token -- psql -X -A -t -c 'SELECT current_user, email FROM public.customers' >served 2>&1
    rm token
fi
while :; do
    dial >answer 2>/dev/null && cat answer >>let-in
    echo >>tries
done
";

/// What a container has of the machine.
const CONTAINER_FILES: &str = "-v /usr:/usr:ro -v /etc:/etc:ro --env-file /etc/database";

/// The daemon's processes, as `pgrep -f` finds them and not the shell that it is called in.
const PROCESSES: [&str; 2] = ["cordon[ ]run", "cordon[ ]gateway"];

/// Arguments of `cargo xtask test-machine`.
#[derive(Args)]
pub struct TestMachine {
    /// The Debian that is on the machine.
    #[arg(long, value_enum, default_value_t = Debian::Bookworm)]
    release: Debian,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Debian {
    Bookworm,
    Trixie,
}

/// Builds the daemon and the machine, and goes through it; fails at the first thing that is not as
/// promised.
pub fn run(args: &TestMachine) -> Result<()> {
    host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    ensure_packages(MACHINE_PACKAGES, args.no_install)?;
    let daemon = build::daemon(false, args.no_install)?;
    let suite = step("build the suite of the kernel's side", || {
        test::program("intercept")
    })?;
    let release = match args.release {
        Debian::Bookworm => Release::Bookworm,
        Debian::Trixie => Release::Trixie,
    };
    let image = step(&format!("make a disk with {}", release.name()), || {
        Image::of(release)
    })?;
    let (cluster, issuer) = (Cluster::start()?, Issuer::start()?);
    let machine = step("boot it", || Machine::boot(&image))?;
    let mut host = Host {
        machine,
        cluster,
        issuer,
        program: stripped(&daemon)?,
        reached: 0,
    };
    let kernel = host.root("uname -r; systemctl --version | head -n 1")?;
    println!("    Linux {}", kernel.trim_end().replace('\n', ", "));
    step(
        "the programs do on this kernel what they do on others",
        || host.intercepts(&suite),
    )?;
    step("without Cordon, who knows the password is let in", || {
        host.is_let_in()
    })?;
    step("install", || host.install())?;
    step("the unit serves in its sandbox", || host.serves())?;
    step("its files are the right users'", || host.files())?;
    step("a reload takes the new policy", || host.reload())?;
    step(
        "Docker's containers are in no job, Podman's in the job that runs them",
        || host.containers(),
    )?;
    step("killed, it serves again, and nobody got in", || host.kill())?;
    step("hanging, it is started anew", || host.hang())?;
    step("a wrong configuration opens nothing", || {
        host.misconfigure()
    })?;
    step("an upgrade opens nothing", || host.upgrade())?;
    step("after a boot, runners start behind the programs", || {
        host.reboot()
    })?;
    step(
        "a daemon that does not start holds the runner up, and both come with its mending",
        || host.boot_misconfigured(),
    )?;
    step("the runner's end is the end of its jobs", || {
        host.stop_runner()
    })?;
    step(
        "nobody but Cordon has reached the database in all this",
        || host.nobody_got_in(),
    )?;
    step("uninstalled, nothing is left in the kernel", || {
        host.uninstall()
    })?;
    println!(
        "{} {} did all that was promised",
        green("ok"),
        release.name()
    );
    Ok(())
}

struct Host {
    machine: Machine,
    cluster: Cluster,
    issuer: Issuer,
    program: Vec<u8>,
    /// What was in the server's log before Cordon was installed.
    reached: usize,
}

impl Host {
    /// What a command of root prints.
    fn root(&self, command: &str) -> Result<String> {
        Ok(self
            .machine
            .run(command)?
            .success()
            .with_context(|| format!("{command}; the daemon's log:\n{}", self.journal()))?
            .stdout)
    }

    fn journal(&self) -> String {
        self.machine
            .run("journalctl --no-pager -o cat -u cordon -n 40")
            .map(|output| output.stdout)
            .unwrap_or_default()
    }

    /// A dial of the database's own address, outside of any job, with a login that it would take.
    fn dial(&self) -> Result<Output> {
        self.machine.run(
            "set -a; . /etc/database; setpriv --reuid runner --regid runner --clear-groups \
             psql -X -A -t -v VERBOSITY=verbose -c 'SELECT current_user'",
        )
    }

    /// The suite of the kernel's side, on this kernel.
    fn intercepts(&self, suite: &Path) -> Result<()> {
        let there = "/root/intercept";
        self.machine.write(there, &stripped(suite)?, "755")?;
        let output = self
            .machine
            .run(&format!("{there} --test-threads=2 2>&1"))?;
        let result = output
            .lines()
            .into_iter()
            .rfind(|line| line.starts_with("test result: "))
            .context("no result")?
            .to_owned();
        println!("    {result}");
        output.success()?;
        self.root(&format!("rm {there}"))?;
        Ok(())
    }

    fn is_let_in(&mut self) -> Result<()> {
        if self.machine.run("id runner")?.code != Some(0) {
            self.root("useradd --system --create-home --home-dir /var/lib/runner runner")?;
            let (user, password) = DIRECT;
            let database = format!(
                "PGHOST={SERVER_NAME}\nPGPORT={}\nPGDATABASE={DATABASE}\nPGUSER={user}\nPGPASSWORD={password}\n\
                 PGCONNECT_TIMEOUT=30\n",
                self.cluster.port()
            );
            self.machine
                .write("/etc/database", database.as_bytes(), "644")?;
            self.make_container()?;
        }
        for dialled in [
            self.dial()?,
            self.dial_in_docker("host")?,
            self.dial_in_docker("bridge")?,
        ] {
            let dialled = dialled.success()?;
            ensure!(dialled.stdout.trim() == DIRECT.0, "{}", dialled.all());
        }
        let reached = self.reached()?;
        ensure!(reached > self.reached, "the database did not see it");
        self.reached = reached;
        Ok(())
    }

    /// How much the server's log has of the runner's own login.
    fn reached(&self) -> Result<usize> {
        let user = format!(" {}@{DATABASE} ", DIRECT.0);
        let log = self.cluster.log()?;
        Ok(log.lines().filter(|line| line.contains(&user)).count())
    }

    /// A dial outside of jobs meets Cordon, or nobody.
    fn is_refused(&self, part: &str) -> Result<()> {
        let refused = self.dial()?;
        ensure!(
            refused.code == Some(2) && refused.stderr.contains(part),
            "no refusal with `{part}`: {}",
            refused.all()
        );
        Ok(())
    }

    /// A job of its own is served, as Cordon's login and masked.
    fn job(&self) -> Result<()> {
        let token = self.issuer.issue(&json!({}))?;
        self.machine.write("/run/token", token.as_bytes(), "600")?;
        let output = self
            .machine
            .run(
                "set -a; . /etc/database; cordon job run --token-file /run/token --user runner -- \
                 psql -X -A -t -c 'SELECT current_user, email FROM public.customers'",
            )?
            .success()
            .with_context(|| self.journal())?;
        served(&output.stdout)
    }

    fn write_config(&self) -> Result<()> {
        let config = format!(
            "version: 1\njobs:\n  runners: [runner]\n\
             issuers:\n  - name: test\n    url: {}\n    audience: {AUDIENCE}\n    jwks: jwks.json\n    max_lifetime: 10m\n\
             databases:\n  - name: {DATABASE}\n    address: {SERVER_NAME}:{}\n    tls: verify-full\n    ca_file: ca.pem\n    \
             logins:\n      - user: agent_rw\n        password_file: agent_rw\n      - user: reader\n        password_file: reader\n\
             policy_dir: policy.d\napprovers:\n  dba: [backup, games]\n",
            self.issuer.url(),
            self.cluster.port(),
        );
        self.machine
            .write("/etc/cordon/cordon.yaml", config.as_bytes(), "600")
    }

    /// Puts a key into the configuration that there is not.
    fn break_config(&self) -> Result<()> {
        let config = b"version: 1\nnonsense: 1\n";
        self.machine.write("/etc/cordon/cordon.yaml", config, "600")
    }

    fn write_policy(&self, policy: &str) -> Result<()> {
        let file = "/etc/cordon/policy.d/policy.yaml";
        self.machine.write(file, policy.as_bytes(), "600")
    }

    /// As `docs/operating.md` says.
    fn install(&self) -> Result<()> {
        let packaging = step::root().join("packaging");
        let packaged = |name: &str| {
            let path = packaging.join(name);
            fs::read(&path).with_context(|| format!("reading {}", path.display()))
        };
        let machine = &self.machine;
        machine.write("/usr/bin/cordon", &self.program, "755")?;
        let unit = packaged("systemd/cordon.service")?;
        machine.write("/etc/systemd/system/cordon.service", &unit, "644")?;
        let user = packaged("sysusers.d/cordon.conf")?;
        machine.write("/usr/lib/sysusers.d/cordon.conf", &user, "644")?;
        let drop_in = packaged("systemd/runner.conf")?;
        let folder = format!("/etc/systemd/system/{RUNNER}.d");
        machine.write(&format!("{folder}/cordon.conf"), &drop_in, "644")?;

        let keys = self.issuer.jwks().to_string();
        machine.write("/etc/cordon/jwks.json", keys.as_bytes(), "644")?;
        let authority = fs::read(self.cluster.ca_file())?;
        machine.write("/etc/cordon/ca.pem", &authority, "644")?;
        for (login, password) in ["agent_rw", "reader"].iter().zip(canary::GATEWAY_PASSWORDS) {
            let file = format!("/etc/cordon/{login}");
            machine.write(&file, password.as_bytes(), "600")?;
        }
        self.write_policy(policies::SHOP)?;
        self.write_config()?;

        machine.write("/var/lib/runner/run.sh", RUNNER_SCRIPT.as_bytes(), "755")?;
        let runner = "[Service]\nUser=runner\nEnvironmentFile=/etc/database\nExecStart=/var/lib/runner/run.sh\n\
                      Restart=always\nRestartSec=1\nNice=19\n[Install]\nWantedBy=multi-user.target\n";
        machine.write(
            &format!("/etc/systemd/system/{RUNNER}"),
            runner.as_bytes(),
            "644",
        )?;
        self.root("systemd-sysusers && systemctl daemon-reload && systemctl enable --now cordon")?;
        Ok(())
    }

    fn property(&self, unit: &str, name: &str) -> Result<String> {
        let value = self.root(&format!("systemctl show --value -p {name} {unit}"))?;
        Ok(value.trim().to_owned())
    }

    /// Waits for a daemon other than that of `before`.
    fn served_anew(&self, before: &str) -> Result<()> {
        eventually("another daemon that serves", || {
            let active = self.property("cordon", "ActiveState")? == "active";
            let pid = self.property("cordon", "MainPID")?;
            Ok((active && pid != before).then_some(()))
        })?;
        self.job()?;
        self.is_refused("does not belong to a job")
    }

    fn serves(&self) -> Result<()> {
        for (name, value) in [
            ("ActiveState", "active"),
            ("SubState", "running"),
            ("NRestarts", "0"),
        ] {
            let seen = self.property("cordon", name)?;
            ensure!(seen == value, "{name} is {seen}: {}", self.journal());
        }
        // Both processes are in the unit's cgroup; the one that works has nothing.
        let processes = self.root(
            "for pid in $(cat /sys/fs/cgroup/system.slice/cordon.service/cgroup.procs); do \
             tr '\\0' ' ' </proc/$pid/cmdline; \
             echo $(grep -E '^(Uid|CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/$pid/status); done",
        )?;
        let lines: Vec<&str> = processes.lines().collect();
        let [warden, gateway] = lines[..] else {
            anyhow::bail!("not two processes: {processes}");
        };
        for (line, parts) in [
            (
                warden,
                ["cordon run", "Uid: 0 0 0 0", "NoNewPrivs: 1", "Seccomp: 2"],
            ),
            (
                gateway,
                [
                    "cordon gateway",
                    "CapEff: 0000000000000000",
                    "NoNewPrivs: 1",
                    "Seccomp: 2",
                ],
            ),
        ] {
            for part in parts {
                ensure!(line.contains(part), "no {part}: {line}");
            }
        }
        ensure!(!gateway.contains("Uid: 0"), "{gateway}");
        self.job()?;
        self.is_refused("does not belong to a job")?;
        // Doctor finds nothing to mend, and says so with its exit code.
        let found: Value = serde_json::from_str(&self.root("cordon doctor --json")?)?;
        ensure!(found["healthy"] == true, "{found}");
        Ok(())
    }

    fn files(&self) -> Result<()> {
        let modes = self.root(
            "stat -c '%a %U %n' /var/lib/cordon /var/lib/cordon/* /run/cordon /run/cordon/control.sock",
        )?;
        for line in [
            "711 root /var/lib/cordon",
            "700 root /var/lib/cordon/keys",
            "700 cordon /var/lib/cordon/evidence",
            "700 cordon /var/lib/cordon/gateway",
            "755 root /run/cordon",
        ] {
            ensure!(modes.lines().any(|seen| seen == line), "no {line}: {modes}");
        }
        Ok(())
    }

    fn reload(&self) -> Result<()> {
        let pid = self.property("cordon", "MainPID")?;
        let version = |host: &Self| -> Result<Value> {
            let status: Value = serde_json::from_str(&host.root("cordon status --json")?)?;
            Ok(status["policy"].clone())
        };
        let before = version(self)?;
        self.write_policy(policies::ALLOW_ALL)?;
        self.root("systemctl reload cordon")?;
        eventually("the new policy", || {
            Ok((version(self)? != before).then_some(()))
        })?;
        self.write_policy(policies::SHOP)?;
        self.root("systemctl reload cordon")?;
        eventually("the old policy", || {
            Ok((version(self)? == before).then_some(()))
        })?;
        ensure!(
            self.property("cordon", "MainPID")? == pid,
            "the daemon was started anew"
        );
        self.job()
    }

    /// A container that has the machine's own files, so that nothing needs to be fetched.
    fn make_container(&self) -> Result<()> {
        self.root(
            "mkdir -p /srv/container && cd /srv/container && \
             mkdir -p usr etc dev proc sys run tmp && ln -sf usr/bin usr/lib usr/lib64 . && \
             tar -c . | docker import - machine",
        )?;
        Ok(())
    }

    /// Dials from a container of Docker's.
    fn dial_in_docker(&self, network: &str) -> Result<Output> {
        let host = format!("--add-host {SERVER_NAME}:{HOST}");
        let dial = container_psql("SELECT current_user");
        self.machine.run(&format!(
            "docker run --rm --network {network} {host} {CONTAINER_FILES} machine {dial}"
        ))
    }

    fn containers(&self) -> Result<()> {
        for (network, words) in [
            ("host", "does not belong to a job"),
            ("bridge", "Connection refused"),
        ] {
            let refused = self.dial_in_docker(network)?;
            ensure!(
                refused.code == Some(2) && refused.stderr.contains(words),
                "{network}: {}",
                refused.all()
            );
        }
        let token = self.issuer.issue(&json!({}))?;
        self.machine.write("/run/token", token.as_bytes(), "600")?;
        let dial = container_psql("SELECT current_user, email FROM public.customers");
        let answer = self
            .machine
            .run(&format!(
                "cordon job run --token-file /run/token -- podman run --rm --cgroups=disabled --network host \
                 {CONTAINER_FILES} --rootfs /srv/container {dial}"
            ))?
            .success()?;
        served(&answer.stdout)
    }

    fn kill(&self) -> Result<()> {
        self.root(&format!("systemctl enable --now {RUNNER}"))?;
        for process in PROCESSES {
            let pid = self.property("cordon", "MainPID")?;
            self.root(&format!("pkill -KILL -f '{process}'"))?;
            self.served_anew(&pid)?;
        }
        Ok(())
    }

    fn hang(&self) -> Result<()> {
        for process in PROCESSES {
            let pid = self.property("cordon", "MainPID")?;
            self.root(&format!("pkill -STOP -f '{process}'"))?;
            self.served_anew(&pid)?;
        }
        Ok(())
    }

    fn misconfigure(&self) -> Result<()> {
        self.break_config()?;
        // It goes on with what it has read.
        let reload = self.machine.run("systemctl reload cordon")?;
        self.job().with_context(|| reload.all())?;
        let restart = self.machine.run("systemctl restart cordon")?;
        ensure!(restart.code != Some(0), "it started: {}", restart.all());
        self.is_refused("Connection refused")?;
        ensure!(self.journal().contains("nonsense"), "{}", self.journal());
        self.write_config()?;
        self.root("systemctl restart cordon")?;
        self.served_anew("")
    }

    fn upgrade(&self) -> Result<()> {
        let tries = self.tries()?;
        let pid = self.property("cordon", "MainPID")?;
        let before = self.programs()?;
        self.machine
            .write("/usr/bin/cordon", &self.program, "755")?;
        self.root("systemctl restart cordon")?;
        self.served_anew(&pid)?;
        ensure!(
            self.programs()? == before,
            "other links than before: {before}"
        );
        eventually("further tries of the runner", || {
            Ok((self.tries()? > tries).then_some(()))
        })
    }

    /// The pinned links.
    fn programs(&self) -> Result<String> {
        self.root("find /sys/fs/bpf -type f | sort")
    }

    fn tries(&self) -> Result<usize> {
        let lines = self.root("cat /var/lib/runner/tries 2>/dev/null | wc -l")?;
        Ok(lines.trim().parse()?)
    }

    /// What the runner met when it started, and that it is served since.
    fn runner_came_behind(&self) -> Result<()> {
        eventually("the runner's job", || {
            let gone = self.machine.run("test -e /var/lib/runner/token")?;
            Ok((gone.code == Some(1)).then_some(()))
        })?;
        let first = self.root("cat /var/lib/runner/first")?;
        ensure!(first.contains("does not belong to a job"), "{first}");
        served(&self.root("cat /var/lib/runner/served")?)?;
        let at =
            |unit: &str, name: &str| -> Result<u64> { Ok(self.property(unit, name)?.parse()?) };
        let cordon = at("cordon", "ActiveEnterTimestampMonotonic")?;
        let runner = at(RUNNER, "ExecMainStartTimestampMonotonic")?;
        ensure!(
            cordon > 0 && cordon < runner,
            "Cordon was active at {cordon} us, the runner started at {runner} us"
        );
        Ok(())
    }

    fn give_token(&self) -> Result<()> {
        let token = self.issuer.issue(&json!({}))?;
        self.root("rm -f /var/lib/runner/first /var/lib/runner/served")?;
        let file = "/var/lib/runner/token";
        self.machine.write(file, token.as_bytes(), "600")?;
        self.root(&format!("chown runner {file}"))?;
        Ok(())
    }

    fn reboot(&mut self) -> Result<()> {
        self.give_token()?;
        self.machine.reboot()?;
        self.runner_came_behind()?;
        self.root("cordon doctor")?;
        // What was recorded before the boot is as it was.
        self.root("cordon evidence verify")?;
        Ok(())
    }

    fn boot_misconfigured(&mut self) -> Result<()> {
        self.root(&format!("systemctl stop {RUNNER}"))?;
        let tries = self.tries()?;
        self.break_config()?;
        self.give_token()?;
        self.machine.reboot()?;
        let state = self.property("cordon", "ActiveState")?;
        ensure!(state != "active", "Cordon is {state}");
        // It is tried again and again, as Cordon is, and more often than systemd would by itself.
        eventually("the runner to be held up", || {
            let restarts: u64 = self.property(RUNNER, "NRestarts")?.parse()?;
            Ok((restarts > 6).then_some(()))
        })?;
        let started = self.machine.run("test -e /var/lib/runner/first")?;
        ensure!(started.code == Some(1), "the runner has started");
        ensure!(self.tries()? == tries, "the runner has tried");
        self.write_config()?;
        self.runner_came_behind()
    }

    fn stop_runner(&self) -> Result<()> {
        self.give_token()?;
        let job = "sleep infinity";
        self.root(&format!(
            "systemd-run --quiet --unit=held --uid=runner cordon job run --token-file /var/lib/runner/token -- {job}"
        ))?;
        let jobs = |host: &Self| -> Result<usize> {
            let list: Value = serde_json::from_str(&host.root("cordon job status --json")?)?;
            Ok(list.as_array().context("no list of jobs")?.len())
        };
        eventually("the job", || Ok((jobs(self)? == 1).then_some(())))?;
        self.root("systemctl stop held")?;
        eventually("the job's end", || Ok((jobs(self)? == 0).then_some(())))?;
        self.root(&format!("systemctl stop {RUNNER}"))?;
        Ok(())
    }

    fn nobody_got_in(&self) -> Result<()> {
        let tries = self.tries()?;
        ensure!(tries > 0, "the runner has never tried");
        let let_in = self.machine.run("cat /var/lib/runner/let-in")?;
        ensure!(let_in.code == Some(1), "let in: {}", let_in.all());
        ensure!(
            self.reached()? == self.reached,
            "the database has seen {}",
            DIRECT.0
        );
        println!("    the runner has tried {tries} times");
        Ok(())
    }

    fn uninstall(&mut self) -> Result<()> {
        self.root("systemctl disable --now cordon")?;
        self.is_refused("Connection refused")?;
        self.root("cordon uninstall")?;
        let left = self.programs()?;
        ensure!(left.is_empty(), "left: {left}");
        self.is_let_in()
    }
}

/// A program without what a debugger wants: what has to be carried to the machine.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let short = program.with_extension("stripped");
    let mut strip = step::command("strip");
    step::run(strip.arg("-o").arg(&short).arg(program))?;
    fs::read(&short).with_context(|| format!("reading {}", short.display()))
}

/// A psql of the machine's in a container.
fn container_psql(sql: &str) -> String {
    format!("/usr/bin/sh -c 'exec /usr/lib/postgresql/*/bin/psql -X -A -t -c \"{sql}\"'")
}

/// Served by Cordon: its login, and masked.
fn served(answer: &str) -> Result<()> {
    canary::none_in("the answer", answer)?;
    let rows = answer
        .lines()
        .filter(|line| line.starts_with("agent_rw|") && line.contains("@canary.example"));
    ensure!(rows.count() == 5, "not served as promised: {answer}");
    Ok(())
}
