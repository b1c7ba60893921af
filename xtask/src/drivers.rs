//! `cargo xtask test-drivers`: the drivers' own test suites, directly and through Cordon.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    build,
    ensure::ensure_packages,
    step::{self, cargo, step},
    test::PACKAGES,
};

/// What the suites need besides what the tests need.
const FURTHER: &[(&str, &str)] = &[
    // To read the metadata of psycopg 2's source package.
    ("libpq-dev", "pg_config"),
    ("python3-dev", "/usr/share/doc/python3-dev"),
];

/// Arguments of `cargo xtask test-drivers`.
#[derive(Args)]
pub struct TestDrivers {
    /// Run only suites whose name begins with one of these (`psycopg2`, `asyncpg`, `sqlalchemy`, `node-postgres`, `tokio-postgres`, `sqlx`).
    suites: Vec<String>,
    /// Write the results to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keep what the tests printed in this folder.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Builds everything and runs it; fails if a test passes directly only and nothing explains it.
pub fn run(args: &TestDrivers) -> Result<()> {
    cordon_tests::host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    ensure_packages(FURTHER, args.no_install)?;
    build::daemon(false, args.no_install)?;
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--package",
        "cordon-tests",
        "--bin",
        "driver_suites",
        "--",
    ]);
    command.args(&args.suites);
    for (option, path) in [("--json", &args.json), ("--output", &args.output)] {
        if let Some(path) = path {
            command.arg(option).arg(std::path::absolute(path)?);
        }
    }
    step("run the drivers' own tests", || step::run(&mut command))
}
