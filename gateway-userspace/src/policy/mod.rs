//! Decides what a principal may do with a statement. Knows nothing of bytes.
//!
//! [`Policy::load`] reads a folder of files; [`Policy::admit`] finds the grants of a job in a
//! database; [`evaluate()`] weighs one statement against them. `docs/policy.md` describes the files.

mod admit;
pub mod draft;
mod error;
mod evaluate;
pub mod explain;
mod fields;
mod folder;
mod glob;
mod grant;
mod kinship;
mod limits;
mod load;
mod needs;
mod pattern;
#[expect(
    clippy::module_inception,
    reason = "the folder is named for its main type, as is the file"
)]
mod policy;
mod probe;
mod quantity;
mod resolve;
mod rules;
mod schema;
mod suggest;
#[cfg(test)]
mod tests;
mod verdict;
mod yaml;

pub use admit::Admission;
pub use error::{Excerpt, PolicyError, Problem};
pub use evaluate::{evaluate, evaluate_in};
pub use folder::{LocalFolder, PolicyFolder, Stamp};
pub use glob::Glob;
pub use grant::{
    ApproveRule, FilterUse, Grant, GrantRole, JOB_ROLE_PREFIX, MaskRule, Mode, Rule, Verb, Who,
};
pub use kinship::Kinship;
pub use limits::{DEFAULT_HOLD, GrantLimits, Limit, LimitKind, LimitReached, Limits};
pub use load::{Sources, is_policy_file, is_test_file};
pub use pattern::{ColumnPattern, ObjectPattern, PatternError, Target};
pub use policy::Policy;
pub use schema::schema;
pub use verdict::*;
