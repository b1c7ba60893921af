//! Statements that are refused until they are approved (`on_hold: refuse`), and EVASIONS F12 for
//! them: what was approved runs once, and nothing else does.

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Agent, Output, Setup, Stand, Told, daemon::APPROVERS, host::eventually, policies,
};
use serde_json::{Value, json};

const DELETE: &str = "DELETE FROM public.orders WHERE id = %s";

/// The shop, with deletes refused until they are approved.
fn setup(limits: &str) -> Setup {
    let policy = policies::SHOP.replace("hold: 30s", limits).replacen(
        "        by: { group: dba, count: 1 }",
        "        by: { group: dba, count: 1 }\n        on_hold: refuse",
        1,
    );
    Setup {
        policy,
        ..Setup::default()
    }
}

fn stand() -> Result<Stand> {
    Stand::start(&setup("hold: 10m"))
}

fn approve(stand: &Stand, id: &str) -> Result<()> {
    let [approver, _] = APPROVERS;
    stand
        .daemon
        .answer(approver, "approve", id, "agreed")?
        .success()
        .map(drop)
}

/// A request as an approver sees it.
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

fn orders(stand: &Stand) -> Result<i64> {
    Ok(i64::try_from(
        stand.cluster.count("SELECT count(*) FROM public.orders")?,
    )?)
}

/// Sends a statement that is refused, and has it approved.
fn approved(stand: &Stand, agent: &mut Agent, id: i64) -> Result<String> {
    let request = agent.send("a", DELETE, &[json!(id)])?.approval()?;
    approve(stand, &request)?;
    Ok(request)
}

