//! What the database's own definitions do for a statement: row-level security, defaults, rewrite
//! rules, and what was prepared under a name.

use anyhow::{Result, ensure};
use cordon_tests::{Setup, Stand, canary, policies};

/// True if the evidence lists the effect.
fn recorded(stand: &Stand, effect: &str) -> Result<bool> {
    Ok(stand.daemon.evidence_text()?.contains(effect))
}

#[test]
fn m15_what_a_definition_reads_and_runs_is_on_record_and_needs_no_grant() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    stand.cluster.admin(
        "CREATE FUNCTION public.is_sku(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 <> ''''; END'; \
         CREATE SEQUENCE public.lot; GRANT USAGE ON public.lot TO agent_rw; \
         ALTER TABLE public.imports ADD COLUMN lot bigint DEFAULT nextval('public.lot'), ADD CHECK (public.is_sku(sku)); \
         ALTER TABLE public.imports ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY known ON public.imports TO agent_rw USING \
         (EXISTS (SELECT FROM public.customers c WHERE c.ssn <> imports.sku AND c.country = 'GB' FOR UPDATE))",
    )?;
    let mut session = stand.job().live()?;
    let output = session.query("SELECT sku FROM public.imports ORDER BY sku;")?;
    ensure!(output.lines() == ["A-1", "A-2"], "{}", output.all());
    let output = session.query("INSERT INTO public.imports (sku, quantity) VALUES ('A-3', 30);")?;
    ensure!(output.sqlstates().is_empty(), "{}", output.all());
    for effect in [
        "implied: select public.customers",
        "implied: advance public.lot",
        "implied: call public.is_sku",
    ] {
        ensure!(recorded(&stand, effect)?, "{effect} is not recorded");
    }
    // What is read for the policy may be quoted by an error, and is withheld.
    let output = session.query("INSERT INTO public.imports (sku, quantity) VALUES ('A-3', 30);")?;
    ensure!(output.sqlstates() == ["23505"], "{}", output.all());
    canary::none_in("the errors", &output.all())?;
    ensure!(!output.all().contains("(A-3)"), "{}", output.all());
    Ok(())
}

#[test]
fn m15_a_policy_that_changes_is_read_anew() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    stand.cluster.admin(
        "ALTER TABLE public.imports ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY known ON public.imports TO agent_rw USING (true)",
    )?;
    let mut session = stand.job().live()?;
    session.query("SELECT sku FROM public.imports;")?;
    stand.cluster.admin(
        "ALTER POLICY known ON public.imports USING (quantity IN (SELECT 10 FROM public.secrets))",
    )?;
    let output = session.query("SELECT sku, 'anew' FROM public.imports;")?;
    ensure!(output.lines() == ["A-1|anew"], "{}", output.all());
    ensure!(
        recorded(&stand, "implied: select public.secrets")?,
        "not recorded"
    );
    Ok(())
}

#[test]
fn m15_a_rewrite_rule_needs_what_it_does() -> Result<()> {
    let stand = Stand::with_policy(&policies::SHOP.replace(
        "      - insert: [public.order_notes, public.imports]",
        "      - insert: [public.order_notes, public.imports, public.notes]\n      - select: public.notes\n      - update: public.notes",
    ))?;
    stand.cluster.admin(
        "CREATE VIEW public.notes AS SELECT order_id, body FROM public.order_notes; GRANT ALL ON public.notes TO agent_rw; \
         CREATE RULE add AS ON INSERT TO public.notes DO INSTEAD \
         INSERT INTO public.order_notes (order_id, body) VALUES (new.order_id, upper(new.body)); \
         CREATE RULE leak AS ON UPDATE TO public.notes DO INSTEAD \
         INSERT INTO public.order_notes (order_id, body) SELECT old.order_id, c.ssn FROM public.customers c",
    )?;
    let mut session = stand.job().live()?;
    let output = session.query("INSERT INTO public.notes VALUES (2, 'ruled');")?;
    ensure!(output.sqlstates().is_empty(), "{}", output.all());
    let output = session.query("SELECT body FROM public.order_notes WHERE order_id = 2;")?;
    ensure!(output.lines() == ["RULED"], "{}", output.all());
    // A protected column would be copied to where no mask follows.
    session
        .query("UPDATE public.notes SET body = 'x' WHERE order_id = 1;")?
        .refused_with("42501")?;
    session
        .query("INSERT INTO public.notes VALUES (2, 'x') RETURNING body;")?
        .refused_with("0A000")?;
    Ok(())
}

