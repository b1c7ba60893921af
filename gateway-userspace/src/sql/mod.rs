//! Understands SQL text: parse, walk, resolve. Pure: text + catalog + namespace in,
//! [`Statement`]s out; no I/O, nothing of policy.

mod catalog;
mod statement;

pub use catalog::*;
pub use statement::*;
