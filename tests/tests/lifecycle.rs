//! The daemon dies, comes back, is stopped; the evidence is changed behind its back.

use std::fs;

use anyhow::{Context, Result, ensure};
use cordon_tests::{Output, Setup, Stand, canary, daemon::files_below};

/// E5, H8: kill -9 in the middle of a session.
#[test]
fn after_a_kill_connects_are_refused_a_restart_serves_and_the_evidence_verifies() -> Result<()> {
    let mut stand = Stand::start(&Setup::default())?;
    let mut session = stand.job().live()?;
    ensure!(
        session
            .query("SELECT count(*) FROM public.orders;")?
            .lines()
            == ["5"],
        "not served"
    );
    session.send("BEGIN; UPDATE public.orders SET note = 'half' WHERE id = 1;")?;
    session.sync()?;
    stand.daemon.kill()?;

    let output = session.finish()?;
    ensure!(!output.stdout.contains("served"), "{}", output.all());
    // No control socket answers: no job can start, so nothing can be served.
    let without = stand.job().sql("SELECT 1")?;
    ensure!(
        without.code != Some(0) && without.stdout.is_empty(),
        "served without a daemon: {}",
        without.all()
    );

    stand.daemon.restart()?;
    let output = stand
        .job()
        .sql("SELECT note FROM public.orders WHERE id = 1")?
        .success()?;
    ensure!(
        output.lines() == ["gift wrap"],
        "the open transaction was kept: {}",
        output.all()
    );
    stand.daemon.verify_evidence()?.success()?;
    let dir = stand.daemon.evidence_dir().display().to_string();
    let list = Output::from(
        stand
            .daemon
            .cli(&["sessions", "list", "--dir", &dir])
            .output()?,
    )
    .success()?;
    ensure!(
        list.stdout.contains("job-"),
        "the cut session is not listed: {}",
        list.all()
    );
    Ok(())
}

#[test]
fn a_clean_stop_closes_sessions_and_a_restart_serves() -> Result<()> {
    let mut stand = Stand::start(&Setup::default())?;
    let mut session = stand.job().live()?;
    ensure!(session.query("SELECT 1;")?.lines() == ["1"], "not served");
    stand.daemon.terminate()?;
    session.finish()?;
    ensure!(
        stand.cluster.logins()?.is_empty(),
        "a backend is left: {:?}",
        stand.cluster.logins()?
    );
    stand.daemon.verify_evidence()?.success()?;
    stand.daemon.restart()?;
    ensure!(
        stand.job().sql("SELECT 2")?.success()?.lines() == ["2"],
        "not served after the restart"
    );
    Ok(())
}

#[test]
fn three_restarts_later_the_log_is_one_chain() -> Result<()> {
    let mut stand = Stand::start(&Setup::default())?;
    for turn in 0..3 {
        stand
            .job()
            .sql("SELECT count(*) FROM public.orders")?
            .success()?;
        if turn == 1 {
            stand.daemon.kill()?;
        } else {
            stand.daemon.terminate()?;
        }
        stand.daemon.restart()?;
        stand.daemon.verify_evidence()?.success()?;
    }
    Ok(())
}

/// E1: a changed byte, a cut tail, a missing file.
#[test]
fn any_change_of_the_evidence_is_detected() -> Result<()> {
    let mut stand = Stand::start(&Setup::default())?;
    for _ in 0..3 {
        stand.job().sqls(&[
            "SELECT email FROM public.customers",
            "SELECT value FROM public.secrets",
        ])?;
    }
    stand.daemon.terminate()?;
    stand.daemon.verify_evidence()?.success()?;

    let files = files_below(&stand.daemon.evidence_dir().join("segments"))?;
    let sizes: Result<Vec<(u64, _)>> = files
        .into_iter()
        .map(|file| Ok((fs::metadata(&file)?.len(), file)))
        .collect();
    let mut sizes = sizes?;
    sizes.sort();
    let (_, largest) = sizes.pop().context("no evidence at all")?;
    let original = fs::read(&largest)?;
    let name = largest.display();
    ensure!(
        original.len() > 200,
        "{name} is too small to hold the evidence"
    );

    for at in [
        0,
        original.len() / 3,
        original.len() / 2,
        original.len() - 1,
    ] {
        let mut changed = original.clone();
        if let Some(byte) = changed.get_mut(at) {
            *byte ^= 1;
        }
        fs::write(&largest, changed)?;
        let output = stand.daemon.verify_evidence()?;
        ensure!(
            output.code != Some(0),
            "byte {at} of {name} may be changed: {}",
            output.all()
        );
    }
    for keep in [original.len() - 1, original.len() / 2, 0] {
        fs::write(&largest, original.get(..keep).unwrap_or_default())?;
        let output = stand.daemon.verify_evidence()?;
        ensure!(
            output.code != Some(0),
            "{name} may be cut to {keep} bytes: {}",
            output.all()
        );
    }
    fs::remove_file(&largest)?;
    ensure!(
        stand.daemon.verify_evidence()?.code != Some(0),
        "{name} may be missing"
    );
    fs::write(&largest, &original)?;
    stand
        .daemon
        .verify_evidence()?
        .success()
        .context("the original again")?;
    Ok(())
}

