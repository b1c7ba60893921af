//! The database confirms what a statement touches: it is asked to read every new statement before
//! that runs, and what it finds beyond the analysis stops the statement.

use anyhow::{Context, Result, ensure};
use cordon_tests::{Output, Stand, canary, raw};
use serde_json::Value;

/// Runs argv as one statement each in the extended protocol, twice over, and prints what each
/// execution showed. The second execution parses nothing.
const TWICE: &str = r#"
raw = logged_in()
out = []
for number, text in enumerate(sys.argv[1:]):
    name = "s%d" % number
    raw.send(parse(text.encode(), name) + SYNC)
    out.append(raw.seen())
    for _ in range(2):
        raw.send(bind(statement=name) + describe() + execute() + SYNC)
        out.append(raw.seen())
raw.send(query("SELECT 1"))
json.dump({"steps": out, "last": raw.seen()}, sys.stdout)
"#;

fn disagreements(stand: &Stand) -> Result<u64> {
    let status = Output::from(stand.daemon.cli(&["status", "--json"]).output()?).success()?;
    status.json()?["disagreements"]
        .as_u64()
        .context("no count of disagreements")
}

#[test]
fn what_row_level_security_reads_need_not_be_granted() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    stand.cluster.admin(
        "ALTER TABLE public.imports ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY visible ON public.imports TO agent_rw USING \
         (sku IN (SELECT 'A-' || length(s.name) - 5 FROM public.secrets s))",
    )?;
    let mut session = stand.job().live()?;
    let sql = "SELECT sku, quantity FROM public.imports ORDER BY sku;";
    for _ in 0..2 {
        let output = session.query(sql)?;
        ensure!(output.lines() == ["A-1|10", "A-2|20"], "{}", output.all());
    }
    let mut open = stand.job().live()?;
    open.query("BEGIN; SELECT count(*) FROM public.orders;")?;
    let output = open.query(sql)?;
    ensure!(output.lines() == ["A-1|10", "A-2|20"], "{}", output.all());
    ensure!(disagreements(&stand)? == 0, "it counts as a disagreement");
    Ok(())
}

/// Parse locks what an explained statement would write.
#[test]
fn an_explained_statement_may_lock_what_it_does_not_write() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    let mut session = stand.job().live()?;
    for sql in [
        "EXPLAIN SELECT id FROM public.orders FOR UPDATE;",
        "EXPLAIN UPDATE public.orders SET status = 'open' WHERE id = 1;",
        "MERGE INTO public.orders o USING public.order_items i ON o.id = i.order_id WHEN MATCHED THEN DO NOTHING;",
        "EXPLAIN INSERT INTO public.order_notes (order_id, author, body) VALUES (1, 'a', 'b');",
    ] {
        let output = session.query(sql)?;
        ensure!(output.sqlstates().is_empty(), "{sql}: {}", output.all());
    }
    ensure!(disagreements(&stand)? == 0, "it counts as a disagreement");
    Ok(())
}

/// A view that somebody put among the server's own, where nothing is looked behind: only the
/// database's own reading of the statement tells what it reads.
#[test]
fn what_the_database_reads_beyond_the_analysis_is_refused_and_counted() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    stand.cluster.admin(
        "SET allow_system_table_mods = on; \
         CREATE VIEW pg_catalog.stock AS SELECT name AS sku, length(value) AS quantity FROM public.secrets; \
         GRANT SELECT ON pg_catalog.stock TO agent_rw",
    )?;
    let mut session = stand.job().live()?;
    for (round, sql) in [
        "SELECT sku FROM pg_catalog.stock;",
        "SELECT sku FROM pg_catalog.stock;",
        "SELECT 1; SELECT quantity FROM pg_catalog.stock;",
        "PREPARE p AS SELECT quantity FROM pg_catalog.stock;",
    ]
    .into_iter()
    .enumerate()
    {
        let output = session.query(sql)?.refused_with("58000")?;
        ensure!(output.all().contains("public.secrets"), "{}", output.all());
        ensure!(session.query("SELECT 7;")?.lines() == ["7"], "lost");
        ensure!(disagreements(&stand)? == round as u64 + 1, "not counted");
    }
    session.query("BEGIN; SELECT count(*) FROM public.orders;")?;
    session
        .query("SELECT quantity FROM pg_catalog.stock;")?
        .refused_with("58000")?;
    session.query("SELECT 1;")?.refused_with("25P02")?;
    ensure!(session.query("ROLLBACK;")?.sqlstates().is_empty(), "stuck");

    let seen = raw::run(
        &stand.job(),
        TWICE,
        &[
            "SELECT sku FROM pg_catalog.stock",
            "SELECT id FROM public.orders",
        ],
    )?;
    let steps: Vec<raw::Seen<'_>> = seen["steps"]
        .as_array()
        .context("no steps")?
        .iter()
        .map(raw::Seen)
        .collect();
    let codes: Vec<Vec<&str>> = steps.iter().map(raw::Seen::sqlstates).collect();
    // It was never prepared, so that it cannot be bound.
    ensure!(
        codes[..3] == [vec!["58000"], vec!["26000"], vec!["26000"]],
        "{codes:?}"
    );
    ensure!(codes[3..].iter().all(Vec::is_empty), "{codes:?}");
    ensure!(
        stand.daemon.evidence_text()?.contains("public.secrets"),
        "not recorded"
    );
    Ok(())
}

