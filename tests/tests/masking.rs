//! Masked values through every way a result can take: text and binary, first and later executions,
//! cursors, COPY, pipelines, views.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use cordon_tests::{Output, Setup, Stand, canary, host::Scratch, policies};

/// Fails unless these are the masked e-mail addresses of the first customers.
fn masked(what: &str, emails: &[&str]) -> Result<()> {
    ensure!(!emails.is_empty(), "{what}: nothing came");
    for email in emails {
        let (name, domain) = email
            .split_once('@')
            .with_context(|| format!("{what}: no address: {email}"))?;
        let mut letters = name.chars();
        ensure!(
            letters.next().is_some_and(char::is_alphabetic),
            "{what}: {email}"
        );
        ensure!(
            letters.as_str().len() >= 3 && letters.all(|c| c == '*'),
            "{what}: {email}"
        );
        ensure!(domain == "canary.example", "{what}: {email}");
    }
    Ok(())
}

/// M20: prepared, executed twice, with psql's own statements and with a driver's, in both formats.
#[test]
fn a_prepared_statement_is_masked_at_each_execution_in_text_and_binary() -> Result<()> {
    const PROGRAM: &str = r#"
import json, psycopg
conn = psycopg.connect("", autocommit=True, prepare_threshold=0)
out = []
for binary in (False, True, False):
    for turn in range(3):
        with conn.cursor(binary=binary) as cursor:
            cursor.execute("SELECT email, ssn, id FROM public.customers WHERE id <= %s ORDER BY id", (3,))
            out.append([list(row) for row in cursor.fetchall()])
print(json.dumps(out))
"#;
    let stand = Stand::shared()?;
    let output = stand.job().driver(PROGRAM, &[])?.success()?;
    canary::none_in("psycopg", &output.all())?;
    let results = output.json()?;
    let results = results.as_array().context("no results")?;
    ensure!(
        results.len() == 9 && results.iter().all(|result| *result == results[0]),
        "they differ: {results:?}"
    );
    let emails: Vec<&str> = results
        .iter()
        .flat_map(|r| r.as_array().into_iter().flatten())
        .filter_map(|row| row[0].as_str())
        .collect();
    masked("psycopg", &emails)?;

    let mut session = stand.job().live()?;
    session.query(
        "PREPARE p (int) AS SELECT email FROM public.customers WHERE id <= $1 ORDER BY id;",
    )?;
    for _ in 0..3 {
        let output = session.query("EXECUTE p (2);")?;
        masked("EXECUTE", &output.lines())?;
    }
    Ok(())
}

#[test]
fn asyncpg_decodes_masked_values_in_binary() -> Result<()> {
    const PROGRAM: &str = r#"
import asyncio, asyncpg, json
async def main():
    conn = await asyncpg.connect()
    statement = await conn.prepare("SELECT email, ssn, profile, id FROM public.customers ORDER BY id")
    out = [[list(row) for row in await statement.fetch()] for _ in range(2)]
    async with conn.transaction():
        out.append([list(row) async for row in conn.cursor("SELECT email, ssn, profile, id FROM public.customers ORDER BY id", prefetch=2)])
    print(json.dumps(out))
asyncio.run(main())
"#;
    let stand = Stand::shared()?;
    let output = stand.job().driver(PROGRAM, &[])?.success()?;
    canary::none_in("asyncpg", &output.all())?;
    let results = output.json()?;
    ensure!(
        results[0] == results[1] && results[1] == results[2],
        "they differ: {results}"
    );
    let emails: Vec<&str> = results[0]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row[0].as_str())
        .collect();
    masked("asyncpg", &emails)?;
    ensure!(
        results[0][0][2]
            .as_str()
            .is_some_and(|profile| profile.contains("gold")),
        "an unmasked column changed: {results}"
    );
    Ok(())
}

const PORTAL: &str = "
raw = logged_in()
raw.send(query('BEGIN'))
raw.seen()
raw.send(parse('SELECT email FROM public.customers ORDER BY id') + bind(portal='p') + describe(b'P', 'p') + execute('p', 2) + SYNC)
seen = [raw.seen()]
raw.send(execute('p', 1) + SYNC)
seen.append(raw.seen())
raw.send(query('SELECT 1'))
raw.seen()
raw.send(execute('p', 0) + SYNC)
seen.append(raw.seen())
json.dump(seen, sys.stdout)
";

/// M10: cursors, FETCH, portals with a row limit.
#[test]
fn cursors_and_resumed_portals_are_masked() -> Result<()> {
    let stand = Stand::shared()?;
    let mut session = stand.job().live()?;
    session.query(
        "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT email FROM public.customers ORDER BY id;",
    )?;
    for fetch in [
        "FETCH 2 FROM c;",
        "FETCH ALL FROM c;",
        "FETCH FIRST FROM c;",
        "FETCH LAST FROM c;",
    ] {
        let output = session.query(fetch)?;
        masked(fetch, &output.lines())?;
    }
    session.query("ROLLBACK;")?;
    let seen = cordon_tests::raw::run(&stand.job(), PORTAL, &[])?;
    canary::none_in("a portal", &seen.to_string())?;
    let emails: Vec<&str> = seen
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|s| s["rows"].as_array().into_iter().flatten())
        .filter_map(|row| row[0].as_str())
        .collect();
    ensure!(emails.len() == 5, "{seen}");
    masked("a portal", &emails)
}

