//! Results of any size pass in bounded memory.

use anyhow::{Result, ensure};
use cordon_tests::{Setup, Stand, policies};

/// What the daemon may grow by, in KiB, while it passes on about a gigabyte.
const BOUND: u64 = 48 * 1024;

const STREAM: &str = "
raw = logged_in()
raw.send(query(sys.argv[1]))
rows = size = 0
while True:
    tag, body = raw.message()
    if tag == b'D':
        rows += 1
        size += len(body)
    elif tag == b'E':
        sys.exit(str(fields(body)))
    elif tag == b'Z':
        break
print(json.dumps([rows, size]))
";

/// G9, M12: ten million rows.
#[test]
fn a_result_of_ten_million_rows_leaves_the_daemon_small() -> Result<()> {
    let stand = Stand::start(&Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        ..Setup::default()
    })?;
    stand
        .job()
        .sql("SELECT count(*) FROM public.orders")?
        .success()?;
    let (before, _) = stand.daemon.memory()?;
    let sql = "SELECT n, repeat('x', 80) FROM generate_series(1, 10000000) n";
    let result = cordon_tests::raw::run(&stand.job(), STREAM, &[sql])?;
    ensure!(result[0] == 10_000_000, "{result}");
    let (_, peak) = stand.daemon.memory()?;
    ensure!(
        peak < before + BOUND,
        "the daemon grew from {before} KiB to {peak} KiB"
    );
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

/// M12: one value of many megabytes, and a client that stops reading.
#[test]
fn a_client_that_does_not_read_holds_no_result_in_the_daemon() -> Result<()> {
    const SLOW: &str = "
raw = logged_in()
raw.send(query(\"SELECT repeat('y', 1000) FROM generate_series(1, 1000000)\"))
raw.message()
print(json.dumps('stalled'), flush=True)
sys.stdin.readline()
";
    use std::io::{BufRead, BufReader};
    let stand = Stand::start(&Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        ..Setup::default()
    })?;
    stand.job().sql("SELECT 1")?.success()?;
    let (before, _) = stand.daemon.memory()?;
    let file = stand
        .daemon
        .scratch()
        .share("slow.py", cordon_tests::raw::program(SLOW).as_bytes())?;
    let mut child = stand
        .job()
        .command(&[cordon_tests::tools::PYTHON, &file.display().to_string()])?
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    ensure!(line.contains("stalled"), "the result never came");
    // The server is blocked on its own socket once nobody takes its rows: then all buffers are full.
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_rw' AND wait_event = 'ClientWrite'";
    cordon_tests::host::eventually("the server to wait for its client", || {
        Ok((stand.cluster.count(blocked)? == 1).then_some(()))
    })?;
    let (now, _) = stand.daemon.memory()?;
    drop(child.stdin.take());
    child.wait()?;
    ensure!(
        now < before + BOUND,
        "the daemon holds {} KiB",
        now - before
    );
    let (_, peak) = stand.daemon.memory()?;
    ensure!(peak < before + BOUND, "the daemon grew to {peak} KiB");
    Ok(())
}
