//! Many sessions at the same time: what each costs while it is idle, and that those that work get
//! their answers beside them.
//!
//! A sample here; `cargo xtask test-sessions` holds thousands.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use cordon_tests::{Setup, Stand, host::eventually, policies, raw, tools};
use serde_json::Value;

/// How many are idle, how many of these work then, and how often, if nothing else is asked for.
const SAMPLE: [u64; 3] = [200, 40, 10];
/// Most memory for an idle session, in KiB. Few sessions show less than thousands do: they live from
/// what the reading of the catalog has left free.
const BOUND: u64 = 20;

/// `CORDON_SESSIONS`, as `idle,busy,rounds`.
fn numbers() -> Result<[u64; 3]> {
    let Ok(text) = std::env::var("CORDON_SESSIONS") else {
        return Ok(SAMPLE);
    };
    let numbers: Vec<u64> = text
        .split(',')
        .map(|number| {
            number
                .parse()
                .with_context(|| format!("CORDON_SESSIONS={text}"))
        })
        .collect::<Result<_>>()?;
    numbers
        .try_into()
        .map_err(|other| anyhow::anyhow!("three numbers, not {other:?}"))
}

#[test]
fn idle_sessions_cost_little_and_busy_ones_work_beside_them() -> Result<()> {
    let [idle, busy, rounds] = numbers()?;
    let connections = format!("max_connections={}", idle + 60);
    let mut stand = Stand::start_with(
        &Setup {
            policy: policies::ALLOW_ALL.to_owned(),
            ..Setup::default()
        },
        &[&connections, "shared_buffers=16MB", "log_statement=none"],
    )?;
    let file = stand.daemon.scratch().share(
        "sessions.py",
        raw::program(include_str!("../fixtures/raw/sessions.py")).as_bytes(),
    )?;
    let file = file.display().to_string();
    let arguments = [idle, busy, rounds].map(|number| number.to_string());
    let argv: Vec<&str> = [tools::PYTHON, &file]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .collect();
    let mut client = stand
        .job()
        .command(&argv)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut says = BufReader::new(client.stdout.take().context("no output")?).lines();
    let mut stdin = client.stdin.take().context("no input")?;
    let mut next = || -> Result<Value> {
        let line = says.next().context("the client is gone")??;
        serde_json::from_str(&line).context(line)
    };
    ensure!(next()? == "warm");
    eventually("the first sessions to end", || {
        Ok((stand.daemon.sessions()? == 0).then_some(()))
    })?;
    let (before, _) = stand.daemon.memory()?;
    writeln!(stdin)?;
    ensure!(next()? == idle);
    ensure!(stand.daemon.sessions()? == idle);
    let (held, _) = stand.daemon.memory()?;
    let each = held.saturating_sub(before) * 1024 / idle;
    println!(
        "{idle} idle sessions: {each} bytes each (the daemon has {before} KiB without them, {held} KiB with them)"
    );
    writeln!(stdin)?;
    ensure!(next()? == busy * rounds);
    let (after, peak) = stand.daemon.memory()?;
    println!(
        "{busy} of them busy, {rounds} results of 50 rows each: {after} KiB afterwards, {peak} KiB at most"
    );
    writeln!(stdin)?;
    ensure!(next()? == "all answer");
    writeln!(stdin)?;
    ensure!(client.wait()?.success(), "the client failed");
    eventually("all sessions to end", || {
        Ok((stand.daemon.sessions()? == 0).then_some(()))
    })?;
    stand.daemon.require_alive()?;
    ensure!(
        each <= BOUND * 1024,
        "an idle session holds {each} bytes, more than {BOUND} KiB"
    );
    Ok(())
}
