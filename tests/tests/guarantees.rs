//! One test for each promise of the product, through the real wire.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Output, Stand, canary, daemon,
    host::eventually,
    policies,
    raw::{self, Seen},
    tools,
};
use serde_json::Value;

/// A program in the cgroup that the configuration puts in scope, without a job.
fn without_job(stand: &Stand, body: &str) -> Result<Value> {
    let file = stand
        .daemon
        .scratch()
        .share("without-job.py", raw::program(body).as_bytes())?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(stand.daemon.runner_cgroup().procs());
    command
        .args([tools::PYTHON])
        .arg(file)
        .env_clear()
        .envs(stand.cluster.client_env("app", "app-direct-2b7d"));
    Output::from(command.current_dir("/").output()?)
        .success()?
        .json()
}

#[test]
fn g1_no_way_round_a_direct_dial_from_a_job_never_reaches_the_database() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    // The password is right: without Cordon this login works.
    let direct = Output::from(
        stand
            .cluster
            .direct_psql("app", "app-direct-2b7d")?
            .args(["-c", "SELECT 1"])
            .output()?,
    );
    direct.success().context("the fixture's own direct login")?;
    let before = stand.cluster.log()?.matches("authorized: user=app").count();

    let job = stand
        .job()
        .env("PGPASSWORD", "app-direct-2b7d")
        .env("PGAPPNAME", "direct dial");
    for host in ["127.0.0.1", "::ffff:127.0.0.1"] {
        let output = job
            .clone()
            .env("PGHOST", host)
            .sql("SELECT current_user")?
            .success()?;
        ensure!(
            output.lines() == ["agent_rw"],
            "not the gateway's login: {}",
            output.all()
        );
    }
    let mut session = job.live()?;
    ensure!(session.query("SELECT 1;")?.lines() == ["1"], "not served");
    ensure!(
        stand
            .cluster
            .logins()?
            .iter()
            .all(|login| login == "agent_rw"),
        "{:?}",
        stand.cluster.logins()?
    );
    drop(session);
    let after = stand.cluster.log()?.matches("authorized: user=app").count();
    ensure!(before == after, "a job's own login reached the database");
    Ok(())
}

/// Dials once for each line of its input.
const AGAIN: &str = "
for line in sys.stdin:
    try:
        raw = Raw()
        seen = raw.login()
        print(json.dumps(['served' if seen['ready'] else 'refused']), flush=True)
    except OSError as error:
        print(json.dumps([type(error).__name__]), flush=True)
";

#[test]
fn g1_no_way_round_while_the_daemon_is_stopped_or_killed() -> Result<()> {
    let mut stand = Stand::start(&cordon_tests::Setup::default())?;
    let file = stand
        .daemon
        .scratch()
        .share("again.py", raw::program(AGAIN).as_bytes())?;
    let mut child = stand
        .job()
        .env("PGUSER", "app")
        .command(&[tools::PYTHON, &file.display().to_string()])?
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        child.stdout.take().context("no stdout")?,
    ));
    let mut attempt = || -> Result<String> {
        use std::io::Write;
        writeln!(stdin, "again")?;
        Ok(lines.next().context("the process in the job is gone")??)
    };
    ensure!(attempt()?.contains("served"), "not served at first");
    let logins = stand
        .cluster
        .log()?
        .matches("connection authorized: user=app")
        .count();
    stand.daemon.kill()?;
    // The process may be killed with its job; if it lives, it gets nowhere.
    if let Ok(answer) = attempt() {
        ensure!(
            !answer.contains("served"),
            "served without a daemon: {answer}"
        );
    }
    stand.daemon.restart()?;
    stand.daemon.terminate()?;
    let refused = stand.dial_without_job()?;
    ensure!(
        refused.code == Some(2),
        "served after a clean stop: {}",
        refused.all()
    );
    let after = stand
        .cluster
        .log()?
        .matches("connection authorized: user=app")
        .count();
    ensure!(
        logins == after,
        "a direct login reached the database while the daemon was down"
    );
    let _ = child.kill();
    child.wait()?;
    Ok(())
}

