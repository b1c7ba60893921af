//! The tools for policy authors, through the real binary, against a real database and recorded
//! sessions.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use cordon_tests::{Output, Setup, Stand, canary, cluster::SERVER_NAME, policies};
use serde_json::Value;

const JOB: [&str; 6] = [
    "--issuer",
    "test",
    "--claim",
    "repository_id=123456",
    "--claim",
    "ref=refs/heads/main",
];

/// `cordon policy ...`.
fn policy(stand: &Stand, args: &[&str]) -> Result<Output> {
    Ok(command(stand, args).output()?.into())
}

fn command(stand: &Stand, args: &[&str]) -> Command {
    let mut command = stand.daemon.cli(&["policy"]);
    command
        .args(args)
        .env("CORDON_EVIDENCE", stand.daemon.evidence_dir());
    command
}

/// The same for people: as on a terminal.
fn shown(stand: &Stand, args: &[&str]) -> Result<String> {
    let mut command = command(stand, args);
    command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    Ok(Output::from(command.output()?).stdout)
}

fn explain(stand: &Stand, sql: &str) -> Result<Output> {
    let config = stand.daemon.config().display().to_string();
    let mut args = vec!["explain", "--config", &config, "--database", "shop"];
    args.extend(JOB);
    args.push(sql);
    policy(stand, &args)
}

fn file(stand: &Stand, name: &str) -> PathBuf {
    stand.daemon.scratch().path().join(name)
}

fn save(stand: &Stand, name: &str) -> Result<PathBuf> {
    let path = file(stand, name);
    let text = path.display().to_string();
    let login = ["--login", "agent_rw"];
    let mut args = vec!["catalog", "--database", "shop", "--save", &text];
    args.extend(login);
    policy(stand, &args)?.success()?;
    Ok(path)
}

fn folder(stand: &Stand, name: &str, policy: &str) -> Result<String> {
    let dir = file(stand, name);
    fs::create_dir(&dir)?;
    fs::write(dir.join("policy.yaml"), policy)?;
    Ok(dir.display().to_string())
}

/// The sessions of the log, newest last.
fn sessions(stand: &Stand) -> Result<Vec<Value>> {
    let dir = stand.daemon.evidence_dir().display().to_string();
    let output: Output = stand
        .daemon
        .cli(&["sessions", "list", "--dir", &dir])
        .output()?
        .into();
    let list = output.success()?.json()?;
    Ok(list.as_array().context("a list")?.clone())
}

fn last_session(stand: &Stand) -> Result<String> {
    let sessions = sessions(stand)?;
    let last = sessions.last().context("no session")?;
    Ok(last["session"].as_str().context("no id")?.to_owned())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
        .to_owned()
}

/// The example's catalog is made by `CORDON_BLESS=1 cargo xtask test policy_tools`.
#[test]
fn the_example_policy_passes_its_test_cases() -> Result<()> {
    let stand = Stand::shared()?;
    let dir = repository().join("docs/examples/shop");
    if std::env::var_os("CORDON_BLESS").is_some() {
        let file = dir.join("shop.catalog.json");
        fs::copy(save(stand, "bless.json")?, &file)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    }
    let dir = dir.display().to_string();
    let output = policy(stand, &["test", "--dir", &dir])?;
    ensure!(
        output.code == Some(0),
        "if the catalog's queries have changed, run CORDON_BLESS=1 cargo xtask test policy_tools: {}",
        output.all()
    );
    let tested = output.json()?;
    ensure!(
        tested["passed"] == 12 && tested["failed"] == 0,
        "{tested:#}"
    );
    // The same cases by the live catalog, which the daemon reads.
    let cases = format!("{dir}/policy.test.yaml");
    let text = fs::read_to_string(&cases)?.replace("catalog: shop.catalog.json\n", "");
    let live = folder(
        stand,
        "live",
        &fs::read_to_string(format!("{dir}/policy.yaml"))?,
    )?;
    fs::write(format!("{live}/policy.test.yaml"), text)?;
    policy(stand, &["test", "--dir", &live])?.success()?;
    Ok(())
}

