//! The policy language, in force: through the wire, against the real server.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context, Result, ensure};
use cordon_tests::{Output, Stand, canary, host::eventually, policies, raw};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Runs argv, one statement each with the parameter `alice…`, prepared once and executed twice.
const WITH_PARAMETER: &str = r#"
raw = logged_in()
out = []
for number, text in enumerate(sys.argv[2:]):
    name = "s%d" % number
    raw.send(parse(text.encode(), name) + SYNC)
    raw.seen()
    for _ in range(2):
        raw.send(bind(params=(sys.argv[1].encode(),), statement=name) + execute() + SYNC)
        out.append(raw.seen())
json.dump({"steps": out}, sys.stdout)
"#;

/// M3: equality with a value that the statement brings along, and nothing else.
#[test]
fn where_equality_lets_a_protected_column_be_compared_and_no_more() -> Result<()> {
    let policy = policies::SHOP.replace(
        "- column: public.customers.email\n        with: partial",
        "- column: public.customers.email\n        with: partial\n        where: equality",
    );
    ensure!(policy != policies::SHOP, "the fixture has changed");
    let stand = Stand::with_policy(&policy)?;
    let mut session = stand.job().live()?;
    let alice = "alice.kq7vd@canary.example";
    for allowed in [
        format!("SELECT id FROM public.customers WHERE email = '{alice}';"),
        format!("SELECT id FROM public.customers WHERE email IN ('{alice}', 'nobody') AND id < 9;"),
    ] {
        ensure!(session.query(&allowed)?.lines() == ["1"], "{allowed}");
    }
    let shown = session.query(&format!(
        "SELECT email FROM public.customers WHERE email = '{alice}';"
    ))?;
    canary::none_in("the result", &shown.stdout)?;
    ensure!(shown.lines().len() == 1, "{}", shown.all());
    for refused in [
        "SELECT id FROM public.customers WHERE email LIKE 'a%';",
        "SELECT id FROM public.customers WHERE email <> 'a';",
        "SELECT id FROM public.customers WHERE NOT email = 'a';",
        "SELECT id FROM public.customers WHERE lower(email) = 'a';",
        "SELECT id FROM public.customers WHERE email = name;",
        "SELECT id FROM public.customers WHERE email > 'a';",
        "SELECT id FROM public.customers ORDER BY email;",
        "SELECT count(*) FROM public.customers GROUP BY email;",
        "SELECT a.id FROM public.customers a JOIN public.customers b ON a.email = b.email;",
        "SELECT id FROM public.customers WHERE ssn = '078-05-1101';",
    ] {
        session.query(refused)?.refused_with("42501")?;
    }
    let seen = raw::run(
        &stand.job(),
        WITH_PARAMETER,
        &[
            alice,
            "SELECT id FROM public.customers WHERE email = $1",
            "SELECT id FROM public.customers WHERE email = ANY(ARRAY[$1])",
        ],
    )?;
    for step in seen["steps"].as_array().into_iter().flatten() {
        ensure!(raw::Seen(step).rows() == [[Some("1")]], "{step}");
    }
    Ok(())
}

/// What would be refused or held passes and is on record as such; what is protected stays so.
#[test]
fn an_observing_grant_records_what_it_would_refuse_and_masks_all_the_same() -> Result<()> {
    let policy = policies::SHOP.replace(
        "    database: shop\n",
        "    database: shop\n    mode: observe\n",
    );
    ensure!(policy != policies::SHOP, "the fixture has changed");
    let stand = Stand::with_policy(&policy)?;
    ensure!(
        status(&stand)?["observing"] == serde_json::json!(["agent-shop"]),
        "the observing grant is not shown"
    );
    let mut session = stand.job().live()?;
    // Granted to nobody; denied; held.
    for (sql, rows) in [
        ("SELECT count(*) FROM public.owned_plain;", 1),
        ("SELECT count(*) FROM public.secrets;", 1),
        (
            "DELETE FROM public.order_notes WHERE id = 1 RETURNING id;",
            1,
        ),
    ] {
        let output = session.query(sql)?;
        ensure!(
            output.sqlstates().is_empty() && output.lines().len() == rows,
            "{sql}: {}",
            output.all()
        );
    }
    let masked = session.query("SELECT email, ssn FROM public.customers;")?;
    canary::none_in("the result", &masked.all())?;
    ensure!(masked.lines().len() == 5, "{}", masked.all());
    session
        .query("SELECT id FROM public.customers WHERE ssn LIKE '0%';")?
        .refused_with("42501")?;
    let evidence = stand.daemon.evidence_text()?;
    for part in ["observe", "public.secrets", "public.order_notes"] {
        ensure!(evidence.contains(part), "the evidence has no {part}");
    }
    Ok(())
}

