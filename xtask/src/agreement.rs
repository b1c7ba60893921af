//! `cargo xtask test-agreement`: the server as judge of the analysis.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    build,
    ensure::ensure_packages,
    step::{self, cargo, step},
    test::PACKAGES,
};

/// Arguments of `cargo xtask test-agreement`.
#[derive(Args)]
pub struct TestAgreement {
    /// Scripts of the regression suite to run, in this order; all if none is named. Most need
    /// `test_setup` before them.
    scripts: Vec<String>,
    /// Leave TPC-H and TPC-DS out.
    #[arg(long)]
    suite_only: bool,
    /// Write the results, with every case, to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Builds the judge and runs it; fails if the server touches anything that is not reported.
pub fn run(args: &TestAgreement) -> Result<()> {
    cordon_tests::host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    // The daemon's crate embeds the object.
    build::ebpf(args.no_install)?;
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--package",
        "cordon-tests",
        "--bin",
        "agreement",
        "--",
    ]);
    command.args(&args.scripts);
    if args.suite_only {
        command.arg("--suite-only");
    }
    if let Some(path) = &args.json {
        command.arg("--json").arg(std::path::absolute(path)?);
    }
    step("judge the analysis", || step::run(&mut command))
}
