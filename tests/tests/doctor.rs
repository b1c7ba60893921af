//! `cordon doctor` on a healthy host, and once for each kind of fault that it is to find.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use cordon_tests::{Cluster, Daemon, Issuer, Output, Setup, Stand, host};
use serde_json::Value;

/// A server whose own socket is open to everybody, as PostgreSQL makes it.
const OPEN: &[&str] = &["unix_socket_permissions=0777"];

/// Runs it; gives the exit code and what it found.
fn doctor(daemon: &Daemon, only: &[&str]) -> Result<(Option<i32>, Value)> {
    let config = daemon.config().display().to_string();
    let mut args = vec!["doctor", "--config", &config, "--json"];
    for area in only {
        args.extend(["--only", area]);
    }
    let output = Output::from(daemon.cli(&args).output()?);
    let report = output.json().with_context(|| output.all())?;
    Ok((output.code, report))
}

fn findings<'r>(report: &'r Value, state: &str) -> Vec<&'r Value> {
    report["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finding| finding["state"] == state)
        .collect()
}

/// The one problem there is, which has these words in what was seen, and says what to do.
fn one_problem(
    (code, report): &(Option<i32>, Value),
    area: &str,
    check: &str,
    seen: &str,
) -> Result<()> {
    let problems = findings(report, "problem");
    ensure!(
        *code == Some(1) && report["healthy"] == false && problems.len() == 1,
        "code {code:?}: {report:#}"
    );
    let problem = problems.first().context("no problem")?;
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    ensure!(
        text("area") == area && text("check").contains(check) && text("seen").contains(seen),
        "{problem:#}"
    );
    ensure!(text("mend").len() > 10, "nothing to do: {problem:#}");
    Ok(())
}

#[test]
fn a_healthy_host_has_no_problem_and_every_connect_was_tried() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    let (code, report) = doctor(&stand.daemon, &[])?;
    let problems = findings(&report, "problem");
    ensure!(
        code == Some(0) && report["healthy"] == true && problems.is_empty(),
        "{report:#}"
    );
    ensure!(findings(&report, "skipped").is_empty(), "{report:#}");
    let version = format!("PostgreSQL {}", stand.cluster.admin("SHOW server_version")?);
    let good = findings(&report, "ok");
    for (check, seen) in [
        ("programs load", "verified"),
        ("attached", "all"),
        ("connect to 127.0.0.1", "refused by Cordon"),
        ("shop login agent_rw", "certificate verified"),
        ("shop login reader", version.as_str()),
        ("runner daemon", "no root"),
        ("gateway's user", "uid 64646"),
    ] {
        let text =
            |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        ensure!(
            good.iter()
                .any(|finding| text(finding, "check").contains(check)
                    && text(finding, "seen").contains(seen)),
            "no `{check}` with `{seen}`: {report:#}"
        );
    }
    // What was tried is on record as any other refused connection is.
    ensure!(
        stand
            .daemon
            .evidence_text()?
            .contains("does not belong to a job"),
        "the try is not on record"
    );
    Ok(())
}

#[test]
fn on_a_terminal_it_prints_a_table_and_what_to_do() -> Result<()> {
    let stand = Stand::start_with(&Setup::default(), OPEN)?;
    let config = stand.daemon.config().display().to_string();
    let output = Output::from(
        stand
            .daemon
            .cli(&["doctor", "--config", &config, "--only", "reach"])
            .env("CLICOLOR_FORCE", "1")
            .env("NO_COLOR", "1")
            .output()?,
    );
    ensure!(output.code == Some(1), "{}", output.all());
    for part in [
        "AREA",
        "STATE",
        &format!(".s.PGSQL.{}", stand.cluster.port()),
        "daemon can connect",
        "to do",
        "unix_socket_permissions",
        "There are problems",
    ] {
        ensure!(
            output.stdout.contains(part),
            "no {part:?}: {}",
            output.stdout
        );
    }
    Ok(())
}

#[test]
fn h5_a_protected_servers_socket_in_reach_is_a_problem() -> Result<()> {
    let stand = Stand::start_with(&Setup::default(), OPEN)?;
    let report = doctor(&stand.daemon, &["reach"])?;
    one_problem(
        &report,
        "reach",
        &format!(".s.PGSQL.{}", stand.cluster.port()),
        "daemon",
    )
}