#[test]
fn a_case_that_fails_says_what_was_expected_and_got() -> Result<()> {
    let stand = Stand::shared()?;
    let dir = folder(stand, "failing", policies::SHOP)?;
    let catalog = save(stand, "failing/shop.json")?;
    let cases = "version: 1\ncatalog: shop.json\ndatabase: shop\n\
        job: { issuer: test, claims: { repository_id: \"123456\", ref: refs/heads/main } }\n\
        cases:\n\
        \x20 - { name: right, sql: SELECT id FROM orders, expect: allow }\n\
        \x20 - { name: verdict, sql: SELECT * FROM secrets, expect: allow }\n\
        \x20 - { name: mask, sql: SELECT email FROM customers, expect: allow, masks: {} }\n\
        \x20 - { name: table, sql: SELECT id FROM orderz, expect: deny }\n";
    fs::write(format!("{dir}/x.test.yaml"), cases)?;
    ensure!(catalog.exists(), "not saved");
    let output = policy(stand, &["test", "--dir", &dir])?;
    ensure!(output.code == Some(1), "{}", output.all());
    let tested = output.json()?;
    ensure!(tested["passed"] == 1 && tested["failed"] == 3, "{tested:#}");
    let failed = |index: usize| &tested["cases"][index]["failures"][0];
    ensure!(
        failed(1)["what"] == "verdict" && failed(1)["expected"] == "allow",
        "{tested:#}"
    );
    ensure!(
        failed(2)["what"] == "masks" && failed(2)["got"] == "email: partial",
        "{tested:#}"
    );
    // A case about a table that is not there tests nothing, whatever it expects.
    ensure!(failed(3)["what"] == "statement", "{tested:#}");
    let table = shown(stand, &["test", "--dir", &dir])?;
    ensure!(
        table.contains("x.test.yaml:7") && table.contains("3 failed"),
        "{table}"
    );
    // A mistake in the cases themselves has a place, and is no test result.
    fs::write(
        format!("{dir}/x.test.yaml"),
        cases.replace("expect: deny", "expect: denied"),
    )?;
    let output = policy(stand, &["test", "--dir", &dir])?;
    ensure!(
        output.code == Some(2) && output.stderr.contains("x.test.yaml:9:"),
        "{}",
        output.all()
    );
    Ok(())
}

#[test]
fn a_catalog_is_saved_by_the_daemon_or_over_a_verified_connection_for_its_owner_alone() -> Result<()>
{
    let stand = Stand::shared()?;
    let by_daemon = save(stand, "by-daemon.json")?;
    let mode = fs::metadata(&by_daemon)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "mode {mode:o}");
    let text = fs::read_to_string(&by_daemon)?;
    canary::none_in("the catalog", &text)?;

    let port = stand.cluster.port();
    let ca = stand.cluster.ca_file().display().to_string();
    let connect = |url: &str, password: &str| -> Result<Output> {
        let path = file(stand, "by-connection.json").display().to_string();
        let mut command = command(stand, &["catalog", "--save", &path, "--connect", url]);
        command.env("PGPASSWORD", password);
        Ok(command.output()?.into())
    };
    let password = *canary::GATEWAY_PASSWORDS.first().context("a password")?;
    let url = format!("postgres://agent_rw@127.0.0.1:{port}/shop?sslrootcert={ca}");
    connect(&url, password)?.success()?;
    let rows = |path: &Path| -> Result<Value> {
        let saved: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        Ok(saved["rows"].clone())
    };
    ensure!(
        rows(&by_daemon)? == rows(&file(stand, "by-connection.json"))?,
        "the two ways read different catalogs"
    );
    // TLS is verified unless the address says otherwise; what is refused changes no file.
    let before = fs::read(file(stand, "by-connection.json"))?;
    let unverified = format!("postgres://agent_rw@127.0.0.1:{port}/shop");
    for (url, password, why) in [
        (&unverified, password, "TLS"),
        (&url, "wrong", "password authentication failed"),
        (
            &format!("postgres://agent_rw:x@{SERVER_NAME}:{port}/shop"),
            password,
            "PGPASSWORD",
        ),
    ] {
        let output = connect(url, password)?;
        ensure!(
            output.code == Some(2) && output.stderr.contains(why),
            "{url}: {}",
            output.all()
        );
    }
    ensure!(
        before == fs::read(file(stand, "by-connection.json"))?,
        "changed"
    );
    connect(&format!("{unverified}?sslmode=disable"), password)?.success()?;
    // Only root may have the daemon read it.
    let refused = stand.daemon.cli_as(
        "nobody",
        &[
            "policy",
            "catalog",
            "--database",
            "shop",
            "--save",
            "/tmp/x",
        ],
    )?;
    let output = Output::from({ refused }.output()?);
    ensure!(
        output.code == Some(2) && output.stderr.contains("only root may"),
        "{}",
        output.all()
    );
    Ok(())
}

