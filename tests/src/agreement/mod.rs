//! Agreement with `PostgreSQL`: what the analysis reports of a statement, judged by the server.
//!
//! Each statement of a corpus is analysed, and then judged twice. A role that has exactly the
//! privileges that were reported runs it: the server must not deny it a relation or column. And the
//! server parses it: what it locks must have been reported. Then it is run for what follows.

pub(crate) mod corpora;
mod judge;
mod names;
mod report;
mod script;
mod session;
mod wire;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Instant};

use anyhow::{Context, Result};
use cordon::sql::run_on_big_stack;

pub use self::report::{Report, print};
use self::{judge::PROBE, session::Place, wire::Wire};
use crate::{Cluster, host::Scratch, tools};

/// The scripts that a sample takes: those that the others need, and some of each kind.
pub const SAMPLE: &[&str] = &[
    "test_setup",
    "copyselect",
    "insert_conflict",
    "select_having",
    "subselect",
    "union",
    "join",
    "merge",
    "updatable_views",
    "with",
    "groupingsets",
    "portals",
    "namespace",
    "copy2",
];

/// What to judge.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Scripts of the regression suite; all, in the schedule's order, if empty.
    pub scripts: Vec<String>,
    /// Leave the benchmarks out.
    pub suite_only: bool,
    /// Say which script runs.
    pub progress: bool,
}

/// Judges the regression suite, TPC-H and TPC-DS in a cluster of their own.
pub fn run(selection: &Selection) -> Result<Vec<Report>> {
    let cluster = Cluster::start()?;
    run_on_big_stack(|| {
        let mut reports = vec![suite(&cluster, selection)?];
        if !selection.suite_only {
            for benchmark in corpora::benchmarks()? {
                reports.push(tpc(&cluster, &benchmark)?);
            }
        }
        Ok(reports)
    })?
}

fn suite(cluster: &Cluster, selection: &Selection) -> Result<Report> {
    let folder = corpora::regression_suite()?;
    let scripts = if selection.scripts.is_empty() {
        corpora::schedule(&folder)?
    } else {
        selection.scripts.clone()
    };
    // The server reads the data, and writes results.
    let shared = Scratch::new("regress")?;
    fs::create_dir(shared.path().join("data"))?;
    for file in fs::read_dir(folder.join("data"))? {
        let file = file?;
        let name = format!("data/{}", file.file_name().to_string_lossy());
        shared.share(&name, &fs::read(file.path())?)?;
    }
    let results = shared.path().join("results");
    fs::create_dir(&results)?;
    fs::set_permissions(&results, fs::Permissions::from_mode(0o777))?;
    let library = tools::postgres("postgres")?;
    let library = library
        .ancestors()
        .nth(2)
        .context("no library folder")?
        .join("lib");
    let mut place = place(cluster, "regression")?;
    let of = |path: &Path| path.display().to_string();
    place.environment = vec![
        ("PG_ABS_SRCDIR".to_owned(), of(shared.path())),
        ("PG_ABS_BUILDDIR".to_owned(), of(shared.path())),
        ("PG_LIBDIR".to_owned(), of(&library)),
        ("PG_DLSUFFIX".to_owned(), ".so".to_owned()),
    ];
    let mut report = Report::new("regression");
    let start = Instant::now();
    for script in scripts {
        let path = folder.join("sql").join(format!("{script}.sql"));
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let (started, before) = (Instant::now(), report.statements);
        session::run_script(
            &place,
            &script,
            String::from_utf8_lossy(&bytes).into_owned(),
            &mut report,
        )?;
        report.files += 1;
        if selection.progress {
            eprintln!(
                "{script}: {} statements, {:.1} s, {} under-reported so far",
                report.statements - before,
                started.elapsed().as_secs_f64(),
                report.under_reported()
            );
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

fn tpc(cluster: &Cluster, benchmark: &corpora::Benchmark) -> Result<Report> {
    let place = place(cluster, &benchmark.name)?;
    place.connect()?.rows(&benchmark.tables)?;
    let mut report = Report::new(&benchmark.name);
    let start = Instant::now();
    for (index, query) in benchmark.queries.iter().enumerate() {
        let name = format!("{} {}", benchmark.name, index + 1);
        session::run_script(&place, &name, query.clone(), &mut report)?;
        report.files += 1;
    }
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// A new database, as the suite's own driver makes it.
fn place(cluster: &Cluster, database: &str) -> Result<Place> {
    let socket = cluster.socket();
    let mut admin = Wire::connect(&socket, "postgres", "postgres", &[])?;
    let probe = format!("SELECT FROM pg_catalog.pg_roles WHERE rolname = '{PROBE}'");
    if admin.rows(&probe)?.is_empty() {
        admin.rows(&format!("CREATE ROLE {PROBE}"))?;
    }
    admin.rows(&format!("CREATE DATABASE {database} TEMPLATE template0"))?;
    for setting in [
        "lc_messages TO 'C'",
        "lc_monetary TO 'C'",
        "lc_numeric TO 'C'",
        "lc_time TO 'C'",
        "bytea_output TO 'hex'",
        "timezone_abbreviations TO 'Default'",
    ] {
        admin.rows(&format!("ALTER DATABASE {database} SET {setting}"))?;
    }
    let options = [
        ("client_encoding", "UTF8"),
        ("DateStyle", "Postgres, MDY"),
        ("TimeZone", "PST8PDT"),
        ("intervalstyle", "postgres_verbose"),
        ("log_statement", "none"),
    ];
    Ok(Place {
        socket,
        database: database.to_owned(),
        options: options
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        environment: Vec::new(),
    })
}
