//! The analysis against a real `PostgreSQL`: the catalog queries, and the server's own relation
//! locks as the judge of what a statement touches.
//!
//! `CORDON_TEST_POSTGRES` is the connection string of a superuser; each test makes, and drops, a
//! database of its own.

use std::collections::BTreeSet;
use std::time::Instant;

use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::sql::functions::classify;
use crate::sql::{
    BASE_VERSION, Base, CATALOG_QUERIES, Catalog, FunctionClass, NAMESPACE_SQL, Namespace,
    NotUnderstood, OWN_CATALOG_QUERIES, Row, Statement, analyze, run_on_big_stack, split,
};

const SHOP: &str = include_str!("../../../../tests/cases/shop.sql");
const INTROSPECTION: &str = include_str!("../../../../tests/cases/introspection.sql");
const QUERIES: &str = include_str!("../../../../tests/cases/queries.sql");

/// A database of the test's own.
struct Shop {
    client: Client,
    admin: Client,
    name: String,
}

impl Shop {
    async fn open(name: &str) -> Option<Self> {
        let Ok(url) = std::env::var("CORDON_TEST_POSTGRES") else {
            assert!(
                std::env::var_os("CI").is_none(),
                "CORDON_TEST_POSTGRES must be set in CI"
            );
            eprintln!("skipped: CORDON_TEST_POSTGRES is not set");
            return None;
        };
        let mut config: Config = url.parse().expect("a connection string");
        let admin = connect(&config).await;
        let name = format!("cordon_{name}_{}", std::process::id());
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .expect("a new database");
        let client = connect(config.dbname(&name)).await;
        client.batch_execute(SHOP).await.expect("fills");
        Some(Self {
            client,
            admin,
            name,
        })
    }

    async fn close(self) {
        let Self {
            client,
            admin,
            name,
        } = self;
        drop(client);
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        admin
            .batch_execute(&drop)
            .await
            .expect("drops the test's database");
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("connects");
    tokio::spawn(connection);
    client
}

async fn rows(client: &Client, sql: &str) -> Vec<Row> {
    let messages = client.simple_query(sql).await.expect("catalog query runs");
    messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|at| row.get(at).map(ToOwned::to_owned))
                    .collect(),
            ),
            _ => None,
        })
        .collect()
}

async fn snapshot(client: &Client) -> (Catalog, Namespace) {
    let started = Instant::now();
    let mut results = Vec::new();
    for sql in CATALOG_QUERIES {
        results.push(rows(client, sql).await);
    }
    let queried = started.elapsed();
    let bytes: usize = results
        .iter()
        .flatten()
        .flatten()
        .flatten()
        .map(String::len)
        .sum();
    let catalog = Catalog::from_rows(&results).expect("understood");
    println!(
        "catalog: {} relations, {} functions, {} rows, {bytes} bytes of text; queries {queried:?}, built in {:?}",
        catalog
            .relations
            .values()
            .map(std::collections::HashMap::len)
            .sum::<usize>(),
        catalog.functions.values().map(Vec::len).sum::<usize>(),
        results.iter().map(Vec::len).sum::<usize>(),
        started.elapsed().saturating_sub(queried),
    );
    let namespace = rows(client, NAMESPACE_SQL).await;
    let namespace = Namespace::from_row(namespace.first().expect("one row")).expect("understood");
    (catalog, namespace)
}

fn analyze_all(
    text: &str,
    catalog: &Catalog,
    namespace: &Namespace,
) -> Vec<(String, Result<Statement, NotUnderstood>)> {
    run_on_big_stack(|| {
        let parsed = split(text).expect("the fixture parses");
        parsed
            .iter()
            .map(|parsed| {
                (
                    parsed.text().to_owned(),
                    analyze(parsed, catalog, namespace),
                )
            })
            .collect()
    })
    .expect("no panic")
}

