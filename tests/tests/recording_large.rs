//! A large recorded session is replayed, searched and exported in memory that does not grow with it.
//!
//! A sample here; `cargo xtask test-recording` makes one of a gigabyte.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use cordon_tests::{Daemon, Output, Setup, Stand, host::eventually, policies, tools};

/// Most resident memory of a command, in KiB.
const BOUND: u64 = 64 * 1024;

/// Runs a `cordon` command and throws its output away; gives its highest resident memory in KiB and
/// the bytes that it printed.
fn peak(daemon: &Daemon, args: &[&str]) -> Result<(u64, u64)> {
    let measure = "import resource, subprocess, sys\n\
        child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n\
        count = 0\n\
        while part := child.stdout.read(1 << 16): count += len(part)\n\
        code = child.wait()\n\
        print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, count)";
    let cordon = daemon.cli(args);
    let output = Command::new(tools::PYTHON)
        .args(["-c", measure])
        .arg(cordon.get_program())
        .args(cordon.get_args())
        .output()?;
    let output = Output::from(output).success()?;
    let numbers: Vec<u64> = output
        .stdout
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| output.all())?;
    let &[0, peak, printed] = numbers.as_slice() else {
        anyhow::bail!("{args:?}: {}", output.all());
    };
    Ok((peak, printed))
}

#[test]
fn a_large_session_is_replayed_searched_and_exported_in_flat_memory() -> Result<()> {
    let megabytes: u64 = match std::env::var("CORDON_RECORDING_MB") {
        Ok(text) => text.parse().context("CORDON_RECORDING_MB")?,
        Err(_) => 24,
    };
    let mut stand = Stand::start(&Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        evidence: "  recorded_result: 1TiB\n".to_owned(),
        ..Setup::default()
    })?;
    // Rows of about 1 KiB that do not compress to nothing.
    let query = format!(
        "SELECT n, md5(n::text) || repeat(md5((n * 7)::text), 30) FROM generate_series(1, {}) n",
        megabytes * 1024
    );
    let rows = stand.job().psql_command(&[
        "-A",
        "-t",
        "-q",
        "-o",
        "/dev/null",
        "-v",
        "FETCH_COUNT=1000",
        "-c",
        &query,
    ])?;
    let mut rows = rows;
    Output::from(rows.output()?).success()?;
    let report = eventually("the recording's end", || {
        let report = stand.daemon.verify_offline()?.success()?.json()?;
        Ok(
            (report["unended_recordings"] == 0 && report["recorded_sessions"] != 0)
                .then_some(report),
        )
    })?;
    let (_, daemon_peak) = stand.daemon.memory()?;
    println!(
        "{megabytes} MiB in {} parts; the daemon took {daemon_peak} KiB at most",
        report["recorded_parts"]
    );
    let dir = stand.daemon.evidence_dir().display().to_string();
    let list = Output::from(
        stand
            .daemon
            .cli(&["sessions", "list", "--json", "--dir", &dir])
            .output()?,
    );
    let list = list.success()?.json()?;
    let session = list[0]["session"]
        .as_str()
        .context("no session")?
        .to_owned();
    let last = format!("{}", megabytes * 1024);
    for args in [
        vec![
            "sessions", "export", &session, "--format", "jsonl", "--dir", &dir,
        ],
        vec![
            "sessions", "export", &session, "--format", "html", "--dir", &dir,
        ],
        vec![
            "sessions", "replay", &session, "--speed", "max", "--rows", "0", "--dir", &dir,
        ],
        vec!["sessions", "search", "Md5(n::TEXT)", "--dir", &dir],
        vec![
            "sessions", "search", &last, "--limit", "1000000", "--dir", &dir,
        ],
    ] {
        let (peak, printed) = peak(&stand.daemon, &args)?;
        println!(
            "{:<60} {peak} KiB at most, {printed} bytes printed",
            args[..3].join(" ")
        );
        ensure!(peak < BOUND, "{args:?} took {peak} KiB");
        let whole = matches!(args[1], "export" | "replay");
        ensure!(
            !whole || printed > megabytes * 1000 * 1000,
            "{args:?} printed {printed} bytes only"
        );
        ensure!(printed > 0, "{args:?} found nothing");
    }
    stand.daemon.require_alive()?;
    Ok(())
}