#[test]
fn where_every_process_is_refused_the_daemon_still_reads_the_catalog() -> Result<()> {
    let stand = Stand::start(&Setup {
        host_scope: true,
        ..Setup::default()
    })?;
    save(&stand, "host.json")?;
    let path = file(&stand, "direct.json").display().to_string();
    let url = format!(
        "postgres://agent_rw@127.0.0.1:{}/shop?sslmode=disable",
        stand.cluster.port()
    );
    let output = policy(&stand, &["catalog", "--save", &path, "--connect", &url])?;
    ensure!(
        output.code == Some(2) && !Path::new(&path).exists(),
        "a process without a job reached the database: {}",
        output.all()
    );
    Ok(())
}

/// What explain says is what happens: exit code and message of the same statement in a session.
#[test]
fn an_explanation_says_what_a_session_meets() -> Result<()> {
    let stand = Stand::start(&Setup {
        policy: policies::SHOP.replace("hold: 30s", "hold: 1s"),
        ..Setup::default()
    })?;
    for (sql, code, sqlstate) in [
        ("SELECT id, status FROM orders", 0, None),
        ("SELECT email FROM customers", 0, None),
        ("SELECT contact FROM customer_contacts", 0, None),
        ("UPDATE orders SET note = 'x' WHERE id = 1", 0, None),
        ("SET application_name = 'x'", 0, None),
        ("SELECT order_total(1)", 0, None),
        ("DELETE FROM orders WHERE id = 1", 3, Some("57014")),
        ("SELECT value FROM secrets", 4, Some("42501")),
        ("SELECT id FROM customers WHERE ssn = 'x'", 4, Some("42501")),
        ("SELECT lower(email) FROM customers", 4, Some("42501")),
        ("UPDATE orders SET total = 0", 4, Some("42501")),
        ("SELECT email_of(1)", 4, Some("42501")),
        ("SET role = postgres", 4, Some("42501")),
        ("VACUUM orders", 4, Some("42501")),
        ("SELECT 1 FROM no_such_table", 2, Some("42P01")),
        ("SELEC 1", 2, Some("42601")),
    ] {
        let explained = explain(&stand, sql)?;
        ensure!(explained.code == Some(code), "{sql}: {}", explained.all());
        let met = stand.job().sql(sql)?;
        let states = met.sqlstates();
        ensure!(
            states.first().map(String::as_str) == sqlstate,
            "{sql}: {}",
            met.all()
        );
        let explanation = explained.json()?;
        let statement = &explanation["statements"][0];
        if code == 4 {
            let reason = &statement["verdict"]["reason"];
            for part in ["message", "rule", "hint"] {
                let part = reason[part].as_str().context("a text")?;
                ensure!(met.stderr.contains(part), "{part}: {}", met.all());
            }
        }
    }
    Ok(())
}

