//! Ordinary work through tokio-postgres (prepared, binary); prints what the program saw as one
//! JSON document. The server is named by PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE, and TLS by
//! PGSSLMODE and PGSSLROOTCERT.

mod tls;

use std::{env, future::poll_fn, pin::pin, sync::Arc, sync::Mutex, sync::PoisonError};

use anyhow::{Context, Result};
use futures_util::{Sink, SinkExt, Stream};
use serde_json::{Value, json};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, Error, NoTls, Row, SimpleQueryMessage, Socket,
    config::SslMode, tls::TlsStream, types::Type,
};

type Outcome = Result<Value, Error>;

#[tokio::main]
async fn main() -> Result<()> {
    let (client, notices) = connect().await?;
    let mut steps = Vec::new();
    for name in STEPS {
        let mut entry = match run(&client, name).await {
            Ok(value) => json!({ "step": name, "value": value }),
            Err(error) => json!({ "step": name, "error": describe(&error) }),
        };
        let mut seen = notices.lock().unwrap_or_else(PoisonError::into_inner);
        entry["notices"] = Value::Array(std::mem::take(&mut *seen));
        steps.push(entry);
    }
    println!("{}", serde_json::to_string_pretty(&steps)?);
    Ok(())
}

const STEPS: &[&str] = &[
    "clear",
    "make",
    "insert",
    "insert again",
    "first execution",
    "second execution",
    "binary types",
    "nulls",
    "simple query",
    "several statements",
    "error in several",
    "rows affected",
    "unique",
    "division",
    "syntax",
    "unknown table",
    "transaction",
    "portal",
    "pipelined",
    "pipelined with an error",
    "copy in",
    "copy out",
    "binary copy out",
    "many rows",
    "large value",
    "notice",
    "described",
    "cancel",
    "alive",
    "drop",
];

type Notices = Arc<Mutex<Vec<Value>>>;

async fn connect() -> Result<(Client, Notices)> {
    let name = |key: &str| env::var(key).with_context(|| format!("{key} is not set"));
    let mut config = Config::new();
    config
        .host(name("PGHOST")?)
        .port(name("PGPORT")?.parse()?)
        .user(name("PGUSER")?);
    config
        .password(name("PGPASSWORD")?)
        .dbname(name("PGDATABASE")?)
        .application_name("tokio work");
    if let Some(tls) = tls::from_environment()? {
        let (client, connection) = config.ssl_mode(SslMode::Require).connect(tls).await?;
        return Ok((client, drive(connection)));
    }
    let (client, connection) = config.ssl_mode(SslMode::Disable).connect(NoTls).await?;
    Ok((client, drive(connection)))
}

/// Runs the connection; gives its notices as they come.
fn drive<S: TlsStream + Unpin + Send + 'static>(mut connection: Connection<Socket, S>) -> Notices {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notices);
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => {
                    let entry = json!([notice.severity(), notice.code().code(), notice.message()]);
                    sink.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(entry);
                }
                Ok(_) => {}
                Err(error) => {
                    eprintln!("the connection failed: {error}");
                    break;
                }
            }
        }
    });
    notices
}

