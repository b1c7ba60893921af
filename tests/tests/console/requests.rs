//! Single requests: who may do what, and what comes from other sites.

use anyhow::{Context, Result, ensure};
use cordon_tests::web::{Visitor, curl};
use serde_json::{Value, json};

use crate::desk::{DELETE, Desk, error, state};

#[test]
fn changes_that_do_not_come_from_the_consoles_own_page_are_refused() -> Result<()> {
    let desk = Desk::start()?;
    let (mut session, id) = desk.held(DELETE)?;
    let alice = desk.visitor("alice")?;
    let bob = desk.visitor("bob")?;
    let (path, body) = (format!("/api/approvals/{id}"), json!({ "approve": true }));
    let origin = format!("origin: {}", desk.origin);
    let token = format!("x-cordon-csrf: {}", alice.csrf);
    let forged: [&[String]; 9] = [
        std::slice::from_ref(&origin),
        &[origin.clone(), "x-cordon-csrf: ".to_owned()],
        &[origin.clone(), format!("x-cordon-csrf: {}", "A".repeat(43))],
        &[origin.clone(), format!("x-cordon-csrf: {}", bob.csrf)],
        std::slice::from_ref(&token),
        &[token.clone(), "origin: null".to_owned()],
        &[token.clone(), "origin: http://evil.test".to_owned()],
        &[
            token.clone(),
            desk.origin.replace("http:", "origin: https:"),
        ],
        &[
            token.clone(),
            origin.clone(),
            "sec-fetch-site: cross-site".to_owned(),
        ],
    ];
    for headers in forged {
        let reply = alice.post_with(&path, &body, headers)?.expect(403)?;
        ensure!(
            error(&reply)?.contains("own page") || error(&reply)?.contains("token"),
            "{reply:?}"
        );
    }
    // A name of another site that leads here (DNS rebinding): not even to look.
    for host in ["evil.test", "localhost", ""] {
        let header = format!("host: {host}");
        let reply = curl(&[
            &format!("{}/api/me", desk.origin),
            "--cookie",
            &alice.cookie,
            "--header",
            &header,
        ])?;
        ensure!(
            (400..404).contains(&reply.status) && !reply.body.contains("csrf"),
            "{reply:?}"
        );
    }
    // Nor may other sites look, whatever the browser would do with the answer.
    let reply = curl(&[
        &format!("{}/api/me", desk.origin),
        "--cookie",
        &alice.cookie,
        "--header",
        "sec-fetch-site: same-site",
    ])?;
    reply.expect(403)?;
    ensure!(state(&alice, &id)? == "pending" && desk.rows_left()? == 1);
    alice.post(&path, &body)?.expect(200)?;
    ensure!(session.sync()?.lines() == ["5"]);
    let again = alice.post(&path, &body)?.expect(409)?;
    ensure!(error(&again)?.contains("not open any more"), "{again:?}");
    Ok(())
}

