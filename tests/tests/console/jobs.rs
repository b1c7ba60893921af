//! A process in a job gets nothing from the console, and can never approve.

use anyhow::{Result, ensure};
use cordon_tests::{
    Output,
    web::{CURL, Reply, Visitor, curl},
};
use serde_json::json;

use crate::desk::{DELETE, Desk, start};

/// A request from inside of a job that runs as this user.
fn from_job(stand: &cordon_tests::Stand, user: &str, args: &[&str]) -> Result<Reply> {
    let mut argv = CURL.to_vec();
    argv.extend(args);
    let output: Output = stand.job().user(user).run(&argv)?;
    Reply::parse(&output.success()?.stdout)
}

#[test]
fn h10_a_process_in_a_job_gets_nothing_over_tcp_not_even_with_an_approvers_cookie() -> Result<()> {
    let desk = Desk::start()?;
    let (session, id) = desk.held(DELETE)?;
    let alice = desk.visitor("alice")?;
    for path in [
        "/",
        "/login",
        "/callback?code=a&state=b",
        "/api/me",
        "/api/events",
    ] {
        for stolen in [false, true] {
            let url = format!("{}{path}", desk.origin);
            let mut args = vec![url.as_str()];
            if stolen {
                args.extend(["--cookie", &alice.cookie]);
            }
            let reply = from_job(&desk.stand, "nobody", &args)?.expect(403)?;
            ensure!(
                reply.body.contains("inside of a job") && reply.body.len() < 300,
                "{path}: {reply:?}"
            );
        }
    }
    let url = format!("{}/api/approvals/{id}", desk.origin);
    let approve = from_job(
        &desk.stand,
        "nobody",
        &[
            &url,
            "--cookie",
            &alice.cookie,
            "--header",
            &format!("origin: {}", desk.origin),
            "--header",
            &format!("x-cordon-csrf: {}", alice.csrf),
            "--data-binary",
            &json!({ "approve": true }).to_string(),
        ],
    )?;
    approve.expect(403)?;
    // The same request from outside is fine: it was the job that was refused.
    ensure!(crate::desk::state(&alice, &id)? == "pending");
    ensure!(desk.rows_left()? == 1, "it ran");
    alice
        .post(
            &format!("/api/approvals/{id}"),
            &json!({ "approve": false }),
        )?
        .expect(200)?;
    session.kill()?;
    Ok(())
}

#[test]
fn the_socket_tells_who_asks_and_a_job_gets_nothing_from_it() -> Result<()> {
    let stand = start("  socket: {here}/run/console.sock\n  viewers: [man]\n")?;
    let socket = stand.daemon.scratch().path().join("run/console.sock");
    let socket = socket.display().to_string();
    let mut session = stand.job().live()?;
    session.send(DELETE)?;
    let id = stand.daemon.wait_for_held()?;

    let ask = |user: &str, args: &[&str]| -> Result<Reply> {
        let user = cordon_tests::host::user(user)?;
        let mut command = std::process::Command::new(CURL[0]);
        command
            .args(&CURL[1..])
            .args(["--unix-socket", &socket])
            .args(args);
        std::os::unix::process::CommandExt::uid(&mut command, user.uid);
        std::os::unix::process::CommandExt::gid(&mut command, user.gid);
        let output: Output = command.output()?.into();
        Reply::parse(&output.success()?.stdout)
    };
    let me = "http://localhost:8440/api/me";
    for (user, role) in [
        ("backup", "approver"),
        ("root", "auditor"),
        ("man", "viewer"),
    ] {
        let reply = ask(user, &[me])?.expect(200)?.json()?;
        ensure!(reply["role"] == role, "{user}: {reply}");
    }
    ask("nobody", &[me])?.expect(403)?;
    ask("backup", &["http://localhost:8440/"])?.expect(200)?;
    // A name that leads here from elsewhere.
    for name in ["evil.test", "evil.test:8440", "localhost.evil.test"] {
        let reply = ask("backup", &[&format!("http://{name}/api/me")])?;
        ensure!(
            reply.status == 403 && !reply.body.contains("csrf"),
            "{reply:?}"
        );
    }

    // An approver's user inside of a job is the job.
    let inside = from_job(&stand, "backup", &["--unix-socket", &socket, me])?;
    ensure!(
        inside.status == 403 && !inside.body.contains("csrf"),
        "{inside:?}"
    );

    let url = format!("http://localhost:8440/api/approvals/{id}");
    let answer = |user: &str| -> Result<Reply> {
        let me = ask(user, &[me])?.json()?;
        ask(
            user,
            &[
                &url,
                "--header",
                "origin: http://localhost:8440",
                "--header",
                &format!("x-cordon-csrf: {}", me["csrf"].as_str().unwrap_or_default()),
                "--data-binary",
                r#"{"approve":true}"#,
            ],
        )
    };
    for user in ["root", "man"] {
        answer(user)?.expect(403)?;
    }
    // The token is of the user who asks: another one's is none.
    let of_man = ask("man", &[me])?.json()?;
    let forged = ask(
        "backup",
        &[
            &url,
            "--header",
            "origin: http://localhost:8440",
            "--header",
            &format!(
                "x-cordon-csrf: {}",
                of_man["csrf"].as_str().unwrap_or_default()
            ),
            "--data-binary",
            r#"{"approve":true}"#,
        ],
    )?;
    forged.expect(403)?;
    answer("backup")?.expect(200)?;
    ensure!(session.sync()?.lines() == ["5"], "it did not run");
    ensure!(stand.daemon.evidence_text()?.contains("\"by\":\"backup\""));
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn nobody_who_has_not_logged_in_gets_anything() -> Result<()> {
    let desk = Desk::shared()?;
    let page = curl(&[&format!("{}/", desk.origin)])?.expect(401)?;
    ensure!(
        !page.body.contains("api/") && page.body.len() < 20_000,
        "{page:?}"
    );
    for path in [
        "/api/me",
        "/api/status",
        "/api/jobs",
        "/api/approvals/apr-000000000000",
        "/api/sessions",
        "/api/sessions/ses-1",
        "/api/refusals",
        "/api/explain",
        "/api/evidence",
        "/api/events",
    ] {
        let reply = curl(&[&format!("{}{path}", desk.origin)])?.expect(401)?;
        ensure!(
            reply.body == r#"{"error":"log in first"}"#,
            "{path}: {reply:?}"
        );
    }
    let nobody = Visitor {
        origin: desk.origin.clone(),
        cookie: format!("cordon-session={}", "A".repeat(43)),
        csrf: "A".repeat(43),
    };
    for path in [
        "/api/approvals/apr-0",
        "/api/explain",
        "/api/evidence/verify",
        "/logout",
    ] {
        nobody.post(path, &json!({}))?.expect(401)?;
    }
    Ok(())
}
