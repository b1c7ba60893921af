//! The evidence under crashes and failing disks: real system calls, killed and failed by strace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use cordon::audit::{Fsync, Log, LogConfig, Report, VerifyOptions, verify};
use cordon_tests::{
    Output, Stand,
    host::{Scratch, eventually},
    policies,
};
use rustix::process::{Pid, Signal, kill_process};

const ENTRIES: &str = "8";

fn writer() -> Result<PathBuf> {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_evidence_writer"));
    ensure!(path.exists(), "{} is not built", path.display());
    Ok(path)
}

/// Runs the writer with one fault injected; `None`: none.
fn write(dir: &Path, fault: Option<(&str, &str)>) -> Result<Output> {
    let mut command = match fault {
        None => Command::new(writer()?),
        Some((call, fault)) => {
            let mut strace = Command::new("strace");
            strace
                .args(["-f", "-qq", "-o", "/dev/null", "-e"])
                .arg(format!("trace={call}"))
                .arg("-e")
                .arg(format!("inject={call}:{fault}"))
                .arg(writer()?);
            strace
        }
    };
    Ok(command.arg(dir).arg(ENTRIES).output()?.into())
}

/// Indexes that the writer was given receipts for.
fn acknowledged(output: &Output) -> Vec<u64> {
    let index = |line: &str| line.strip_prefix("acknowledged ")?.parse().ok();
    output.stdout.lines().filter_map(index).collect()
}

fn check(dir: &Path) -> Report {
    verify(dir, VerifyOptions::default())
}

/// Opens what a crash left, as a restart would, and closes it.
fn restart(dir: &Path) -> Result<(u64, bool)> {
    let mut config = LogConfig::new(dir, Fsync::Always, "host.example");
    config.tuning.segment_bytes = 1_500;
    let (log, recovery) = Log::open(config)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(log.close("restarted"))?;
    Ok((recovery.entries, recovery.cut.is_some()))
}

#[test]
fn e5_killed_at_any_system_call_the_log_keeps_what_it_acknowledged_and_declares_what_it_cut()
-> Result<()> {
    let scratch = Scratch::new("evidence-faults")?;
    let mut kills = 0;
    for call in [
        "mkdir",
        "openat",
        "write",
        "pwrite64",
        "fdatasync",
        "fsync",
        "rename",
        "ftruncate",
        "unlink",
        "close",
    ] {
        for number in 1.. {
            let dir = scratch.path().join(format!("{call}-{number}"));
            let output = write(&dir, Some((call, &format!("signal=KILL:when={number}"))))?;
            if output.stdout.lines().last() == Some("closed") && output.code == Some(0) {
                break;
            }
            let place = format!("killed at {call} {number}");
            ensure!(
                output.code != Some(0) && number < 300,
                "{place}: {}",
                output.all()
            );
            kills += 1;
            // Before its first checkpoint a log is nothing yet.
            if dir.join("segments").is_dir() {
                let (entries, cut) = restart(&dir).with_context(|| place.clone())?;
                let last = acknowledged(&output).last().map_or(0, |index| index + 1);
                ensure!(
                    entries >= last,
                    "{place}: {last} acknowledged, {entries} there"
                );
                let report = check(&dir);
                ensure!(report.ok(), "{place}: {:?}", report.problem);
                ensure!(
                    (report.gap_count > 0) == cut,
                    "{place}: cut {cut}, {} gaps declared",
                    report.gap_count
                );
            }
            if dir.exists() {
                fs::remove_dir_all(dir)?;
            }
        }
    }
    println!("killed {kills} times");
    ensure!(kills > 100, "killed {kills} times only");
    Ok(())
}

#[test]
fn e4_failing_system_calls_stop_the_log_which_goes_on_by_itself_and_misses_nothing() -> Result<()> {
    let scratch = Scratch::new("evidence-faults")?;
    for (call, errors) in [
        ("fdatasync", ["EIO", "ENOSPC"]),
        ("pwrite64", ["EIO", "ENOSPC"]),
        ("fsync", ["EIO", "EDQUOT"]),
        ("rename", ["EIO", "ENOSPC"]),
    ] {
        for error in errors {
            for from in [4, 7, 11] {
                let dir = scratch.path().join(format!("{call}-{error}-{from}"));
                let fault = format!("error={error}:when={from}..{}", from + 2);
                let mut output = write(&dir, Some((call, &fault)))?;
                let place = format!("{call} {fault}");
                if !output.stdout.contains("opened") {
                    // It failed at the opening, which says so and leaves what opens again.
                    ensure!(
                        output.code == Some(1) && output.stderr.contains("cannot "),
                        "{place}: {}",
                        output.all()
                    );
                    output = write(&dir, None)?;
                }
                ensure!(
                    output.code == Some(0) && output.stdout.lines().last() == Some("closed"),
                    "{place}: {}",
                    output.all()
                );
                let kept = acknowledged(&output);
                ensure!(kept.len() == 8, "{place}: {kept:?}");
                let report = check(&dir);
                ensure!(
                    report.ok() && report.closed,
                    "{place}: {:?}",
                    report.problem
                );
                let last = kept.last().copied().unwrap_or_default();
                ensure!(report.entries > last, "{place}: {}", report.entries);
                if call == "fdatasync" && output.stdout.contains("refused: ") {
                    ensure!(
                        report
                            .gaps
                            .iter()
                            .any(|gap| gap.reason.contains("written anew")),
                        "{place}: {:?}",
                        report.gaps
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn e4_when_the_disk_fails_to_sync_statements_are_refused_and_run_again_without_a_restart()
-> Result<()> {
    let mut stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let mut session = stand.job().live()?;
    ensure!(session.query("SELECT 1;")?.lines() == ["1"]);
    let pid = stand.daemon.gateway_pid()?.to_string();
    let trace = stand.daemon.scratch().path().join("strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-p", &pid, "-e", "trace=fdatasync,fsync", "-e"])
        .args(["inject=fdatasync,fsync:error=EIO", "-o"])
        .arg(&trace)
        .stderr(Stdio::null())
        .spawn()?;
    let refused = eventually("a refusal", || {
        let output = session.query("SELECT 2;")?;
        Ok((output.sqlstates() == ["58000"]).then_some(output))
    });
    // It lets go of the daemon, whatever came of it.
    let tracer = Pid::from_raw(strace.id().try_into()?).context("no process id")?;
    kill_process(tracer, Signal::INT)?;
    strace.wait()?;
    let refused = refused?;
    ensure!(refused.stderr.contains("evidence"), "{}", refused.all());
    eventually("statements to run again", || {
        let output = session.query("SELECT 3;")?;
        Ok((output.lines() == ["3"]).then_some(()))
    })?;
    session.finish()?;
    stand.daemon.require_alive()?;
    stand.daemon.verify_offline()?.success()?;
    let evidence = stand.daemon.evidence_text()?;
    ensure!(
        evidence.contains("written anew"),
        "the failure is not on record"
    );
    Ok(())
}