#[test]
fn the_evidence_and_the_keys_are_closed_to_jobs() -> Result<()> {
    let stand = Stand::shared()?;
    let state = stand.daemon.evidence_dir();
    let state = state
        .parent()
        .context("no state folder")?
        .display()
        .to_string();
    let secrets = stand
        .daemon
        .scratch()
        .path()
        .join("secrets")
        .display()
        .to_string();
    for path in [state, secrets] {
        let output = stand.job().run(&["/bin/ls", "-la", &path])?;
        ensure!(
            output.code != Some(0) && output.stdout.is_empty(),
            "{path} is open: {}",
            output.all()
        );
    }
    Ok(())
}

/// H10: nobody in a job can register, end or widen a job.
#[test]
fn a_job_cannot_start_or_end_jobs() -> Result<()> {
    let stand = Stand::shared()?;
    let cordon = stand
        .daemon
        .scratch()
        .path()
        .join("cordon")
        .display()
        .to_string();
    let control = stand.daemon.control().display().to_string();
    let token = stand.issuer.issue(&serde_json::json!({}))?;
    let file = stand
        .daemon
        .scratch()
        .share("stolen-token", token.as_bytes())?
        .display()
        .to_string();
    for user in ["nobody", "root"] {
        let job = stand.job().user(user);
        let start = job.run(&[
            &cordon,
            "job",
            "run",
            "--control",
            &control,
            "--token-file",
            &file,
            "--",
            "/bin/echo",
            "started",
        ])?;
        ensure!(
            start.code != Some(0) && !start.stdout.contains("started"),
            "{user} in a job started one: {}",
            start.all()
        );
        let look = format!(
            "{cordon} job status --control {control}; {cordon} job end --control {control} job-0000000000000000"
        );
        let end = job.run(&["/bin/sh", "-c", &look])?;
        ensure!(
            end.code != Some(0),
            "{user} in a job may end jobs: {}",
            end.all()
        );
    }
    Ok(())
}

#[test]
fn the_exit_code_and_the_streams_of_a_jobs_command_are_its_own() -> Result<()> {
    let stand = Stand::shared()?;
    let output = stand
        .job()
        .run(&["/bin/sh", "-c", "echo out; echo err >&2; exit 42"])?;
    ensure!(
        output.code == Some(42) && output.stdout == "out\n" && output.stderr == "err\n",
        "{}",
        output.all()
    );
    let user = stand.job().run(&["/usr/bin/id", "-un"])?.success()?;
    ensure!(user.lines() == ["nobody"], "{}", user.all());
    let groups = stand.job().run(&["/usr/bin/id", "-G"])?.success()?;
    ensure!(
        !groups.stdout.split_whitespace().any(|group| group == "0"),
        "the job keeps root's groups: {}",
        groups.all()
    );
    Ok(())
}

#[test]
fn the_status_command_tells_what_runs() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    let mut session = stand.job().live()?;
    ensure!(session.query("SELECT 1;")?.lines() == ["1"], "not served");
    let status = Output::from(stand.daemon.cli(&["status"]).output()?)
        .success()?
        .json()?;
    ensure!(status["jobs"] == 1 && status["sessions"] == 1, "{status}");
    ensure!(
        status["databases"]["shop"] == stand.cluster.address().as_str(),
        "{status}"
    );
    canary::none_in("the status", &status.to_string())
}
