//! H7: jobs and others in network namespaces of their own, as containers are.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use cordon_tests::{Cluster, Daemon, Issuer, JobCommand, Output, Setup, Stand, host, raw, tools};
use serde_json::json;

const IP: &str = "/usr/sbin/ip";
/// An address of the database's without a route to it: only Cordon can serve it.
const FAR: &str = "192.0.2.77";
const PASSWORD: &str = "app-direct-2b7d";

/// A daemon that knows the cluster by a second address.
fn stand(alias: &str, further: &str, settings: &[&str]) -> Result<Stand> {
    let cluster = std::sync::Arc::new(Cluster::start_with(settings)?);
    // Whoever gets past is let in, and is in the server's log.
    cluster.trust("host all app all trust\n")?;
    let issuer = std::sync::Arc::new(Issuer::start()?);
    let port = cluster.port();
    let setup = Setup {
        address: Some(format!(
            "127.0.0.1:{port}\n    aliases: [\"{alias}:{port}\"]"
        )),
        further: further.to_owned(),
        ..Setup::default()
    };
    let daemon = Daemon::start(&cluster, &issuer, &setup)?;
    Ok(Stand {
        daemon,
        cluster,
        issuer,
    })
}

fn passed(stand: &Stand) -> Result<usize> {
    Ok(stand.cluster.log()?.matches("authorized: user=app").count())
}

/// A shell in a namespace that is made for it, with loopback and nothing else.
fn in_new_namespace(job: &JobCommand<'_>, unshare: &[&str], script: &str) -> Result<Output> {
    let psql = tools::postgres("psql")?.display().to_string();
    let script = format!(
        "{IP} link set lo up && {}",
        script.replace("PSQL", &format!("{psql} -X -A -t -q -v VERBOSITY=verbose"))
    );
    let argv: Vec<&str> = ["/usr/bin/unshare"]
        .into_iter()
        .chain(unshare.iter().copied())
        .chain(["/bin/sh", "-c", &script])
        .collect();
    job.run(&argv)
}

#[test]
fn h7_a_job_in_a_namespace_of_its_own_is_served_from_its_first_connect_on() -> Result<()> {
    let stand = stand(FAR, "", &[])?;
    for (user, unshare) in [("root", &["-n"][..]), ("nobody", &["-Urn"][..])] {
        let job = stand.job().user(user).env("PGHOST", FAR);
        let output = in_new_namespace(
            &job,
            unshare,
            "PSQL -c 'SELECT current_user' && PSQL -c 'SELECT email FROM public.customers WHERE id = 1' && PSQL -c 'SELECT 1/0'",
        )?;
        ensure!(
            output.lines().first() == Some(&"agent_rw"),
            "as {user}: {}",
            output.all()
        );
        ensure!(
            output
                .lines()
                .get(1)
                .is_some_and(|email| email.contains("***")),
            "not masked as {user}: {}",
            output.all()
        );
        ensure!(output.sqlstates() == ["22012"], "{}", output.all());
    }
    ensure!(
        passed(&stand)? == 0,
        "a login of the job's own reached the database"
    );
    ensure!(
        stand
            .daemon
            .log()?
            .contains("a network namespace of a job is served"),
        "not served there"
    );
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

/// A container as the OCI says: this host's programs behind namespaces of its own, with loopback and no
/// other network. Gives the folder of its bundle.
fn bundle(stand: &Stand, name: &str, user: u32, args: &[&str]) -> Result<PathBuf> {
    let bundle = stand.daemon.scratch().path().join(name);
    let root = bundle.join("rootfs");
    for folder in ["usr", "etc", "proc", "dev", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for link in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link))?;
    }
    let bind = |path: &str| json!({ "destination": path, "source": path, "type": "bind", "options": ["rbind", "ro"] });
    let namespaces = ["pid", "mount", "ipc", "uts", "network"];
    let env: Vec<String> = stand
        .cluster
        .client_env("app", PASSWORD)
        .into_iter()
        .map(|(key, value)| format!("{key}={}", if key == "PGHOST" { FAR } else { &value }))
        .collect();
    let config = json!({
        "ociVersion": "1.0.0",
        "root": { "path": "rootfs", "readonly": true },
        "process": {
            "user": { "uid": user, "gid": user },
            "args": args,
            "env": env,
            "cwd": "/",
            "noNewPrivileges": true,
        },
        "mounts": [
            bind("/usr"),
            bind("/etc"),
            { "destination": "/proc", "source": "proc", "type": "proc" },
            { "destination": "/dev", "source": "tmpfs", "type": "tmpfs" },
        ],
        "linux": {
            "namespaces": namespaces.map(|kind| json!({ "type": kind })),
        },
    });
    fs::write(bundle.join("config.json"), config.to_string())?;
    Ok(bundle)
}