#[test]
fn g2_attributed_no_job_no_session() -> Result<()> {
    let stand = Stand::shared()?;
    let result = without_job(stand, raw::STARTUP)?;
    let seen = Seen(&result);
    ensure!(
        seen.sqlstates() == ["28000"] && seen.ready() == 0,
        "{result}"
    );
    ensure!(seen.field("M")?.contains("(ref "), "no reference: {result}");
    ensure!(!seen.field("H")?.is_empty(), "no hint: {result}");
    Ok(())
}

/// H10: the proxy's own port, without the kernel's evidence.
#[test]
fn g2_attributed_dialling_the_proxy_itself_is_refused() -> Result<()> {
    let stand = Stand::shared()?;
    let port = stand.daemon.proxy_port().to_string();
    for sql in ["SELECT 1", "SELECT email FROM public.customers"] {
        let output = stand.job().env("PGPORT", &port).sql(sql)?;
        ensure!(
            output.code == Some(2) && output.stdout.is_empty(),
            "served: {}",
            output.all()
        );
    }
    Ok(())
}

#[test]
fn g2_attributed_a_bad_token_starts_no_job() -> Result<()> {
    let stand = Stand::shared()?;
    let good = stand.issuer.issue(&serde_json::json!({}))?;
    let (head, signature) = good.rsplit_once('.').context("no signature")?;
    let other = cordon_tests::Issuer::start()?;
    let iss = serde_json::json!({ "iss": stand.issuer.url() });
    let cases = [
        ("another issuer's key", other.issue(&iss)?),
        ("another audience", stand.issuer.issue(&serde_json::json!({ "aud": "someone-else" }))?),
        ("expired", stand.issuer.issue(&serde_json::json!({ "exp": 1_700_000_000, "iat": 1_699_999_900, "nbf": 1_699_999_900 }))?),
        ("not valid yet", stand.issuer.issue(&serde_json::json!({ "nbf": 4_000_000_000_u64 }))?),
        ("without an expiry", stand.issuer.issue(&serde_json::json!({ "exp": null }))?),
        ("a cut signature", format!("{head}.{}", signature.get(..40).unwrap_or_default())),
        ("algorithm none", format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap_or_default())),
        ("garbage", "not a token".to_owned()),
    ];
    for (what, token) in cases {
        let output = stand.job().token(&token).run(&["/bin/echo", "started"])?;
        ensure!(
            output.code != Some(0) && !output.stdout.contains("started"),
            "{what}: {}",
            output.all()
        );
        ensure!(
            !output.stderr.contains(&token) || token.len() < 20,
            "{what}: the token is shown: {}",
            output.all()
        );
    }
    Ok(())
}

/// H9: a token counts once.
#[test]
fn g2_attributed_a_replayed_token_starts_no_second_job() -> Result<()> {
    let stand = Stand::shared()?;
    let token = stand.issuer.issue(&serde_json::json!({}))?;
    stand.job().token(&token).run(&["/bin/true"])?.success()?;
    let again = stand.job().token(&token).run(&["/bin/echo", "started"])?;
    ensure!(
        again.code != Some(0) && again.stdout.is_empty(),
        "{}",
        again.all()
    );
    Ok(())
}

#[test]
fn g2_attributed_both_signature_algorithms_and_key_discovery_work() -> Result<()> {
    let setup = cordon_tests::Setup {
        discovery: true,
        ..cordon_tests::Setup::default()
    };
    let stand = Stand::start(&setup)?;
    for algorithm in [
        cordon_tests::issuer::Algorithm::Es256,
        cordon_tests::issuer::Algorithm::Rs256,
    ] {
        let token = stand.issuer.issue_with(algorithm, &serde_json::json!({}))?;
        let output = stand
            .job()
            .token(&token)
            .sql("SELECT 1")?
            .success()
            .with_context(|| format!("{algorithm:?}"))?;
        ensure!(output.lines() == ["1"], "{}", output.all());
    }
    Ok(())
}

