//! Masks and detectors by type, through real drivers: text and binary, first and later
//! executions, COPY in each format.

use anyhow::{Context, Result, ensure};
use cordon_tests::{Stand, canary};
use serde_json::{Value, json};

const TABLES: &str = "
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE TYPE public.home AS (street text, number integer, since date);
CREATE DOMAIN public.code AS text;
CREATE TABLE public.people (
    id integer PRIMARY KEY, email text, card varchar(30), born date, seen timestamptz, salary numeric(10, 2), age smallint,
    ref uuid, number integer, tags text[], codes public.code[], alias public.citext, home public.home, homes public.home[], profile jsonb, attributes public.hstore, period daterange);
INSERT INTO public.people VALUES
    (1, 'alice.kq7vd@canary.example', '4111-1111-1111-1111', '1984-05-17', '2024-03-09 11:22:33+00', 48211.50, 39,
     '0d9f3c5e-58a1-4f6e-9c54-1b6a4f0b7a11', 4711, '{kq7vd,\"zx3wm, x\",NULL}', '{kq7vd,NULL}', 'kq7vd', '(\"kq7vd street\",7,2001-02-03)', ARRAY['(pf9rt,1,2002-03-04)']::public.home[],
     '{\"name\": \"Alice\", \"address\": {\"street\": \"kq7vd 7\", \"city\": \"York\"}, \"cards\": [{\"pan\": 4111111111111111}]}', 'city=>York, key=>kq7vd', '[2020-01-01,2021-01-01)'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, -4711, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE public.payments (id integer PRIMARY KEY, payer uuid, number bigint, payer_email text);
INSERT INTO public.payments VALUES (1, '0d9f3c5e-58a1-4f6e-9c54-1b6a4f0b7a11', 4711, 'alice.kq7vd@canary.example'), (2, NULL, 9000000000, NULL);
CREATE TABLE public.tickets (id integer PRIMARY KEY, body text, tags text[], data jsonb, raw json, doc xml, extra public.hstore, dob date, code char(30));
INSERT INTO public.tickets VALUES
    (1, E'Mail alice.kq7vd@canary.example,\\n\\tcard 4111 1111 1111 1111, \"SSN\" 219-09-9999, key AKIAIOSFODNN7EXAMPLE.',
     '{plain,\"mail bob.zx3wm@canary.example\"}', '{\"to\": [\"bob.zx3wm@canary.example\", 1], \"n\": 4111111111111111}', '{\"to\": \"bob.zx3wm\\u0040canary.example\"}',
     '<a b=\"c\">bob.zx3wm@canary.example</a>', 'to=>bob.zx3wm@canary.example', '1984-05-17', 'bob.zx3wm@canary.example'),
    (2, 'order 1234567890123, build 4f6e9c54, 2024-03-09 11:22', '{}', '{}', '[]', NULL, '', NULL, NULL);
GRANT SELECT ON public.people, public.payments, public.tickets TO agent_rw;
";

const POLICY: &str = r#"version: 1
grants:
  - name: agent-people
    why: Looks at people without seeing who they are.
    who: { issuer: test, assurance: oidc-verified, claims: { repository_id: "123456" } }
    database: shop
    role: { login: agent_rw }
    allow:
      - select: [public.people, public.payments, public.tickets]
    mask:
      - { column: [public.people.email, public.payments.payer_email], with: token }
      - { column: public.people.card, with: digits keep 4 }
      - { column: public.people.born, with: bucket year }
      - { column: public.people.seen, with: bucket month }
      - { column: [public.people.salary, public.people.age], with: bucket 10 }
      - { column: [public.people.ref, public.payments.payer, public.people.number, public.payments.number], with: token }
      - { column: [public.people.tags, public.people.codes, public.people.alias, public.people.attributes], with: partial }
      - { column: [public.people.home, public.people.homes, public.people.period], with: redact }
      - { column: public.people.profile, path: $.address.street, with: redact }
      - { column: public.people.profile, path: $.cards.pan, with: token }
      - detect: [email, credit_card, us_ssn, secret, birth_date]
        with: redact
"#;

fn stand() -> Result<Stand> {
    let stand = Stand::with_policy(POLICY)?;
    stand.cluster.admin(TABLES)?;
    Ok(stand)
}

fn python(stand: &Stand, program: &str) -> Result<Value> {
    let output = stand.job().driver(program, &[])?.success()?;
    canary::none_in("the driver", &output.all())?;
    output.json()
}

#[test]
fn psycopg_gets_the_same_masked_values_in_both_formats_and_at_each_execution() -> Result<()> {
    const PROGRAM: &str = r#"
import json, psycopg
conn = psycopg.connect("", autocommit=True, prepare_threshold=0)
out = []
for binary in (False, True, False, True):
    with conn.cursor(binary=binary) as cursor:
        rows = cursor.execute("SELECT email, card, born, seen, salary, age, ref, number, tags, profile FROM public.people ORDER BY id").fetchall()
        out.append([[str(v) if v is not None and not isinstance(v, (list, dict, int)) else v for v in row] for row in rows])
print(json.dumps(out))
"#;
    let stand = stand()?;
    let results = python(&stand, PROGRAM)?;
    let results = results.as_array().context("no results")?;
    ensure!(
        results.len() == 4 && results.iter().all(|result| *result == results[0]),
        "they differ: {results:#?}"
    );
    let row = &results[0][0];
    let (email, card) = (
        row[0].as_str().unwrap_or_default(),
        row[1].as_str().unwrap_or_default(),
    );
    ensure!(email.starts_with("tok_") && email.len() == 28, "{row}");
    ensure!(
        card.ends_with("-1111") && card.len() == 19 && !card.starts_with("4111-1111-1111"),
        "{row}"
    );
    ensure!(row[2] == "1984-01-01", "{row}");
    ensure!(row[3] == "2024-03-01 00:00:00+00:00", "{row}");
    ensure!(row[4] == "48210" && row[5] == 30, "{row}");
    ensure!(
        row[6]
            .as_str()
            .is_some_and(|uuid| uuid.len() == 36 && uuid.as_bytes()[14] == b'8'),
        "{row}"
    );
    ensure!(row[7].as_i64().is_some_and(|n| n != 4711), "{row}");
    ensure!(row[8] == json!(["k***", "z***", null]), "{row}");
    ensure!(
        row[9]["address"] == json!({"street": "[redacted]", "city": "York"})
            && row[9]["name"] == "Alice"
            && row[9]["cards"][0]["pan"]
                .as_str()
                .is_some_and(|pan| pan.starts_with("tok_")),
        "{row}"
    );
    let nulls = results[0][1].as_array().context("no row")?;
    let others: Vec<&Value> = nulls
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != 7)
        .map(|(_, value)| value)
        .collect();
    ensure!(others.iter().all(|value| value.is_null()), "{nulls:?}");
    Ok(())
}

