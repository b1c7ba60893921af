//! `check`.
use anyhow::Result;
use clap::Args;
/// Arguments of `cargo xtask check`.
#[derive(Args)]
pub struct Check {}
impl Check {
    /// Runs all checks.
    pub fn run(&self) -> Result<()> {
        crate::arch::run()
    }
}
