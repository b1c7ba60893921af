//! The suites of node-postgres.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    Prepared,
    place::{Needs, Place, Run},
    record::{Ending, Results},
    sources,
};

/// The driver's version, and that of Debian's source package that has it with its tests. The
/// packages of npm come without tests.
const VERSION: &str = "8.16.3";
const RELEASE: &str = "sid";
const PACKAGE: &str = "8.16.3+~cs35.24.27-5";

/// What the tests need, flat: the driver's own packages are taken from the sources.
fn packages() -> Value {
    json!({
        "name": "cordon-suites", "private": true,
        "dependencies": {
            "pg": "8.16.3", "pg-pool": "3.10.1", "pg-cursor": "2.15.3", "pg-protocol": "1.10.3",
            "pg-connection-string": "2.9.1", "pg-types": "2.2.0", "pgpass": "1.0.5",
            "async": "2.6.4", "bluebird": "3.7.2", "co": "4.6.0", "pg-copy-streams": "0.3.0",
            "mocha": "10.8.2", "expect.js": "0.3.1", "lodash": "4.17.21"
        }
    })
}

fn sources() -> Result<PathBuf> {
    let upstream = sources::debian(RELEASE, "node-postgres", PACKAGE)?;
    sources::kept("node-postgres-tests", |folder| {
        for package in ["pg", "pg-pool", "pg-cursor"] {
            sources::run(
                Command::new("cp")
                    .arg("-r")
                    .arg(upstream.join("packages").join(package))
                    .arg(folder.join(package)),
                "copying the tests",
            )?;
        }
        fs::write(folder.join("package.json"), packages().to_string())?;
        sources::run(
            Command::new("npm")
                .args([
                    "install",
                    "--silent",
                    "--no-audit",
                    "--no-fund",
                    "--ignore-scripts",
                ])
                .current_dir(folder),
            "the packages come from the npm registry",
        )?;
        Ok(())
    })
}

fn needs() -> Needs {
    Needs {
        database: "ci_db_test",
        schema: String::new(),
        port: None,
        hba: "",
    }
}

/// `pg`: each file below `test/integration` is a program that prints its tests and ends at the first
/// failure.
pub(super) fn pg() -> Result<Prepared> {
    let folder = sources()?.join("pg");
    Ok(Prepared {
        version: VERSION.to_owned(),
        needs: needs(),
        run: Box::new(move |place, way| {
            let mut results = Results::default();
            // As its Makefile does first.
            node(
                place,
                way,
                &folder,
                &["script/create-test-tables.js", "postgres://"],
            )?;
            for file in tests_below(&folder.join("test/integration"))? {
                let name = file.strip_prefix(&folder)?.display().to_string();
                let printed = node(place, way, &folder, &[&name, "postgres://"])?;
                note(&mut results, &name, &printed);
            }
            Ok(results)
        }),
    })
}

/// A package whose tests mocha runs.
pub(super) fn mocha(package: &'static str) -> Result<Prepared> {
    let folder = sources()?.join(package);
    let version: Value = serde_json::from_str(&fs::read_to_string(folder.join("package.json"))?)?;
    let version = version["version"].as_str().unwrap_or_default().to_owned();
    Ok(Prepared {
        version,
        needs: needs(),
        run: Box::new(move |place, way| {
            let printed = node(
                place,
                way,
                &folder,
                &[
                    "../node_modules/mocha/bin/mocha.js",
                    "--exit",
                    "--reporter",
                    "json-stream",
                ],
            )?;
            let mut results = Results::default();
            for line in printed.lines() {
                let Ok(Value::Array(event)) = serde_json::from_str::<Value>(line) else {
                    continue;
                };
                let [kind, test] = event.as_slice() else {
                    continue;
                };
                let name = test["fullTitle"].as_str().unwrap_or_default().to_owned();
                match kind.as_str() {
                    Some("pass") => results.note(name, Ending::Passed),
                    Some("fail") => {
                        let said = test["err"].as_str().unwrap_or_default().to_owned();
                        results.note(name, Ending::Failed(said));
                    }
                    _ => {}
                }
            }
            results.printed = printed;
            Ok(results)
        }),
    })
}

fn node(place: &Place, way: Run<'_>, folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut argv = vec!["/usr/bin/timeout", "120", "node"];
    argv.extend(arguments);
    place.run(
        way,
        folder,
        &argv,
        &[
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            // As its own continuous integration has it.
            ("PGTESTNOSSL", "true".to_owned()),
        ],
    )
}

fn tests_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = crate::daemon::files_below(folder).context("the tests")?;
    Ok(all
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with("-tests.js"))
        .collect())
}

/// `  NAME ✔`, `  NAME FAILED!`, and the program's end.
fn note(results: &mut Results, file: &str, printed: &str) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for line in printed.lines() {
        let line = line.trim();
        for (mark, ending) in [
            (" ✔", Ending::Passed),
            (
                " FAILED!",
                Ending::Failed(printed.chars().take(1500).collect()),
            ),
            (" ? - SKIPPED", Ending::Skipped),
        ] {
            if let Some(name) = line.strip_suffix(mark) {
                let count = seen.entry(name.to_owned()).or_default();
                *count += 1;
                let again = if *count > 1 {
                    format!(" ({count})")
                } else {
                    String::new()
                };
                results.note(format!("{file}: {name}{again}"), ending);
            }
        }
    }
    let ending = if printed.ends_with("ended with exit status: 0\n") {
        Ending::Passed
    } else {
        Ending::Failed(printed.chars().take(1500).collect())
    };
    results.note(format!("{file}: to its end"), ending);
    results.printed.push_str(printed);
}
