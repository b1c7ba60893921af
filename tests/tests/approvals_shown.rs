//! What the people who are asked are shown besides the statement.

use anyhow::{Context, Result, ensure};
use cordon_tests::{LivePsql, Output, Setup, Stand, daemon::APPROVERS, host::eventually, policies};
use serde_json::{Value, json};

const DELETE: &str = "DELETE FROM public.orders WHERE id > 2;";

fn stand(limits: &str) -> Result<Stand> {
    let stand = Stand::start(&Setup {
        policy: policies::SHOP.replace("hold: 30s", limits),
        ..Setup::default()
    })?;
    stand.cluster.admin("ANALYZE public.orders")?;
    Ok(stand)
}

fn shown(stand: &Stand, id: &str) -> Result<Value> {
    let [approver, _] = APPROVERS;
    Output::from(
        stand
            .daemon
            .cli_as(approver, &["approvals", "show", id])?
            .output()?,
    )
    .success()?
    .json()
}

/// The request, once the planner has been asked.
fn estimated(stand: &Stand, id: &str) -> Result<Value> {
    eventually("an estimate", || {
        let view = shown(stand, id)?;
        Ok((!view["estimated_rows"].is_null()).then_some(view))
    })
}

fn deny(stand: &Stand, id: &str) -> Result<()> {
    let [approver, _] = APPROVERS;
    stand
        .daemon
        .answer(approver, "deny", id, "")?
        .success()
        .map(drop)
}

fn expect(session: &mut LivePsql, sql: &str, lines: &[&str]) -> Result<()> {
    let output = session.query(sql)?;
    ensure!(
        output.sqlstates().is_empty() && output.lines() == lines,
        "{sql}: {}",
        output.all()
    );
    Ok(())
}

#[test]
fn the_planners_guess_is_shown_and_changes_nothing_in_the_session() -> Result<()> {
    let stand = stand("hold: 10m")?;
    let [approver, _] = APPROVERS;
    let mut session = stand.job().live()?;
    session.send(DELETE)?;
    let id = stand.daemon.wait_for_held()?;
    let guess = &estimated(&stand, &id)?["estimated_rows"];
    ensure!(
        guess.as_u64().is_some_and(|rows| (2..=5).contains(&rows)),
        "{guess}"
    );
    deny(&stand, &id)?;
    ensure!(session.sync()?.sqlstates() == ["57014"]);

    // Inside a transaction, behind a savepoint and an open cursor.
    for (sql, lines) in [
        ("BEGIN;", &[][..]),
        ("UPDATE public.orders SET note = 'x' WHERE id = 1;", &[]),
        ("SAVEPOINT mine;", &[]),
        (
            "DECLARE walk CURSOR FOR SELECT id FROM public.orders WHERE id > 1 ORDER BY id;",
            &[],
        ),
        ("FETCH 1 FROM walk;", &["2"]),
    ] {
        expect(&mut session, sql, lines)?;
    }
    session.send(DELETE)?;
    let id = stand.daemon.wait_for_held()?;
    ensure!(&estimated(&stand, &id)?["estimated_rows"] == guess);
    stand
        .daemon
        .answer(approver, "approve", &id, "")?
        .success()?;
    expect(&mut session, "FETCH 1 FROM walk;", &["3"])?;
    expect(&mut session, "ROLLBACK TO mine;", &[])?;
    expect(&mut session, "SELECT count(*) FROM public.orders;", &["5"])?;
    expect(&mut session, "COMMIT;", &[])?;
    ensure!(
        stand
            .cluster
            .admin("SELECT note FROM public.orders WHERE id = 1")?
            == "x",
        "the transaction is lost"
    );

    // Several statements in one Query share a transaction without BEGIN.
    session.send(&format!(
        "SELECT 7\\; UPDATE public.orders SET note = 'y' WHERE id = 1\\; {DELETE}"
    ))?;
    let id = stand.daemon.wait_for_held()?;
    estimated(&stand, &id)?;
    stand
        .daemon
        .answer(approver, "approve", &id, "")?
        .success()?;
    let output = session.sync()?;
    ensure!(
        output.sqlstates().is_empty() && output.lines() == ["7"],
        "{}",
        output.all()
    );
    ensure!(
        stand
            .cluster
            .count("SELECT count(*) FROM public.orders WHERE note = 'y'")?
            == 1,
        "the batch is lost"
    );
    Ok(())
}

