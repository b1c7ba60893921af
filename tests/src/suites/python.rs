//! Suites that pytest runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    Prepared,
    place::{Needs, Place, Run},
    record::{Ending, Results},
    sources,
};
use crate::tools;

const PSYCOPG: &str = "3.2.13";
const PSYCOPG2: &str = "2.9.13";
const ASYNCPG: &str = "0.31.0";
const SQLALCHEMY: &str = "2.1.9";

const RECORD: &str = include_str!("../../fixtures/suites/record_endings.py");

fn python() -> Result<PathBuf> {
    let packages = [
        format!("psycopg[binary]=={PSYCOPG}"),
        format!("psycopg2-binary=={PSYCOPG2}"),
        format!("asyncpg=={ASYNCPG}"),
        format!("SQLAlchemy[asyncio]=={SQLALCHEMY}"),
        "pytest==8.4.2".to_owned(),
        "pytest-timeout==2.4.0".to_owned(),
        // What asyncpg's tests import.
        "distro==1.9.0".to_owned(),
    ];
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    tools::python_with("suites-python", &packages)
}

/// The tests alone: beside the driver's sources Python would take those instead of what is installed.
fn tests_of(sources: &Path, version: &str) -> Result<PathBuf> {
    sources::kept(&format!("{version}-tests"), |folder| {
        sources::run(
            std::process::Command::new("cp")
                .arg("-r")
                .arg(sources.join("tests"))
                .arg(folder),
            "copying the tests",
        )?;
        Ok(())
    })
}

/// psycopg 2's tests, but for replication and what takes a server of its own.
pub(super) fn psycopg2() -> Result<Prepared> {
    let python = python()?;
    let sources = sources::pypi(&python, "psycopg2", PSYCOPG2)?;
    let folder = tests_of(&sources, "psycopg2")?;
    Ok(Prepared {
        version: PSYCOPG2.to_owned(),
        needs: Needs {
            database: "psycopg2_test",
            schema: "CREATE EXTENSION hstore".to_owned(),
            port: None,
            hba: "",
        },
        run: Box::new(move |place, way| pytest(place, way, &python, &folder, &["tests"])),
    })
}

/// asyncpg's tests for a server that is there already.
pub(super) fn asyncpg() -> Result<Prepared> {
    let python = python()?;
    let sources = sources::pypi(&python, "asyncpg", ASYNCPG)?;
    let folder = tests_of(&sources, "asyncpg")?;
    Ok(Prepared {
        version: ASYNCPG.to_owned(),
        needs: Needs {
            database: "postgres",
            schema: String::new(),
            port: None,
            hba: "",
        },
        run: Box::new(move |place, way| {
            let without = [
                "tests",
                // What looks at the sources, not at a server.
                "--ignore=tests/test__sourcecode.py",
                "--ignore=tests/test__environment.py",
            ];
            pytest(place, way, &python, &folder, &without)
        }),
    })
}

/// `SQLAlchemy`'s tests of its dialect, and its suite for dialects.
pub(super) fn sqlalchemy(driver: &'static str) -> Result<Prepared> {
    let python = python()?;
    let folder = sources::pypi(&python, "SQLAlchemy", SQLALCHEMY)?;
    Ok(Prepared {
        version: SQLALCHEMY.to_owned(),
        needs: Needs {
            database: "test",
            // What its README asks for.
            schema: "CREATE SCHEMA test_schema; CREATE SCHEMA test_schema_2; CREATE EXTENSION hstore; CREATE EXTENSION citext"
                .to_owned(),
            port: None,
            hba: "",
        },
        run: Box::new(move |place, way| {
            let url = place.url(&format!("postgresql+{driver}"));
            pytest(
                place,
                way,
                &python,
                &folder,
                &[
                    "test/dialect/postgresql",
                    "test/dialect/test_suite.py",
                    "--dburi",
                    &url,
                    "--maxfail=100000",
                    // Compilation alone; needs no server.
                    "--ignore=test/dialect/postgresql/test_compiler.py",
                ],
            )
        }),
    })
}

fn pytest(
    place: &Place,
    way: Run<'_>,
    python: &Path,
    folder: &Path,
    arguments: &[&str],
) -> Result<Results> {
    let plugins = place.home().join("plugins");
    fs::create_dir_all(&plugins)?;
    let plugin = plugins.join("record_endings.py");
    fs::write(&plugin, RECORD)?;
    let endings = place.home().join("endings.json");
    let _ = fs::remove_file(&endings);
    let python = python.display().to_string();
    let mut argv = vec![python.as_str(), "-m", "pytest", "-p", "record_endings"];
    // Somebody who only reads runs them, and a test that hangs is a failure.
    argv.extend([
        "-p",
        "no:cacheprovider",
        "--timeout=300",
        "--tb=short",
        "-q",
    ]);
    argv.extend(arguments);
    let printed = place.run(
        way,
        folder,
        &argv,
        &[
            ("PYTHONPATH", plugins.display().to_string()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("RECORD_ENDINGS", endings.display().to_string()),
        ],
    )?;
    let mut results = Results::default();
    let recorded = fs::read_to_string(&endings)
        .with_context(|| format!("pytest recorded nothing: {printed}"))?;
    for line in recorded.lines() {
        // The last line of a run that was stopped may be half of one.
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let ending = match text("ending").as_str() {
            "passed" => Ending::Passed,
            "failed" => Ending::Failed(text("said")),
            _ => Ending::Skipped,
        };
        results.note(text("test"), ending);
    }
    results.printed = printed;
    Ok(results)
}
