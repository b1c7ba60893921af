//! Understands SQL text: parse, walk, resolve. Pure: text + catalog + namespace in,
//! [`Statement`]s out; no I/O, nothing of policy.
//!
//! [`split`] reads a text with `PostgreSQL`'s own grammar and gives one [`Parsed`] per statement;
//! [`analyze()`] resolves every name of one of them against a [`Catalog`] in a [`Namespace`]. Both
//! recurse over the statement and want the deep stacks of [`BigStack`].

mod analyze;
mod catalog;
mod depth;
mod functions;
mod grammar;
mod literal;
mod nodes;
mod operators;
mod saved;
mod snapshot;
mod stack;
mod statement;
#[cfg(test)]
mod tests;

pub use analyze::analyze;
pub use catalog::*;
pub use grammar::{MAX_DEPTH, MAX_OPERATOR_RUN, MAX_TEXT, Parsed, VOID, split};
pub use literal::with_literals;
pub use saved::{SavedCatalog, SavedCatalogError};
pub(crate) use snapshot::FIRST_NORMAL_OID;
#[cfg(any(test, fuzzing))]
pub(crate) use snapshot::query_name;
pub use snapshot::{
    BASE_VERSION, Base, CATALOG_QUERIES, NAMESPACE_SQL, OWN_CATALOG_QUERIES, Row, SnapshotError,
};
pub use stack::{BigStack, BigStackError, run_on_big_stack};
pub use statement::*;