#[test]
fn asyncpg_decodes_masked_composites_ranges_and_arrays_in_binary() -> Result<()> {
    const PROGRAM: &str = r#"
import asyncio, asyncpg, json
async def main():
    conn = await asyncpg.connect()
    await conn.set_builtin_type_codec("hstore", codec_name="pg_contrib.hstore", schema="public")
    statement = await conn.prepare("SELECT home, homes, period, attributes, email, tags FROM public.people WHERE id = 1")
    out = []
    for turn in range(2):
        row = await statement.fetchrow()
        home = row["home"]
        out.append([[home["street"], home["number"], str(home["since"])], len(row["homes"]), row["period"].isempty, dict(row["attributes"]), row["email"], row["tags"]])
    print(json.dumps(out))
asyncio.run(main())
"#;
    let stand = stand()?;
    let results = python(&stand, PROGRAM)?;
    ensure!(results[0] == results[1], "they differ: {results}");
    let row = &results[0];
    ensure!(row[0] == json!(["[redacted]", 0, "1970-01-01"]), "{row}");
    ensure!(row[1] == 0 && row[2] == true, "{row}");
    ensure!(row[3] == json!({"city": "Y***", "key": "k***"}), "{row}");
    ensure!(
        row[4]
            .as_str()
            .is_some_and(|email| email.starts_with("tok_")),
        "{row}"
    );
    Ok(())
}

#[test]
fn tokens_join_across_columns_types_and_formats() -> Result<()> {
    const PROGRAM: &str = r#"
import json, psycopg
conn = psycopg.connect("", autocommit=True)
out = []
for binary in (False, True):
    with conn.cursor(binary=binary) as cursor:
        people = cursor.execute("SELECT email, ref, number FROM public.people ORDER BY id").fetchall()
        payments = cursor.execute("SELECT payer_email, payer, number FROM public.payments ORDER BY id").fetchall()
        out.append([[str(v) for v in row] for row in people + payments])
print(json.dumps(out))
"#;
    let stand = stand()?;
    let results = python(&stand, PROGRAM)?;
    ensure!(results[0] == results[1], "they differ: {results}");
    let rows = &results[0];
    ensure!(rows[0] == rows[2], "the tokens do not join: {rows}");
    ensure!(
        rows[1][2] != rows[0][2] && rows[3][2] != "9000000000",
        "{rows}"
    );
    Ok(())
}