/// The state of the daemon, as `cordon status` tells it.
fn status(stand: &Stand) -> Result<Value> {
    Output::from(stand.daemon.cli(&["status", "--json"]).output()?)
        .success()?
        .json()
}

/// Waits until another policy than the given one is in force; gives its digest.
fn other_policy(stand: &Stand, before: &str) -> Result<String> {
    eventually("another policy in force", || {
        let digest = status(stand)?["policy"].as_str().map(str::to_owned);
        Ok(digest.filter(|digest| digest != before))
    })
}

#[test]
fn a_changed_file_comes_into_force_for_sessions_that_are_open() -> Result<()> {
    let stand = Stand::with_policy(policies::NO_APPROVALS)?;
    let folder = stand.daemon.policy_dir();
    let file = folder.join("policy.yaml");
    let mut session = stand.job().live()?;
    let reads = "SELECT count(*) FROM public.order_notes;";
    let granted = policies::NO_APPROVALS.to_owned();
    let narrowed = granted.replace("public.order_notes, ", "");
    ensure!(narrowed != granted, "the fixture has changed");
    ensure!(session.query(reads)?.sqlstates().is_empty());
    let first = status(&stand)?["policy"]
        .as_str()
        .context("no digest")?
        .to_owned();

    // Written in place.
    fs::write(&file, &narrowed)?;
    let second = other_policy(&stand, &first)?;
    session.query(reads)?.refused_with("42501")?;

    // Replaced, as editors do.
    fs::write(folder.join(".policy.yaml.swp"), &granted)?;
    fs::rename(folder.join(".policy.yaml.swp"), &file)?;
    ensure!(other_policy(&stand, &second)? == first, "another policy");
    ensure!(session.query(reads)?.sqlstates().is_empty());

    // The folder becomes a link, and the link is turned.
    let sets = folder.with_file_name("sets");
    for (set, text) in [("one", &granted), ("two", &narrowed)] {
        fs::create_dir_all(sets.join(set))?;
        fs::write(sets.join(set).join("policy.yaml"), text)?;
    }
    fs::rename(&folder, sets.join("old"))?;
    symlink(sets.join("one"), &folder)?;
    symlink(sets.join("two"), sets.join("next"))?;
    fs::rename(sets.join("next"), &folder)?;
    ensure!(other_policy(&stand, &first)? == second, "another policy");
    session.query(reads)?.refused_with("42501")?;

    // A signal asks for it even where nothing has changed.
    let before = status(&stand)?["policy_since"].clone();
    let daemon = i32::try_from(stand.daemon.pid()?)?;
    let daemon = Pid::from_raw(daemon).context("no process")?;
    kill_process(daemon, Signal::HUP)?;
    eventually("the signal to be followed", || {
        let status = status(&stand)?;
        Ok((status["policy_since"] != before && status["policy"] == *second).then_some(()))
    })
}

