//! `cargo xtask test-transparency`: PostgreSQL's regression suite directly and through Cordon.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    build,
    ensure::ensure_packages,
    step::{self, cargo, step},
    test::PACKAGES,
};

/// Arguments of `cargo xtask test-transparency`.
#[derive(Args)]
pub struct TestTransparency {
    /// Scripts of the regression suite to run, in this order; all if none is named.
    scripts: Vec<String>,
    /// Write the results to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keep what differs in this folder, one file for each script.
    #[arg(long)]
    differences: Option<PathBuf>,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Builds everything and runs it; fails if anything differs that is not explained.
pub fn run(args: &TestTransparency) -> Result<()> {
    cordon_tests::host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    build::daemon(false, args.no_install)?;
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--package",
        "cordon-tests",
        "--bin",
        "transparency",
        "--",
    ]);
    command.args(&args.scripts);
    for (option, path) in [("--json", &args.json), ("--differences", &args.differences)] {
        if let Some(path) = path {
            command.arg(option).arg(std::path::absolute(path)?);
        }
    }
    step("compare what psql prints", || step::run(&mut command))
}
