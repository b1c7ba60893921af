//! M14: definitions that somebody changes outside of Cordon hold for the very next execution, of
//! statements that have run before too.

use anyhow::{Result, ensure};
use cordon_tests::{Setup, Stand, canary, raw};

/// The same columns, of the same types, harmless and protected.
const HARMLESS: &str = "CREATE OR REPLACE VIEW public.order_overview AS SELECT id, status, total, note::varchar(11) AS customer FROM public.orders";
const PROTECTED: &str = "CREATE OR REPLACE VIEW public.order_overview AS SELECT o.id, o.status, o.total, c.ssn AS customer FROM public.orders o JOIN public.customers c ON c.id = o.customer_id";
const READ: &str = "SELECT customer FROM public.order_overview;";

/// Each line of the input is one step; the session holds READ and COPY under names.
const STEPS: &str = r#"
raw = logged_in()
raw.send(parse(b"SELECT customer FROM public.order_overview", "q") + SYNC)
raw.seen()
raw.send(parse(b"INSERT INTO public.order_notes (order_id, author, body) SELECT 1, 'guard', customer FROM public.order_overview LIMIT 1", "i") + SYNC)
raw.seen()
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "bind":
        raw.send(bind(statement=rest) + describe() + execute() + SYNC)
    elif word == "two":
        raw.send((bind(statement=rest) + execute()) * 2 + SYNC)
    else:
        raw.send(query(rest))
    print(json.dumps(raw.seen()), flush=True)
"#;

fn harmless() -> Result<Stand> {
    let stand = Stand::start(&Setup::default())?;
    stand.cluster.admin("DROP VIEW public.order_overview")?;
    stand.cluster.admin(HARMLESS)?;
    stand
        .cluster
        .admin("GRANT SELECT ON public.order_overview TO agent_rw")?;
    Ok(stand)
}

#[test]
fn m14_a_query_that_ran_before_is_masked_as_soon_as_its_view_changes() -> Result<()> {
    let stand = harmless()?;
    let mut session = stand.job().live()?;
    for round in 0..8 {
        for again in 0..2 {
            let output = session.query(READ)?;
            canary::none_in("the result", &output.all())?;
            ensure!(
                output.sqlstates().is_empty() && output.lines().len() >= 4,
                "round {round}, {again}: {}",
                output.all()
            );
        }
        stand
            .cluster
            .admin(if round % 2 == 0 { PROTECTED } else { HARMLESS })?;
    }
    Ok(())
}

#[test]
fn m14_a_prepared_statement_is_stopped_and_then_masked() -> Result<()> {
    let stand = harmless()?;
    let mut session = raw::Live::start(&stand.job(), STEPS)?;
    for round in 0..3 {
        for _ in 0..2 {
            let seen = session.step("bind q")?;
            ensure!(raw::Seen(&seen).sqlstates().is_empty(), "{seen}");
            ensure!(raw::Seen(&seen).rows().len() >= 4, "{seen}");
        }
        stand.cluster.admin(PROTECTED)?;
        let seen = session.step("bind q")?;
        canary::none_in("the first execution", &seen.to_string())?;
        ensure!(raw::Seen(&seen).sqlstates() == ["40001"], "{round}: {seen}");
        for step in ["bind q", "two q"] {
            let seen = session.step(step)?;
            canary::none_in(step, &seen.to_string())?;
            ensure!(raw::Seen(&seen).sqlstates().is_empty(), "{step}: {seen}");
            ensure!(raw::Seen(&seen).rows().len() >= 4, "{step}: {seen}");
        }
        stand.cluster.admin(HARMLESS)?;
        session.step("bind q")?;
    }
    let text = stand.daemon.evidence_text()?;
    ensure!(text.contains("40001"), "not recorded");
    Ok(())
}

#[test]
fn m14_in_a_transaction_the_statement_fails_and_nothing_is_written() -> Result<()> {
    let stand = harmless()?;
    let mut session = raw::Live::start(&stand.job(), STEPS)?;
    ensure!(
        raw::Seen(&session.step("bind i")?).sqlstates().is_empty(),
        "the insert is refused"
    );
    session.step("query BEGIN")?;
    stand.cluster.admin(PROTECTED)?;
    let seen = session.step("bind i")?;
    ensure!(raw::Seen(&seen).sqlstates() == ["40001"], "{seen}");
    let seen = session.step("bind q")?;
    ensure!(raw::Seen(&seen).sqlstates() == ["25P02"], "{seen}");
    session.step("query ROLLBACK")?;
    // What would be masked may not be stored.
    let seen = session.step("bind i")?;
    ensure!(raw::Seen(&seen).sqlstates() == ["42501"], "{seen}");
    let written = stand
        .cluster
        .admin("SELECT count(*) FROM public.order_notes WHERE author = 'guard'")?;
    ensure!(written.trim() == "1", "{written}");
    Ok(())
}