#[test]
fn drivers_that_bind_and_pipeline_are_told_the_same_with_and_without_a_guess() -> Result<()> {
    const PROGRAM: &str = r#"
import psycopg
conn = psycopg.connect("", autocommit=True, prepare_threshold=0)
for text, values in [
    ("DELETE FROM public.orders WHERE id = %s AND note <> %s", (1, "it's \\ $1; DROP TABLE orders")),
    ("DELETE FROM public.orders WHERE id = %s", (2,)),
    ("DELETE FROM public.orders WHERE id = %s", (3,)),
]:
    with conn.pipeline():
        first = conn.execute("SELECT 7")
        held = conn.execute(text, values)
        last = conn.execute("SELECT 8")
    print(first.fetchone()[0], held.rowcount, last.fetchone()[0], flush=True)
"#;
    let stand = stand("hold: 10m")?;
    let file = stand.job().share("pipeline.py", PROGRAM.as_bytes())?;
    let python = cordon_tests::tools::python_with_drivers()?
        .display()
        .to_string();
    let child = stand
        .job()
        .command(&[&python, &file])?
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let [approver, _] = APPROVERS;
    let mut last = String::new();
    for round in 0..3 {
        let id = eventually("the next held statement", || {
            let held = stand.daemon.held()?;
            let id = held.first().and_then(|one| one["id"].as_str());
            Ok(id.filter(|id| **id != last).map(str::to_owned))
        })?;
        if round < 2 {
            let view = estimated(&stand, &id)?;
            ensure!(view["estimated_rows"] == 1, "{view}");
        } else {
            ensure!(shown(&stand, &id)?["estimated_rows"].is_null());
        }
        if round == 1 {
            // The planner cannot be asked about the third one.
            stand
                .cluster
                .admin("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")?;
        }
        stand
            .daemon
            .answer(approver, "approve", &id, "")?
            .success()?;
        last = id;
    }
    let output = Output::from(child.wait_with_output()?);
    ensure!(
        output.lines() == ["7 1 8", "7 1 8", "7 1 8"],
        "{}",
        output.all()
    );
    Ok(())
}

#[test]
fn a_guess_that_fails_holds_nothing_up() -> Result<()> {
    let stand = stand("hold: 10m")?;
    let [approver, _] = APPROVERS;
    // The right to delete is looked at when a plan is started, not when the statement is read.
    stand
        .cluster
        .admin("REVOKE DELETE ON public.orders FROM agent_rw")?;
    let mut session = stand.job().live()?;
    expect(&mut session, "BEGIN; SELECT 7;", &["7"])?;
    session.send(DELETE)?;
    let id = stand.daemon.wait_for_held()?;
    stand
        .daemon
        .answer(approver, "approve", &id, "")?
        .success()?;
    ensure!(
        session.sync()?.sqlstates() == ["42501"],
        "the server's own refusal is lost"
    );
    ensure!(shown(&stand, &id)?["estimated_rows"].is_null());
    // Functions that could do anything are not planned before they are approved.
    stand.cluster.admin(
        "GRANT DELETE ON public.orders TO agent_rw; CREATE TABLE public.calls (at int); \
         CREATE FUNCTION public.mischief() RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
         'BEGIN PERFORM pg_catalog.set_config(''cordon.mischief'', ''done'', false); RETURN 5; END'",
    )?;
    stand.daemon.write_policy(
        &policies::SHOP
            .replace("hold: 30s", "hold: 10m")
            .replace("call: [public.order_total]", "call: [public.*]"),
    )?;
    session.query("ROLLBACK;")?;
    eventually("the policy to be in force", || {
        let output = session.query("SELECT public.mischief();")?;
        Ok(output.sqlstates().is_empty().then_some(()))
    })?;
    let mut fresh = stand.job().live()?;
    fresh.send("DELETE FROM public.orders WHERE id = public.mischief();")?;
    let id = stand.daemon.wait_for_held()?;
    deny(&stand, &id)?;
    fresh.sync()?;
    expect(
        &mut fresh,
        "SELECT current_setting('cordon.mischief', true) IS NULL;",
        &["t"],
    )?;
    Ok(())
}

