//! The policy language, in force: through the wire, against the real server.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context, Result, ensure};
use cordon_tests::{Output, Stand, canary, host::eventually, policies, raw};
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
    Ok(())
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
