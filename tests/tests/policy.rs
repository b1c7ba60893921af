//! The policy language, in force: through the wire, against the real server.

use anyhow::{Result, ensure};
use cordon_tests::{Stand, canary, policies, raw};

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
