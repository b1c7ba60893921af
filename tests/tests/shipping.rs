//! The evidence is shipped off the host as it grows, and what was shipped verifies without it.

use std::fs;

use anyhow::{Context, Result, ensure};
use cordon_tests::{Output, Setup, Stand, host::eventually, policies, store::ObjectStore, tools};
use serde_json::Value;

fn stand(store: &ObjectStore, backlog: &str) -> Result<Stand> {
    Stand::start(&Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        evidence: store.ship(backlog),
        ..Setup::default()
    })
}

/// Fetches what is in the store into a folder of that name, and verifies it with the host's key.
fn fetched(stand: &Stand, name: &str) -> Result<(Output, Value)> {
    let to = stand.daemon.scratch().path().join(name);
    let (folder, config) = (
        to.display().to_string(),
        stand.daemon.config().display().to_string(),
    );
    let fetch = ["evidence", "fetch", "--config", &config, "--to", &folder];
    Output::from(stand.daemon.cli(&fetch).output()?).success()?;
    let key = fs::read_to_string(stand.daemon.evidence_dir().join("keys/log.pub"))?;
    let verified = std::process::Command::new(tools::cordon_verify()?)
        .args(["--json", "--key", key.trim(), &folder])
        .output()?;
    let verified = Output::from(verified);
    let report = verified.json()?;
    fs::remove_dir_all(to)?;
    Ok((verified, report))
}

/// Waits until what is in the store verifies, and the report fits.
fn shipped(stand: &Stand, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually("the evidence in the store", || {
        let (verified, report) = fetched(stand, "shipped")?;
        Ok((verified.code == Some(0) && fits(&report)).then_some(report))
    })
}

/// Sessions that the shipped log knows.
fn sessions(report: &Value) -> u64 {
    report["events"]["session-opened"].as_u64().unwrap_or(0)
}

#[test]
fn g7_what_was_shipped_verifies_without_the_host_and_every_object_that_is_changed_is_found()
-> Result<()> {
    let mut store = ObjectStore::start()?;
    let mut stand = stand(&store, "64MiB")?;
    // A text long enough for a side file, and a session with a recording.
    let long = format!("SELECT length('{}')", "x".repeat(20_000));
    stand.job().sqls(&[&long, "SELECT 2"])?.success()?;
    let report = shipped(&stand, |report| {
        report["recorded_sessions"] == 1 && report["unended_recordings"] == 0
    })?;
    ensure!(report["blobs"] != 0, "{report}");

    // While the store is down nothing is lost, and it goes on where it was.
    store.stop()?;
    stand.job().sql("SELECT 3")?.success()?;
    store.restart()?;
    shipped(&stand, |report| sessions(report) == 2)?;
    // The daemon is killed with something on its way.
    store.stop()?;
    stand.job().sql("SELECT 4")?.success()?;
    stand.daemon.kill()?;
    store.restart()?;
    stand.daemon.restart()?;
    let report = shipped(&stand, |report| report["unclean_restarts"] == 1)?;
    ensure!(sessions(&report) == 3, "{report}");

    // A daemon that is stopped ships its end.
    stand.daemon.terminate()?;
    let (verified, report) = fetched(&stand, "closed")?;
    ensure!(
        verified.code == Some(0) && report["closed"] == true,
        "{}",
        verified.all()
    );

    let mut found = 0;
    for file in store.files()? {
        let name = file.display().to_string();
        // The server's own notes of its objects; and the key, which is trusted from elsewhere.
        if name.contains("/.") || !name.contains("hosts/one") || name.ends_with("log.pub") {
            continue;
        }
        let good = fs::read(&file)?;
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        *bad.get_mut(middle).context("an empty object")? ^= 1;
        fs::write(&file, bad)?;
        let refused = match fetched(&stand, "changed") {
            Ok((verified, _)) => verified.code == Some(1),
            Err(_not_even_fetched) => {
                let _ = fs::remove_dir_all(stand.daemon.scratch().path().join("changed"));
                true
            }
        };
        ensure!(refused, "{name} was changed, and nothing noticed");
        fs::write(&file, good)?;
        found += 1;
    }
    ensure!(found > 8, "{found} objects only");
    let (verified, _) = fetched(&stand, "good")?;
    verified.success()?;
    stand.daemon.restart()?;
    Ok(())
}

#[test]
fn e4_while_too_much_is_not_shipped_no_session_opens_and_open_ones_go_on() -> Result<()> {
    let mut store = ObjectStore::start()?;
    let stand = stand(&store, "4KiB")?;
    let mut session = stand.job().live()?;
    store.stop()?;
    let refused = eventually("a refused session", || {
        ensure!(session.query("SELECT 1;")?.lines() == ["1"], "cut off");
        let other = stand.job().sql("SELECT 2")?;
        Ok((other.code != Some(0)).then_some(other))
    })?;
    ensure!(
        refused.stderr.contains("cannot be shipped") && refused.stderr.contains("evidence.ship"),
        "{}",
        refused.all()
    );
    ensure!(session.query("SELECT 3;")?.lines() == ["3"], "cut off");
    store.restart()?;
    eventually("sessions to open again", || {
        Ok((stand.job().sql("SELECT 4")?.code == Some(0)).then_some(()))
    })?;
    session.finish()?;
    Ok(())
}