#[test]
fn an_explanation_names_every_rule_and_the_narrowest_remedy() -> Result<()> {
    let stand = Stand::shared()?;
    let output = explain(
        stand,
        "SELECT c.email, o.total, upper(c.name) FROM customers c JOIN orders o ON o.customer_id = c.id",
    )?;
    let answer = output.json()?;
    ensure!(
        answer["grants"][0]["unmet"].is_null() && answer["login"] == "agent_rw",
        "{answer:#}"
    );
    let statement = &answer["statements"][0];
    let parts = statement["parts"].as_array().context("parts")?;
    let part = |what: &str| {
        parts
            .iter()
            .find(|part| part["what"] == what)
            .with_context(|| format!("no part {what}: {statement:#}"))
    };
    let customers = part("select public.customers")?;
    ensure!(
        customers["standing"] == "allowed"
            && customers["rules"][0]["place"] == "agent-shop: allow[1]",
        "{customers:#}"
    );
    let output = &statement["output"];
    ensure!(
        output[0]["mask"] == "partial"
            && output[0]["origins"][0] == "public.customers.email"
            && output[1]["mask"].is_null()
            && output[2]["how"] == "derived",
        "{output:#}"
    );
    ensure!(
        statement["masks"][0]["place"] == "agent-shop: mask[0]",
        "{statement:#}"
    );

    // Two things are missing; the remedy is those two, and nothing that is there already.
    let output = explain(
        stand,
        "INSERT INTO orders (customer_id) SELECT id FROM customers; UPDATE orders SET total = 1, status = 'open' WHERE id = 2",
    )?;
    let answer = output.json()?;
    ensure!(output.code == Some(4), "{}", output.all());
    let remedy = |index: usize| answer["statements"][index]["remedy"]["allow"].clone();
    ensure!(
        remedy(0) == serde_json::json!(["- insert: public.orders (customer_id)"])
            && remedy(1) == serde_json::json!(["- update: public.orders (total)"]),
        "{answer:#}"
    );
    // A rule that forbids has no remedy by further rules.
    let denied = explain(stand, "SELECT name FROM secrets")?.json()?;
    let statement = &denied["statements"][0];
    ensure!(
        statement["remedy"].is_null()
            && statement["parts"][0]["rules"][0]["place"] == "agent-shop: deny[0]",
        "{denied:#}"
    );
    // Another branch: which condition fails, and what the grant lists.
    let config = stand.daemon.config().display().to_string();
    let output = policy(
        stand,
        &[
            "explain",
            "--config",
            &config,
            "--database",
            "shop",
            "--issuer",
            "test",
            "--claim",
            "repository_id=123456",
            "--claim",
            "ref=refs/heads/other",
            "SELECT 1",
        ],
    )?;
    let answer = output.json()?;
    let unmet = answer["grants"][0]["unmet"].as_str().context("unmet")?;
    ensure!(
        output.code == Some(4)
            && unmet.contains("refs/heads/other")
            && unmet.contains("refs/heads/agent/*"),
        "{answer:#}"
    );
    // For people.
    let mut args = vec!["explain", "--config", &config, "--database", "shop"];
    args.extend(JOB);
    args.push("SELECT email, ssn FROM customers WHERE ssn = 'x'");
    let text = shown(stand, &args)?;
    for needed in [
        "deny",
        "42501",
        "agent-shop: mask[1]",
        "public.customers.ssn",
        "where: none",
    ] {
        ensure!(text.contains(needed), "{needed}: {text}");
    }
    Ok(())
}

#[test]
fn a_recorded_session_is_explained_with_its_job_and_search_path() -> Result<()> {
    let stand = Stand::shared()?;
    let job = stand
        .job()
        .claims(serde_json::json!({ "ref": "refs/heads/agent/fix" }));
    let output = job.sqls(&["SET search_path = pg_catalog", "SELECT 1"])?;
    output.success()?;
    let session = sessions(stand)?
        .iter()
        .rev()
        .filter_map(|session| session["session"].as_str())
        .map(str::to_owned)
        .find(|id| {
            let shown = stand.daemon.cli(&[
                "sessions",
                "show",
                id,
                "--dir",
                &stand.daemon.evidence_dir().display().to_string(),
            ]);
            Output::from({ shown }.output().unwrap_or_else(|error| panic!("{error}")))
                .stdout
                .contains("SET search_path = pg_catalog")
        })
        .context("the session is not recorded")?;
    let config = stand.daemon.config().display().to_string();
    let sql = "SELECT id FROM orders";
    let by_session = policy(
        stand,
        &["explain", "--config", &config, "--session", &session, sql],
    )?;
    // In its search path there is no such table.
    ensure!(by_session.code == Some(2), "{}", by_session.all());
    let answer = by_session.json()?;
    ensure!(
        answer["job"]["claims"]["ref"] == "refs/heads/agent/fix"
            && answer["catalog"]["search_path"] == serde_json::json!(["pg_catalog"]),
        "{answer:#}"
    );
    let by_session = policy(
        stand,
        &[
            "explain",
            "--config",
            &config,
            "--session",
            &session,
            "SELECT id FROM public.orders",
        ],
    )?;
    ensure!(by_session.code == Some(0), "{}", by_session.all());
    Ok(())
}

/// Work that an agent did under a policy that allowed everything.
const WORK: [&str; 8] = [
    "SELECT count(*) FROM orders",
    "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.status = 'open'",
    "UPDATE orders SET note = 'seen' WHERE id = 1",
    "INSERT INTO order_notes (order_id, body) VALUES (1, 'by the agent')",
    "SET search_path = pg_catalog; SELECT sku FROM public.imports; RESET search_path",
    "SELECT order_total(2)",
    "DELETE FROM imports WHERE sku = 'A-2'",
    "CREATE INDEX ON owned_plain (label)",
];

