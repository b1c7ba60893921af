//! tokio-postgres and sqlx: queries, parameters, transactions, copies, migrations.

use std::{env, error::Error, pin::pin};

use futures_util::{SinkExt, StreamExt, TryStreamExt, future::try_join3};
use sqlx::{
    Connection, Executor, PgConnection, Row,
    migrate::Migrator,
    postgres::{PgListener, PgPoolCopyExt, PgPoolOptions},
    types::Json,
};
use tokio_postgres::{NoTls, types::Type};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match env::args().nth(1).as_deref() {
        Some("tokio-postgres") => runtime.block_on(tokio_postgres_work()),
        Some("sqlx") => runtime.block_on(sqlx_work()),
        _ => Err("which?".into()),
    }
}

fn setting(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

async fn tokio_postgres_work() -> Outcome {
    let mut config = tokio_postgres::Config::new();
    config
        .host(setting("PGHOST"))
        .port(setting("PGPORT").parse()?)
        .user(setting("PGUSER"))
        .password(setting("PGPASSWORD"))
        .dbname(setting("PGDATABASE"))
        .application_name("corpus");
    let (mut client, connection) = config.connect(NoTls).await?;
    let connection = tokio::spawn(connection);

    let rows = client
        .query(
            "SELECT id, title, tags, attributes FROM store.products ORDER BY id",
            &[],
        )
        .await?;
    for row in &rows {
        let (id, title): (i64, String) = (row.get(0), row.get(1));
        let (tags, attributes): (Vec<String>, Option<serde_json::Value>) = (row.get(2), row.get(3));
        println!("{id} {title} {tags:?} {attributes:?}");
    }
    let one = client
        .query_one(
            "SELECT $1::text AS a, $2::int4 AS b, $3::jsonb AS c",
            &[&"x", &1_i32, &serde_json::json!({"k": 1})],
        )
        .await?;
    println!("{}", one.get::<_, i32>("b"));
    // An enum, a domain, a composite and a range: their types are looked up.
    let odd = client.query_one("SELECT mood, discount, origin, valid, extra::text FROM store.products ORDER BY id LIMIT 1", &[]).await?;
    println!(
        "{:?}",
        odd.columns()
            .iter()
            .map(|column| column.type_().name().to_owned())
            .collect::<Vec<_>>()
    );
    let by_id = client
        .prepare_typed(
            "SELECT title FROM store.products WHERE id = $1",
            &[Type::INT8],
        )
        .await?;
    for id in [1_i64, 2] {
        println!(
            "{:?}",
            client
                .query_opt(&by_id, &[&id])
                .await?
                .map(|row| row.get::<_, String>(0))
        );
    }
    // Pipelined.
    try_join3(
        client.query("SELECT 1", &[]),
        client.query("SELECT name FROM store.categories WHERE id = $1", &[&1_i32]),
        client.query("SELECT 3", &[]),
    )
    .await?;
    client
        .batch_execute("SET TIME ZONE 'UTC'; SELECT 1; SELECT 2")
        .await?;
    for message in client
        .simple_query("SELECT id, name FROM store.categories ORDER BY id; SHOW server_version")
        .await?
    {
        println!("{message:?}");
    }
    let mut transaction = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .start()
        .await?;
    let id: i32 = transaction
        .query_one(
            "INSERT INTO store.categories (parent_id, name) VALUES ($1, $2) RETURNING id",
            &[&1_i32, &"tokio"],
        )
        .await?
        .get(0);
    let inner = transaction.savepoint("nested").await?;
    inner
        .execute(
            "UPDATE store.categories SET name = $2 WHERE id = $1",
            &[&id, &"tokio2"],
        )
        .await?;
    inner.rollback().await?;
    let portal = transaction
        .bind("SELECT id FROM store.categories ORDER BY id", &[])
        .await?;
    while !transaction.query_portal(&portal, 2).await?.is_empty() {}
    transaction.rollback().await?;
    let mut sink = pin!(
        client
            .copy_in("COPY store.categories (parent_id, name) FROM STDIN")
            .await?
    );
    sink.send(&b"1\tcopied\n"[..]).await?;
    println!("{}", sink.finish().await?);
    let copied: Vec<_> = pin!(
        client
            .copy_out("COPY (SELECT name FROM store.categories ORDER BY id) TO STDOUT (FORMAT csv)")
            .await?
    )
    .try_collect()
    .await?;
    println!("{}", copied.len());
    println!(
        "{:?}",
        client
            .query("SELECT 1 / $1::int4", &[&0_i32])
            .await
            .map_err(|error| error.code().cloned())
            .err()
    );
    println!(
        "{:?}",
        client
            .execute("DELETE FROM store.categories WHERE name = $1", &[&"copied"])
            .await?
    );
    println!(
        "{:?}",
        pin!(
            client
                .query_typed_raw(
                    "SELECT id FROM store.products WHERE id = ANY($1)",
                    [(vec![1_i64, 2], Type::INT8_ARRAY)]
                )
                .await?
        )
        .next()
        .await
        .is_some()
    );
    drop(client);
    connection.await??;
    Ok(())
}

async fn sqlx_work() -> Outcome {
    let url = format!(
        "postgres://{}:{}@{}:{}/{}?sslmode=disable",
        setting("PGUSER"),
        setting("PGPASSWORD"),
        setting("PGHOST"),
        setting("PGPORT"),
        setting("PGDATABASE")
    );
    let folder = env::temp_dir().join(format!("migrations-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join("1_towns.up.sql"),
        "CREATE TABLE sx_towns (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, size integer, tags text[] NOT NULL DEFAULT '{}', facts jsonb);\nCREATE INDEX sx_size ON sx_towns (size);\n",
    )?;
    std::fs::write(folder.join("1_towns.down.sql"), "DROP TABLE sx_towns;\n")?;
    let migrator = Migrator::new(folder.as_path()).await?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect(&url)
        .await?;
    migrator.run(&pool).await?;
    // There is nothing left to do.
    migrator.run(&pool).await?;
    let (id,): (i64,) = sqlx::query_as(
        "INSERT INTO sx_towns (name, size, tags, facts) VALUES ($1, $2, $3, $4) RETURNING id",
    )
    .bind("Ulm")
    .bind(126_000_i32)
    .bind(vec!["old".to_owned()])
    .bind(Json(serde_json::json!({"river": "Donau"})))
    .fetch_one(&pool)
    .await?;
    for name in ["Bonn", "Kiel"] {
        sqlx::query("INSERT INTO sx_towns (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET size = excluded.size").bind(name).execute(&pool).await?;
    }
    let mut rows =
        sqlx::query("SELECT id, name, size, tags FROM sx_towns WHERE id >= $1 ORDER BY id")
            .bind(id)
            .fetch(&pool);
    while let Some(row) = rows.try_next().await? {
        println!(
            "{} {}",
            row.get::<i64, _>("id"),
            row.get::<String, _>("name")
        );
    }
    drop(rows);
    let mut transaction = pool.begin().await?;
    let mut inner = transaction.begin().await?;
    sqlx::query("DELETE FROM sx_towns WHERE name = ANY($1)")
        .bind(["Bonn", "Kiel"])
        .execute(&mut *inner)
        .await?;
    inner.rollback().await?;
    println!(
        "{}",
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sx_towns")
            .fetch_one(&mut *transaction)
            .await?
    );
    transaction.commit().await?;
    println!(
        "{:?}",
        sqlx::query("INSERT INTO sx_towns (name) VALUES ('Ulm')")
            .execute(&pool)
            .await
            .map_err(|error| error
                .as_database_error()
                .and_then(|error| error.code().map(|code| code.into_owned())))
            .err()
    );
    pool.execute("SELECT 1; SELECT 2").await?;
    let mut copy = pool
        .copy_in_raw("COPY sx_towns (name, size) FROM STDIN (FORMAT csv)")
        .await?;
    copy.send("Mainz,218000\n".as_bytes()).await?;
    println!("{}", copy.finish().await?);
    pool.copy_out_raw("COPY sx_towns (name) TO STDOUT")
        .await?
        .try_collect::<Vec<_>>()
        .await?;
    pool.close().await;
    let mut listener = PgListener::connect(&url).await?;
    listener.listen("news").await?;
    let mut other = PgConnection::connect(&url).await?;
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind("news")
        .bind("hello")
        .execute(&mut other)
        .await?;
    println!("{}", listener.recv().await?.payload());
    other.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect(&url)
        .await?;
    migrator.undo(&pool, 0).await?;
    pool.close().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