/// M10: what COPY sends, read back by its own rules, is what SELECT shows.
#[test]
fn copy_shows_what_select_shows_in_text_csv_and_binary() -> Result<()> {
    const PROGRAM: &str = r#"
import csv, io, json, psycopg
conn = psycopg.connect("", autocommit=True)
columns = "id, email, card, born, salary, ref, number, tags, profile, body"
source = "SELECT p.id, p.email, p.card, p.born, p.salary, p.ref, p.number, p.tags, p.profile, t.body FROM public.people p JOIN public.tickets t ON t.id = p.id ORDER BY p.id"
types = ["int4", "text", "varchar", "date", "numeric", "uuid", "int4", "text[]", "jsonb", "text"]
def plain(rows):
    return [[v if v is None or isinstance(v, (list, dict, int)) else str(v) for v in row] for row in rows]
out = {"select": plain(conn.execute(source).fetchall())}
for turn in range(2):
    for name, options in (("text", ""), ("binary", "(FORMAT binary)")):
        with conn.cursor().copy(f"COPY ({source}) TO STDOUT {options}") as copy:
            copy.set_types(types)
            out[f"{name}{turn}"] = plain(copy.rows())
    for options in ("(FORMAT csv)", "(FORMAT csv, HEADER, DELIMITER ';', QUOTE '''', FORCE_QUOTE *)", "(FORMAT csv, NULL 'nil', ESCAPE '\\')"):
        with conn.cursor().copy(f"COPY ({source}) TO STDOUT {options}") as copy:
            data = b"".join(copy).decode()
        quote = "'" if "QUOTE ''''" in options else '"'
        escape = "\\" if "ESCAPE" in options else None
        rows = list(csv.reader(io.StringIO(data), delimiter=";" if "';'" in options else ",", quotechar=quote, escapechar=escape, doublequote=escape is None))
        if "HEADER" in options:
            assert rows.pop(0)[:2] == ["id", "email"], rows
        out[f"csv{turn}{options}"] = [[row[0], row[1], row[2], row[9]] for row in rows]
print(json.dumps(out))
"#;
    let stand = stand()?;
    let results = python(&stand, PROGRAM)?;
    let results = results.as_object().context("no results")?;
    let select = &results["select"];
    let body = select[0][9].as_str().unwrap_or_default();
    ensure!(
        body == "Mail [redacted],\n\tcard [redacted], \"SSN\" [redacted], key [redacted].",
        "{body}"
    );
    for (name, rows) in results {
        if name.starts_with("csv") {
            let null = if name.contains("nil") { "nil" } else { "" };
            let text = |value: &Value| match value {
                Value::Null => null.to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            for (row, shown) in rows
                .as_array()
                .context("no rows")?
                .iter()
                .zip(select.as_array().context("no rows")?)
            {
                let expected = [&shown[0], &shown[1], &shown[2], &shown[9]].map(text);
                ensure!(*row == json!(expected), "{name}: {row} is not {expected:?}");
            }
        } else {
            ensure!(rows == select, "{name}: {rows} is not {select}");
        }
        ensure!(
            rows.as_array().is_some_and(|rows| rows.len() == 2),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn detectors_hide_what_no_mask_does_wherever_it_stands() -> Result<()> {
    const PROGRAM: &str = r#"
import json, psycopg
conn = psycopg.connect("", autocommit=True, prepare_threshold=0)
out = []
for binary in (False, True, False, True):
    with conn.cursor(binary=binary) as cursor:
        row = cursor.execute("SELECT body, tags, data, raw, doc, extra::text, upper(body), body || '!', concat('<', body, '>'), array_agg(body) OVER (), to_jsonb(t) -> 'body', dob, code, dob AS x FROM public.tickets t WHERE id = 1").fetchone()
        other = cursor.execute("SELECT body, tags, data, raw, extra::text FROM public.tickets WHERE id = 2").fetchone()
        out.append([[v if v is None or isinstance(v, (list, dict, int)) else v.decode() if isinstance(v, bytes) else str(v) for v in r] for r in (row, other)])
print(json.dumps(out))
"#;
    let stand = stand()?;
    let results = python(&stand, PROGRAM)?;
    let results = results.as_array().context("no results")?;
    ensure!(
        results.iter().all(|result| *result == results[0]),
        "they differ: {results:#?}"
    );
    let row = &results[0][0];
    let body = "Mail [redacted],\n\tcard [redacted], \"SSN\" [redacted], key [redacted].";
    ensure!(row[0] == body, "{row}");
    ensure!(row[1] == json!(["plain", "mail [redacted]"]), "{row}");
    // A number is none of the detectors' business.
    ensure!(
        row[2] == json!({"to": ["[redacted]", 1], "n": 4_111_111_111_111_111_u64}),
        "{row}"
    );
    ensure!(row[3] == json!({"to": "[redacted]"}), "{row}");
    ensure!(row[4] == "<a b=\"c\">[redacted]</a>", "{row}");
    ensure!(row[5] == "\"to\"=>\"[redacted]\"", "{row}");
    ensure!(row[7] == format!("{body}!"), "{row}");
    ensure!(row[8] == format!("<{body}>"), "{row}");
    ensure!(row[9] == json!([body]) && row[10] == body, "{row}");
    ensure!(row[11] == "1970-01-01" && row[13] == "1970-01-01", "{row}");
    ensure!(
        row[12]
            .as_str()
            .is_some_and(|code| code.starts_with("[redacted]")),
        "{row}"
    );
    ensure!(
        results[0][1]
            == json!([
                "order 1234567890123, build 4f6e9c54, 2024-03-09 11:22",
                [],
                {},
                [],
                ""
            ]),
        "what is harmless changed: {}",
        results[0][1]
    );
    Ok(())
}

#[test]
fn whole_values_in_text_show_what_their_parts_show() -> Result<()> {
    let stand = stand()?;
    let mut session = stand.job().live()?;
    for turn in 0..2 {
        let output = session.query(
            "SELECT home, homes, period, attributes, codes, alias FROM public.people WHERE id = 1;",
        )?;
        canary::none_in("psql", &output.all())?;
        ensure!(
            output.stdout.trim_end()
                == "(\"[redacted]\",\"0\",\"1970-01-01\")|{}|empty|\"key\"=>\"k***\", \"city\"=>\"Y***\"|{\"k***\",NULL}|k***",
            "{turn}: {}",
            output.all()
        );
    }
    for sql in [
        "SELECT home::text FROM public.people;",
        "SELECT (home).street FROM public.people;",
        "SELECT profile -> 'address' FROM public.people;",
        "SELECT attributes -> 'key' FROM public.people;",
        "SELECT lower(period) FROM public.people;",
        "SELECT p FROM public.people p;",
    ] {
        let output = session.query(sql)?;
        canary::none_in(sql, &output.all())?;
        ensure!(output.sqlstates() == ["42501"], "{sql}: {}", output.all());
    }
    Ok(())
}

/// Everything is allowed and nothing is masked: only detectors stand between a job and values.
const DETECT_ONLY: &str = r#"version: 1
grants:
  - name: everything-but
    why: Development data, in which nobody knows what is.
    who: { issuer: test, assurance: oidc-verified, claims: { repository_id: "123456" } }
    database: shop
    role: { login: agent_rw }
    allow:
      - all: "*.*"
    mask:
      - detect: [email, us_ssn]
        with: redact
"#;

/// M5, M6: what the server says about values, and what triggers and programs send.
#[test]
fn detectors_look_at_errors_notices_and_payloads() -> Result<()> {
    let stand = Stand::with_policy(DETECT_ONLY)?;
    let mut session = stand.job().live()?;
    for (sql, code) in [
        ("SELECT email::integer FROM public.customers;", "22P02"),
        (
            "INSERT INTO public.customers (id, name, email, ssn, country) SELECT id + 100, name, email, ssn, country FROM public.customers;",
            "23505",
        ),
        (
            "UPDATE public.customers SET country = NULL WHERE id = 1;",
            "23502",
        ),
    ] {
        let output = session.query(sql)?;
        canary::none_in(sql, &output.all())?;
        ensure!(
            output.sqlstates() == [code] && output.stderr.contains("[redacted]"),
            "{sql}: {}",
            output.all()
        );
    }
    let notice = "DO $$ BEGIN RAISE NOTICE 'is %', (SELECT email FROM public.customers WHERE id = 1); END $$;";
    let output = session.query(notice)?;
    canary::none_in(notice, &output.all())?;
    ensure!(output.stderr.contains("is [redacted]"), "{}", output.all());
    let output = session.query("LISTEN told; SELECT pg_notify('told', 'of ' || email || ' and ' || ssn) FROM public.customers WHERE id = 1; SELECT 1;")?;
    canary::none_in("a payload", &output.all())?;
    ensure!(
        output.stdout.contains("of [redacted] and [redacted]"),
        "{}",
        output.all()
    );
    for sql in [
        "SELECT email FROM public.customers ORDER BY 1 LIMIT 1;",
        "SELECT public.email_of(1);",
        "COPY (SELECT public.email_of(1)) TO STDOUT;",
        "EXPLAIN (COSTS OFF) SELECT 'alice.kq7vd@canary.example' FROM public.orders WHERE note = 'bob.zx3wm@canary.example';",
        "SELECT string_agg(ssn, '+') FROM public.customers;",
        "SELECT c FROM public.customers c WHERE id = 1;",
        "SELECT row_to_json(c) FROM public.customers c WHERE id = 1;",
    ] {
        let output = session.query(sql)?;
        canary::none_in(sql, &output.all())?;
        ensure!(
            output.sqlstates().is_empty() && output.stdout.contains("[redacted]"),
            "{sql}: {}",
            output.all()
        );
    }
    Ok(())
}