async fn run(client: &Client, step: &str) -> Outcome {
    match step {
        "clear" => simple(client, "DROP TABLE IF EXISTS public.work_rs").await,
        "make" => simple(client, "CREATE TABLE public.work_rs (id bigserial PRIMARY KEY, label text UNIQUE, n int, f float8, raw bytea, flag bool)").await,
        "insert" | "insert again" => {
            let sql = "INSERT INTO public.work_rs (label, n, f, raw, flag) VALUES ($1, $2, $3, $4, $5) RETURNING id, label";
            let label = format!("{step} ü");
            let rows = client.query(sql, &[&label, &Some(7), &0.25_f64, &vec![0_u8, 255], &None::<bool>]).await?;
            Ok(rows.iter().map(|row| json!([row.get::<_, i64>(0), row.get::<_, String>(1)])).collect())
        }
        "first execution" | "second execution" => {
            let statement = client.prepare_typed("SELECT id, label, n, f, raw, flag FROM public.work_rs WHERE id >= $1 ORDER BY id", &[Type::INT8]).await?;
            let mut seen = Vec::new();
            for from in [1_i64, 2] {
                let rows = client.query(&statement, &[&from]).await?;
                seen.push(rows.iter().map(|row| {
                    json!([row.get::<_, i64>(0), row.get::<_, String>(1), row.get::<_, Option<i32>>(2), row.get::<_, f64>(3),
                           row.get::<_, Vec<u8>>(4), row.get::<_, Option<bool>>(5)])
                }).collect::<Value>());
            }
            Ok(Value::Array(seen))
        }
        "binary types" => {
            let row = client.query_one("SELECT 1::int2, 2::int8, 1.5::float4, 'x'::\"char\", 'n'::name, ARRAY[1,NULL,3], ARRAY['a','b']::text[], 7::oid", &[]).await?;
            Ok(json!([row.get::<_, i16>(0), row.get::<_, i64>(1), row.get::<_, f32>(2), row.get::<_, i8>(3), row.get::<_, String>(4),
                      row.get::<_, Vec<Option<i32>>>(5), row.get::<_, Vec<String>>(6), row.get::<_, u32>(7)]))
        }
        "nulls" => {
            let row = client.query_one("SELECT NULL::int, NULL::text, $1::text IS NULL", &[&None::<String>]).await?;
            Ok(json!([row.get::<_, Option<i32>>(0), row.get::<_, Option<String>>(1), row.get::<_, bool>(2)]))
        }
        "simple query" => simple(client, "SELECT id, status, total, note FROM public.orders ORDER BY id").await,
        "several statements" => simple(client, "SELECT 1 AS a; SELECT 'x' AS b, NULL AS c; UPDATE public.work_rs SET n = 8").await,
        "error in several" => simple(client, "UPDATE public.work_rs SET n = 9; SELECT 1/0; SELECT 'never'").await,
        "rows affected" => Ok(json!(client.execute("UPDATE public.work_rs SET flag = true WHERE n = $1", &[&8]).await?)),
        "unique" => Ok(json!(client.execute("INSERT INTO public.work_rs (label) VALUES ($1)", &[&"insert ü"]).await?)),
        "division" => row_count(client.query("SELECT 1 / $1::int", &[&0]).await),
        "syntax" => row_count(client.query("SELEC 1", &[]).await),
        "unknown table" => row_count(client.query("SELECT * FROM public.nope", &[]).await),
        "transaction" => transaction(client).await,
        "portal" => portal(client).await,
        "pipelined" => {
            let (a, b, c) = tokio::join!(number(client, 4), number(client, 5), number(client, 2));
            Ok(json!([a?, b?, c?]))
        }
        "pipelined with an error" => {
            let (a, b, c) = tokio::join!(number(client, 4), number(client, 0), number(client, 2));
            Ok(json!([a.is_ok(), b.err().map(|error| describe(&error)), c.is_ok()]))
        }
        "copy in" => copy_in(client).await,
        "copy out" => copy_out(client, "COPY (SELECT id, label FROM public.work_rs ORDER BY id LIMIT 20) TO STDOUT").await,
        "binary copy out" => copy_out(client, "COPY (SELECT id, label FROM public.work_rs ORDER BY id LIMIT 20) TO STDOUT (FORMAT binary)").await,
        "many rows" => {
            let rows = client.query("SELECT n, repeat('x', n % 40) FROM generate_series(1, 20000) n", &[]).await?;
            Ok(json!([rows.len(), rows.iter().map(|row| row.get::<_, String>(1).len()).sum::<usize>()]))
        }
        "large value" => Ok(json!(client.query_one("SELECT repeat('y', 3000000)", &[]).await?.get::<_, String>(0).len())),
        "notice" => simple(client, "DROP TABLE IF EXISTS public.never_was").await,
        "described" => {
            let statement = client.prepare("SELECT o.id, o.status, o.total, c.profile FROM public.orders o JOIN public.customers c ON c.id = o.customer_id WHERE o.id = $1").await?;
            let columns: Vec<Value> = statement.columns().iter().map(|c| json!([c.name(), c.type_().name(), c.column_id(), c.table_oid().is_some()])).collect();
            Ok(json!([statement.params().iter().map(Type::name).collect::<Vec<_>>(), columns]))
        }
        "cancel" => cancel(client).await,
        "drop" => simple(client, "DROP TABLE public.work_rs").await,
        _ => simple(client, "SELECT 'alive'").await,
    }
}

async fn number(client: &Client, by: i32) -> Result<i32, Error> {
    Ok(client
        .query_one("SELECT 100 / $1::int", &[&by])
        .await?
        .get(0))
}

fn row_count(rows: Result<Vec<Row>, Error>) -> Outcome {
    Ok(json!(rows?.len()))
}