#[test]
fn g3_decided_first_a_refused_statement_never_reaches_the_database() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    let mut session = stand.job().live()?;
    for sql in [
        "SELECT value FROM public.secrets;",
        "UPDATE public.customers SET name = 'x';",
        "SELECT pg_read_file('/etc/passwd');",
    ] {
        session.query(sql)?.refused_with("42501")?;
    }
    ensure!(
        session
            .query("SELECT count(*) FROM public.orders;")?
            .lines()
            == ["5"],
        "an allowed one is not served"
    );
    let statements = stand.cluster.statements()?;
    ensure!(
        statements
            .iter()
            .any(|sql| sql.contains("count(*) FROM public.orders")),
        "{statements:?}"
    );
    for word in ["secrets", "UPDATE public.customers", "pg_read_file"] {
        ensure!(
            !statements.iter().any(|sql| sql.contains(word)),
            "`{word}` was run: {statements:?}"
        );
    }
    Ok(())
}

#[test]
fn g4_default_deny_what_no_grant_names_is_refused_with_help() -> Result<()> {
    let stand = Stand::shared()?;
    let mut session = stand.job().live()?;
    for sql in [
        "SELECT * FROM public.owned_plain;",
        "INSERT INTO public.orders (customer_id) VALUES (1);",
        "UPDATE public.orders SET total = 0;",
        "SELECT nextval('public.invoice_number');",
        "SELECT public.email_of(1);",
        "CREATE ROLE intruder;",
        "DO $$ BEGIN END $$;",
        "COPY public.orders FROM PROGRAM 'id';",
    ] {
        let output = session.query(sql)?;
        let code = output.sqlstates().first().cloned().unwrap_or_default();
        ensure!(
            code == "42501" || code == "0A000",
            "{sql}: {}",
            output.all()
        );
        for part in ["DETAIL:", "HINT:", "(ref "] {
            ensure!(
                output.stderr.contains(part),
                "{sql}: no {part}: {}",
                output.all()
            );
        }
    }
    Ok(())
}

#[test]
fn g4_default_deny_a_job_that_no_grant_matches_gets_nothing() -> Result<()> {
    let stand = Stand::shared()?;
    let stranger = stand
        .job()
        .claims(serde_json::json!({ "repository_id": "999" }));
    let output = stranger.sql("SELECT 1 FROM public.orders")?;
    ensure!(
        output.code != Some(0) && output.stdout.is_empty(),
        "{}",
        output.all()
    );
    let branch = stand
        .job()
        .claims(serde_json::json!({ "ref": "refs/heads/other" }));
    let output = branch.sql("SELECT 1 FROM public.orders")?;
    ensure!(
        output.code != Some(0) && output.stdout.is_empty(),
        "{}",
        output.all()
    );
    Ok(())
}

#[test]
fn g5_masked_no_protected_value_reaches_the_job() -> Result<()> {
    let stand = Stand::shared()?;
    let output = stand
        .job()
        .sql("SELECT id, email, ssn FROM public.customers ORDER BY id")?
        .success()?;
    canary::none_in("the result", &output.all())?;
    let first = output.lines().first().copied().unwrap_or_default();
    ensure!(
        output.lines().len() == 5
            && first.starts_with("1|a*")
            && first.contains("@canary.example|"),
        "{}",
        output.all()
    );
    Ok(())
}

#[test]
fn g6_held_a_statement_waits_for_a_human_and_runs_once() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    let mut session = stand.job().live()?;
    session.send("DELETE FROM public.orders WHERE id = 3;")?;
    let id = stand.daemon.wait_for_held()?;
    ensure!(
        stand.cluster.count("SELECT count(*) FROM public.orders")? == 5,
        "it did not wait"
    );
    let [approver, _] = daemon::APPROVERS;
    stand
        .daemon
        .answer(approver, "approve", &id, "")?
        .success()?;
    ensure!(session.sync()?.sqlstates().is_empty(), "it failed");
    let runs = stand
        .cluster
        .statements()?
        .iter()
        .filter(|sql| sql.contains("DELETE FROM public.orders"))
        .count();
    ensure!(
        runs == 1 && stand.cluster.count("SELECT count(*) FROM public.orders")? == 4,
        "it ran {runs} times"
    );
    Ok(())
}

