//! Redacts values in result rows. Knows types and wire formats, nothing of policy or sessions.
//!
//! A [`Redaction`] names an output column and a mask; [`RowMasker::bind`] binds redactions to the
//! types and formats of one result; [`RowMasker::mask`] makes the [`MaskedRow`]s that alone may
//! be written to a client. `docs/masking.md` says what each mask shows.

mod key;
mod mask;
mod redaction;
mod row;
#[cfg(test)]
mod tests;
mod types;

pub use key::MaskKey;
pub use redaction::*;
pub use row::{MalformedRow, MaskedRow, RowMasker, Unmaskable};