#[test]
fn a_suggested_policy_permits_exactly_what_was_recorded() -> Result<()> {
    let mut stand = Stand::with_policy(policies::ALLOW_ALL)?;
    stand.job().sqls(&WORK)?.success()?;
    let session = last_session(&stand)?;
    let output = policy(
        &stand,
        &["suggest", "--session", &session, "--approvers", "dba"],
    )?;
    let output = output.success()?;
    let text = output.stdout.clone();
    for line in [
        "repository_id: \"123456\"",
        "- select: public.orders (id, customer_id, status)",
        "- select: public.customers (id, name)",
        "- select: public.imports (sku)",
        "- insert: public.order_notes (order_id, body)",
        "- update: public.orders (note)",
        "- call: public.order_total",
        "- delete: public.imports",
        "- ddl: public.owned_plain",
        "by: { group: dba, count: 1 }",
    ] {
        ensure!(text.contains(line), "{line} is missing in\n{text}");
    }
    ensure!(
        !text.contains("\"sub\"") && !text.contains("- all:"),
        "{text}"
    );
    let again = policy(
        &stand,
        &["suggest", "--session", &session, "--approvers", "dba"],
    )?;
    ensure!(again.stdout == text, "not the same twice");

    // It comes into force, and the same work passes, or waits where it destroys.
    let short = text.replace("    allow:\n", "    limits: { hold: 1s }\n    allow:\n");
    stand.daemon.write_policy(&short)?;
    stand.daemon.terminate()?;
    stand.daemon.restart()?;
    let [work @ .., delete, index] = WORK;
    stand.job().sqls(&work)?.success()?;
    for held in [delete, index] {
        stand.job().sql(held)?.refused_with("57014")?;
    }
    for more in [
        "SELECT total FROM orders",
        "SELECT email FROM customers",
        "UPDATE orders SET status = 'paid'",
        "DELETE FROM orders",
        "SELECT email_of(1)",
        "SELECT * FROM secrets",
    ] {
        stand.job().sql(more)?.refused_with("42501")?;
    }
    Ok(())
}

#[test]
fn what_was_masked_stays_masked_and_what_was_refused_is_left_out_unless_asked_for() -> Result<()> {
    let stand = Stand::with_policy(policies::SHOP)?;
    let output = stand.job().sqls(&[
        "SELECT name, email AS mail FROM customers",
        "SELECT value FROM secrets",
        "VACUUM orders",
    ])?;
    ensure!(output.sqlstates() == ["42501", "42501"], "{}", output.all());
    let session = last_session(&stand)?;
    let suggested = policy(&stand, &["suggest", "--session", &session])?.success()?;
    ensure!(
        suggested
            .stdout
            .contains("- column: public.customers.email\n        with: partial")
            && !suggested.stdout.contains("secrets"),
        "{}",
        suggested.stdout
    );
    let all = policy(
        &stand,
        &["suggest", "--session", &session, "--include-refused"],
    )?;
    // VACUUM needs `all`, which nobody should get from a recording.
    ensure!(
        all.code == Some(1)
            && all.stdout.contains("- select: public.secrets (value)")
            && all.stdout.contains("# Left out:")
            && all.stdout.contains("VACUUM orders"),
        "{}",
        all.all()
    );
    let json = policy(&stand, &["suggest", "--session", &session, "--json"])?.json()?;
    ensure!(json["allowed"] == 1 && json["held"] == 0, "{json:#}");
    Ok(())
}

#[test]
fn a_difference_between_policies_is_told_by_recorded_statements() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    stand
        .job()
        .sqls(&[
            "SELECT email FROM customers",
            "SELECT id FROM orders",
            "DELETE FROM imports WHERE sku = 'A-1'",
            "SELECT name FROM secrets",
            "SELECT name FROM secrets",
        ])?
        .success()?;
    let session = last_session(&stand)?;
    let all = folder(&stand, "all", policies::ALLOW_ALL)?;
    let shop = folder(&stand, "shop", policies::SHOP)?;
    let commented = format!("# a comment\n{}", policies::SHOP);
    let same = folder(&stand, "same", &commented)?;
    let catalog = save(&stand, "diff.json")?.display().to_string();

    let output = policy(
        &stand,
        &[
            "diff",
            "--old",
            &shop,
            "--new",
            &same,
            "--session",
            &session,
            "--catalog",
            &catalog,
        ],
    )?;
    ensure!(output.code == Some(0), "{}", output.all());
    ensure!(output.json()?["statements"] == 4, "{}", output.all());

    let args = ["diff", "--old", &all, "--new", &shop, "--since", "1h"];
    let output = policy(&stand, &args)?;
    ensure!(output.code == Some(1), "{}", output.all());
    let changes = output.json()?["changes"].clone();
    let changes = changes.as_array().context("changes")?;
    ensure!(changes.len() == 2, "{changes:#?}");
    ensure!(
        changes[0]["masks"][0]["column"] == "email"
            && changes[0]["masks"][0]["old"].is_null()
            && changes[0]["masks"][0]["new"] == "partial",
        "{changes:#?}"
    );
    ensure!(
        changes[1]["old"]["is"] == "allow"
            && changes[1]["new"]["is"] == "deny"
            && changes[1]["new"]["reason"]["rule"] == "agent-shop: deny[0]",
        "{changes:#?}"
    );
    let table = shown(&stand, &args)?;
    ensure!(
        table.contains("email: in clear -> partial") && table.contains("2 changes"),
        "{table}"
    );
    Ok(())
}