#[test]
fn an_open_transaction_is_warned_of_and_held_for_a_shorter_time() -> Result<()> {
    let stand = stand("hold: 10m, hold_in_transaction: 1s")?;
    let mut session = stand.job().live()?;
    session.query("BEGIN; UPDATE public.orders SET note = 'x' WHERE id = 1;")?;
    session.send(DELETE)?;
    let hint = session.wait_for_message("keeps its locks")?;
    ensure!(hint.contains("HINT"), "{hint}");
    let output = session.sync()?;
    ensure!(
        output.sqlstates() == ["57014"] && output.stderr.contains("expired"),
        "{}",
        output.all()
    );
    session.query("ROLLBACK;")?;

    // Alone it has the full time.
    session.send(DELETE)?;
    let id = stand.daemon.wait_for_held()?;
    let view = shown(&stand, &id)?;
    ensure!(view["warnings"] == json!([]), "{view}");
    deny(&stand, &id)?;
    session.sync()?;
    let ended = stand
        .daemon
        .cli_as(APPROVERS[0], &["approvals", "list", "--all"])?
        .output()?;
    let all: Value = Output::from(ended).success()?.json()?;
    let first = all.get(0).context("nothing is listed")?;
    ensure!(
        first["state"] == "expired"
            && first["warnings"][0]
                .as_str()
                .is_some_and(|warning| warning.contains("locked")),
        "{first}"
    );
    Ok(())
}

#[test]
fn the_job_its_run_its_step_and_what_the_session_did_before_are_shown() -> Result<()> {
    let stand = stand("hold: 10m")?;
    let claims = json!({ "repository": "acme/shop", "run_id": "4242", "run_attempt": "2" });
    let mut session = stand
        .job()
        .claims(claims)
        .env("GITHUB_JOB", "migrate")
        .live()?;
    for number in 1..=6 {
        session.query(&format!("SELECT {number} AS looked;"))?;
    }
    session.send("DELETE FROM public.orders;")?;
    let id = stand.daemon.wait_for_held()?;
    let view = shown(&stand, &id)?;
    let url = format!(
        "{}/acme/shop/actions/runs/4242/attempts/2",
        stand.issuer.url()
    );
    ensure!(view["run_url"] == json!(url), "{view}");
    ensure!(view["step"] == "migrate", "{view}");
    let before: Vec<&str> = view["before"]
        .as_array()
        .context("no list")?
        .iter()
        .filter_map(|earlier| earlier["statement"].as_str())
        .collect();
    ensure!(
        before == [2, 3, 4, 5, 6].map(|n| format!("SELECT {n} AS looked")),
        "{before:?}"
    );
    ensure!(
        view["statement_number"]
            .as_u64()
            .is_some_and(|number| number > 6),
        "{view}"
    );
    ensure!(
        view["warnings"][0]
            .as_str()
            .is_some_and(|warning| warning.contains("every row"))
            && view["why"]
                .as_str()
                .is_some_and(|why| why.contains("needs approval")),
        "{view}"
    );
    deny(&stand, &id)?;
    session.sync()?;
    Ok(())
}
