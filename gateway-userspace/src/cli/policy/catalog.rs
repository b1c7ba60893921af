//! `cordon policy catalog`: keeps the catalog of a database in a file.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::arguments::through_daemon;
use crate::{
    cli::{
        catalog::connect,
        client::{ControlArgs, OutputArgs, runtime},
        style::Output,
        table::Table,
    },
    sql::SavedCatalog,
};

/// Read the catalog of a database and keep it in a file for the other tools.
#[derive(Args, Debug)]
pub struct CatalogCommand {
    /// The file to write; only its owner may read it.
    #[arg(long, value_name = "FILE")]
    save: PathBuf,
    /// The database, as the configuration names it. Without --connect the daemon reads it.
    #[arg(long, value_name = "NAME", required_unless_present = "connect")]
    database: Option<String>,
    /// The login with which the daemon reads it; default: the first one configured.
    #[arg(long, value_name = "USER", conflicts_with = "connect")]
    login: Option<String>,
    /// Read it over a connection of its own: postgres://user@host:port/database; the password is
    /// taken from PGPASSWORD or ~/.pgpass. sslmode is verify-full, unless it says otherwise.
    #[arg(long, value_name = "URL")]
    connect: Option<String>,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(args: &CatalogCommand) -> anyhow::Result<ExitCode> {
    let name = args.database.as_deref();
    let saved = match &args.connect {
        Some(url) => runtime()?.block_on(connect(url, name))?,
        None => through_daemon(
            &args.control.control,
            name.unwrap_or_default(),
            args.login.as_deref(),
        )?,
    };
    let text = saved.to_text()?;
    write(&args.save, &text)?;
    report(
        &mut Output::stdout(args.output.json),
        &saved,
        &args.save,
        text.len(),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn report<W: Write>(
    output: &mut Output<W>,
    saved: &SavedCatalog,
    file: &Path,
    bytes: usize,
) -> anyhow::Result<()> {
    let (catalog, namespace) = saved.open()?;
    let own = |schema: &str| schema != "pg_catalog" && schema != "information_schema";
    let relations: usize = catalog
        .relations
        .iter()
        .filter(|(schema, _)| own(schema))
        .map(|(_, relations)| {
            let shown = |kind: u8| matches!(kind, b'r' | b'v' | b'm' | b'p' | b'f');
            relations.values().filter(|r| shown(r.kind)).count()
        })
        .sum();
    let functions = catalog
        .functions
        .values()
        .flatten()
        .filter(|function| own(&function.schema))
        .count();
    if output.is_json() {
        output.json(&json!({
            "file": file.display().to_string(),
            "bytes": bytes,
            "database": saved.database,
            "server": saved.server,
            "read": saved.read,
            "user": namespace.user,
            "search_path": namespace.search_path,
            "relations": relations,
            "functions": functions,
        }))?;
        return Ok(());
    }
    let mut table = Table::pairs();
    table.pair("saved", file.display().to_string());
    table.pair(
        "database",
        format!("{}, PostgreSQL {}", saved.database, saved.server),
    );
    table.pair(
        "read as",
        format!(
            "{}, search path {}",
            namespace.user,
            namespace.search_path.join(", ")
        ),
    );
    table.pair(
        "holds",
        format!("{relations} tables and views, {functions} functions; no values of tables"),
    );
    output.table(&table)?;
    Ok(())
}

/// Replaces the file as a whole: it is never there in part.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What is left of it is of no use.
        let _ = fs::remove_file(&new);
    }
    written.with_context(|| format!("the file {} cannot be written", path.display()))
}