#[test]
fn f3_what_executes_a_prepared_statement_is_judged_as_that() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    let mut session = stand.job().live()?;
    let output = session.query(
        "PREPARE q (int) AS SELECT id, note FROM public.orders WHERE id = $1; \
         EXPLAIN (COSTS off) EXECUTE q (1); EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) EXECUTE q (1);",
    )?;
    ensure!(output.sqlstates().is_empty(), "{}", output.all());
    ensure!(output.all().contains("actual rows=1"), "{}", output.all());
    let output = session.query(
        "CREATE TEMP TABLE mine AS EXECUTE q (1); SELECT note FROM mine; EXPLAIN ANALYZE CREATE TEMP TABLE more AS EXECUTE q (3); SELECT note FROM more;",
    )?;
    ensure!(output.sqlstates().is_empty(), "{}", output.all());
    ensure!(
        output.all().contains("gift wrap") && output.all().contains("fragile"),
        "{}",
        output.all()
    );
    // What it would show masked may not be stored.
    let output = session.query("PREPARE p AS SELECT email, ssn FROM public.customers;")?;
    ensure!(output.sqlstates().is_empty(), "{}", output.all());
    session
        .query("CREATE TEMP TABLE theirs AS EXECUTE p;")?
        .refused_with("42501")?;
    session
        .query("EXPLAIN EXECUTE nothing;")?
        .refused_with("26000")?;
    let plan = session.query("EXPLAIN (VERBOSE, ANALYZE) EXECUTE p;")?;
    canary::none_in("the plan", &plan.all())
}

#[test]
fn f3_a_schema_is_made_with_its_objects_by_who_may() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    stand
        .cluster
        .admin("GRANT CREATE ON DATABASE shop TO agent_rw")?;
    let output = stand.job().sql(
        "CREATE SCHEMA films CREATE VIEW winners AS SELECT name FROM releases CREATE TABLE releases (name text PRIMARY KEY); \
         INSERT INTO films.releases VALUES ('M'); SELECT name FROM films.winners;",
    )?;
    ensure!(output.lines().contains(&"M"), "{}", output.all());
    let stand = Stand::start(&Setup::default())?;
    let refused = stand
        .job()
        .sql("CREATE SCHEMA films CREATE VIEW seen AS SELECT value FROM public.secrets")?;
    ensure!(!refused.sqlstates().is_empty(), "{}", refused.all());
    let entry = stand.daemon.evidence_text()?;
    ensure!(entry.contains("CREATE SCHEMA films"), "not recorded");
    Ok(())
}

#[test]
fn what_is_read_of_the_catalog_in_a_transaction_leaves_no_locks() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    stand.cluster.admin(
        "CREATE VIEW public.seen AS SELECT c.id, o.status FROM public.customers c JOIN public.orders o ON o.customer_id = c.id",
    )?;
    let mut session = stand.job().live()?;
    session.query(
        "BEGIN; SAVEPOINT mine; SAVEPOINT \"cordon names\"; CREATE TEMP TABLE first (id int);",
    )?;
    // The catalog is read anew after a definition of the session's own, and for a name that
    // somebody else has just made.
    let output = session.query("SELECT count(*) FROM first;")?;
    ensure!(output.lines() == ["0"], "{}", output.all());
    stand.cluster.admin(
        "CREATE TABLE public.elsewhere (id int); GRANT SELECT ON public.elsewhere TO agent_rw",
    )?;
    let output = session.query("SELECT count(*) FROM public.elsewhere;")?;
    ensure!(output.lines() == ["0"], "{}", output.all());
    let locked = stand.cluster.admin(
        "SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
         WHERE c.relname IN ('seen', 'customers', 'orders') AND l.pid <> pg_backend_pid()",
    )?;
    ensure!(locked.trim().is_empty(), "locked: {locked}");
    // A change of the view waits for nobody.
    stand
        .cluster
        .admin("SET lock_timeout = '1s'; DROP VIEW public.seen")?;
    // The client's savepoints are as they were.
    session.query("CREATE TEMP TABLE second (id int); SELECT count(*) FROM second;")?;
    let output =
        session.query("ROLLBACK TO SAVEPOINT \"cordon names\"; RELEASE SAVEPOINT mine;")?;
    ensure!(output.sqlstates().is_empty(), "{}", output.all());
    let output = session.query("SELECT count(*) FROM first;")?;
    ensure!(output.sqlstates() == ["42P01"], "{}", output.all());
    let output = session.query("ROLLBACK; SELECT 'after';")?;
    ensure!(output.lines() == ["after"], "{}", output.all());
    Ok(())
}

#[test]
fn m15_what_a_superuser_changes_of_the_servers_own_definitions_is_seen() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let mut session = stand.job().live()?;
    // After a definition only what users have made is read again.
    session.query("CREATE TEMP TABLE own (id int);")?;
    let output =
        session.query("SELECT tablename FROM pg_catalog.pg_tables WHERE tablename = 'own';")?;
    ensure!(output.lines() == ["own"], "{}", output.all());
    stand.cluster.admin(
        "SET allow_system_table_mods = on; \
         ALTER VIEW pg_catalog.pg_tables RENAME COLUMN tablename TO named",
    )?;
    let output = session.query("SELECT named FROM pg_catalog.pg_tables WHERE named = 'own';")?;
    ensure!(output.lines() == ["own"], "{}", output.all());
    let output = session.query("SELECT * FROM pg_catalog.pg_tables WHERE named = 'own';")?;
    ensure!(output.sqlstates().is_empty(), "{}", output.all());
    Ok(())
}
