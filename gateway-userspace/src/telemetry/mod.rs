//! The operational log: what the daemon does, for those who run it. The evidence is elsewhere.
//!
//! `warn` is for what is refused or degraded, `error` for what an operator must act on. Statements,
//! values and secrets are never logged, at any level.

pub mod fields;

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Variable that says what is logged: `info`, `cordon=debug`, `warn,cordon::identity=trace` ..
pub const FILTER: &str = "CORDON_LOG";

/// Starts logging to standard error: text at a terminal, JSON lines elsewhere. Does nothing if
/// logging has been started before.
pub fn init() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var(FILTER)
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    // An error means that there is a log already.
    let _ = if stderr().is_terminal() {
        log.with_target(false).try_init()
    } else {
        log.json().flatten_event(true).try_init()
    };
}