#[test]
fn views_show_masked_values_under_other_names() -> Result<()> {
    let stand = Stand::shared()?;
    let output = stand
        .job()
        .sql("SELECT contact FROM public.customer_contacts ORDER BY id LIMIT 4")?
        .success()?;
    masked("a view", &output.lines())?;
    let output = stand
        .job()
        .sql("SELECT * FROM public.customer_contacts")?
        .success()?;
    canary::none_in("a view", &output.all())
}

/// M10: COPY in every format is masked as SELECT is; where it cannot be, it is refused.
#[test]
fn copy_out_of_protected_columns_is_masked_and_of_others_is_the_same_as_directly() -> Result<()> {
    let stand = Stand::shared()?;
    let mut session = stand.job().live()?;
    for turn in 0..2 {
        for (sql, emails) in [
            ("COPY public.customers (email) TO STDOUT;", 4),
            (
                "COPY (SELECT email FROM public.customers) TO STDOUT (FORMAT csv);",
                5,
            ),
            (
                "COPY (SELECT contact FROM public.customer_contacts) TO STDOUT;",
                5,
            ),
        ] {
            let output = session.query(sql)?;
            canary::none_in(sql, &output.all())?;
            ensure!(
                output.lines().len() == emails,
                "{turn} {sql}: {}",
                output.all()
            );
            masked(sql, &output.lines())?;
        }
        for sql in [
            "COPY public.customers TO STDOUT;",
            "COPY public.customers (id, email, ssn) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *);",
            "COPY (TABLE public.customer_contacts) TO STDOUT WITH CSV DELIMITER ';' QUOTE '''' ESCAPE '\\';",
        ] {
            let output = session.query(sql)?;
            canary::none_in(sql, &output.all())?;
            ensure!(
                output.sqlstates().is_empty() && output.stdout.contains("[redacted]"),
                "{sql}: {}",
                output.all()
            );
        }
        for sql in [
            "COPY (SELECT upper(email) FROM public.customers) TO STDOUT;",
            "COPY public.customers (email) TO STDOUT (ENCODING 'latin1');",
        ] {
            let output = session.query(sql)?;
            canary::none_in(sql, &output.all())?;
            ensure!(output.sqlstates() == ["42501"], "{sql}: {}", output.all());
        }
    }
    for sql in [
        "COPY public.orders TO STDOUT",
        "COPY (SELECT id, name, country FROM public.customers ORDER BY id) TO STDOUT (FORMAT csv, HEADER)",
    ] {
        let through = session.query(&format!("{sql};"))?;
        ensure!(through.sqlstates().is_empty(), "{sql}: {}", through.all());
        ensure!(
            through.stdout.trim_end() == stand.cluster.admin(sql)?,
            "{sql}: {}",
            through.all()
        );
    }
    Ok(())
}

#[test]
fn copy_into_an_allowed_table_stores_the_same_as_directly() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    let mut session = stand.job().live()?;
    session.send(
        "COPY public.imports (sku, quantity, price) FROM STDIN;\nB-1\t5\t2.50\nB-2\t6\t\\N\n\\.",
    )?;
    ensure!(session.sync()?.sqlstates().is_empty(), "text was refused");
    // From version 18 on a CSV ends with its file alone.
    let csv = Scratch::new("csv")?;
    let csv = csv.share("csv", b"sku,quantity,price\n\"C,1\",7,\n")?;
    let mut psql = stand
        .job()
        .psql_command(&["-c", "COPY public.imports FROM STDIN (FORMAT csv, HEADER)"])?;
    Output::from(psql.stdin(File::open(csv)?).output()?).success()?;
    let rows = stand
        .cluster
        .admin("SELECT * FROM public.imports WHERE sku > 'B' ORDER BY sku")?;
    ensure!(rows == "B-1|5|2.50\nB-2|6|\nC,1|7|", "{rows}");
    session.send("COPY public.imports (sku, quantity) FROM STDIN;\nA-1\t1\n\\.")?;
    let output = session.sync()?.refused_with("23505")?;
    ensure!(
        output.stderr.contains("COPY imports, line 1"),
        "the server's own error is lost: {}",
        output.all()
    );
    // Refused at once; psql then takes the end mark for a command it does not know.
    session.send("COPY public.customers FROM STDIN;\n\\.")?;
    session.sync()?.refused_with("42501")?;
    Ok(())
}