#[test]
fn g7_recorded_every_decision_is_in_evidence_that_verifies_and_shows_no_protected_value()
-> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    let output = stand.job().sqls(&[
        "SELECT email, ssn FROM public.customers ORDER BY id",
        "SELECT value FROM public.secrets",
        "SELECT count(*) FROM public.orders",
    ])?;
    ensure!(output.sqlstates() == ["42501"], "{}", output.all());
    stand.daemon.verify_evidence()?.success()?;
    let dir = stand.daemon.evidence_dir().display().to_string();
    let list = Output::from(
        stand
            .daemon
            .cli(&["sessions", "list", "--dir", &dir])
            .output()?,
    )
    .success()?;
    ensure!(!list.stdout.trim().is_empty(), "no session is listed");
    let replay = Output::from(
        stand
            .daemon
            .cli(&["sessions", "replay", "--dir", &dir])
            .output()?,
    )
    .success()?;
    for needed in [
        "SELECT email, ssn FROM public.customers",
        "public.secrets",
        "42501",
        "email: partial",
        "result_sha256",
    ] {
        ensure!(
            replay.stdout.contains(needed),
            "the replay lacks `{needed}`: {}",
            replay.all()
        );
    }
    canary::none_in("the replay", &replay.all())?;
    canary::none_in("the evidence", &stand.daemon.evidence_text()?)?;
    canary::none_in("the log", &stand.daemon.log()?)?;
    Ok(())
}

/// What an auditor does with the public key, an older checkpoint and a proof, without the log.
#[test]
fn g7_recorded_an_entry_and_the_growth_of_the_log_can_be_proven_to_others() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    let dir = stand.daemon.evidence_dir();
    let folder = dir.display().to_string();
    let file = |name: &str, text: &str| -> Result<String> {
        let path = stand.daemon.scratch().path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let evidence = |args: &[&str]| -> Result<Output> {
        let all = [&["evidence", "--dir", &folder][..], args].concat();
        Ok(Output::from(stand.daemon.cli(&all).output()?))
    };
    let older = file("older", &evidence(&["checkpoint"])?.success()?.stdout)?;
    stand.job().sql("SELECT count(*) FROM public.orders")?;
    eventually("a newer checkpoint", || {
        let newer = evidence(&["checkpoint"])?.success()?.stdout;
        Ok((newer != fs::read_to_string(&older)?).then_some(()))
    })?;
    let key = dir.join("keys/log.pub").display().to_string();
    let check = |args: &[&str]| -> Result<Output> {
        let all = [
            &[
                "evidence",
                "--dir",
                "/nonexistent",
                "--public-key",
                &key,
                "check",
            ][..],
            args,
        ]
        .concat();
        Ok(Output::from(stand.daemon.cli(&all).output()?))
    };
    let entry = file("entry", "")?;
    let proof = evidence(&["prove", "--entry", "1", "--entry-file", &entry])?.success()?;
    let proof = file("proof", &proof.stdout)?;
    check(&[&proof, "--entry", &entry])?.success()?;
    let growth = evidence(&["prove", "--since", &older])?.success()?;
    let growth = file("growth", &growth.stdout)?;
    check(&[&growth, "--since", &older])?.success()?;
    ensure!(check(&[&growth, "--entry", &entry])?.success().is_err());
    let mut bytes = fs::read(&entry)?;
    bytes.push(b' ');
    fs::write(&entry, bytes)?;
    ensure!(check(&[&proof, "--entry", &entry])?.success().is_err());
    let tiles = stand.daemon.scratch().path().join("tiles");
    evidence(&["export", "tiles", "--to", &tiles.display().to_string()])?.success()?;
    ensure!(tiles.join("checkpoint").exists(), "no tiles");
    let lines = evidence(&["export", "jsonl"])?.success()?;
    ensure!(
        lines.stdout.contains("\"type\":\"session-opened\""),
        "no lines"
    );
    Ok(())
}

