//! Requests for approval over restarts, crashes and races.

use std::fs;

use anyhow::{Context, Result, ensure};
use cordon_tests::{LivePsql, Output, Setup, Stand, daemon::APPROVERS, host::eventually, policies};
use serde_json::Value;

const DELETE: &str = "DELETE FROM public.orders WHERE id = 5 RETURNING id;";
const LEFT: &str = "SELECT count(*) FROM public.orders WHERE id = 5";

fn stand() -> Result<Stand> {
    Stand::start(&Setup {
        policy: policies::SHOP.replace("hold: 30s", "hold: 10m"),
        ..Setup::default()
    })
}

fn held(stand: &Stand) -> Result<(LivePsql, String)> {
    let mut session = stand.job().live()?;
    session.send(DELETE)?;
    let id = stand.daemon.wait_for_held()?;
    Ok((session, id))
}

fn all(stand: &Stand) -> Result<Vec<Value>> {
    let [approver, _] = APPROVERS;
    let list = stand
        .daemon
        .cli_as(approver, &["approvals", "list", "--all"])?
        .output()?;
    let list = Output::from(list).success()?.json()?;
    Ok(list.as_array().context("no list")?.clone())
}

#[test]
fn a_restart_shows_what_waited_and_how_the_rest_ended() -> Result<()> {
    let mut stand = stand()?;
    let [approver, _] = APPROVERS;
    let mut ids = Vec::new();
    for verb in ["approve", "deny"] {
        let (mut session, id) = held(&stand)?;
        stand
            .daemon
            .answer(approver, verb, &id, "for the restart")?
            .success()?;
        session.sync()?;
        ids.push(id);
    }
    let (_session, id) = held(&stand)?;
    ids.push(id);
    for killed in [true, false] {
        if killed {
            stand.daemon.kill()?;
        } else {
            stand.daemon.terminate()?;
        }
        stand.daemon.restart()?;
        let views = all(&stand)?;
        let states: Vec<(&str, &str)> = views
            .iter()
            .map(|view| {
                (
                    view["id"].as_str().unwrap_or_default(),
                    view["state"].as_str().unwrap_or_default(),
                )
            })
            .collect();
        let expected: Vec<(&str, &str)> = ids
            .iter()
            .map(String::as_str)
            .zip(["approved", "denied", "withdrawn"])
            .collect();
        ensure!(states == expected, "{states:?}");
        ensure!(
            !views[0]["used"].is_null()
                && views[1]["answers"][0]["reason"] == "for the restart"
                && views[2]["ended_because"]
                    .as_str()
                    .is_some_and(|why| why.contains("restarted")),
            "{views:?}"
        );
        ensure!(stand.daemon.held()?.is_empty());
    }
    let late = stand.daemon.answer(approver, "approve", &ids[2], "")?;
    ensure!(late.code != Some(0), "it could be approved: {}", late.all());
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn a_daemon_killed_as_a_statement_is_approved_runs_it_at_most_once_and_knows_whether() -> Result<()>
{
    let mut stand = stand()?;
    let [approver, _] = APPROVERS;
    for delay in [0_u32, 1, 4, 16] {
        stand.cluster.admin(
            "INSERT INTO public.orders (id, customer_id) VALUES (5, 1) ON CONFLICT DO NOTHING",
        )?;
        let (session, id) = held(&stand)?;
        stand
            .daemon
            .answer(approver, "approve", &id, "")?
            .success()?;
        // Some work between the approval and the end of the daemon; how far it gets is what the
        // test leaves open.
        for _ in 0..delay {
            stand.cluster.count("SELECT 1")?;
        }
        stand.daemon.kill()?;
        drop(session);
        stand.daemon.restart()?;
        eventually("the database to have ended the session", || {
            let open = stand
                .cluster
                .count("SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_rw'")?;
            Ok((open == 0).then_some(()))
        })?;
        let ran = stand.cluster.count(LEFT)? == 0;
        let views = all(&stand)?;
        let view = views.last().context("nothing is listed")?;
        ensure!(view["id"].as_str() == Some(&id), "{view}");
        let used = !view["used"].is_null();
        ensure!(used || !ran, "it ran, and the queue does not know: {view}");
        if !used {
            ensure!(view["state"] == "withdrawn", "{view}");
        }
        let evidence = stand.daemon.evidence_text()?;
        let recorded = evidence
            .lines()
            .any(|line| line.contains("approval-used") && line.contains(&id))
            || evidence.contains(&format!("\"approval-used\",\"approval\":\"{id}\""));
        ensure!(recorded || !ran, "it ran, and the evidence does not tell");
    }
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn of_two_people_who_answer_at_once_one_wins() -> Result<()> {
    let stand = stand()?;
    let [one, two] = APPROVERS;
    for _ in 0..5 {
        stand.cluster.admin(
            "INSERT INTO public.orders (id, customer_id) VALUES (5, 1) ON CONFLICT DO NOTHING",
        )?;
        let (mut session, id) = held(&stand)?;
        let approve = stand
            .daemon
            .cli_as(one, &["approvals", "approve", &id])?
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let deny = stand
            .daemon
            .cli_as(two, &["approvals", "deny", &id])?
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let approve = Output::from(approve.wait_with_output()?);
        let deny = Output::from(deny.wait_with_output()?);
        let approved = approve.code == Some(0);
        ensure!(
            approved != (deny.code == Some(0)),
            "{} {}",
            approve.all(),
            deny.all()
        );
        let output = session.sync()?;
        let ran = output.lines() == ["5"];
        ensure!(ran == approved, "{}", output.all());
        ensure!((stand.cluster.count(LEFT)? == 0) == approved);
    }
    Ok(())
}

#[test]
fn requests_that_cannot_be_kept_are_refused_and_a_damaged_file_stops_the_start() -> Result<()> {
    let mut stand = stand()?;
    let file = stand.daemon.state_dir().join("gateway/approvals.db");
    ensure!(file.exists(), "{} is not there", file.display());
    {
        // Whoever writes to it keeps it locked.
        let python = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute('BEGIN IMMEDIATE')\nprint('locked', flush=True)\nsys.stdin.read()\n";
        let mut lock = std::process::Command::new(cordon_tests::tools::PYTHON)
            .args(["-c", python, &file.display().to_string()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(lock.stdout.take().context("no stdout")?),
            &mut line,
        )?;
        ensure!(line.trim() == "locked", "{line}");
        let mut session = stand.job().live()?;
        let output = session.query(DELETE)?.refused_with("58000")?;
        ensure!(
            output.stderr.contains("cannot be saved"),
            "{}",
            output.all()
        );
        ensure!(session.query("SELECT 1;")?.lines() == ["1"]);
        drop(lock.stdin.take());
        lock.wait()?;
        // It goes on by itself.
        session.send(DELETE)?;
        let id = stand.daemon.wait_for_held()?;
        stand
            .daemon
            .answer(APPROVERS[0], "approve", &id, "")?
            .success()?;
        ensure!(session.sync()?.lines() == ["5"]);
    }
    stand.daemon.terminate()?;
    let good = fs::read(&file)?;
    let wal = file.with_file_name("approvals.db-wal");
    if wal.exists() {
        fs::remove_file(&wal)?;
    }
    fs::write(&file, vec![0x55; good.len()])?;
    let refused = stand.daemon.restart();
    let text = format!("{:#}", refused.err().context("it started")?);
    ensure!(
        text.contains("approvals.db") && text.contains("move it"),
        "{text}"
    );
    fs::remove_file(&file)?;
    stand.daemon.restart()?;
    ensure!(all(&stand)?.is_empty());
    Ok(())
}

#[test]
fn f12_a_schema_that_is_changed_while_the_statement_waits_stops_it() -> Result<()> {
    let stand = stand()?;
    let (mut session, id) = held(&stand)?;
    ensure!(
        stand
            .cluster
            .count("SELECT count(*) FROM pg_locks WHERE relation = 'public.orders'::regclass")?
            == 0,
        "a statement that waits alone keeps locks"
    );
    stand.cluster.admin(
        "CREATE FUNCTION public.more() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN DELETE FROM public.customers_archive; RETURN OLD; END'; \
         CREATE TRIGGER more BEFORE DELETE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.more()",
    )?;
    stand
        .daemon
        .answer(APPROVERS[0], "approve", &id, "")?
        .success()?;
    let output = session.sync()?.refused_with("57014")?;
    ensure!(output.stderr.contains("changed"), "{}", output.all());
    ensure!(stand.cluster.count(LEFT)? == 1, "it ran");
    let views = all(&stand)?;
    let view = views.last().context("nothing is listed")?;
    ensure!(
        view["state"] == "withdrawn" && view["used"].is_null(),
        "{view}"
    );
    Ok(())
}

#[test]
fn f12_an_approved_statement_of_a_client_that_is_gone_does_not_run() -> Result<()> {
    let stand = stand()?;
    let [approver, _] = APPROVERS;
    for _ in 0..5 {
        let (session, id) = held(&stand)?;
        let approving = stand
            .daemon
            .cli_as(approver, &["approvals", "approve", &id])?
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        session.kill()?;
        let approved = Output::from(approving.wait_with_output()?).code == Some(0);
        let view = eventually("the request to end", || {
            let views = all(&stand)?;
            let view = views.last().context("nothing is listed")?;
            Ok((!view["ended"].is_null()).then(|| view.clone()))
        })?;
        ensure!(view["id"].as_str() == Some(&id), "{view}");
        let used = !view["used"].is_null();
        ensure!(approved || !used, "it was used without being approved");
        eventually("the database to have ended the session", || {
            let open = stand
                .cluster
                .count("SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_rw'")?;
            Ok((open == 0).then_some(()))
        })?;
        let ran = stand.cluster.count(LEFT)? == 0;
        ensure!(used || !ran, "it ran, and was not used: {view}");
        stand.cluster.admin(
            "INSERT INTO public.orders (id, customer_id) VALUES (5, 1) ON CONFLICT DO NOTHING",
        )?;
    }
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn nobody_is_asked_about_a_statement_in_a_failed_transaction() -> Result<()> {
    let stand = stand()?;
    let (mut session, id) = held(&stand)?;
    stand
        .daemon
        .answer(APPROVERS[0], "deny", &id, "")?
        .success()?;
    session.sync()?;
    session.query("BEGIN;")?;
    ensure!(session.query("SELECT 1 / 0;")?.sqlstates() == ["22012"]);
    ensure!(session.query(DELETE)?.sqlstates() == ["25P02"]);
    ensure!(session.query("ROLLBACK;")?.sqlstates().is_empty());
    ensure!(all(&stand)?.len() == 1, "it was asked about");
    Ok(())
}

#[test]
fn f12_an_approval_is_for_the_session_that_waits_and_for_no_other() -> Result<()> {
    let stand = stand()?;
    let program = r#"
import threading, psycopg
def send(name):
    with psycopg.connect("", autocommit=True, application_name=name) as connection:
        try:
            print(connection.execute("DELETE FROM public.orders WHERE id = 5").rowcount, flush=True)
        except psycopg.Error as error:
            print(error.sqlstate, flush=True)
threads = [threading.Thread(target=send, args=(name,)) for name in ("one", "two")]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"#;
    let file = stand.job().share("two.py", program.as_bytes())?;
    let python = cordon_tests::tools::python_with_drivers()?
        .display()
        .to_string();
    let child = stand
        .job()
        .command(&[&python, &file])?
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let ids = eventually("both sessions to wait", || {
        let held = stand.daemon.held()?;
        let ids: Vec<String> = held
            .iter()
            .filter_map(|one| one["id"].as_str().map(str::to_owned))
            .collect();
        Ok((ids.len() == 2).then_some(ids))
    })?;
    let [approver, _] = APPROVERS;
    stand
        .daemon
        .answer(approver, "approve", &ids[1], "")?
        .success()?;
    eventually("the approved one to run", || {
        Ok((stand.cluster.count(LEFT)? == 0).then_some(()))
    })?;
    let still = stand.daemon.held()?;
    ensure!(
        still.len() == 1 && still[0]["id"].as_str() == Some(&ids[0]),
        "{still:?}"
    );
    stand
        .daemon
        .answer(approver, "deny", &ids[0], "")?
        .success()?;
    let output = Output::from(child.wait_with_output()?);
    let mut lines = output.lines();
    lines.sort_unstable();
    ensure!(lines == ["1", "57014"], "{}", output.all());
    Ok(())
}
