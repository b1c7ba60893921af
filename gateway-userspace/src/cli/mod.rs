//! The command line.

pub mod client;
pub mod job;
pub mod status;