#[test]
fn g8_short_lived_the_end_of_the_job_ends_its_sessions_and_backends() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let mut session = stand.job().live()?;
    session.send("SELECT pg_sleep(600);")?;
    let running = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_rw' AND state = 'active' AND query LIKE '%pg_sleep(600)%'";
    eventually("the statement to run", || {
        Ok((stand.cluster.count(running)? == 1).then_some(()))
    })?;
    let status = Output::from(stand.daemon.cli(&["job", "status"]).output()?).success()?;
    let job = status
        .stdout
        .split('"')
        .find(|word| word.starts_with("job-"))
        .context("no job is listed")?
        .to_owned();
    Output::from(stand.daemon.cli(&["job", "end", &job]).output()?).success()?;
    session.finish()?;
    eventually("the backends to be gone", || {
        Ok(stand.cluster.logins()?.is_empty().then_some(()))
    })?;
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn g8_short_lived_what_a_job_leaves_behind_has_no_access() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    // A daemonised leftover tries to connect after its job's command has ended.
    let result = stand.daemon.scratch().share("leftover.txt", b"")?;
    fs::set_permissions(&result, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let program = raw::program(
        "
file = sys.argv[1]
if os.fork():
    sys.exit(0)
os.setsid()
def attempt():
    try:
        return 'served' if Raw().login()['ready'] else 'refused'
    except OSError as error:
        return type(error).__name__
for _ in range(2000):
    answer = attempt()
    with open(file, 'w') as out:
        out.write(answer)
    if answer != 'served':
        break
",
    );
    stand
        .job()
        .python(&program, &[&result.display().to_string()])?
        .success()?;
    eventually("the leftover to be refused or ended", || {
        let jobs = Output::from(stand.daemon.cli(&["job", "status"]).output()?).success()?;
        Ok((!jobs.stdout.contains("job-")).then_some(()))
    })?;
    eventually("the database to be left", || {
        Ok(stand.cluster.logins()?.is_empty().then_some(()))
    })?;
    Ok(())
}

#[test]
fn g8_short_lived_no_credential_enters_the_job_and_the_token_never_reaches_the_database()
-> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    let token = stand.issuer.issue(&serde_json::json!({}))?;
    let psql = tools::postgres("psql")?.display().to_string();
    // Everything the job can see of itself: environment, command lines of all its processes and
    // of those above it, and its open files.
    let look = format!(
        "cat /proc/self/environ; tr '\\0' ' ' < /proc/$PPID/cmdline; tr '\\0' '\\n' 2>/dev/null < /proc/$PPID/environ; \
         cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -F 'job run'; \
         for f in /proc/self/fd/*; do readlink $f; done; {psql} -X -c 'SELECT 1'"
    );
    let output = stand
        .job()
        .token(&token)
        .inherit_env()
        .run(&["/bin/sh", "-c", &look])?
        .success()?;
    ensure!(
        !output.all().contains(&token),
        "the token is in the job: {}",
        output.all()
    );
    for password in canary::GATEWAY_PASSWORDS {
        ensure!(
            !output.all().contains(password),
            "a password is in the job: {}",
            output.all()
        );
    }
    let (log, own) = (stand.cluster.log()?, stand.daemon.log()?);
    let signature = token.rsplit('.').next().unwrap_or_default();
    for (what, text) in [
        ("the server's log", &log),
        ("Cordon's log", &own),
        ("the evidence", &stand.daemon.evidence_text()?),
    ] {
        ensure!(!text.contains(signature), "the token is in {what}");
        ensure!(
            canary::GATEWAY_PASSWORDS
                .iter()
                .all(|password| !text.contains(password)),
            "a password is in {what}"
        );
    }
    Ok(())
}

#[test]
fn g9_contained_failure_other_sessions_live_on_beside_hostile_ones() -> Result<()> {
    let mut stand = Stand::start(&cordon_tests::Setup::default())?;
    let mut bystander = stand.job().live()?;
    ensure!(bystander.query("SELECT 1;")?.lines() == ["1"], "not served");
    raw::run(&stand.job(), raw::MALFORMED, &[])?;
    ensure!(
        bystander.query("SELECT 2;")?.lines() == ["2"],
        "the bystander suffered"
    );
    stand.daemon.require_alive()?;
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn g10_transparent_an_allowed_query_gives_the_same_bytes_as_directly() -> Result<()> {
    let stand = Stand::shared()?;
    let sql = "SELECT o.*, i.product, i.price * i.quantity AS sum FROM public.orders o JOIN public.order_items i ON i.order_id = o.id ORDER BY o.id, i.line";
    let through = stand.job().sql(sql)?.success()?;
    let direct = stand.cluster.admin(sql)?;
    ensure!(
        through.stdout.trim_end() == direct,
        "through Cordon:\n{}\ndirectly:\n{direct}",
        through.stdout
    );
    Ok(())
}
