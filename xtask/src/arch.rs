//! `arch`.
use anyhow::Result;
/// Checks.
pub fn run() -> Result<()> {
    Ok(())
}
