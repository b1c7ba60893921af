//! Slow, half-closed, broken and hostile peers cost only their own connection.
//!
//! While each of them is at it, a session of somebody else must go on answering; when all are
//! gone, the daemon has the sessions and descriptors that it had before, and little more memory.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Stdio},
};

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Daemon, JobCommand, LivePsql, Setup, Stand,
    host::eventually,
    policies, raw,
    relay::{ACTS, AT_LOGIN, Act, Relay},
    tools,
};
use serde_json::Value;

/// What the daemon may grow by in all, in KiB.
const BOUND: u64 = 96 * 1024;

/// How a bad client ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It is asked to once the others have worked, and ends by itself.
    Goes,
    /// Cordon ends it.
    Ended,
    /// Cordon ends it, behind these messages (each kind once in a row).
    EndedBehind(&'static str),
}

/// A row for each client: what it does stands in `fixtures/raw/hostile.py`.
const CLIENTS: &[(&str, End)] = &[
    ("half-closed in the start-up", End::Ended),
    ("half-closed behind the start-up", End::Ended),
    ("half-closed when idle", End::Ended),
    ("half-closed in a transaction", End::Ended),
    ("half-closed in a query", End::EndedBehind("TDCZ")),
    ("half-closed in a large result", End::EndedBehind("DCZ")),
    ("half-closed in a pipeline", End::EndedBehind("12DC")),
    ("half-closed in a message", End::Ended),
    ("half-closed in COPY IN", End::Ended),
    ("half-closed in the data of COPY IN", End::Ended),
    ("half-closed in COPY OUT", End::EndedBehind("dcCZ")),
    ("reset in the start-up", End::Goes),
    ("reset behind SSLRequest", End::Goes),
    ("reset when idle", End::Goes),
    ("reset in a transaction", End::Goes),
    ("reset in a query", End::Goes),
    ("reset in a large result", End::Goes),
    ("reset in a pipeline", End::Goes),
    ("reset in COPY IN", End::Goes),
    ("reset in COPY OUT", End::Goes),
    ("never reads a large result", End::Goes),
    ("never reads a large COPY", End::Goes),
    ("start-up of 2^31-1 bytes", End::Ended),
    ("query of 2^31-1 bytes", End::Goes),
    ("query of 60 MB that stops", End::Goes),
    ("bind of 1 GB that stops", End::Goes),
    ("copy data of 1 GB that stops", End::Goes),
    ("length of 3", End::EndedBehind("E")),
    ("garbage in a session", End::EndedBehind("E")),
    ("garbage behind SSLRequest", End::Ended),
    ("TLS garbage", End::Ended),
    ("TLS hello that stops", End::Goes),
    ("two thousand connections dropped", End::Goes),
    ("a hundred sessions dropped", End::Goes),
];

/// A bad client at work.
struct Bad {
    name: &'static str,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Bad {
    fn start(job: &JobCommand<'_>, file: &str, name: &'static str, args: &[&str]) -> Result<Self> {
        let argv: Vec<&str> = [tools::PYTHON, file].iter().chain(args).copied().collect();
        let mut child = job
            .command(&argv)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        Ok(Self {
            name,
            child,
            stdout: BufReader::new(stdout),
        })
    }

    /// What it says next.
    fn says(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.name))
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("no input")?;
        Ok(stdin.write_all(line.as_bytes())?)
    }

    /// Lets it go on to its end.
    fn end(mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        let said = self.says()?;
        ensure!(self.child.wait()?.success(), "{} failed", self.name);
        Ok(said)
    }
}

/// What the daemon holds when nobody does anything bad.
struct Quiet {
    sessions: u64,
    descriptors: usize,
    memory: u64,
}

impl Quiet {
    fn of(daemon: &Daemon) -> Result<Self> {
        Ok(Self {
            sessions: daemon.sessions()?,
            descriptors: daemon.descriptors()?,
            memory: daemon.memory()?.0,
        })
    }

    /// Fails unless it comes back to that.
    fn again(&self, daemon: &Daemon, behind: &str) -> Result<()> {
        let mut now = (0, 0);
        eventually("sessions and descriptors to be given back", || {
            now = (daemon.sessions()?, daemon.descriptors()?);
            Ok((now.0 == self.sessions && now.1 <= self.descriptors).then_some(()))
        })
        .with_context(|| {
            format!(
                "behind {behind}: {now:?}, not {:?}",
                (self.sessions, self.descriptors)
            )
        })
    }
}

/// Somebody else goes on.
fn works(other: &mut LivePsql, beside: &str) -> Result<()> {
    for _ in 0..3 {
        let answer = other.query("SELECT count(*) FROM public.orders;")?;
        ensure!(
            answer.stdout.trim().parse::<u64>().is_ok(),
            "beside {beside}: {answer:?}"
        );
    }
    Ok(())
}

