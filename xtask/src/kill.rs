//! `cargo xtask test-kill`: the daemon is killed at random moments under load.

use anyhow::Result;
use clap::Args;

use crate::{
    build,
    ensure::ensure_packages,
    step::{self, cargo, step},
    test::PACKAGES,
};

/// Arguments of `cargo xtask test-kill`.
#[derive(Args)]
pub struct TestKill {
    /// How often it is killed.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Builds the daemon and kills it; fails if a connection gets past, a role stays, or the evidence
/// does not verify.
pub fn run(args: &TestKill) -> Result<()> {
    cordon_tests::host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    let daemon = build::daemon(false, args.no_install)?;
    let mut command = cargo();
    command
        .args(["test", "--workspace", "--test", "kill"])
        .args(["--", "--nocapture", "random_moments"])
        .env("CORDON_BIN", daemon)
        .env("CORDON_KILL_ROUNDS", args.rounds.to_string());
    step("kill the daemon", || step::run(&mut command))
}
