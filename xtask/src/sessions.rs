//! `cargo xtask test-sessions`: many sessions at once.

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{
    build,
    ensure::ensure_packages,
    step::{self, cargo, step},
    test::PACKAGES,
};

/// Kilobytes of memory that a server process of a session takes, with some to spare.
const SERVER_PROCESS: u64 = 2_600;

/// Arguments of `cargo xtask test-sessions`.
#[derive(Args)]
pub struct TestSessions {
    /// Sessions that are open at the same time.
    #[arg(long, default_value_t = 5_000)]
    idle: u64,
    /// How many of them work at the same time.
    #[arg(long, default_value_t = 500)]
    busy: u64,
    /// How often each of these works.
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// With an optimised daemon, which is what users run.
    #[arg(long)]
    release: bool,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Builds the daemon and holds the sessions; fails if one is lost or takes too much.
pub fn run(args: &TestSessions) -> Result<()> {
    cordon_tests::host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    let free = available()?;
    let needed = args.idle * SERVER_PROCESS;
    ensure!(
        free > needed,
        "{} sessions need about {} MiB for PostgreSQL's processes, and {} MiB are free; take fewer with --idle",
        args.idle,
        needed / 1024,
        free / 1024,
    );
    let daemon = build::daemon(args.release, args.no_install)?;
    let mut command = cargo();
    command
        .args(["test", "--package", "cordon-tests", "--test", "sessions"])
        .args(["--", "--nocapture"])
        .env("CORDON_BIN", daemon)
        .env(
            "CORDON_SESSIONS",
            format!("{},{},{}", args.idle, args.busy, args.rounds),
        );
    step("hold the sessions", || step::run(&mut command))
}

/// Memory that programs can have, in KiB.
fn available() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .context("/proc/meminfo has no MemAvailable")?;
    let number = line.split_whitespace().next().context("an empty value")?;
    number.parse().context("the memory that is available")
}