fn stand(relay: Option<&Relay>) -> Result<Stand> {
    let relayed = policies::ALLOW_ALL
        .split_once("grants:\n")
        .context("no grants")?
        .1
        .replace("name: everything", "name: relayed")
        .replace("database: shop", "database: relayed");
    let policy = match relay {
        Some(_) => format!("{}{relayed}", policies::ALLOW_ALL),
        None => policies::ALLOW_ALL.to_owned(),
    };
    Stand::start(&Setup {
        policy,
        relay: relay.map(|relay| (relay.address(), "disable")),
        ..Setup::default()
    })
}

/// G9.
#[test]
fn a_bad_client_costs_only_its_own_connection() -> Result<()> {
    let mut stand = stand(None)?;
    let file = stand.daemon.scratch().share(
        "hostile.py",
        raw::program(include_str!("../fixtures/raw/hostile.py")).as_bytes(),
    )?;
    let file = file.display().to_string();
    let mut other = stand.job().live()?;
    works(&mut other, "nobody")?;
    let quiet = Quiet::of(&stand.daemon)?;
    // It is there beside all others, until the daemon has had enough of it.
    let slow = "start-up byte by byte, never finished";
    let mut slow = Bad::start(&stand.job(), &file, slow, &[slow])?;
    let mut slow_says = slow.says()?;
    let mut wrong = Vec::new();
    for (name, end) in CLIENTS {
        if slow_says == "ready" {
            slow.tell("another byte\n")?;
            slow_says = slow.says()?;
        }
        let mut bad = Bad::start(&stand.job(), &file, name, &[name])?;
        let mut said = bad.says()?;
        works(&mut other, name)?;
        if said == "ready" {
            said = bad.end()?;
        }
        let right = match end {
            End::Goes => true,
            End::Ended => said["closed"] == true,
            End::EndedBehind(order) => said["closed"] == true && said["order"] == *order,
        };
        if !right {
            wrong.push(format!("{name}: {said}, not {end:?}"));
        }
    }
    works(&mut other, "those that are gone")?;
    if slow_says == "ready" {
        slow.tell("\n")?;
        slow_says = slow.says()?;
    }
    ensure!(slow_says["closed"] == true, "{}: {slow_says}", slow.name);
    ensure!(slow.child.wait()?.success(), "{} failed", slow.name);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    quiet.again(&stand.daemon, "all of them")?;
    eventually("the server's sides to end", || {
        Ok((stand.cluster.logins()?.len() == 1).then_some(()))
    })
    .with_context(|| {
        let sql = "SELECT string_agg(concat_ws(' ', state, wait_event, query), '; ') FROM pg_stat_activity WHERE usename = 'agent_rw'";
        stand.cluster.admin(sql).unwrap_or_default()
    })?;
    finish(&mut stand, &quiet)
}

/// G9, from the other side: [`ACTS`] of a server in the place of an answer.
#[test]
fn a_bad_server_costs_only_the_sessions_of_its_database() -> Result<()> {
    let relay = Relay::start()?;
    let mut stand = stand(Some(&relay))?;
    relay.before(&stand.cluster.address());
    let file = stand.daemon.scratch().share(
        "relayed.py",
        raw::program(include_str!("../fixtures/raw/relayed.py")).as_bytes(),
    )?;
    let file = file.display().to_string();
    let mut other = stand.job().live()?;
    works(&mut other, "nobody")?;
    let quiet = Quiet::of(&stand.daemon)?;
    let port = relay.port().to_string();
    let job = || stand.job().env("PGPORT", &port);
    let mut wrong = Vec::new();
    for (name, act) in ACTS {
        let silent = matches!(act, Act::Stall(_))
            && ["described, then silent", "nothing", "another encoding"].contains(name);
        let how = if silent { "stays" } else { "listens" };
        let mut bad = Bad::start(&job(), &file, name, &[name, how])?;
        let mut said = bad.says()?;
        works(&mut other, name)?;
        if said == "ready" {
            said = bad.end()?;
        }
        let told = said["errors"][0]["C"].as_str().unwrap_or_default();
        let endless = matches!(act, Act::Flood(_)) && said["closed"] == false;
        if !silent && !endless && !["08006", "08P01", "57P01", "0A000"].contains(&told) {
            wrong.push(format!("{name}: {said}"));
        }
    }
    for (name, act) in AT_LOGIN {
        relay.at_login(Some(*act));
        let mut bad = Bad::start(&job(), &file, name, &[])?;
        works(&mut other, name)?;
        let said = bad.says()?;
        let told = said["errors"][0]["C"].as_str().unwrap_or_default();
        if told != "08001" {
            wrong.push(format!("{name}: {said}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    quiet.again(&stand.daemon, "all of them")?;
    finish(&mut stand, &quiet)
}

fn finish(stand: &mut Stand, quiet: &Quiet) -> Result<()> {
    stand.daemon.require_alive()?;
    let (_, peak) = stand.daemon.memory()?;
    ensure!(
        peak < quiet.memory + BOUND,
        "the daemon grew from {} KiB to {peak} KiB",
        quiet.memory
    );
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}
