//! One kind of rule per file. Each weighs one part of a statement: it returns the reason to deny,
//! or notes which grants allow it and which approve rules hold it.

pub(super) mod ddl;
pub(super) mod function;
pub(super) mod kind;
pub(super) mod protect;
pub(super) mod relation;
pub(super) mod setting;
mod system;