#[test]
fn a_set_that_is_wrong_leaves_the_last_good_one_in_force_and_says_so() -> Result<()> {
    let stand = Stand::with_policy(policies::NO_APPROVALS)?;
    let mut session = stand.job().live()?;
    let reads = "SELECT count(*) FROM public.orders;";
    let before = status(&stand)?;
    ensure!(before["policy_error"].is_null(), "{before}");
    let bad = policies::NO_APPROVALS.replace("    allow:\n", "    alow:\n");
    ensure!(bad != policies::NO_APPROVALS, "the fixture has changed");
    let line = 1 + bad
        .lines()
        .take_while(|line| !line.contains("alow:"))
        .count();
    stand.daemon.write_policy(&bad)?;
    let error = eventually("the error to be shown", || {
        let error = status(&stand)?["policy_error"].clone();
        Ok((!error.is_null()).then_some(error))
    })?;
    let problem = error["problems"][0].as_str().unwrap_or_default();
    ensure!(
        problem.contains(&format!("policy.yaml:{line}:5: "))
            && problem.contains("did you mean `allow`"),
        "{error}"
    );
    let after = status(&stand)?;
    ensure!(
        after["policy"] == before["policy"] && after["policy_since"] == before["policy_since"],
        "{after}"
    );
    ensure!(session.query(reads)?.sqlstates().is_empty());
    let refused = r#""type":"policy-refused""#;
    ensure!(
        stand.daemon.evidence_text()?.contains(refused),
        "the refused set is not on record"
    );

    // Taken back: as if nothing had happened.
    stand.daemon.write_policy(policies::NO_APPROVALS)?;
    eventually("the error to go", || {
        Ok(status(&stand)?["policy_error"].is_null().then_some(()))
    })?;
    let again = status(&stand)?;
    ensure!(
        again["policy"] == before["policy"] && again["policy_since"] == before["policy_since"],
        "{again}"
    );
    stand
        .daemon
        .write_policy(&policies::NO_APPROVALS.replace("public.orders, ", ""))?;
    other_policy(&stand, before["policy"].as_str().unwrap_or_default())?;
    ensure!(status(&stand)?["policy_error"].is_null(), "the error stays");
    session.query(reads)?.refused_with("42501")?;
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

/// What an upsert or a MERGE writes needs the right of the clause that writes it, and no other; the
/// database agrees.
#[test]
fn an_upsert_needs_each_right_for_its_own_columns() -> Result<()> {
    let policy = policies::NO_APPROVALS.replace(
        "- insert: [public.order_notes, public.imports]",
        "- insert: ['public.imports (sku, quantity)']\n      - update: public.imports (price)",
    );
    ensure!(policy.contains("(price)"), "the fixture has changed");
    let stand = Stand::with_policy(&policy)?;
    let mut session = stand.job().live()?;
    let merge =
        "MERGE INTO public.imports i USING (VALUES ('m', 1)) v(sku, quantity) ON i.sku = v.sku";
    for allowed in [
        "INSERT INTO public.imports (sku, quantity) VALUES ('u', 1) ON CONFLICT (sku) DO UPDATE SET price = 2;".to_owned(),
        "INSERT INTO public.imports (sku, quantity) VALUES ('u', 1) ON CONFLICT (sku) DO UPDATE SET price = 2;".to_owned(),
        format!("{merge} WHEN MATCHED THEN UPDATE SET price = 3 WHEN NOT MATCHED THEN INSERT (sku, quantity) VALUES (v.sku, v.quantity);"),
    ] {
        let output = session.query(&allowed)?;
        ensure!(output.sqlstates().is_empty(), "{allowed}: {}", output.all());
    }
    for refused in [
        "INSERT INTO public.imports (sku, quantity) VALUES ('u', 1) ON CONFLICT (sku) DO UPDATE SET quantity = 2;".to_owned(),
        "INSERT INTO public.imports (sku, quantity, price) VALUES ('u', 1, 2) ON CONFLICT (sku) DO UPDATE SET price = 2;".to_owned(),
        format!("{merge} WHEN MATCHED THEN UPDATE SET quantity = 3;"),
        format!("{merge} WHEN NOT MATCHED THEN INSERT (sku, quantity, price) VALUES (v.sku, v.quantity, 1);"),
    ] {
        session.query(&refused)?.refused_with("42501")?;
    }
    Ok(())
}

/// The server asks a view's owner for the rights on what is behind it, and so does the policy; but
/// for views that the job's login made or could make anew, and for those of their invoker.
#[test]
fn m15_a_grant_on_a_view_is_enough_unless_the_job_could_have_made_it() -> Result<()> {
    let policy = policies::SHOP
        .replace("public.order_overview]", "\"public.v_*\"]")
        .replace(
            "- select: [public.customers, public.customer_contacts]",
            "- select: [public.orders]",
        )
        .replace(
            "- ddl: public.*\n        by: { group: dba, count: 2 }",
            "- ddl: public.nothing\n        by: { group: dba, count: 2 }",
        );
    let stand = Stand::with_policy(&policy)?;
    stand.cluster.admin(
        "CREATE ROLE team NOLOGIN; GRANT team TO agent_rw;
         GRANT SELECT ON public.customers, public.secrets TO team, agent_rw;
         CREATE VIEW public.v_owned AS SELECT id, name, email AS contact FROM public.customers;
         CREATE VIEW public.v_outer AS SELECT id, contact FROM public.v_owned;
         CREATE VIEW public.v_denied AS SELECT name FROM public.secrets;
         CREATE VIEW public.v_invoker WITH (security_invoker) AS SELECT id, name FROM public.customers;
         CREATE VIEW public.v_over_invoker AS SELECT id FROM public.v_invoker;
         CREATE VIEW public.v_team AS SELECT id, name FROM public.customers;
         ALTER VIEW public.v_team OWNER TO team;
         CREATE VIEW public.v_over_team AS SELECT id FROM public.v_team;
         CREATE VIEW public.v_own AS SELECT id, name FROM public.customers;
         ALTER VIEW public.v_own OWNER TO agent_rw;
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO agent_rw;",
    )?;
    let mut session = stand.job().live()?;
    for (allowed, rows) in [
        ("SELECT id, name FROM public.v_owned;", 5),
        ("SELECT id FROM public.v_outer WHERE id < 3;", 2),
        (
            "SELECT count(*) FROM public.v_owned JOIN public.orders USING (id);",
            1,
        ),
    ] {
        let output = session.query(allowed)?;
        ensure!(
            output.sqlstates().is_empty() && output.lines().len() == rows,
            "{allowed}: {}",
            output.all()
        );
    }
    // What is protected behind it stays so.
    let masked = session.query("SELECT contact FROM public.v_outer;")?;
    canary::none_in("a view's column", &masked.all())?;
    ensure!(masked.lines().len() == 5, "{}", masked.all());
    for refused in [
        "SELECT id FROM public.v_outer WHERE contact LIKE 'a%';",
        "SELECT upper(contact) FROM public.v_owned;",
        "SELECT * FROM public.v_denied;",
        "SELECT * FROM public.v_invoker;",
        "SELECT * FROM public.v_over_invoker;",
        "SELECT * FROM public.v_team;",
        "SELECT * FROM public.v_over_team;",
        "SELECT * FROM public.v_own;",
        // The table itself is still not granted, beside the view neither.
        "SELECT id FROM public.customers;",
        "SELECT v.id, c.name FROM public.v_owned v JOIN public.customers c USING (id);",
    ] {
        session.query(refused)?.refused_with("42501")?;
    }
    // No longer a member: the view is its owner's alone.
    stand
        .cluster
        .admin("REVOKE team FROM agent_rw; GRANT SELECT ON public.v_team TO agent_rw")?;
    let mut later = stand.job().live()?;
    let output = later.query("SELECT id FROM public.v_team;")?;
    ensure!(output.lines().len() == 5, "{}", output.all());
    Ok(())
}

/// What programs set for themselves works as SET and as `set_config`, and neither gets further
/// than the other.
#[test]
fn f8_set_config_can_do_what_set_can_and_no_more() -> Result<()> {
    let policy = policies::SHOP.replace(
        "      - call: [public.order_total]",
        "      - call: [public.order_total]\n      - set: \"shop.*\"",
    );
    ensure!(policy != policies::SHOP, "the fixture has changed");
    let stand = Stand::with_policy(&policy)?;
    stand
        .cluster
        .admin("CREATE SCHEMA other; CREATE TABLE other.orders (id integer, only_here text); GRANT USAGE ON SCHEMA other TO agent_rw; GRANT SELECT ON other.orders TO agent_rw")?;
    let mut session = stand.job().live()?;
    for (sql, expected) in [
        ("SELECT set_config('shop.tenant', '7', false);", "7"),
        ("SELECT current_setting('shop.tenant');", "7"),
        ("SELECT current_setting('shop.' || 'tenant', true);", "7"),
        ("SET shop.tenant = '8'; SHOW shop.tenant;", "8"),
        (
            "SELECT pg_catalog.set_config('search_path', '', false);",
            "",
        ),
        ("SELECT count(*) FROM shop.public.orders;", "5"),
        (
            "SELECT set_config('search_path', 'public', false);",
            "public",
        ),
        ("SET ROLE agent_rw; SELECT current_user;", "agent_rw"),
        ("SET ROLE NONE; SELECT current_user;", "agent_rw"),
        (
            "SET SESSION AUTHORIZATION agent_rw; SELECT current_user;",
            "agent_rw",
        ),
        ("LOCK public.imports IN ACCESS EXCLUSIVE MODE;", ""),
    ] {
        let output = session.query(&format!("BEGIN; {sql} COMMIT;"))?;
        ensure!(
            output.sqlstates().is_empty() && output.lines().join("") == expected,
            "{sql}: {}",
            output.all()
        );
    }
    // The search path is followed: `orders` is now another table, which nothing grants.
    session.query("SELECT set_config('search_path', 'other, public', false);")?;
    session
        .query("SELECT only_here FROM orders;")?
        .refused_with("42501")?;
    session.query("SELECT set_config('search_path', NULL, false);")?;
    let output = session.query("SELECT count(*) FROM orders;")?;
    ensure!(output.lines() == ["5"], "{}", output.all());
    for (refused, sqlstate) in [
        ("SET other.tenant = '8';", "42501"),
        ("SELECT set_config('other.tenant', '8', false);", "42501"),
        ("SELECT set_config('role', 'postgres', false);", "42501"),
        ("SELECT set_config('ROLE', 'postgres', false);", "42501"),
        (
            "SELECT set_config('session_replication_role', 'replica', false);",
            "42501",
        ),
        (
            "SELECT set_config('client_encoding', 'LATIN1', false);",
            "42501",
        ),
        (
            "SELECT set_config('search_path', 'public, pg_catalog', false);",
            "0A000",
        ),
        (
            "SELECT set_config('search_path', note, false) FROM public.orders;",
            "42501",
        ),
        (
            "SELECT set_config('shop.tenant', '1', false), set_config('role', 'x', true);",
            "42501",
        ),
        ("SET ROLE postgres;", "42501"),
        ("SELECT count(*) FROM elsewhere.public.orders;", "0A000"),
        ("LOCK public.order_items IN ROW SHARE MODE;", "42501"),
    ] {
        let output = session.query(refused)?;
        ensure!(
            output.sqlstates() == [sqlstate],
            "{refused}: {}",
            output.all()
        );
    }
    let output = session.query("BEGIN; LOCK public.order_items IN ACCESS SHARE MODE; COMMIT;")?;
    ensure!(output.sqlstates().is_empty(), "{}", output.all());
    Ok(())
}

/// Flyway binds the search path. Its value decides, once it is known.
#[test]
fn m14_a_search_path_that_is_a_parameter_is_followed_and_looked_at() -> Result<()> {
    const SCRIPT: &str = r#"
raw = logged_in()
out = []
for value in [b"other", b"public", b"public, PG_CATALOG", b'"pg_catalog", public']:
    raw.send(parse(b"SELECT set_config('search_path', $1, false)") + bind(params=(value,)) + execute() + SYNC)
    out.append(raw.seen())
    raw.send(parse(b"SELECT count(*) FROM orders") + bind() + execute() + SYNC)
    out.append(raw.seen())
json.dump({"steps": out}, sys.stdout)
"#;
    let stand = Stand::with_policy(policies::SHOP)?;
    stand
        .cluster
        .admin("CREATE SCHEMA other; CREATE TABLE other.orders (id integer); GRANT USAGE ON SCHEMA other TO agent_rw; GRANT SELECT ON other.orders TO agent_rw")?;
    let seen = raw::run(&stand.job(), SCRIPT, &[])?;
    let steps: Vec<raw::Seen> = seen["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(raw::Seen)
        .collect();
    let [
        other,
        refused,
        public,
        counted,
        shadowing,
        still,
        first,
        again,
    ] = steps.as_slice()
    else {
        anyhow::bail!("{seen}");
    };
    ensure!(other.rows() == [[Some("other")]], "{seen}");
    ensure!(refused.sqlstates() == ["42501"], "{seen}");
    ensure!(public.rows() == [[Some("public")]], "{seen}");
    ensure!(counted.rows() == [[Some("5")]], "{seen}");
    ensure!(shadowing.sqlstates() == ["0A000"], "{seen}");
    ensure!(still.rows() == [[Some("5")]], "{seen}");
    ensure!(first.sqlstates() == ["0A000"], "{seen}");
    ensure!(again.rows() == [[Some("5")]], "{seen}");
    Ok(())
}

/// The gateway's own look-ups must not come between BEGIN and SET TRANSACTION, nor answer for the
/// server in a transaction that has failed.
#[test]
fn g10_transactions_begin_and_fail_as_they_do_directly() -> Result<()> {
    let stand = Stand::with_policy(policies::SHOP)?;
    let mut session = stand.job().live()?;
    for sql in [
        "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = 0; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM public.orders; COMMIT;",
        "BEGIN; SET LOCAL search_path = public; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; COMMIT;",
    ] {
        let output = session.query(sql)?;
        ensure!(output.sqlstates().is_empty(), "{sql}: {}", output.all());
    }
    let failed =
        session.query("BEGIN;\nSELECT 1 / 0;\nSELECT * FROM public.missing;\nROLLBACK;")?;
    ensure!(failed.sqlstates() == ["22012", "25P02"], "{}", failed.all());
    Ok(())
}
