//! Where the statements come from. Nothing of it is in the repository: `PostgreSQL`'s regression
//! suite comes with Debian's source package, the queries of TPC-H and TPC-DS with a Python package.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{output::Output, tools};

/// Debian's archive, as `sources.list` names it.
const SOURCES: &str = "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n";
const PACKAGE: &str = "postgresql-15";
/// The last version with the extensions `tpch` and `tpcds` inside.
const DUCKDB: &str = "duckdb==1.1.3";

const TPC: &str = "
import duckdb, json
db = duckdb.connect()
def corpus(name, generate):
    db.execute(generate)
    tables = [sql for (sql,) in db.execute('select sql from duckdb_tables()').fetchall()]
    db.execute('begin')
    queries = [sql for (sql,) in db.execute(f'select query from {name}_queries() order by query_nr').fetchall()]
    db.execute('rollback')
    for (table,) in db.execute('select table_name from duckdb_tables()').fetchall():
        db.execute(f'drop table {table}')
    return {'name': name, 'tables': tables, 'queries': queries}
print(json.dumps([corpus('tpch', 'call dbgen(sf=0)'), corpus('tpcds', 'call dsdgen(sf=0)')]))
";

/// Tables and queries of one benchmark.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// `tpch` or `tpcds`.
    pub name: String,
    /// The tables' definitions.
    pub tables: String,
    /// The queries.
    pub queries: Vec<String>,
}

/// Runs a command; `what` is said if it fails.
fn run(command: &mut Command, what: &str) -> Result<()> {
    let output: Output = command
        .output()
        .with_context(|| format!("{what}: starting {command:?}"))?
        .into();
    ensure!(output.code == Some(0), "{what}: {}", output.all());
    Ok(())
}

/// The folder `src/test/regress` of the source package, got once and kept in Cargo's target folder.
pub fn regression_suite() -> Result<PathBuf> {
    let base = tools::kept_dir()?;
    let lock = File::create(base.join("regress.lock"))?;
    lock.lock()
        .context("waiting for another process to get the source package")?;
    let kept = base.join("regress");
    if kept.join("parallel_schedule").exists() {
        return Ok(kept);
    }
    let work = base.join("regress.partial");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(work.join("lists/partial"))?;
    let sources = work.join("sources.list");
    fs::write(&sources, SOURCES)?;
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.current_dir(&work)
            .args([
                "--quiet=2",
                "-o",
                "Dir::Etc::sourceparts=-",
                "-o",
                "APT::Sandbox::User=root",
            ])
            .arg("-o")
            .arg(format!("Dir::Etc::sourcelist={}", sources.display()))
            .arg("-o")
            .arg(format!(
                "Dir::State::lists={}",
                work.join("lists").display()
            ));
        apt
    };
    let why = "PostgreSQL's regression suite comes with Debian's source package postgresql-15, which \
               has to be downloaded from deb.debian.org";
    run(apt().arg("update"), why)?;
    run(apt().args(["source", "--download-only", PACKAGE]), why)?;
    let archive = fs::read_dir(&work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains(".orig.tar."))
        .context("the source package has no archive")?;
    run(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(&work)
            .args([
                "--strip-components=1",
                "--wildcards",
                "*/src/test/regress/*",
            ]),
        "unpacking the source package",
    )?;
    fs::rename(work.join("src/test/regress"), &kept)?;
    fs::remove_dir_all(&work)?;
    Ok(kept)
}

/// The scripts of the suite, in the order of its schedule.
pub fn schedule(suite: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(suite.join("parallel_schedule"))?;
    let groups = text.lines().filter_map(|line| line.strip_prefix("test:"));
    let scripts: Vec<String> = groups
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    if scripts.is_empty() {
        bail!("the suite's schedule is empty");
    }
    Ok(scripts)
}

/// TPC-H and TPC-DS.
pub fn benchmarks() -> Result<Vec<Benchmark>> {
    let kept = tools::kept_dir()?.join("tpc.json");
    if !kept.exists() {
        let python = tools::python_with("duckdb", &[DUCKDB])?;
        let output: Output = Command::new(python).args(["-c", TPC]).output()?.into();
        let partial = kept.with_extension("partial");
        fs::write(&partial, output.success()?.stdout)?;
        fs::rename(partial, &kept)?;
    }
    let corpora: Vec<Value> = serde_json::from_slice(&fs::read(&kept)?)?;
    corpora.iter().map(benchmark).collect()
}

fn benchmark(corpus: &Value) -> Result<Benchmark> {
    let texts = |key: &str| -> Result<Vec<String>> {
        let list = corpus[key].as_array().context("a list")?;
        list.iter()
            .map(|text| Ok(text.as_str().context("a text")?.to_owned()))
            .collect()
    };
    Ok(Benchmark {
        name: corpus["name"].as_str().context("a name")?.to_owned(),
        tables: texts("tables")?.join("\n"),
        queries: texts("queries")?,
    })
}
