//! H8, R1, E5: the daemon is killed at random moments under load, and while it starts.
//!
//! Five rounds here; `cargo xtask test-kill` makes a hundred.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Cluster, Daemon, Issuer, Output, Setup, Stand, host::eventually, policies, raw, tools,
};
use serde_json::Value;

/// Jobs that work at the time of a kill.
const JOBS: usize = 3;
/// The latest moment of a kill after the load has begun, or the daemon been started, in ms.
const LATEST: u64 = 800;

/// Dials until its input ends, one query a connection, and counts what came of it.
const LOAD: &str = "
import threading, time
counts = {}
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.is_set():
    try:
        raw = Raw()
        seen = raw.login()
        outcome = 'refused'
        if seen['ready']:
            raw.send(query('SELECT id, email FROM public.customers'))
            outcome = 'served' if raw.seen()['rows'] else 'cut'
        raw.sock.close()
    except Exception as error:
        outcome = type(error).__name__
        time.sleep(0.01)
    counts[outcome] = counts.get(outcome, 0) + 1
print(json.dumps(counts))
";

fn rounds() -> Result<u64> {
    match std::env::var("CORDON_KILL_ROUNDS") {
        Ok(text) => text.parse().context("CORDON_KILL_ROUNDS is a number"),
        Err(_) => Ok(5),
    }
}

/// A database that lets in whoever gets past Cordon, an admin who makes roles, and a daemon.
fn stand() -> Result<Stand> {
    let cluster = Arc::new(Cluster::start_with(&["log_statement=none"])?);
    cluster.trust("host all app all trust\n")?;
    cluster.admin(
        "CREATE TABLE public.tickets (id serial PRIMARY KEY, body text); \
         CREATE ROLE cordon_admin LOGIN SUPERUSER PASSWORD 'admin-4c1e'",
    )?;
    let issuer = Arc::new(Issuer::start()?);
    let setup = Setup {
        policy: policies::PER_JOB.to_owned(),
        admin: Some((
            "cordon_admin".to_owned(),
            "admin-4c1e".to_owned(),
            "connections: 20".to_owned(),
        )),
        ..Setup::default()
    };
    let daemon = Daemon::start(&cluster, &issuer, &setup)?;
    Ok(Stand {
        daemon,
        cluster,
        issuer,
    })
}

/// Connections that the database has seen of the login that jobs dial with, and Cordon never uses.
fn passed(stand: &Stand) -> Result<usize> {
    Ok(stand.cluster.log()?.matches("authorized: user=app").count())
}

fn load(mut command: Command) -> Result<Child> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the load")
}

/// What a load counted; nothing if it was killed with its job.
fn counted(child: Child) -> Result<Value> {
    // Its input ends here.
    let output = Output::from(child.wait_with_output()?);
    Ok(output.json().unwrap_or_default())
}

/// Random enough for moments; the seed is told, so that a failure can be looked into.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(self.0 % LATEST)
    }
}

#[test]
fn h8_killed_at_random_moments_nothing_passes_no_role_stays_and_the_evidence_verifies() -> Result<()>
{
    let rounds = rounds()?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos() | 1;
    println!("{rounds} rounds, seed {seed}");
    let mut moments = Moments(u64::from(seed));
    let mut stand = stand()?;
    let file = stand
        .daemon
        .scratch()
        .share("load.py", raw::program(LOAD).as_bytes())?
        .display()
        .to_string();
    // In scope and in no job: dials through all rounds.
    let mut outsider = Command::new("/bin/sh");
    outsider
        .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(stand.daemon.runner_cgroup().procs())
        .args([tools::PYTHON, &file])
        .env_clear()
        .envs(stand.cluster.client_env("app", "app-direct-2b7d"))
        .current_dir("/");
    let outsider = load(outsider)?;
    let (mut served, mut away) = (0, 0);
    for round in 0..rounds {
        let mut jobs = (0..JOBS)
            .map(|_| load(stand.job().command(&[tools::PYTHON, &file])?))
            .collect::<Result<Vec<_>>>()?;
        std::thread::sleep(moments.next());
        stand.daemon.kill()?;
        if round % 2 == 1 {
            stand.daemon.start_and_kill(moments.next())?;
        }
        stand.daemon.restart()?;
        for job in jobs.drain(..) {
            let counts = counted(job)?;
            served += counts["served"].as_u64().unwrap_or(0);
            away += counts["ConnectionRefusedError"].as_u64().unwrap_or(0);
        }
        ensure!(passed(&stand)? == 0, "round {round}: a connection got past");
        let verified = stand.daemon.verify_evidence()?;
        ensure!(
            verified.code == Some(0),
            "round {round}: {}",
            verified.all()
        );
        eventually("the roles of ended jobs to be gone", || {
            let left = stand
                .cluster
                .admin(r"SELECT rolname FROM pg_roles WHERE rolname LIKE 'cordon\_job\_%'")?;
            Ok(left.is_empty().then_some(()))
        })?;
        // It is whole again.
        let output = stand
            .job()
            .sql("SELECT count(*) FROM public.orders")?
            .success()?;
        ensure!(output.lines() == ["5"], "round {round}: {}", output.all());
    }
    let counts = counted(outsider)?;
    println!(
        "outside of jobs: {counts}; in jobs: {served} served, {away} refused while it was away"
    );
    ensure!(
        counts["served"].is_null(),
        "an outsider was served: {counts}"
    );
    ensure!(
        counts["refused"].as_u64() > Some(0) && counts["ConnectionRefusedError"].as_u64() > Some(0),
        "the load met no daemon, or no absence: {counts}"
    );
    ensure!(passed(&stand)? == 0, "a connection got past");
    stand.daemon.terminate()?;
    stand.daemon.verify_offline()?.success()?;
    stand.daemon.restart()
}

#[test]
fn h8_a_daemon_whose_new_configuration_is_wrong_leaves_the_database_shut() -> Result<()> {
    let mut stand = stand()?;
    let good = fs::read_to_string(stand.daemon.config())?;
    stand.daemon.terminate()?;
    fs::write(
        stand.daemon.config(),
        good.replace("databases:", "databasez:"),
    )?;
    let refused = stand.daemon.restart().err().context("it started")?;
    ensure!(format!("{refused:#}").contains("databasez"), "{refused:#}");
    let mut dial = Command::new("/bin/sh");
    dial.args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(stand.daemon.runner_cgroup().procs())
        .arg(tools::postgres("psql")?)
        .args(["-X", "-c", "SELECT 1"])
        .env_clear()
        .envs(stand.cluster.client_env("app", "app-direct-2b7d"))
        .current_dir("/");
    let output = Output::from(dial.output()?);
    fs::write(stand.daemon.config(), good)?;
    ensure!(
        output.code == Some(2) && output.stderr.contains("Connection refused"),
        "{}",
        output.all()
    );
    ensure!(passed(&stand)? == 0, "a connection got past");
    stand.daemon.restart()
}
