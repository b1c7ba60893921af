//! `cargo xtask test-drivers`: prints what [`cordon_tests::suites`] finds.

use std::{env, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use cordon_tests::suites::{self, Selection};

const USAGE: &str = "driver_suites [--json FILE] [--output FOLDER] [SUITE...]";

fn main() -> ExitCode {
    match compare() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(unexplained) => {
            eprintln!("{unexplained} tests or suites pass directly only, and nothing explains it");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<usize> {
    let mut selection = Selection {
        progress: true,
        ..Selection::default()
    };
    let mut json = None;
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = Some(args.next().context(USAGE)?),
            "--output" => selection.output = Some(PathBuf::from(args.next().context(USAGE)?)),
            option if option.starts_with('-') => bail!(USAGE),
            suite => selection.suites.push(suite.to_owned()),
        }
    }
    let report = suites::run(&selection)?;
    println!("{}\n{}", report.differences()?, report.table());
    if let Some(path) = json {
        fs::write(&path, serde_json::to_vec_pretty(&report.json()?)?)
            .with_context(|| format!("writing {path}"))?;
    }
    for suite in &report.broken {
        println!("did not run: {suite}");
    }
    Ok(report.unexplained()? + report.broken.len())
}
