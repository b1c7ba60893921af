//! Held statements: who is told, who may answer, and that each runs once or not at all.

use anyhow::{Context, Result, ensure};
use cordon_tests::{LivePsql, Setup, Stand, daemon::APPROVERS, host::eventually, output, policies};

const DELETE: &str = "DELETE FROM public.orders WHERE id = 5 RETURNING id;";
const LEFT: &str = "SELECT count(*) FROM public.orders WHERE id = 5";

/// A stand whose held statements wait as long as the test needs.
fn patient() -> Result<Stand> {
    Stand::start(&Setup {
        policy: policies::SHOP.replace("hold: 30s", "hold: 10m"),
        ..Setup::default()
    })
}

/// Sends a statement that is held; gives the session and the approval's id.
fn held(stand: &Stand, sql: &str) -> Result<(LivePsql, String)> {
    let mut session = stand.job().live()?;
    session.send(sql)?;
    let id = stand.daemon.wait_for_held()?;
    Ok((session, id))
}

fn runs_of(stand: &Stand, needle: &str) -> Result<usize> {
    Ok(stand
        .cluster
        .statements()?
        .iter()
        .filter(|sql| sql.contains(needle))
        .count())
}

#[test]
fn a_held_statement_is_announced_runs_once_when_approved_and_the_session_goes_on() -> Result<()> {
    let stand = patient()?;
    let (mut session, id) = held(&stand, DELETE)?;
    let notice = session.wait_for_message(&id)?;
    ensure!(notice.contains("NOTICE"), "{notice}");
    ensure!(
        stand.cluster.count(LEFT)? == 1,
        "it ran before it was approved"
    );
    ensure!(
        runs_of(&stand, "DELETE FROM public.orders")? == 0,
        "it reached the database before it was approved"
    );

    let [approver, _] = APPROVERS;
    stand
        .daemon
        .answer(approver, "approve", &id, "agreed in the change meeting")?
        .success()?;
    let output = session.sync()?;
    ensure!(
        output.sqlstates().is_empty() && output.lines() == ["5"],
        "{}",
        output.all()
    );
    ensure!(stand.cluster.count(LEFT)? == 0, "it did not run");
    ensure!(
        runs_of(&stand, "DELETE FROM public.orders")? == 1,
        "it did not run exactly once"
    );
    ensure!(
        session
            .query("SELECT count(*) FROM public.orders;")?
            .lines()
            == ["4"],
        "the session is lost"
    );

    // The approval is used up: the same text again is held again.
    session.send("DELETE FROM public.orders WHERE id = 5 RETURNING id;")?;
    let second = stand.daemon.wait_for_held()?;
    ensure!(second != id, "an approval was used twice");
    stand
        .daemon
        .answer(approver, "deny", &second, "")?
        .success()?;
    ensure!(
        session.sync()?.sqlstates() == ["57014"],
        "the second one was not denied"
    );
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn what_the_approver_sees_is_the_whole_statement_with_its_effects_and_requester() -> Result<()> {
    let stand = patient()?;
    let sql = format!(
        "DELETE FROM public.orders WHERE id = 5 /* {} end-of-comment */;",
        "long ".repeat(500)
    );
    let (session, id) = held(&stand, &sql)?;
    let [approver, _] = APPROVERS;
    let shown = cordon_tests::Output::from(
        stand
            .daemon
            .cli_as(approver, &["approvals", "show", &id])?
            .output()?,
    )
    .success()?;
    for needed in [
        "end-of-comment",
        "public.orders",
        "delete",
        "repo:acme/shop",
        "psql",
        "agent-shop",
        "dba",
    ] {
        ensure!(
            shown.stdout.contains(needed),
            "`{needed}` is not shown: {}",
            shown.all()
        );
    }
    session.kill()?;
    Ok(())
}

#[test]
fn a_denied_statement_is_refused_with_the_reason() -> Result<()> {
    let stand = patient()?;
    let (mut session, id) = held(&stand, DELETE)?;
    let [approver, _] = APPROVERS;
    stand
        .daemon
        .answer(approver, "deny", &id, "order five is disputed")?
        .success()?;
    let output = session.sync()?.refused_with("57014")?;
    ensure!(
        output.stderr.contains("order five is disputed"),
        "{}",
        output.all()
    );
    ensure!(
        stand.cluster.count(LEFT)? == 1 && runs_of(&stand, "DELETE FROM")? == 0,
        "it ran"
    );
    Ok(())
}

#[test]
fn inside_a_transaction_a_denied_statement_aborts_it() -> Result<()> {
    let stand = patient()?;
    let mut session = stand.job().live()?;
    session.query("BEGIN; UPDATE public.orders SET note = 'x' WHERE id = 1;")?;
    session.send(DELETE)?;
    let id = stand.daemon.wait_for_held()?;
    let [approver, _] = APPROVERS;
    stand.daemon.answer(approver, "deny", &id, "")?.success()?;
    ensure!(session.sync()?.sqlstates() == ["57014"], "not denied");
    ensure!(
        session.query("SELECT 1;")?.sqlstates() == ["25P02"],
        "the transaction is not aborted"
    );
    ensure!(
        session.query("ROLLBACK;")?.sqlstates().is_empty(),
        "it cannot be rolled back"
    );
    ensure!(
        stand
            .cluster
            .admin("SELECT note FROM public.orders WHERE id = 1")?
            == "gift wrap",
        "a change survived"
    );
    Ok(())
}

#[test]
fn a_statement_that_nobody_answers_expires() -> Result<()> {
    let stand = Stand::with_policy(policies::SHORT_HOLD)?;
    let mut session = stand.job().live()?;
    let output = session.query(DELETE)?.refused_with("57014")?;
    ensure!(output.stderr.contains("expired"), "{}", output.all());
    ensure!(stand.cluster.count(LEFT)? == 1, "it ran");
    ensure!(stand.daemon.held()?.is_empty(), "it still waits");
    Ok(())
}

#[test]
fn a_cancel_withdraws_a_held_statement() -> Result<()> {
    let stand = patient()?;
    let (session, id) = held(&stand, DELETE)?;
    session.interrupt()?;
    let output = session.finish()?;
    ensure!(
        output::sqlstates(&output.stderr) == ["57014"],
        "{}",
        output.all()
    );
    withdrawn(&stand, &id)
}

#[test]
fn a_disconnect_withdraws_a_held_statement() -> Result<()> {
    let stand = patient()?;
    let (session, id) = held(&stand, DELETE)?;
    session.kill()?;
    withdrawn(&stand, &id)
}

#[test]
fn the_end_of_the_job_withdraws_a_held_statement() -> Result<()> {
    let stand = patient()?;
    let (_session, id) = held(&stand, DELETE)?;
    let list =
        cordon_tests::Output::from(stand.daemon.cli(&["job", "status"]).output()?).success()?;
    let job = list
        .stdout
        .split('"')
        .find(|word| word.starts_with("job-"))
        .context("no job is listed")?
        .to_owned();
    cordon_tests::Output::from(stand.daemon.cli(&["job", "end", &job]).output()?).success()?;
    withdrawn(&stand, &id)
}

/// Nothing waits, an approval comes too late, and the statement never ran.
fn withdrawn(stand: &Stand, id: &str) -> Result<()> {
    eventually("the held statement to be withdrawn", || {
        Ok(stand.daemon.held()?.is_empty().then_some(()))
    })?;
    let [approver, _] = APPROVERS;
    let late = stand.daemon.answer(approver, "approve", id, "")?;
    ensure!(
        late.code != Some(0),
        "a withdrawn statement could be approved: {}",
        late.all()
    );
    ensure!(
        stand.cluster.count(LEFT)? == 1 && runs_of(stand, "DELETE FROM")? == 0,
        "it ran"
    );
    Ok(())
}

#[test]
fn only_a_listed_approver_outside_of_the_job_may_answer() -> Result<()> {
    let mut setup = Setup {
        policy: policies::SHOP.replace("hold: 30s", "hold: 10m"),
        ..Setup::default()
    };
    // The job's own user is listed: being inside of a job must be enough to be refused.
    setup.approvers.push("nobody".to_owned());
    let stand = Stand::start(&setup)?;
    let (mut session, id) = held(&stand, DELETE)?;

    for user in ["daemon", "root"] {
        let output = stand.daemon.answer(user, "approve", &id, "")?;
        ensure!(
            output.code != Some(0),
            "{user} is no approver: {}",
            output.all()
        );
    }
    let cordon = stand
        .daemon
        .scratch()
        .path()
        .join("cordon")
        .display()
        .to_string();
    let control = stand.daemon.control().display().to_string();
    let inside = stand
        .job()
        .run(&[&cordon, "approvals", "approve", &id, "--control", &control])?;
    ensure!(inside.code != Some(0), "a job approved: {}", inside.all());
    // The user who asks is the requester, in a job or not.
    let requester = stand.daemon.answer("nobody", "approve", &id, "")?;
    ensure!(
        requester.code != Some(0),
        "the requester approved: {}",
        requester.all()
    );
    ensure!(
        stand.daemon.held()?.len() == 1 && stand.cluster.count(LEFT)? == 1,
        "it is not held any more"
    );

    let [approver, _] = APPROVERS;
    stand
        .daemon
        .answer(approver, "approve", &id, "")?
        .success()?;
    ensure!(
        session.sync()?.lines() == ["5"],
        "the approved statement did not run"
    );
    Ok(())
}

#[test]
fn two_different_people_are_needed_where_the_policy_says_two() -> Result<()> {
    let stand = patient()?;
    let (mut session, id) = held(&stand, "DROP TABLE public.owned_other;")?;
    let [one, two] = APPROVERS;
    stand.daemon.answer(one, "approve", &id, "")?.success()?;
    let again = stand.daemon.answer(one, "approve", &id, "")?;
    let exists = "SELECT count(*) FROM pg_class WHERE relname = 'owned_other'";
    ensure!(
        stand.daemon.held()?.len() == 1 && stand.cluster.count(exists)? == 1,
        "one person was enough: {}",
        again.all()
    );
    stand.daemon.answer(two, "approve", &id, "")?.success()?;
    ensure!(
        session.sync()?.sqlstates().is_empty(),
        "the approved statement failed"
    );
    ensure!(stand.cluster.count(exists)? == 0, "it did not run");
    Ok(())
}

/// F12: the statement that runs is the one that was approved, with its parameters.
#[test]
fn an_approval_covers_one_execution_of_one_statement_with_its_parameters() -> Result<()> {
    const PROGRAM: &str = r#"
import psycopg
conn = psycopg.connect("", autocommit=True, prepare_threshold=0)
for order in (4, 5):
    try:
        print(order, conn.execute("DELETE FROM public.orders WHERE id = %s", (order,)).rowcount, flush=True)
    except psycopg.Error as error:
        print(order, error.sqlstate, flush=True)
"#;
    let stand = patient()?;
    let file = stand
        .daemon
        .scratch()
        .share("twice.py", PROGRAM.as_bytes())?;
    let python = cordon_tests::tools::python_with_drivers()?
        .display()
        .to_string();
    let child = stand
        .job()
        .command(&[&python, &file.display().to_string()])?
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let [approver, _] = APPROVERS;
    let first = stand.daemon.wait_for_held()?;
    stand
        .daemon
        .answer(approver, "approve", &first, "")?
        .success()?;
    let second = eventually("the second execution to be held", || {
        let held = stand.daemon.held()?;
        Ok(held
            .first()
            .and_then(|object| object["id"].as_str())
            .filter(|id| *id != first)
            .map(str::to_owned))
    })?;
    let shown = cordon_tests::Output::from(
        stand
            .daemon
            .cli_as(approver, &["approvals", "show", &second])?
            .output()?,
    )
    .success()?;
    ensure!(
        shown.stdout.contains("\"5\"") || shown.stdout.contains("\\\\x00000005"),
        "its parameter is not shown: {}",
        shown.all()
    );
    stand
        .daemon
        .answer(approver, "deny", &second, "")?
        .success()?;
    let output = cordon_tests::Output::from(child.wait_with_output()?);
    ensure!(output.lines() == ["4 1", "5 57014"], "{}", output.all());
    Ok(())
}

#[test]
fn two_rules_that_name_two_groups_must_both_be_met() -> Result<()> {
    let [dba, security] = APPROVERS;
    // What a delete of an order takes along is held for others than the order itself.
    let policy = policies::SHOP
        .replace("hold: 30s", "hold: 10m")
        .replace(
            "- delete: [public.orders, public.order_items, public.order_notes]\n        by: { group: dba, count: 1 }",
            "- delete: public.orders\n        by: { group: dba }\n      - delete: [public.order_items, public.order_notes]\n        by: { group: security }",
        );
    ensure!(policy.contains("security"), "the fixture has changed");
    let stand = Stand::start(&Setup {
        policy,
        approvers: vec![dba.to_owned()],
        security: vec![security.to_owned()],
        ..Setup::default()
    })?;
    let (mut session, id) = held(&stand, DELETE)?;
    let notice = session.wait_for_message(&id)?;
    ensure!(
        notice.contains("1 of group dba and 1 of group security"),
        "{notice}"
    );
    let first = stand.daemon.answer(dba, "approve", &id, "")?.success()?;
    ensure!(
        first.stdout.contains("pending") && stand.cluster.count(LEFT)? == 1,
        "one group was enough: {}",
        first.all()
    );
    let twice = stand.daemon.answer(dba, "approve", &id, "")?;
    ensure!(twice.code != Some(0), "one person approved twice");
    let shown = cordon_tests::Output::from(
        stand
            .daemon
            .cli_as(security, &["approvals", "show", &id])?
            .output()?,
    )
    .success()?;
    let shown: serde_json::Value = shown.json()?;
    let needs = serde_json::json!([
        { "group": "dba", "count": 1, "approved": 1 },
        { "group": "security", "count": 1, "approved": 0 },
    ]);
    ensure!(shown["needs"] == needs, "{shown}");
    stand
        .daemon
        .answer(security, "approve", &id, "")?
        .success()?;
    let output = session.sync()?;
    ensure!(
        output.sqlstates().is_empty() && output.lines() == ["5"],
        "{}",
        output.all()
    );
    // Either of them may deny.
    session.send("DELETE FROM public.orders WHERE id = 4;")?;
    let second = stand.daemon.wait_for_held()?;
    stand
        .daemon
        .answer(security, "deny", &second, "")?
        .success()?;
    ensure!(session.sync()?.sqlstates() == ["57014"], "not denied");
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}