/// P7, M10: an allowed, a masked, a refused and another statement in one batch.
#[test]
fn a_pipeline_with_a_refusal_in_the_middle_masks_what_came_before_and_skips_what_follows()
-> Result<()> {
    const PROGRAM: &str = "
raw = logged_in()
def full(sql, results=()):
    return parse(sql) + bind(results=results) + describe() + execute()
raw.send(full('SELECT 1') + full('SELECT email FROM public.customers ORDER BY id', (1,)) + full('SELECT value FROM public.secrets') + full('SELECT 2') + SYNC
         + full('SELECT email FROM public.customers ORDER BY id LIMIT 1') + SYNC + query('SELECT 3'))
json.dump([raw.seen(), raw.seen(), raw.seen()], sys.stdout)
";
    let stand = Stand::shared()?;
    let seen = cordon_tests::raw::run(&stand.job(), PROGRAM, &[])?;
    canary::none_in("a pipeline", &seen.to_string())?;
    let first = cordon_tests::raw::Seen(&seen[0]);
    ensure!(
        first.sqlstates() == ["42501"] && first.rows().len() == 6,
        "{seen}"
    );
    let emails: Vec<&str> = seen[0]["rows"]
        .as_array()
        .into_iter()
        .flatten()
        .skip(1)
        .filter_map(|row| row[0].as_str())
        .collect();
    masked("the batch", &emails)?;
    ensure!(
        seen[1]["rows"]
            .as_array()
            .is_some_and(|rows| rows.len() == 1)
            && seen[2]["rows"][0][0].as_str() == Some("3"),
        "{seen}"
    );
    Ok(())
}

/// M14: a temporary table or a changed search path does not move a name away from its rules.
#[test]
fn names_are_resolved_in_the_live_session_at_each_execution() -> Result<()> {
    let stand = Stand::with_policy(policies::SHOP)?;
    let mut session = stand.job().live()?;
    session.query("PREPARE p AS SELECT email FROM customers ORDER BY id;")?;
    let output = session.query("EXECUTE p;")?;
    masked("before", &output.lines())?;
    session.query("SET search_path = pg_catalog;")?;
    let output = session
        .query("EXECUTE p; SELECT email FROM public.customers; SELECT email FROM customers;")?;
    canary::none_in("after", &output.all())
}

/// A grant that may write a table with protected columns: its errors quote whole rows.
const WRITES_CUSTOMERS: &str = r#"version: 1
grants:
  - name: agent-customers
    why: Fixes the country of customers; their addresses stay hidden.
    who: { issuer: test, assurance: oidc-verified, claims: { repository_id: "123456" } }
    database: shop
    role: { login: agent_rw }
    allow:
      - select: public.customers
      - update: public.customers (country)
      - insert: public.customers
    mask:
      - column: public.customers.email
        with: partial
      - column: "*.*.ssn"
        with: redact
"#;

/// M5: the server's own errors show the whole row that fails.
#[test]
fn errors_on_a_protected_table_keep_their_code_and_lose_their_values() -> Result<()> {
    let stand = Stand::with_policy(WRITES_CUSTOMERS)?;
    let job = stand.job();
    let output = job.sql("UPDATE public.customers SET country = NULL WHERE id = 1")?;
    ensure!(output.sqlstates() == ["23502"], "{}", output.all());
    ensure!(
        output.stderr.contains("violates not-null"),
        "{}",
        output.all()
    );
    canary::none_in("a failing row", &output.all())?;
    // The address in the key's detail is the client's own guess, and would confirm it.
    let guess = "INSERT INTO public.customers (id, name, email, ssn, country) \
                 SELECT 77, 'x', 'alice.kq7vd@canary.example', 'x', 'GB'";
    let output = job.sql(guess)?;
    ensure!(output.sqlstates() == ["23505"], "{}", output.all());
    ensure!(
        !output.stderr.contains("already exists"),
        "{}",
        output.all()
    );
    Ok(())
}

/// M20: SQL EXECUTE of a statement that the protocol prepared, closed and prepared anew.
#[test]
fn execute_follows_the_statement_that_its_name_means_now() -> Result<()> {
    const PROGRAM: &str = r#"
raw = logged_in()
out = []
for text in (b"SELECT note FROM public.orders WHERE id = 1", b"SELECT email FROM public.customers WHERE id = 1"):
    raw.send(frame(b"C", b"Ss\0") + frame(b"P", b"s\0" + text + b"\0\0\0") + SYNC)
    out.append(raw.seen())
    for turn in range(2):
        raw.send(query("EXECUTE s;"))
        out.append(raw.seen())
json.dump(out, sys.stdout)
"#;
    let stand = Stand::shared()?;
    let shown = cordon_tests::raw::run(&stand.job(), PROGRAM, &[])?;
    canary::none_in("EXECUTE", &shown.to_string())?;
    let emails: Vec<&str> = [4, 5]
        .iter()
        .filter_map(|step| shown[*step]["rows"][0][0].as_str())
        .collect();
    ensure!(shown[1]["rows"][0][0] == "gift wrap", "{shown}");
    ensure!(emails.len() == 2, "{shown}");
    masked("EXECUTE", &emails)
}