async fn transaction(client: &Client) -> Outcome {
    client
        .batch_execute("BEGIN; INSERT INTO public.work_rs (label) VALUES ('tx'); SAVEPOINT s")
        .await?;
    let failed = client
        .query("SELECT 1/0", &[])
        .await
        .err()
        .map(|error| describe(&error));
    let aborted = client
        .query("SELECT 1", &[])
        .await
        .err()
        .map(|error| describe(&error));
    client.batch_execute("ROLLBACK TO s").await?;
    let inside: i64 = client
        .query_one(
            "SELECT count(*) FROM public.work_rs WHERE label = 'tx'",
            &[],
        )
        .await?
        .get(0);
    client.batch_execute("ROLLBACK").await?;
    let after: i64 = client
        .query_one(
            "SELECT count(*) FROM public.work_rs WHERE label = 'tx'",
            &[],
        )
        .await?
        .get(0);
    Ok(json!([failed, aborted, inside, after]))
}

/// A cursor read in pieces, then a result read row by row.
async fn portal(client: &Client) -> Outcome {
    client
        .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT n FROM generate_series(1, 7) n")
        .await?;
    let mut pieces = Vec::new();
    for _ in 0..4 {
        let rows = client.query("FETCH 3 FROM c", &[]).await?;
        pieces.push(
            rows.iter()
                .map(|row| row.get::<_, i32>(0))
                .collect::<Vec<_>>(),
        );
    }
    client.batch_execute("COMMIT").await?;
    let mut rows = pin!(
        client
            .query_raw("SELECT n FROM generate_series(1, 5) n", Vec::<i32>::new())
            .await?
    );
    let mut streamed = Vec::new();
    while let Some(row) = next(&mut rows).await {
        streamed.push(row?.get::<_, i32>(0));
    }
    Ok(json!([pieces, streamed]))
}

async fn copy_in(client: &Client) -> Outcome {
    let mut sink = pin!(
        client
            .copy_in("COPY public.work_rs (label, n) FROM STDIN")
            .await?
    );
    for n in 0..300 {
        send(&mut sink, format!("copied {n}\t{n}\n").into_bytes()).await?;
    }
    let copied = sink.finish().await?;
    let mut broken = pin!(client.copy_in("COPY public.work_rs (n) FROM STDIN").await?);
    send(&mut broken, b"not a number\n".to_vec()).await?;
    let error = broken.finish().await.err().map(|error| describe(&error));
    Ok(json!([copied, error]))
}

async fn send<S>(sink: &mut S, data: Vec<u8>) -> Result<(), Error>
where
    S: Sink<std::io::Cursor<Vec<u8>>, Error = Error> + Unpin,
{
    sink.send(std::io::Cursor::new(data)).await
}

async fn copy_out(client: &Client, sql: &str) -> Outcome {
    let mut stream = pin!(client.copy_out(sql).await?);
    let mut data = Vec::new();
    while let Some(part) = next(&mut stream).await {
        data.extend_from_slice(&part?);
    }
    Ok(json!(data))
}

/// The server ends the statement because of the cancel request, not because it is done.
async fn cancel(client: &Client) -> Outcome {
    let token = client.cancel_token();
    let sleeping = client.query("SELECT pg_sleep(77)", &[]);
    let stop = async {
        // A watcher sees the statement running before it is cancelled.
        let (watcher, _) = connect().await?;
        loop {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(77)' AND state = 'active' AND application_name = 'tokio work'";
            let running: i64 = watcher.query_one(sql, &[]).await?.get(0);
            if running > 0 {
                break;
            }
        }
        match tls::from_environment()? {
            Some(tls) => token.cancel_query(tls).await.context("cancelling"),
            None => token.cancel_query(NoTls).await.context("cancelling"),
        }
    };
    let (slept, stopped) = tokio::join!(sleeping, stop);
    Ok(json!([
        slept.err().map(|error| describe(&error)),
        stopped.is_ok()
    ]))
}

async fn simple(client: &Client, sql: &str) -> Outcome {
    let mut seen = Vec::new();
    for message in client.simple_query(sql).await? {
        match message {
            SimpleQueryMessage::Row(row) => {
                seen.push((0..row.len()).map(|i| json!(row.get(i))).collect::<Value>());
            }
            SimpleQueryMessage::CommandComplete(count) => seen.push(json!({ "complete": count })),
            SimpleQueryMessage::RowDescription(columns) => {
                seen.push(json!({ "columns": columns.iter().map(tokio_postgres::SimpleColumn::name).collect::<Vec<_>>() }));
            }
            _ => seen.push(json!("another message")),
        }
    }
    Ok(Value::Array(seen))
}

fn describe(error: &Error) -> Value {
    error.as_db_error().map_or_else(
        || json!({ "other": error.to_string() }),
        |db| {
            json!({
                "severity": db.severity(), "sqlstate": db.code().code(), "message": db.message(), "detail": db.detail(),
                "hint": db.hint(), "table": db.table(), "constraint": db.constraint(), "where": db.where_(),
            })
        },
    )
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    let mut stream = std::pin::Pin::new(stream);
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}
