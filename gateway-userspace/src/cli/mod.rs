//! The command line. Each command is a file.

pub mod approvals;
pub mod evidence;
pub mod sessions;
pub mod style;
pub mod table;