#[test]
fn m14_other_ways_to_change_what_a_text_means() -> Result<()> {
    let stand = harmless()?;
    stand.cluster.admin(
        "CREATE SCHEMA early; GRANT USAGE ON SCHEMA early TO agent_rw; \
         ALTER ROLE agent_rw SET search_path = early, public",
    )?;
    let mut session = stand.job().live()?;
    // The mask goes with the column's name.
    let whole = "SELECT * FROM public.customers ORDER BY id;";
    let shadow = "SELECT note FROM orders ORDER BY id;";
    let call = "SELECT upper(note) FROM public.orders ORDER BY id;";
    for sql in [whole, shadow, call] {
        for _ in 0..2 {
            let output = session.query(sql)?;
            ensure!(output.sqlstates().is_empty(), "{sql}: {}", output.all());
        }
    }
    stand.cluster.admin(
        "ALTER TABLE public.customers RENAME ssn TO was; ALTER TABLE public.customers RENAME country TO ssn; \
         ALTER TABLE public.customers RENAME was TO secret",
    )?;
    let output = session.query(whole)?.all();
    ensure!(output.contains("|[redacted]|+44"), "{output}");
    stand.cluster.admin(
        "CREATE TABLE early.orders AS SELECT id, ssn2 AS note FROM (SELECT id, secret AS ssn2 FROM public.customers) s; \
         GRANT SELECT ON early.orders TO agent_rw",
    )?;
    session.query(shadow)?.refused_with("42501")?;
    stand.cluster.admin(
        "CREATE FUNCTION early.upper(varchar) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT value FROM public.secrets LIMIT 1'; \
         CREATE FUNCTION public.upper(public.orders) RETURNS text LANGUAGE sql AS 'SELECT ''x'''",
    )?;
    let output = session.query(call)?;
    canary::none_in("the function", &output.all())?;
    Ok(())
}

/// What changes no definition stops nothing.
#[test]
fn g10_truncate_analyze_grants_and_writes_by_others_stop_no_statement() -> Result<()> {
    let stand = harmless()?;
    stand
        .cluster
        .admin("CREATE MATERIALIZED VIEW public.totals AS SELECT count(*) FROM public.orders")?;
    let mut session = raw::Live::start(&stand.job(), STEPS)?;
    for change in [
        "TRUNCATE public.imports",
        "ANALYZE public.orders",
        "VACUUM public.orders",
        "GRANT SELECT ON public.orders TO pg_monitor",
        "REFRESH MATERIALIZED VIEW public.totals",
        "UPDATE public.orders SET note = note",
        "CREATE TABLE public.unrelated (id int)",
        "CREATE INDEX ON public.orders (note)",
    ] {
        let seen = session.step("bind q")?;
        ensure!(raw::Seen(&seen).sqlstates().is_empty(), "{change}: {seen}");
        stand.cluster.admin(change)?;
        let seen = session.step("bind q")?;
        ensure!(raw::Seen(&seen).sqlstates().is_empty(), "{change}: {seen}");
    }
    Ok(())
}

/// The query that compares the definitions is no business of the client's.
#[test]
fn g10_the_guard_is_not_among_the_prepared_statements() -> Result<()> {
    let stand = Stand::with_policy(cordon_tests::policies::ALLOW_ALL)?;
    let mut session = stand.job().live()?;
    session.query("SELECT id FROM public.orders; SELECT id FROM public.orders;")?;
    for _ in 0..2 {
        let output = session.query("SELECT name FROM pg_prepared_statements;")?;
        ensure!(output.lines().is_empty(), "{}", output.all());
        let output = session
            .query("SELECT p.name FROM pg_prepared_statements p, public.orders o LIMIT 1;")?;
        ensure!(
            output.lines().is_empty() && output.sqlstates().is_empty(),
            "{}",
            output.all()
        );
        for sql in ["DEALLOCATE ALL;", "DISCARD ALL;"] {
            session.query(sql)?;
            let output = session.query("SELECT id FROM public.orders ORDER BY id LIMIT 1;")?;
            ensure!(output.lines() == ["1"], "{sql}: {}", output.all());
        }
    }
    Ok(())
}