/// The same columns, of the same types, harmless and protected.
const HARMLESS: &str = "CREATE OR REPLACE VIEW public.order_overview AS SELECT id, status, total, note::varchar(11) AS customer FROM public.orders";
const PROTECTED: &str = "CREATE OR REPLACE VIEW public.order_overview AS SELECT o.id, o.status, o.total, c.ssn AS customer FROM public.orders o JOIN public.customers c ON c.id = o.customer_id";

fn harmless_view(stand: &Stand) -> Result<()> {
    stand.cluster.admin("DROP VIEW public.order_overview")?;
    stand.cluster.admin(HARMLESS)?;
    stand
        .cluster
        .admin("GRANT SELECT ON public.order_overview TO agent_rw")?;
    Ok(())
}

/// M14: what is prepared in SQL is masked as the database reads it when it runs.
#[test]
fn a_prepared_statement_over_a_view_redefined_behind_our_back_is_masked() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    harmless_view(&stand)?;
    stand
        .cluster
        .admin("CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO agent_rw")?;
    let mut session = stand.job().live()?;
    // Under another search path the database is asked again, which is when it can say that the
    // names here are outdated.
    let prepared = session.query(
        "PREPARE p AS SELECT customer, 'p' FROM public.order_overview; EXECUTE p; \
         SET search_path = public, other; SELECT 1;",
    )?;
    ensure!(prepared.sqlstates().is_empty(), "{}", prepared.all());
    stand.cluster.admin(PROTECTED)?;
    let output = session.query("EXECUTE p; EXECUTE p;")?;
    canary::none_in("the result", &output.all())?;
    ensure!(
        output.sqlstates().is_empty() && output.lines().len() >= 8,
        "{}",
        output.all()
    );
    Ok(())
}

/// M14, M15: what was changed outside of Cordon holds for the next statement that is new.
#[test]
fn a_view_redefined_behind_our_back_is_read_as_it_is_now() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    harmless_view(&stand)?;
    let mut session = stand.job().live()?;
    session.query("BEGIN; SELECT customer FROM public.order_overview; COMMIT;")?;
    for round in 0..6 {
        stand
            .cluster
            .admin(if round % 2 == 0 { PROTECTED } else { HARMLESS })?;
        let output = if round % 3 == 0 {
            session.query(&format!(
                "BEGIN; SELECT {round}; SELECT customer, {round} FROM public.order_overview; COMMIT;"
            ))?
        } else {
            session.query(&format!(
                "SELECT customer, {round} FROM public.order_overview;"
            ))?
        };
        canary::none_in("the result", &output.all())?;
        ensure!(
            output.sqlstates().is_empty() && output.lines().len() >= 4,
            "round {round}: {}",
            output.all()
        );
        let seen = raw::run(
            &stand.job(),
            TWICE,
            &[&format!(
                "SELECT customer AS c{round} FROM public.order_overview"
            )],
        )?;
        canary::none_in("the result", &seen.to_string())?;
        ensure!(
            seen["steps"].as_array().is_some_and(|steps| steps
                .iter()
                .all(|step| step["errors"] == Value::Array(Vec::new()))),
            "{seen}"
        );
    }
    ensure!(disagreements(&stand)? == 0, "it counts as a disagreement");
    Ok(())
}

/// RowDescription names the table of a whole row, and no column.
#[test]
fn whole_rows_come_from_their_table() -> Result<()> {
    let stand = Stand::start(&cordon_tests::Setup::default())?;
    let mut session = stand.job().live()?;
    for sql in [
        "SELECT n FROM public.order_notes n WHERE id = 1;",
        "SELECT n.* FROM public.order_notes n WHERE id = 1;",
        "INSERT INTO public.order_notes (order_id, author, body) VALUES (1, 'a', 'b') RETURNING order_notes;",
        "INSERT INTO public.order_notes AS n (order_id, author, body) VALUES (1, 'a', 'b') RETURNING n;",
    ] {
        let output = session.query(sql)?;
        ensure!(output.sqlstates().is_empty(), "{sql}: {}", output.all());
        ensure!(output.lines().len() == 1, "{sql}: {}", output.all());
    }
    ensure!(disagreements(&stand)? == 0, "it counts as a disagreement");
    Ok(())
}
