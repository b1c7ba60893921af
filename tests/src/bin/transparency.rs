//! `cargo xtask test-transparency`: prints what [`cordon_tests::transparency`] finds.

use std::{env, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use cordon_tests::transparency::{self, Selection};

const USAGE: &str = "transparency [--json FILE] [--differences FOLDER] [SCRIPT...]";

fn main() -> ExitCode {
    match compare() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<bool> {
    let mut selection = Selection {
        progress: true,
        ..Selection::default()
    };
    let mut json = None;
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = Some(args.next().context(USAGE)?),
            "--differences" => {
                selection.differences = Some(PathBuf::from(args.next().context(USAGE)?));
            }
            option if option.starts_with('-') => bail!(USAGE),
            script => selection.scripts.push(script.to_owned()),
        }
    }
    let report = transparency::run(&selection)?;
    println!("{}", report.table()?);
    for (count, text) in report.refusals().iter().take(60) {
        println!("{count:>5}  {text}");
    }
    if let Some(path) = json {
        fs::write(&path, serde_json::to_vec_pretty(&report.json())?)
            .with_context(|| format!("writing {path}"))?;
    }
    let unexplained = report.unexplained()?;
    for outcome in &unexplained {
        println!(
            "{}: {} lines differ, more than explained",
            outcome.script, outcome.differing
        );
    }
    Ok(unexplained.is_empty())
}