#[test]
fn h7_containers_of_a_real_runtime_are_served_as_the_job_that_runs_them() -> Result<()> {
    let stand = stand(FAR, "", &[])?;
    let psql = tools::postgres("psql")?.display().to_string();
    let query = "SELECT current_user, (SELECT email FROM public.customers WHERE id = 1)";
    let args = [psql.as_str(), "-X", "-A", "-t", "-c", query];
    for (name, user) in [("first", 0), ("second", 65534)] {
        let bundle = bundle(&stand, name, user, &args)?.display().to_string();
        let container = format!("cordon-test-{}-{name}", host::unique());
        // It stays in the job's cgroup, as containers of rootless engines do. The runtime does not
        // take hosts that mount both versions of cgroups.
        let script = format!(
            "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && \
             exec /usr/bin/crun --cgroup-manager=disabled run --bundle {bundle} {container}"
        );
        let job = stand.job().user("root");
        let output = job.run(&["/usr/bin/unshare", "--mount", "/bin/sh", "-c", &script])?;
        let line = output.success()?.stdout.trim().to_owned();
        ensure!(
            line.starts_with("agent_rw|") && line.contains("***"),
            "{line}"
        );
    }
    ensure!(passed(&stand)? == 0, "a login of the container's own");
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn h7_many_namespaces_at_once_are_each_served_as_their_own_job() -> Result<()> {
    let stand = stand(FAR, "", &[])?;
    let children = (0..6)
        .map(|number| {
            let psql = tools::postgres("psql")?.display().to_string();
            let script = format!(
                "{IP} link set lo up && exec {psql} -X -A -t -q -c 'SELECT {number}' -c 'SELECT current_user'"
            );
            let mut command = stand
                .job()
                .user("root")
                .env("PGHOST", FAR)
                .command(&["/usr/bin/unshare", "-n", "/bin/sh", "-c", &script])?;
            command.stdout(std::process::Stdio::piped());
            Ok(command.spawn()?)
        })
        .collect::<Result<Vec<_>>>()?;
    for (number, child) in children.into_iter().enumerate() {
        let output = Output::from(child.wait_with_output()?).success()?;
        ensure!(
            output.lines() == [number.to_string().as_str(), "agent_rw"],
            "{}",
            output.all()
        );
    }
    Ok(())
}

#[test]
fn h7_without_a_job_and_at_the_namespaces_own_loopback_connects_are_refused() -> Result<()> {
    let stand = stand(FAR, "", &[])?;
    let psql = tools::postgres("psql")?.display().to_string();
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(stand.daemon.runner_cgroup().procs())
        .args(["/usr/bin/unshare", "-n", "/bin/sh", "-c"])
        .arg(format!(
            "{IP} link set lo up && exec {psql} -X -c 'SELECT 1'"
        ))
        .env_clear()
        .envs(stand.cluster.client_env("app", PASSWORD))
        .env("PGHOST", FAR)
        .current_dir("/");
    let outside = Output::from(command.output()?);
    ensure!(
        outside.code == Some(2) && outside.stderr.contains("Connection refused"),
        "{}",
        outside.all()
    );
    // Its loopback is not the host's: what is there is not the protected database.
    let job = stand.job().user("root").env("PGHOST", "127.0.0.1");
    let own = in_new_namespace(&job, &["-n"], "PSQL -c 'SELECT 1'")?;
    ensure!(
        own.code == Some(2) && own.stderr.contains("Connection refused"),
        "{}",
        own.all()
    );
    ensure!(passed(&stand)? == 0, "the database was reached");
    Ok(())
}

#[test]
fn h7_where_the_configuration_says_so_jobs_in_other_namespaces_are_refused() -> Result<()> {
    let stand = stand(FAR, "", &[])?;
    let config = fs::read_to_string(stand.daemon.config())?;
    let mut stand = stand;
    stand.daemon.terminate()?;
    fs::write(
        stand.daemon.config(),
        config.replace("intercept:\n", "intercept:\n  namespaces: refuse\n"),
    )?;
    stand.daemon.restart()?;
    let job = stand.job().user("root").env("PGHOST", FAR);
    let output = in_new_namespace(&job, &["-n"], "PSQL -c 'SELECT 1'")?;
    ensure!(
        output.code == Some(2) && output.stderr.contains("Connection refused"),
        "{}",
        output.all()
    );
    Ok(())
}

/// A namespace with a cable to the host, as a container's.
struct Cabled {
    name: String,
    /// The host's end.
    device: String,
    /// The host's address on it.
    gateway: String,
}

impl Cabled {
    fn new() -> Result<Self> {
        let unique = host::unique();
        let number = std::process::id() % 16_000;
        let cabled = Self {
            name: format!("cordon-test-{unique}"),
            device: format!("cdn{}", unique.replace('-', "x")),
            gateway: format!("10.213.{}.{}", number / 64, number % 64 * 4 + 1),
        };
        let inner = format!("10.213.{}.{}/30", number / 64, number % 64 * 4 + 2);
        cordon_tests::reaper::at_exit(&format!(
            "{IP} netns del {name} 2>/dev/null; {IP} link del {device} 2>/dev/null",
            name = cabled.name,
            device = cabled.device
        ))?;
        let (name, device) = (&cabled.name, &cabled.device);
        ip(&["netns", "add", name])?;
        ip(&[
            "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", name,
        ])?;
        ip(&["link", "set", device, "up"])?;
        for words in [
            &["link", "set", "lo", "up"][..],
            &["link", "set", "eth0", "up"],
            &["addr", "add", &inner, "dev", "eth0"],
        ] {
            ip(&[&["-n", name.as_str()], words].concat())?;
        }
        Ok(cabled)
    }

    /// Gives the host its address on the cable.
    fn connect(&self) -> Result<()> {
        ip(&[
            "addr",
            "add",
            &format!("{}/30", self.gateway),
            "dev",
            &self.device,
        ])
    }

    /// A process of this test's own user in the namespace; below `procs`, if one is named.
    fn psql(&self, stand: &Stand, procs: Option<&Path>) -> Result<Output> {
        let mut command = Command::new("/bin/sh");
        match procs {
            Some(procs) => command
                .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
                .arg(procs),
            None => command.args(["-c", "exec \"$@\"", "sh"]),
        };
        command
            .args([IP, "netns", "exec", &self.name])
            .arg(tools::postgres("psql")?)
            .args(["-X", "-A", "-t", "-c", "SELECT current_user"])
            .env_clear()
            .envs(stand.cluster.client_env("app", PASSWORD))
            .env("PGHOST", &self.gateway)
            .env("PGCONNECT_TIMEOUT", "5")
            .current_dir("/");
        Ok(command.output()?.into())
    }
}

impl Drop for Cabled {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
        let _ = ip(&["link", "del", &self.device]);
    }
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Output::from(
        Command::new(IP)
            .args(words)
            .output()
            .context("running ip")?,
    );
    output.success().map(drop)
}