#[test]
fn it_is_refused_at_once_runs_once_when_it_is_sent_again_and_tells_its_state() -> Result<()> {
    let stand = stand()?;
    let mut agent = Agent::start(&stand.job())?;
    let refused = agent.send("a", DELETE, &[json!(5)])?;
    let id = refused.approval()?;
    let Told::Failed { text, .. } = &refused else {
        unreachable!("it has an id")
    };
    ensure!(
        text.contains("cordon approvals status") && text.contains("1 of group dba"),
        "{text}"
    );
    // The connection lives on, and asking again asks nobody twice.
    ensure!(agent.send("a", "SELECT 1", &[])? == Told::Ran(1));
    ensure!(agent.send("a", DELETE, &[json!(5)])?.approval()? == id);
    ensure!(stand.daemon.held()?.len() == 1, "it is asked about twice");
    ensure!(shown(&stand, &id)?["on_hold"] == "refuse");

    let cordon = stand.daemon.scratch().path().join("cordon");
    let (cordon, control) = (
        cordon.display().to_string(),
        stand.daemon.control().display().to_string(),
    );
    let status = |agent: &mut Agent, id: &str| -> Result<Value> {
        let argv = [
            cordon.as_str(),
            "approvals",
            "status",
            id,
            "--json",
            "--control",
            &control,
        ];
        let (code, text) = agent.command(&argv)?;
        ensure!(code == 0, "{text}");
        serde_json::from_str(&text).with_context(|| text.clone())
    };
    ensure!(status(&mut agent, &id)?["state"] == "pending");
    approve(&stand, &id)?;
    let told = status(&mut agent, &id)?;
    ensure!(
        told["state"] == "approved"
            && told["used"].is_null()
            && told["next"]
                .as_str()
                .is_some_and(|next| next.contains("again, once")),
        "{told}"
    );
    ensure!(orders(&stand)? == 5, "it ran before it was sent again");

    // Over another connection of the job, too.
    ensure!(agent.send("b", DELETE, &[json!(5)])? == Told::Ran(1));
    ensure!(orders(&stand)? == 4);
    ensure!(!status(&mut agent, &id)?["used"].is_null());
    let second = agent.send("b", DELETE, &[json!(5)])?.approval()?;
    ensure!(second != id, "an approval was used twice");

    // Other jobs learn nothing of it.
    let mut other = Agent::start(&stand.job())?;
    let argv = [&cordon, "approvals", "status", &id, "--control", &control];
    let (code, text) = other.command(&argv)?;
    ensure!(code != 0 && !text.contains("public.orders"), "{text}");
    let argv = [&cordon, "approvals", "show", &id, "--control", &control];
    let (code, text) = agent.command(&argv)?;
    ensure!(code != 0, "a job may read its status only: {text}");
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn f12_other_parameters_are_another_request() -> Result<()> {
    let stand = stand()?;
    let mut agent = Agent::start(&stand.job())?;
    let id = approved(&stand, &mut agent, 5)?;
    ensure!(agent.send("a", DELETE, &[json!(4)])?.approval()? != id);
    // The same to look at, but of another type.
    let by_note = "DELETE FROM public.orders WHERE note = %s::text";
    let text = agent.send("a", by_note, &[json!("5")])?.approval()?;
    approve(&stand, &text)?;
    ensure!(agent.send("a", by_note, &[json!(5)])?.approval()? != text);
    // Nor is another text with the same effect.
    let spaced = "DELETE  FROM public.orders WHERE id = %s";
    ensure!(agent.send("a", spaced, &[json!(5)])?.approval()? != id);
    ensure!(orders(&stand)? == 5, "something ran that was not approved");
    ensure!(agent.send("a", DELETE, &[json!(5)])? == Told::Ran(1));
    Ok(())
}

#[test]
fn f12_another_search_path_is_another_request() -> Result<()> {
    let stand = stand()?;
    let mut agent = Agent::start(&stand.job())?;
    let unqualified = "DELETE FROM orders WHERE id = %s";
    let id = agent.send("a", unqualified, &[json!(5)])?.approval()?;
    approve(&stand, &id)?;
    agent.send("a", "SET search_path = public, information_schema", &[])?;
    ensure!(agent.send("a", unqualified, &[json!(5)])?.approval()? != id);
    ensure!(orders(&stand)? == 5, "it ran under another search path");
    ensure!(agent.send("b", unqualified, &[json!(5)])? == Told::Ran(1));
    Ok(())
}

#[test]
fn f12_a_changed_schema_is_another_request() -> Result<()> {
    let stand = stand()?;
    let mut agent = Agent::start(&stand.job())?;
    let id = approved(&stand, &mut agent, 5)?;
    stand
        .cluster
        .admin("ALTER TABLE public.orders ADD COLUMN priority integer")?;
    // Noticed before or as it is about to run: in either case the approval is not used.
    let again = agent.send("a", DELETE, &[json!(5)])?;
    ensure!(!matches!(again, Told::Ran(_)), "{again:?}");
    ensure!(agent.send("a", DELETE, &[json!(5)])?.approval()? != id);
    ensure!(shown(&stand, &id)?["used"].is_null());
    ensure!(orders(&stand)? == 5, "it ran with another meaning");
    Ok(())
}

#[test]
fn f12_and_r5_an_approval_is_for_its_job_and_ends_with_it() -> Result<()> {
    let stand = stand()?;
    let mut agent = Agent::start(&stand.job())?;
    let id = approved(&stand, &mut agent, 5)?;
    let mut other = Agent::start(&stand.job())?;
    ensure!(other.send("a", DELETE, &[json!(5)])?.approval()? != id);
    ensure!(shown(&stand, &id)?["state"] == "approved");
    // The client goes away between approval and execution: only its job's end ends the approval.
    agent.close("a")?;
    ensure!(shown(&stand, &id)?["state"] == "approved");
    agent.finish()?;
    eventually("the approval to end with its job", || {
        let view = shown(&stand, &id)?;
        Ok((view["state"] == "withdrawn").then_some(()))
    })?;
    ensure!(other.send("a", DELETE, &[json!(5)])?.approval()? != id);
    ensure!(orders(&stand)? == 5, "it ran after its job had ended");
    ensure!(
        stand.daemon.evidence_text()?.contains("the job has ended"),
        "the evidence does not tell"
    );
    Ok(())
}

#[test]
fn f12_an_approval_that_is_not_used_in_time_is_gone() -> Result<()> {
    let stand = Stand::start(&setup("hold: 2s"))?;
    let mut agent = Agent::start(&stand.job())?;
    let id = approved(&stand, &mut agent, 5)?;
    eventually("the approval to expire", || {
        let view = shown(&stand, &id)?;
        Ok((view["state"] == "expired").then_some(()))
    })?;
    ensure!(agent.send("a", DELETE, &[json!(5)])?.approval()? != id);
    ensure!(orders(&stand)? == 5, "it ran after its time");
    Ok(())
}

#[test]
fn f12_of_two_connections_that_send_it_at_once_one_runs_it() -> Result<()> {
    let stand = stand()?;
    let program = r#"
import sys, threading, psycopg
connections = [psycopg.connect("", autocommit=True, prepare_threshold=None) for _ in range(8)]
sql = "UPDATE public.orders SET total = total + 1 WHERE id = 5"
def send(connection, barrier, seen):
    barrier.wait()
    try:
        seen.append(str(connection.execute(sql).rowcount))
    except psycopg.Error as error:
        seen.append(error.sqlstate)
def storm():
    barrier, seen = threading.Barrier(8), []
    threads = [threading.Thread(target=send, args=(c, barrier, seen)) for c in connections]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return sorted(seen)
try:
    connections[0].execute(sql)
except psycopg.Error as error:
    print(error.diag.message_primary, flush=True)
sys.stdin.readline()
print(",".join(storm()), flush=True)
"#;
    let policy = setup("hold: 10m").policy.replacen(
        "    approve:\n",
        "    approve:\n      - update: public.orders (total)\n        by: { group: dba }\n        on_hold: refuse\n",
        1,
    );
    stand.daemon.write_policy(&policy)?;
    let file = stand
        .daemon
        .scratch()
        .share("storm.py", program.as_bytes())?
        .display()
        .to_string();
    let python = cordon_tests::tools::python_with_drivers()?
        .display()
        .to_string();
    let before = stand
        .cluster
        .admin("SELECT total FROM public.orders WHERE id = 5")?;
    let mut child = eventually("the policy to be in force", || {
        let mut child = stand
            .job()
            .command(&[&python, &file])?
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let mut out = std::io::BufReader::new(child.stdout.take().context("no stdout")?);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line)?;
        if line.contains("apr-") {
            return Ok(Some((child, out, line)));
        }
        child.kill()?;
        child.wait()?;
        Ok(None)
    })?;
    let (child, out, line) = (&mut child.0, &mut child.1, &child.2);
    let at = line.find("apr-").context("no id")?;
    approve(&stand, line.get(at..at + 16).context("no id")?)?;
    std::io::Write::write_all(&mut child.stdin.take().context("no stdin")?, b"go\n")?;
    let mut seen = String::new();
    std::io::BufRead::read_line(out, &mut seen)?;
    child.wait()?;
    let ran = seen.trim().split(',').filter(|one| *one == "1").count();
    let refused = seen.trim().split(',').filter(|one| *one == "57014").count();
    ensure!((ran, refused) == (1, 7), "{seen}");
    let after = stand
        .cluster
        .admin("SELECT total FROM public.orders WHERE id = 5")?;
    ensure!(
        after
            == stand
                .cluster
                .admin(&format!("SELECT {before}::numeric(10, 2) + 1"))?,
        "{before} became {after}"
    );
    Ok(())
}