#[test]
fn h8_a_daemon_that_is_away_is_a_problem_and_connects_are_refused_meanwhile() -> Result<()> {
    let mut stand = Stand::start(&Setup::default())?;
    stand.daemon.kill()?;
    let report = doctor(&stand.daemon, &[])?;
    one_problem(&report, "daemon", "runs", "control.sock")?;
    let good = findings(&report.1, "ok");
    ensure!(
        good.iter().any(|finding| finding["seen"]
            .as_str()
            .is_some_and(|seen| seen.contains("refused while the daemon is away"))),
        "{:#}",
        report.1
    );
    // What a runner's unit asks before it starts.
    let (code, report) = doctor(&stand.daemon, &["programs"])?;
    ensure!(code == Some(0), "{report:#}");
    stand.daemon.restart()
}

#[test]
fn h8_a_program_that_somebody_removed_is_found_and_so_is_what_passes() -> Result<()> {
    let mut stand = Stand::start(&Setup::default())?;
    let pins = stand.daemon.pin_dir().to_owned();
    remove(&pins, "getpeername4")?;
    let report = doctor(&stand.daemon, &["programs"])?;
    one_problem(&report, "programs", "attached", "getpeername4 is missing")?;
    remove(&pins, "connect4")?;
    remove(&pins, "egress")?;
    let (code, report) = doctor(&stand.daemon, &["programs"])?;
    let problems = findings(&report, "problem");
    ensure!(code == Some(1) && problems.len() == 2, "{report:#}");
    ensure!(
        problems.iter().any(|problem| problem["seen"]
            .as_str()
            .is_some_and(|seen| seen.contains("the database itself answered"))),
        "{report:#}"
    );
    // As it says: a restart mends it.
    stand.daemon.terminate()?;
    stand.daemon.restart()?;
    let (code, report) = doctor(&stand.daemon, &["programs"])?;
    ensure!(code == Some(0), "{report:#}");
    Ok(())
}

/// Removes a pin, and with it the program's attachment.
fn remove(pins: &Path, program: &str) -> Result<()> {
    for entry in fs::read_dir(pins)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(&format!("{program}-"))) {
            return fs::remove_file(&path).context("removing a pin");
        }
    }
    anyhow::bail!("there is no pin of {program}")
}

#[test]
fn a_database_that_cannot_be_reached_is_a_problem() -> Result<()> {
    let cluster = std::sync::Arc::new(Cluster::start()?);
    let issuer = std::sync::Arc::new(Issuer::start()?);
    let nobody = host::free_port()?;
    let daemon = Daemon::start(
        &cluster,
        &issuer,
        &Setup {
            relay: Some((format!("127.0.0.1:{nobody}"), "disable")),
            ..Setup::default()
        },
    )?;
    let report = doctor(&daemon, &["databases"])?;
    one_problem(
        &report,
        "databases",
        "relayed login agent_rw",
        "Connection refused",
    )?;
    let warnings = findings(&report.1, "warning");
    ensure!(
        warnings
            .iter()
            .any(|warning| warning["check"] == "relayed TLS"),
        "TLS off is worth a warning: {:#}",
        report.1
    );
    Ok(())
}

#[test]
fn a_password_that_is_not_accepted_is_a_problem() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    stand
        .cluster
        .admin("ALTER ROLE reader PASSWORD 'another'")?;
    let report = doctor(&stand.daemon, &["databases"])?;
    one_problem(
        &report,
        "databases",
        "shop login reader",
        "password authentication failed",
    )
}

#[test]
fn a_certificate_that_nobody_trusts_is_a_problem() -> Result<()> {
    let cluster = std::sync::Arc::new(Cluster::start()?);
    let another = Cluster::start()?;
    let issuer = std::sync::Arc::new(Issuer::start()?);
    let daemon = Daemon::start(
        &cluster,
        &issuer,
        &Setup {
            // To be verified by the system's roots.
            relay: Some((another.address(), "verify-full")),
            ..Setup::default()
        },
    )?;
    let report = doctor(&daemon, &["databases"])?;
    one_problem(
        &report,
        "databases",
        "relayed login agent_rw",
        "certificate",
    )
}

#[test]
fn a_configuration_or_a_policy_that_cannot_be_read_is_a_problem_with_its_place() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    stand.daemon.write_policy("version: 1\ngrantz: []\n")?;
    let report = doctor(&stand.daemon, &["config"])?;
    one_problem(&report, "config", "policy", "policy.yaml:2:1")?;
    let good = fs::read_to_string(stand.daemon.config())?;
    fs::write(stand.daemon.config(), format!("{good}nonsense: 1\n"))?;
    let report = doctor(&stand.daemon, &["config"])?;
    fs::write(stand.daemon.config(), good)?;
    one_problem(&report, "config", "configuration", "nonsense")
}