#[test]
fn h7_an_address_that_the_host_gets_later_is_no_way_to_its_database() -> Result<()> {
    let stand = stand(FAR, "", &["listen_addresses=*"])?;
    let cabled = Cabled::new()?;
    cabled.connect()?;
    // Out of scope, the cable works: what is refused below is refused by Cordon.
    let before = cabled.psql(&stand, None)?;
    ensure!(before.lines() == ["app"], "{}", before.all());
    let reached = passed(&stand)?;
    let procs = stand.daemon.runner_cgroup().procs();
    let refused = cabled.psql(&stand, Some(&procs))?;
    ensure!(
        refused.code == Some(2) && refused.stderr.contains("Connection refused"),
        "{}",
        refused.all()
    );
    // In a job, it is Cordon that answers.
    let psql = tools::postgres("psql")?.display().to_string();
    let job = stand.job().user("root").env("PGHOST", &cabled.gateway);
    let answered = job.run(&[
        IP,
        "netns",
        "exec",
        &cabled.name,
        &psql,
        "-X",
        "-c",
        "SELECT 1",
    ])?;
    ensure!(
        answered.code == Some(2) && answered.stderr.contains("FATAL"),
        "{}",
        answered.all()
    );
    ensure!(passed(&stand)? == reached, "the database was reached");
    Ok(())
}

