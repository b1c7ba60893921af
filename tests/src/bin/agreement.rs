//! `cargo xtask test-agreement`: prints what [`cordon_tests::agreement`] finds.

use std::{env, fs, process::ExitCode};

use anyhow::{Context, Result, bail};
use cordon_tests::agreement::{self, Report, Selection};

const USAGE: &str = "agreement [--json FILE] [--suite-only] [SCRIPT...]";

fn main() -> ExitCode {
    match judge() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn judge() -> Result<bool> {
    let mut selection = Selection {
        progress: true,
        ..Selection::default()
    };
    let mut json = None;
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = Some(args.next().context(USAGE)?),
            "--suite-only" => selection.suite_only = true,
            option if option.starts_with('-') => bail!(USAGE),
            script => selection.scripts.push(script.to_owned()),
        }
    }
    let reports = agreement::run(&selection)?;
    println!("{}", agreement::print(&reports));
    if let Some(path) = json {
        let all: Vec<_> = reports.iter().map(Report::json).collect();
        fs::write(&path, serde_json::to_vec_pretty(&all)?)
            .with_context(|| format!("writing {path}"))?;
    }
    Ok(reports.iter().all(|report| report.under_reported() == 0))
}