/// All that a catalog holds, in order.
fn contents(catalog: &Catalog) -> Vec<String> {
    let Catalog {
        version: _,
        relations,
        functions,
        operators,
        types,
        builtin_types,
        type_info,
        casts,
        implicit_casts,
        foreign_keys,
        search_path,
        function_oids: _,
    } = catalog;
    let mut lines = vec![format!("{search_path:?}")];
    for (schema, relations) in relations {
        lines.extend(relations.iter().map(|entry| format!("{schema} {entry:?}")));
    }
    for (name, functions) in functions {
        lines.extend(
            functions
                .iter()
                .map(|function| format!("{name} {function:?}")),
        );
    }
    for (name, operators) in operators {
        lines.extend(
            operators
                .iter()
                .map(|operator| format!("{name} {operator:?}")),
        );
    }
    for (name, types) in types {
        lines.extend(types.iter().map(|found| format!("{name} {found:?}")));
    }
    lines.extend(builtin_types.iter().map(|entry| format!("{entry:?}")));
    lines.extend(type_info.iter().map(|entry| format!("{entry:?}")));
    lines.extend(casts.iter().map(|cast| format!("{cast:?}")));
    lines.extend(implicit_casts.iter().map(|cast| format!("{cast:?}")));
    lines.extend(foreign_keys.iter().map(|key| format!("{key:?}")));
    lines.sort();
    lines
}

#[tokio::test]
async fn a_catalog_over_its_base_is_the_catalog() {
    let Some(shop) = Shop::open("base").await else {
        return;
    };
    let read = async |queries: &[&str]| {
        let mut results = Vec::new();
        for sql in queries {
            results.push(rows(&shop.client, sql).await);
        }
        results
    };
    let base = Base::from_rows(&read(CATALOG_QUERIES).await).expect("understood");
    let version = read(&[BASE_VERSION]).await;
    shop.client
        .batch_execute(
            "CREATE TYPE public.temper AS ENUM ('good'); CREATE TABLE public.more (id int, temper public.temper); \
             ALTER TABLE public.more ADD COLUMN note text; CREATE TYPE pg_temp.own AS (a int); \
             CREATE FUNCTION public.lower(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; \
             CREATE VIEW public.shown AS SELECT * FROM public.more",
        )
        .await
        .expect("definitions");
    let all = read(CATALOG_QUERIES).await;
    let own = read(OWN_CATALOG_QUERIES).await;
    let size = |results: &[Vec<Row>]| results.iter().map(Vec::len).sum::<usize>();
    assert!(size(&own) * 2 < size(&all));
    let (whole, over) = (Catalog::from_rows(&all), base.with(&own));
    let (whole, over) = (whole.expect("understood"), over.expect("understood"));
    assert_ne!(whole.version, over.version);
    let (whole, over) = (contents(&whole), contents(&over));
    let differing = whole.iter().zip(&over).find(|(one, other)| one != other);
    assert_eq!(differing, None);
    assert_eq!(whole.len(), over.len());

    // What users define does not change the base; what is done to it does.
    assert_eq!(read(&[BASE_VERSION]).await, version);
    for change in [
        "ALTER FUNCTION pg_catalog.upper(text) COST 2",
        "SET allow_system_table_mods = on; ALTER VIEW pg_catalog.pg_tables RENAME COLUMN tablename TO named",
        "ALTER VIEW information_schema.tables SET (security_invoker = off)",
        "ALTER TYPE pg_catalog.money OWNER TO CURRENT_USER; ALTER EXTENSION plpgsql ADD FUNCTION pg_catalog.upper(text)",
    ] {
        let before = read(&[BASE_VERSION]).await;
        shop.client.batch_execute(change).await.expect(change);
        assert_ne!(read(&[BASE_VERSION]).await, before, "{change}");
    }
    shop.close().await;
}

#[tokio::test]
async fn what_clients_ask_of_the_system_catalog_is_understood() {
    let Some(shop) = Shop::open("introspection").await else {
        return;
    };
    let (catalog, namespace) = snapshot(&shop.client).await;
    let mut refused = Vec::new();
    for (text, result) in analyze_all(INTROSPECTION, &catalog, &namespace) {
        match result {
            Ok(statement) => {
                for function in &statement.functions {
                    assert!(
                        function.class != FunctionClass::Other,
                        "{text} calls {function:?}"
                    );
                }
                for used in statement.relations {
                    assert!(used.system, "{text} reads {:?}", used.relation);
                }
            }
            Err(error) => refused.push(format!("{error}\n    in {text}")),
        }
    }
    shop.close().await;
    assert!(
        refused.is_empty(),
        "{} refused:\n{}",
        refused.len(),
        refused.join("\n")
    );
}