#[test]
fn h7_a_namespace_goes_when_its_last_process_does() -> Result<()> {
    let cabled = Cabled::new()?;
    let stand = stand(FAR, "", &[])?;
    let psql = tools::postgres("psql")?.display().to_string();
    let job = stand.job().user("root").env("PGHOST", FAR);
    let argv = [
        IP,
        "netns",
        "exec",
        &cabled.name,
        &psql,
        "-X",
        "-A",
        "-t",
        "-c",
        "SELECT current_user",
    ];
    // Twice: served, closed, and served again.
    for _ in 0..2 {
        let output = job.run(&argv)?.success()?;
        ensure!(output.lines() == ["agent_rw"], "{}", output.all());
    }
    ip(&["netns", "del", &cabled.name])?;
    let device = Path::new("/sys/class/net").join(&cabled.device);
    host::eventually("the cable to be gone with its namespace", || {
        Ok((!device.exists()).then_some(()))
    })
}

/// Dials once for each line of its input.
const AGAIN: &str = "
for line in sys.stdin:
    try:
        raw = Raw()
        seen = raw.login()
        print(json.dumps('served' if seen['ready'] else 'refused'), flush=True)
    except OSError as error:
        print(json.dumps(type(error).__name__), flush=True)
";

#[test]
fn h8_in_a_namespace_nothing_passes_while_the_daemon_is_away() -> Result<()> {
    let mut stand = stand(FAR, "", &[])?;
    let file = stand
        .daemon
        .scratch()
        .share("again.py", raw::program(AGAIN).as_bytes())?;
    let script = format!(
        "{IP} link set lo up && exec {} {}",
        tools::PYTHON,
        file.display()
    );
    let mut child = stand
        .job()
        .user("root")
        .env("PGHOST", FAR)
        .command(&["/usr/bin/unshare", "-n", "/bin/sh", "-c", &script])?
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        child.stdout.take().context("no stdout")?,
    ));
    let mut attempt = || -> Result<String> {
        use std::io::Write;
        writeln!(stdin, "again")?;
        Ok(lines.next().context("the process in the job is gone")??)
    };
    ensure!(attempt()? == "\"served\"", "not served at first");
    stand.daemon.kill()?;
    // The process may be killed with its job; if it lives, it gets nowhere.
    if let Ok(answer) = attempt() {
        ensure!(answer != "\"served\"", "served without a daemon");
    }
    drop(stdin);
    child.wait()?;
    stand.daemon.restart()?;
    ensure!(passed(&stand)? == 0, "the database was reached");
    let job = stand.job().user("root").env("PGHOST", FAR);
    let output = in_new_namespace(&job, &["-n"], "PSQL -c 'SELECT current_user'")?.success()?;
    ensure!(output.lines() == ["agent_rw"], "{}", output.all());
    Ok(())
}
