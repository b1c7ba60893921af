//! Redacts values in results. Knows types and wire formats, nothing of policy or sessions.
//!
//! A [`Redaction`] names an output column and a mask; [`Detections`] say what is looked for in all
//! other columns. [`RowMasker::bind`] binds both to the types and formats of one result;
//! [`RowMasker::mask`] makes the [`MaskedRow`]s that alone may be written to a client.
//! `docs/masking.md` says what each mask shows.

mod copy;
mod detect;
mod key;
mod mask;
mod nested;
mod path;
mod redaction;
mod row;
#[cfg(test)]
mod tests;
mod types;

pub use copy::{CopyCount, CopyFormat, CopyMasker, UnknownFormat};
pub use detect::{Blotter, Detections, Detector, is_birth_date, screened};
pub use key::MaskKey;
pub use path::{JsonPath, PathError};
pub use redaction::*;
pub use row::{MalformedRow, MaskedRow, RowMasker, Rules, Unmaskable};
pub use types::TypeKind;
