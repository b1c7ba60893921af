//! The second line, end to end: real clients in real jobs go for a real database by a way that the
//! configuration does not name.

use anyhow::{Context, Result, ensure};
use cordon_tests::{Output, Setup, Stand, host::eventually, relay::Relay};
use serde_json::Value;

/// A way to the database that Cordon knows nothing of.
fn back_door(stand: &Stand) -> Result<Relay> {
    let relay = Relay::start()?;
    relay.before(&stand.cluster.address());
    Ok(relay)
}

/// The evidence's entries of attempts to get past.
fn attempts(stand: &Stand) -> Result<Vec<Value>> {
    let output = Output::from(
        stand
            .daemon
            .cli(&["evidence", "--dir"])
            .arg(stand.daemon.evidence_dir())
            .args(["export", "jsonl"])
            .output()?,
    )
    .success()?;
    let mut found = Vec::new();
    for line in output.stdout.lines() {
        let entry: Value = serde_json::from_str(line)?;
        if entry["event"]["type"] == "bypass-attempted" {
            found.push(entry["event"].clone());
        }
    }
    Ok(found)
}

fn logins(stand: &Stand) -> Result<usize> {
    Ok(stand.cluster.log()?.matches("authorized: user=app").count())
}

#[test]
fn h6_psql_in_a_job_fails_at_once_at_a_relay_and_is_on_record() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    let relay = back_door(&stand)?;
    let job = stand
        .job()
        .env("PGPORT", &relay.port().to_string())
        .env("PGPASSWORD", "app-direct-2b7d");
    let modes = ["disable", "prefer", "require"];
    for mode in modes {
        let output = job.clone().env("PGSSLMODE", mode).sql("SELECT 1")?;
        // Ended by the kernel, and not by a time-out of the client's.
        ensure!(
            output.code == Some(2) && output.stderr.contains("connection abort"),
            "{mode}: {}",
            output.all()
        );
    }
    ensure!(logins(&stand)? == 0, "a login came through");
    let found = eventually("three entries", || {
        let found = attempts(&stand)?;
        Ok((found.len() >= modes.len()).then_some(found))
    })?;
    let to = format!("127.0.0.1:{}", relay.port());
    for event in &found {
        ensure!(event["way"] == "postgres-startup", "{event}");
        ensure!(event["refused"] == true, "{event}");
        ensure!(event["destination"] == to.as_str(), "{event}");
        ensure!(event["process"]["comm"] == "psql", "{event}");
        let job = event["job"].as_str().context("no job")?;
        ensure!(job.starts_with("job-") || !job.is_empty(), "{event}");
        let reason = event["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("intercept.recognise.except"), "{event}");
    }
    let log = stand.daemon.log()?;
    ensure!(log.contains("attempt to get past the gateway"), "{log}");
    // The job that names the database itself is served as ever.
    ensure!(stand.job().sql("SELECT 1")?.success()?.lines() == ["1"]);
    stand.daemon.verify_offline()?.success()?;
    Ok(())
}

#[test]
fn h6_tls_that_offers_postgresql_is_stopped_and_other_tls_is_not() -> Result<()> {
    let stand = Stand::shared()?;
    // The relay's server hangs up on what it does not understand; what counts is how.
    let relay = back_door(stand)?;
    let program = r#"
import socket, ssl, sys
for offer in (["postgresql"], ["h2", "postgresql"], ["h2"], []):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if offer:
        context.set_alpn_protocols(offer)
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as plain:
            context.wrap_socket(plain)
        # From version 17 on the server takes TLS at once, and hangs up later.
        print("passed")
    except ConnectionAbortedError:
        print("stopped")
    except (OSError, ssl.SSLError) as error:
        print("passed")
"#;
    let output = stand
        .job()
        .python(program, &[&relay.port().to_string()])?
        .success()?;
    ensure!(
        output.lines() == ["stopped", "stopped", "passed", "passed"],
        "{}",
        output.all()
    );
    Ok(())
}

#[test]
fn h6_exceptions_and_reports_let_clients_through() -> Result<()> {
    let relay = Relay::start()?;
    for (recognise, recorded) in [
        (format!("{{ except: [\"{}\"] }}", relay.address()), false),
        ("{ action: report }".to_owned(), true),
    ] {
        let stand = Stand::start(&Setup {
            intercept: format!("  recognise: {recognise}\n"),
            ..Setup::default()
        })?;
        relay.before(&stand.cluster.address());
        let job = stand
            .job()
            .env("PGPORT", &relay.port().to_string())
            .env("PGSSLMODE", "disable")
            .env("PGPASSWORD", "app-direct-2b7d");
        let output = job.sql("SELECT current_user")?.success()?;
        ensure!(output.lines() == ["app"], "{recognise}: {}", output.all());
        if recorded {
            let event = eventually("an entry", || Ok(attempts(&stand)?.pop()))?;
            ensure!(event["refused"] == false, "{event}");
        } else {
            // What comes after it in the log is there, and it is not.
            stand.job().sql("SELECT 1")?.success()?;
            ensure!(attempts(&stand)?.is_empty(), "{recognise}: an entry");
        }
    }
    Ok(())
}

#[test]
fn h6_a_job_cannot_fill_the_evidence_and_no_attempt_is_left_out_of_the_count() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    let relay = back_door(&stand)?;
    let program = "
import socket, sys
for _ in range(60):
    with socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=30) as client:
        client.sendall(b'\\0\\0\\0\\x08\\x04\\xd2\\x16\\x2f')
        try:
            client.recv(1)
            print('served')
        except ConnectionAbortedError:
            print('stopped')
";
    let output = stand
        .job()
        .python(program, &[&relay.port().to_string()])?
        .success()?;
    ensure!(output.lines() == vec!["stopped"; 60], "{}", output.all());
    let found = eventually("the count of all of them", || {
        let found = attempts(&stand)?;
        let held: u64 = found
            .iter()
            .map(|event| event["suppressed"].as_u64().unwrap_or_default())
            .sum();
        Ok((found.len() as u64 + held == 60).then_some(found))
    })?;
    ensure!(found.len() < 30, "{} entries", found.len());
    Ok(())
}

#[test]
fn h5_a_job_that_could_reach_a_protected_databases_unix_socket_is_not_started() -> Result<()> {
    let start = |intercept: &str| {
        let setup = Setup {
            intercept: intercept.to_owned(),
            ..Setup::default()
        };
        Stand::start_with(&setup, &["unix_socket_permissions=0777"])
    };
    let stand = start("")?;
    let output = stand.job().run(&["/bin/echo", "started"])?;
    ensure!(
        output.code != Some(0) && !output.stdout.contains("started"),
        "{}",
        output.all()
    );
    ensure!(
        output.stderr.contains(".s.PGSQL.") && output.stderr.contains("unix_socket_permissions"),
        "{}",
        output.all()
    );
    eventually("the refusal to be on record", || {
        let record = stand.daemon.evidence_text()?;
        Ok(record.contains("job-refused").then_some(()))
    })?;

    let stand = start("  unix_sockets: report\n")?;
    stand.job().run(&["/bin/echo", "started"])?.success()?;
    let log = stand.daemon.log()?;
    ensure!(log.contains("Unix socket without Cordon"), "{log}");
    Ok(())
}
