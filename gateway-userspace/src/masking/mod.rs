//! Redacts values in result rows. Knows types and wire formats, nothing of policy or sessions.

mod redaction;

pub use redaction::*;
