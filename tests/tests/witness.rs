//! A witness of another hand cosigns the evidence as it grows, and nothing that contradicts what it
//! has seen.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Output, Setup, Stand, host::eventually, policies, store::ObjectStore, tools, witness::Witness,
};
use serde_json::Value;

fn status(stand: &Stand) -> Result<Value> {
    Output::from(stand.daemon.cli(&["status", "--json"]).output()?)
        .success()?
        .json()
}

/// Waits until the witness has cosigned so many entries.
fn cosigned(stand: &Stand, entries: u64) -> Result<Value> {
    eventually("a cosignature", || {
        let status = status(stand)?;
        let good = status["witnesses"][0]["problem"].is_null()
            && status["evidence_witnessed"].as_u64() >= Some(entries.max(1));
        Ok(good.then_some(status))
    })
}

/// Waits until the witness is said to have a problem with these words.
fn refused(stand: &Stand, words: &str) -> Result<()> {
    eventually(words, || {
        let status = status(stand)?;
        let problem = status["witnesses"][0]["problem"].as_str();
        Ok(problem
            .is_some_and(|problem| problem.contains(words))
            .then_some(()))
    })
}

fn log_key(stand: &Stand) -> Result<String> {
    let key = fs::read_to_string(stand.daemon.evidence_dir().join("keys/log.pub"))?;
    Ok(key.trim().to_owned())
}

fn evidence(stand: &Stand, args: &[&str]) -> Result<Output> {
    let dir = stand.daemon.evidence_dir().display().to_string();
    let mut all = vec!["evidence"];
    all.extend(args);
    all.extend(["--dir", &dir]);
    Ok(stand.daemon.cli(&all).output()?.into())
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    Output::from(Command::new("cp").arg("-a").args([from, to]).output()?).success()?;
    Ok(())
}

#[test]
fn e1_a_witness_of_another_hand_cosigns_the_log_over_restarts_and_changes_of_its_key() -> Result<()>
{
    let mut witness = Witness::start("witness.example/one")?;
    let store = ObjectStore::start()?;
    let mut stand = Stand::start(&Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        evidence: format!("{}{}", witness.asked(), store.ship("64MiB")),
        ..Setup::default()
    })?;
    // It does not know the log yet; nothing waits for it.
    refused(&stand, "does not know this log")?;
    stand.job().sql("SELECT 1")?.success()?;
    let first = log_key(&stand)?;
    witness.trust(&first)?;
    let entries = status(&stand)?["evidence_entries"].as_u64().unwrap_or(0);
    let seen = cosigned(&stand, entries)?;
    ensure!(
        seen["witnesses"][0]["name"] == "witness.example/one",
        "{seen}"
    );

    // The key is changed under the daemon: the witness must be told.
    let mut session = stand.job().live()?;
    let rotated = evidence(&stand, &["rotate-key", "--json"])?
        .success()?
        .json()?;
    let second = log_key(&stand)?;
    ensure!(
        rotated["public_key"] == second.as_str() && second != first,
        "{rotated}"
    );
    ensure!(session.query("SELECT 2;")?.lines() == ["2"], "cut off");
    session.finish()?;
    refused(&stand, "does not trust this log's key")?;
    witness.trust(&second)?;
    let entries = status(&stand)?["evidence_entries"].as_u64().unwrap_or(0);
    cosigned(&stand, entries)?;

    // It is down, and so is the daemon for a while.
    witness.stop()?;
    stand.job().sql("SELECT 3")?.success()?;
    refused(&stand, "error")?;
    witness.restart()?;
    stand.daemon.restart()?;
    stand.job().sql("SELECT 4")?.success()?;
    let entries = status(&stand)?["evidence_entries"].as_u64().unwrap_or(0);
    cosigned(&stand, entries)?;

    // Both keys vouch, and so does the witness, for what is here and for what was shipped.
    for key in [&first, &second] {
        let verified = evidence(
            &stand,
            &[
                "verify",
                "--json",
                "--public-key",
                key,
                "--witness",
                witness.key(),
            ],
        )?
        .success()?
        .json()?;
        ensure!(
            verified["witnessed_entries"].as_u64() >= Some(entries),
            "{verified}"
        );
    }
    let note = evidence(&stand, &["checkpoint", "--witness", witness.key()])?.success()?;
    ensure!(
        note.stdout.contains("witness.example/one"),
        "{}",
        note.all()
    );
    let to = stand.daemon.scratch().path().join("fetched");
    let (folder, config) = (
        to.display().to_string(),
        stand.daemon.config().display().to_string(),
    );
    eventually("the cosigned checkpoint in the store", || {
        let fetch = ["evidence", "fetch", "--config", &config, "--to", &folder];
        Output::from(stand.daemon.cli(&fetch).output()?).success()?;
        let verified = Command::new(tools::cordon_verify()?)
            .args([
                "--json",
                "--key",
                &second,
                "--witness",
                witness.key(),
                &folder,
            ])
            .output()?;
        let verified = Output::from(verified);
        fs::remove_dir_all(&to)?;
        if verified.code != Some(0) {
            return Ok(None);
        }
        let report = verified.json()?;
        Ok((report["witnessed_entries"].as_u64() >= Some(entries)).then_some(()))
    })?;
    stand.daemon.require_alive()?;
    Ok(())
}

#[test]
fn e1_a_log_that_was_cut_back_while_the_daemon_was_down_is_told_so_by_the_witness() -> Result<()> {
    let witness = Witness::start("witness.example/two")?;
    let mut stand = Stand::start(&Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        evidence: witness.asked(),
        ..Setup::default()
    })?;
    witness.trust(&log_key(&stand)?)?;
    cosigned(&stand, 1)?;
    stand.daemon.terminate()?;
    let dir = stand.daemon.evidence_dir();
    let kept = stand.daemon.scratch().path().join("kept");
    copy(&dir, &kept)?;
    stand.daemon.restart()?;
    for number in 0..20 {
        stand.job().sql(&format!("SELECT {number}"))?.success()?;
    }
    let entries = status(&stand)?["evidence_entries"]
        .as_u64()
        .context("no entries")?;
    cosigned(&stand, entries)?;
    stand.daemon.terminate()?;

    // Cut back to what it was, it verifies: nothing here tells.
    fs::remove_dir_all(&dir)?;
    copy(&kept, &dir)?;
    evidence(&stand, &["verify"])?.success()?;
    stand.daemon.restart()?;
    refused(&stand, "cut back")?;
    // Nor does it help to write on.
    loop {
        stand.job().sql("SELECT 1")?.success()?;
        let now = status(&stand)?["evidence_entries"].as_u64();
        if now > Some(entries + 5) {
            break;
        }
    }
    refused(&stand, "not the beginning")?;
    ensure!(
        witness.contradictions()?.contains(&log_key(&stand)?[..10]),
        "the witness has kept nothing"
    );
    Ok(())
}
