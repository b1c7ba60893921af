//! What the fuzz targets do: take hostile input, and check that what must always hold does.
//!
//! The targets in `fuzz/` are one line each. The unit tests here run the same checks over the seeds
//! and some thousand mutations of them on every change; `cargo xtask fuzz` does it for longer,
//! guided by coverage.
//!
//! Those of the protocol drive a whole gateway (`stand.rs`) between a client and a server in memory
//! (`server.rs`), on one thread and with a clock that passes only when nothing else happens.

mod client;
mod frames;
mod frontend;
mod mutate;
mod planted;
mod rows;
#[cfg(test)]
mod seeds;
mod server;
mod stand;
mod startup;
mod statements;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use client::{messages, startup};
pub use frames::mutate_wire;
pub use frontend::pg_frontend;
pub use mutate::mutate_sql;
pub use rows::pg_backend_rows;
#[cfg(test)]
pub(crate) use stand::{Arrival, Cut, Stand};
pub use startup::pg_startup;
pub use statements::sql_analyze;

/// Real statements, one after another, each ended by a line of its own with a semicolon.
pub const SQL_SEEDS: &str = include_str!("../../fuzz/seeds/sql_analyze/statements.sql");

/// The seeds one by one.
pub fn sql_seeds() -> impl Iterator<Item = &'static str> {
    SQL_SEEDS
        .split("\n;\n")
        .map(str::trim)
        .filter(|seed| !seed.is_empty())
}