#[test]
fn in_a_transaction_it_is_sent_again_with_what_belongs_to_it() -> Result<()> {
    let stand = stand()?;
    let mut agent = Agent::start(&stand.job())?;
    let note = "UPDATE public.orders SET note = 'gone' WHERE id = 4";
    for sql in ["BEGIN", note] {
        ensure!(matches!(agent.send("a", sql, &[])?, Told::Ran(_)), "{sql}");
    }
    let id = agent.send("a", DELETE, &[json!(5)])?.approval()?;
    let after = agent.send("a", "SELECT 1", &[])?;
    ensure!(
        matches!(&after, Told::Failed { sqlstate, .. } if sqlstate == "25P02"),
        "{after:?}"
    );
    agent.send("a", "ROLLBACK", &[])?;
    approve(&stand, &id)?;
    for sql in ["BEGIN", note] {
        agent.send("a", sql, &[])?;
    }
    ensure!(agent.send("a", DELETE, &[json!(5)])? == Told::Ran(1));
    agent.send("a", "COMMIT", &[])?;
    ensure!(orders(&stand)? == 4);
    Ok(())
}

#[test]
fn the_daemon_killed_between_approval_and_execution_runs_nothing_and_the_evidence_tells()
-> Result<()> {
    let mut stand = stand()?;
    let mut agent = Agent::start(&stand.job())?;
    let id = approved(&stand, &mut agent, 5)?;
    let waiting = agent.send("a", DELETE, &[json!(4)])?.approval()?;
    stand.daemon.kill()?;
    stand.daemon.restart()?;
    ensure!(stand.daemon.held()?.is_empty(), "something still waits");
    let view = shown(&stand, &id)?;
    ensure!(
        view["state"] == "withdrawn"
            && view["used"].is_null()
            && view["approved_by"] == json!([APPROVERS[0]])
            && view["ended_because"]
                .as_str()
                .is_some_and(|why| why.contains("before the approved statement ran")),
        "{view}"
    );
    ensure!(shown(&stand, &waiting)?["state"] == "withdrawn");
    let mut again = Agent::start(&stand.job())?;
    ensure!(again.send("a", DELETE, &[json!(5)])?.approval()? != id);
    ensure!(orders(&stand)? == 5, "it ran after all");
    ensure!(
        stand
            .daemon
            .evidence_text()?
            .contains("before the approved statement ran"),
        "the evidence does not tell"
    );
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}
