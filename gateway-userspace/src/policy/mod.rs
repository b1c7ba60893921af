//! Decides what a principal may do with a statement. Knows nothing of bytes.
//!
//! [`Policy::load`] reads a folder of files; [`Policy::admit`] finds the grants of a job in a
//! database; [`evaluate()`] weighs one statement against them. `docs/policy.md` describes the files.

mod admit;
mod error;
mod evaluate;
pub mod explain;
mod file;
mod glob;
mod grant;
mod kinship;
mod load;
mod needs;
mod pattern;
#[expect(
    clippy::module_inception,
    reason = "the folder is named for its main type, as is the file"
)]
mod policy;
mod probe;
mod resolve;
mod rules;
mod suggest;
#[cfg(test)]
mod tests;
mod verdict;

pub use admit::Admission;
pub use error::{PolicyError, Problem};
pub use evaluate::{evaluate, evaluate_in};
pub use glob::Glob;
pub use grant::{ApproveRule, FilterUse, Grant, MaskRule, Rule, Verb, Who};
pub use kinship::Kinship;
pub use pattern::{ColumnPattern, ObjectPattern, PatternError, Target};
pub use policy::Policy;
pub use verdict::*;