#[test]
fn check_tells_every_problem_with_its_place() -> Result<()> {
    let stand = Stand::shared()?;
    let config = stand.daemon.config().display().to_string();
    let output = policy(stand, &["check", "--config", &config])?.success()?;
    let checked = output.json()?;
    ensure!(
        checked["ok"] == true
            && checked["grants"][0]["grant"] == "agent-shop"
            && checked["grants"][0]["file"] == "policy.yaml",
        "{checked:#}"
    );
    let bad = policies::SHOP
        .replace("- insert: [", "- inser: [")
        .replace("with: redact", "with: redacted");
    let dir = folder(stand, "bad", &bad)?;
    // Test cases are no part of the policy.
    fs::write(format!("{dir}/x.test.yaml"), "anything: at all\n")?;
    let output = policy(stand, &["check", "--dir", &dir])?;
    ensure!(output.code == Some(1), "{}", output.all());
    let checked = output.json()?;
    let problems = checked["problems"].as_array().context("problems")?;
    ensure!(
        checked["ok"] == false && !problems.is_empty(),
        "{checked:#}"
    );
    for problem in problems {
        ensure!(
            problem["line"].is_u64()
                && problem["column"].is_u64()
                && problem["suggestion"].is_string(),
            "{problem:#}"
        );
    }
    let text = shown(stand, &["check", "--dir", &dir])?;
    ensure!(
        text.contains("policy.yaml:") && text.contains("did you mean"),
        "{text}"
    );
    Ok(())
}

#[test]
fn an_explanation_shows_the_limits_and_what_only_passes_because_a_grant_observes() -> Result<()> {
    let stand = Stand::shared()?;
    let observing = policies::SHOP.replace(
        "limits: { hold: 30s }",
        "mode: observe\n    limits: { rows: 1000, statement: 90s }",
    );
    ensure!(observing != policies::SHOP, "the fixture has changed");
    let dir = folder(stand, "observing", &observing)?;
    let catalog = save(stand, "observing.json")?.display().to_string();
    let mut args = vec!["explain", "--dir", &dir, "--catalog", &catalog];
    args.extend(["--database", "shop"]);
    args.extend(JOB);
    args.push("SELECT * FROM public.secrets");
    let told = policy(stand, &args)?.success()?.json()?;
    let verdict = &told["statements"][0]["verdict"];
    ensure!(
        verdict["is"] == "allow" && verdict["observed"]["would"] == "deny",
        "{verdict}"
    );
    ensure!(told["grants"][0]["observes"] == true, "{}", told["grants"]);
    let limits = serde_json::json!([
        { "limit": "statement", "most": "1m30s", "rule": "agent-shop: limits.statement" },
        { "limit": "rows", "most": "1000", "rule": "agent-shop: limits.rows" },
    ]);
    ensure!(told["limits"] == limits, "{}", told["limits"]);
    let text = shown(stand, &args)?;
    for part in [
        "applies, and only observes",
        "rows 1000 (agent-shop: limits.rows)",
        "only observed; enforced: deny",
    ] {
        ensure!(text.contains(part), "{part}: {text}");
    }
    Ok(())
}

#[test]
fn the_schema_is_printed_for_editors() -> Result<()> {
    let stand = Stand::shared()?;
    let schema = policy(stand, &["schema"])?.success()?.json()?;
    ensure!(
        schema["$schema"].is_string()
            && schema["properties"]["grants"]["items"]["properties"]["limits"].is_object(),
        "{schema}"
    );
    Ok(())
}