#[tokio::test]
async fn the_relations_of_a_statement_are_those_that_the_server_locks() {
    let Some(shop) = Shop::open("locks").await else {
        return;
    };
    let (catalog, namespace) = snapshot(&shop.client).await;
    let mut wrong = Vec::new();
    let mut judged = 0;
    for (text, result) in analyze_all(QUERIES, &catalog, &namespace) {
        let locked = locks(&shop.client, &text).await;
        match (result, locked) {
            (Ok(statement), Ok((locked, columns))) => {
                judged += 1;
                let found: BTreeSet<String> = statement
                    .relations
                    .iter()
                    .map(|used| format!("{}.{}", used.relation.schema, used.relation.name))
                    .collect();
                let missed: Vec<_> = locked.difference(&found).collect();
                if !missed.is_empty() {
                    wrong.push(format!("{text}\n    missed {missed:?}"));
                }
                wrong.extend(compare_columns(&text, &statement, &columns));
            }
            (Err(error), Err(server)) => {
                let ours = match &error {
                    NotUnderstood::UnknownName { message, .. }
                    | NotUnderstood::Unsupported(message)
                    | NotUnderstood::Limit(message)
                    | NotUnderstood::Syntax { message, .. } => message,
                };
                if matches!(error, NotUnderstood::UnknownName { .. }) && *ours != server {
                    println!("differs: {ours} | {server}");
                }
            }
            (Ok(_), Err(server)) => println!("only the server refuses {text}: {server}"),
            (Err(error), Ok(_)) => wrong.push(format!("{text}\n    refused: {error}")),
        }
    }
    shop.close().await;
    println!("{judged} statements judged by the server's locks");
    assert!(judged > 0);
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

type Described = Vec<(String, Option<u32>, Option<i16>)>;

/// Labels and origins, as far as the server knows them.
fn compare_columns(text: &str, statement: &Statement, columns: &Described) -> Vec<String> {
    let output = statement.output.as_deref().unwrap_or_default();
    if output.len() != columns.len() {
        return vec![format!(
            "{text}\n    {} columns, not {}",
            columns.len(),
            output.len()
        )];
    }
    let mut wrong = Vec::new();
    for (ours, (name, table, attnum)) in output.iter().zip(columns) {
        if ours.name != *name {
            wrong.push(format!("{text}\n    label {:?}, not {name:?}", ours.name));
        }
        if let (Some(table), Some(attnum)) = (table, attnum)
            && !ours
                .origins
                .iter()
                .any(|o| o.relation.oid == *table && o.attnum == *attnum)
        {
            wrong.push(format!("{text}\n    {name} comes from {table}.{attnum}"));
        }
    }
    wrong
}

async fn locks(client: &Client, text: &str) -> Result<(BTreeSet<String>, Described), String> {
    client.batch_execute("BEGIN").await.expect("begins");
    let prepared = client.prepare(text).await;
    let result = match prepared {
        Ok(prepared) => {
            let columns = prepared
                .columns()
                .iter()
                .map(|column| {
                    (
                        column.name().to_owned(),
                        column.table_oid(),
                        column.column_id(),
                    )
                })
                .collect();
            Ok(columns)
        }
        Err(error) => Err(error
            .as_db_error()
            .map_or_else(|| error.to_string(), |error| error.message().to_owned())),
    };
    let result = match result {
        Ok(columns) => {
            // Parse alone takes the locks; nothing has run.
            let names = rows(
                client,
                "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_locks l \
                 JOIN pg_catalog.pg_class c ON c.oid = l.relation \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE l.pid = pg_backend_pid() AND l.mode IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock') \
                 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname IN ('public', 'private')",
            )
            .await;
            Ok((names.into_iter().flatten().flatten().collect(), columns))
        }
        Err(error) => Err(error),
    };
    client.batch_execute("ROLLBACK").await.expect("rolls back");
    result
}

#[tokio::test]
async fn a_short_and_a_long_statement_are_timed() {
    let Some(shop) = Shop::open("timing").await else {
        return;
    };
    let (catalog, namespace) = snapshot(&shop.client).await;
    shop.close().await;
    let long = "SELECT c.country, sum(i.quantity * o.total) AS revenue, count(DISTINCT o.id), \
        avg(o.total) FROM customers c, orders o, order_items i, measurements m \
        WHERE c.id = o.customer_id AND i.order_id = o.id AND m.at = o.placed::date \
        AND c.country IN ('de', 'fr', 'it') AND o.placed >= date '1994-01-01' \
        AND o.placed < date '1994-01-01' + interval '1' year \
        AND EXISTS (SELECT 1 FROM contacts k WHERE k.id = c.id) \
        GROUP BY c.country HAVING sum(o.total) > 100 ORDER BY revenue DESC LIMIT 10";
    for sql in [
        "SELECT 1",
        "SELECT id, status FROM orders WHERE id = $1",
        long,
    ] {
        run_on_big_stack(|| {
            const ROUNDS: u32 = 500;
            let started = Instant::now();
            for _ in 0..ROUNDS {
                std::hint::black_box(split(sql)).expect("parses");
            }
            let split_time = started.elapsed() / ROUNDS;
            let parsed = split(sql).expect("parses");
            let parsed = parsed.first().expect("one");
            let started = Instant::now();
            for _ in 0..ROUNDS {
                std::hint::black_box(analyze(parsed, &catalog, &namespace)).expect("analysed");
            }
            println!(
                "{} bytes: split {split_time:?}, analyze {:?}",
                sql.len(),
                started.elapsed() / ROUNDS
            );
        })
        .expect("no panic");
    }
}

#[tokio::test]
async fn captured_statements_are_understood() {
    let (Ok(url), Ok(path)) = (
        std::env::var("CORDON_TEST_POSTGRES"),
        std::env::var("CORDON_TEST_STATEMENTS"),
    ) else {
        eprintln!(
            "skipped: CORDON_TEST_STATEMENTS, a file of statements for the database of CORDON_TEST_POSTGRES, is not set"
        );
        return;
    };
    let client = connect(&url.parse().expect("a connection string")).await;
    let (catalog, namespace) = snapshot(&client).await;
    let text = std::fs::read_to_string(path).expect("readable");
    let mut refused = Vec::new();
    let results = analyze_all(&text, &catalog, &namespace);
    println!("{} statements", results.len());
    for (text, result) in results {
        match result {
            Ok(statement) => {
                let other: Vec<_> = statement
                    .functions
                    .iter()
                    .filter(|function| function.class == FunctionClass::Other)
                    .map(|function| function.name.as_str())
                    .collect();
                if !other.is_empty() {
                    println!("needs a grant for {other:?}: {}", text.replace('\n', " "));
                }
            }
            Err(error) => refused.push(format!("{error}\n    in {text}")),
        }
    }
    assert!(
        refused.is_empty(),
        "{} refused:\n{}",
        refused.len(),
        refused.join("\n")
    );
}

/// Built-in functions that take something of the catalog by number or name, and only compute.
const REVIEWED: &[&str] = &[
    "anycompatiblemultirange_in",
    "anycompatiblerange_in",
    "anymultirange_in",
    "anyrange_in",
    "bit_in",
    "bpcharin",
    "btequalimage",
    "btoidcmp",
    "btvarstrequalimage",
    "enum_in",
    "int8",
    "interval_in",
    "json_to_tsvector",
    "jsonb_to_tsvector",
    "makeaclitem",
    "max",
    "min",
    "nameconcatoid",
    "numeric_in",
    "phraseto_tsquery",
    "plainto_tsquery",
    "postgresql_fdw_validator",
    "time_in",
    "timestamp_in",
    "timestamptz_in",
    "timetz_in",
    "to_tsquery",
    "to_tsvector",
    "ts_debug",
    "ts_headline",
    "ts_lexize",
    "ts_parse",
    "ts_token_type",
    "varbit_in",
    "varcharin",
    "websearch_to_tsquery",
];

#[tokio::test(flavor = "multi_thread")]
async fn m8_what_takes_an_object_of_the_catalog_is_not_pure_unless_reviewed() {
    let Some(shop) = Shop::open("reviewed").await else {
        return;
    };
    let takes = rows(
        &shop.client,
        "SELECT p.proname FROM pg_catalog.pg_proc AS p \
         WHERE p.pronamespace = 'pg_catalog'::regnamespace AND NOT 'internal'::regtype = ANY (p.proargtypes) \
         AND p.proname !~ '^(oid|hash|reg.*(out|send)$)' \
         AND p.proargtypes::oid[] && ARRAY(SELECT t.oid FROM pg_catalog.pg_type AS t WHERE t.typname ~ '^(oid|reg[a-z]+)$' AND t.typtype = 'b')",
    )
    .await;
    let (catalog, _) = snapshot(&shop.client).await;
    assert!(takes.len() > 200, "{}", takes.len());
    let mut unknown = BTreeSet::new();
    for name in takes.iter().flatten().flatten() {
        let functions = catalog.functions.get(name).into_iter().flatten();
        let pure = functions.filter(|function| {
            function.schema == "pg_catalog" && classify(name, function, None) == FunctionClass::Pure
        });
        if pure.count() > 0 && !REVIEWED.contains(&name.as_str()) {
            unknown.insert(name.clone());
        }
    }
    assert!(unknown.is_empty(), "not reviewed: {unknown:?}");
    shop.close().await;
}