#[test]
fn only_approvers_answer_never_their_own_job_and_every_attempt_is_on_record() -> Result<()> {
    let desk = Desk::start()?;
    let mut session = desk.stand.job().claims(json!({ "actor": "Octo" })).live()?;
    session.send(DELETE)?;
    let id = desk.stand.daemon.wait_for_held()?;
    let path = format!("/api/approvals/{id}");
    for (name, needle) in [
        ("victor", "may not answer"),
        ("olga", "may not answer"),
        ("octo", "somebody else must"),
    ] {
        let visitor = desk.visitor(name)?;
        for approve in [true, false] {
            let reply = visitor
                .post(&path, &json!({ "approve": approve }))?
                .expect(403)?;
            ensure!(error(&reply)?.contains(needle), "{name}: {reply:?}");
        }
    }
    let alice = desk.visitor("alice")?;
    ensure!(state(&alice, &id)? == "pending");
    for body in [
        json!({}),
        json!({ "approve": "yes" }),
        json!({ "approve": true, "as": "bob" }),
    ] {
        alice.post(&path, &body)?.expect(400)?;
    }
    let long = json!({ "approve": true, "reason": "x".repeat(5_000) });
    alice.post(&path, &long)?.expect(400)?;
    let huge = json!({ "approve": true, "reason": "x".repeat(400_000) });
    alice.post(&path, &huge)?.expect(413)?;
    alice
        .post(&path, &json!({ "approve": true, "reason": "agreed" }))?
        .expect(200)?;
    ensure!(session.sync()?.lines() == ["5"]);
    let evidence = desk.stand.daemon.evidence_text()?;
    for needed in [
        r#""type":"approval-refused""#,
        "id-of-victor",
        "id-of-octo",
        r#""by":"alice""#,
        "id-of-alice",
    ] {
        ensure!(evidence.contains(needed), "{needed} is not on record");
    }
    desk.stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn each_role_sees_what_is_for_it() -> Result<()> {
    let desk = Desk::start()?;
    let output = desk
        .stand
        .job()
        .sql("SELECT id, email FROM public.customers ORDER BY id LIMIT 1")?;
    output.success()?;
    desk.stand
        .job()
        .sql("SELECT * FROM public.secrets")?
        .refused_with("42501")?;
    let (victor, olga) = (desk.visitor("victor")?, desk.visitor("olga")?);
    for path in ["/api/me", "/api/status", "/api/sessions"] {
        victor.get(path)?.expect(200)?;
        olga.get(path)?.expect(200)?;
    }
    let sessions = olga.get("/api/sessions")?.json()?;
    let of = |index: usize| {
        sessions["sessions"][index]["session"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let session = format!("/api/sessions/{}", of(0));
    for path in [
        session.as_str(),
        "/api/sessions?text=secrets",
        "/api/jobs",
        "/api/refusals",
        "/api/explain",
        "/api/evidence",
    ] {
        victor.get(path)?.expect(403)?;
        olga.get(path)?.expect(200)?;
    }
    victor
        .post("/api/evidence/verify", &json!({}))?
        .expect(403)?;

    let count = |query: &str| -> Result<u64> {
        let reply = olga.get(&format!("/api/sessions?{query}"))?.json()?;
        Ok(reply["found"].as_u64().unwrap_or(u64::MAX))
    };
    ensure!(count("")? == 2 && count("with=denied")? == 1 && count("with=masked")? == 1);
    ensure!(
        count("text=CUSTOMERS")? == 1 && count("q=psql+shop")? == 2 && count("q=nothing")? == 0
    );
    let refusals = olga.get("/api/refusals?kind=statement&q=secrets")?.json()?;
    ensure!(
        refusals["found"] == 1 && refusals["refusals"][0]["session"] == of(0).as_str(),
        "{refusals}"
    );

    let replay = olga.get(&format!("/api/sessions/{}", of(1)))?.json()?;
    let step = replay["statements"]
        .as_array()
        .and_then(|steps| steps.last())
        .context("no statements")?;
    ensure!(
        step["verdict"] == "allow"
            && step["rows"] == 1
            && step["cells_masked"] == 1
            && step["outcome"] == "ok",
        "{replay}"
    );
    olga.get("/api/sessions/ses-of-nobody")?.expect(404)?;

    // The check of the evidence goes on by itself.
    olga.post("/api/evidence/verify", &json!({}))?.expect(200)?;
    let done = cordon_tests::host::eventually("the check to end", || {
        let state = olga.get("/api/evidence")?.json()?;
        Ok((state["verification"]["is"] == "done").then_some(state))
    })?;
    ensure!(
        done["verification"]["ok"] == true
            && done["verification"]["by"] == "olga"
            && done["bytes"].as_u64() > Some(1_000)
            && done["entries"].as_u64() > Some(5),
        "{done}"
    );
    // What is downloaded is what the verifier takes, byte for byte.
    let note = olga.get("/api/evidence/checkpoint")?.expect(200)?;
    ensure!(
        note.header("content-disposition")?
            .starts_with("attachment")
    );
    let file = desk
        .stand
        .daemon
        .scratch()
        .share("checkpoint", note.body.as_bytes())?;
    let (dir, file) = (desk.stand.daemon.evidence_dir(), file.display().to_string());
    let dir = dir.display().to_string();
    let args = ["evidence", "verify", "--dir", &dir, "--checkpoint", &file];
    cordon_tests::Output::from(desk.stand.daemon.cli(&args).output()?).success()?;
    victor.get("/api/evidence/checkpoint")?.expect(403)?;
    Ok(())
}

#[test]
fn the_console_explains_as_the_command_line_does() -> Result<()> {
    let desk = Desk::shared()?;
    let olga = desk.visitor("olga")?;
    let claims = json!({ "repository_id": "123456", "ref": "refs/heads/main" });
    let sql = "SELECT id, email FROM public.customers; DELETE FROM public.orders WHERE id = 5; SELECT * FROM public.secrets; SELEC 1";
    let asked = json!({ "sql": sql, "database": "shop", "issuer": "test", "claims": claims });
    let ours = olga.post("/api/explain", &asked)?.expect(200)?.json()?;
    let output = desk
        .stand
        .daemon
        .cli(&[
            "policy",
            "explain",
            "--json",
            "--database",
            "shop",
            "--issuer",
            "test",
            "--claim",
            "repository_id=123456",
            "--claim",
            "ref=refs/heads/main",
            "--config",
            &desk.stand.daemon.config().display().to_string(),
            sql,
        ])
        .output()?;
    let theirs: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(
        ours["statements"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
            && ours["statements"] == theirs["statements"]
            && ours["verdict"] == theirs["verdict"]
            && ours["grants"] == theirs["grants"]
            && ours["limits"] == theirs["limits"],
        "{ours}\n{theirs}"
    );
    // A job that ran, and one that never was.
    desk.stand.job().sql("SELECT 1")?.success()?;
    let subjects = olga.get("/api/explain")?.json()?;
    let job = subjects["jobs"][0]["id"].clone();
    let asked =
        json!({ "sql": "SELECT email FROM public.customers", "database": "shop", "job": job });
    let answer = olga.post("/api/explain", &asked)?.expect(200)?.json()?;
    ensure!(
        answer["verdict"] == "allow" && answer["statements"][0]["output"][0]["mask"] == "partial",
        "{answer}"
    );
    let unknown = json!({ "sql": "SELECT 1", "database": "shop", "job": "job-none" });
    olga.post("/api/explain", &unknown)?.expect(404)?;
    let empty = json!({ "sql": "-- nothing", "database": "shop", "job": job });
    olga.post("/api/explain", &empty)?.expect(400)?;
    let stranger = json!({ "sql": "SELECT 1", "database": "shop", "issuer": "test" });
    let refused = olga.post("/api/explain", &stranger)?.expect(200)?.json()?;
    ensure!(
        refused["verdict"] == "deny" && refused["refused"].is_object(),
        "{refused}"
    );
    Ok(())
}

#[test]
fn every_answer_tells_the_browser_what_it_may_do_with_it() -> Result<()> {
    let desk = Desk::shared()?;
    let alice = desk.visitor("alice")?;
    let none = Visitor {
        cookie: "a=b".to_owned(),
        ..alice.clone()
    };
    for reply in [
        alice.get("/")?,
        none.get("/")?,
        alice.get("/api/me")?,
        none.get("/api/me")?,
        alice.get("/nothing")?,
        none.get("/login")?,
    ] {
        let policy = reply.header("content-security-policy")?;
        for needed in [
            "default-src 'none'",
            "script-src 'sha256-",
            "style-src 'sha256-",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        ] {
            ensure!(policy.contains(needed), "{needed}: {policy}");
        }
        ensure!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            ensure!(reply.header(name)? == value, "{name}: {reply:?}");
        }
        ensure!(!reply.headers.contains_key("access-control-allow-origin"));
    }
    let head = curl(&[
        &format!("{}/", desk.origin),
        "--header",
        &format!("x-long: {}", "x".repeat(60_000)),
    ])?;
    ensure!(head.status == 431, "{head:?}");
    Ok(())
}
