//! Decides what a principal may do with a statement. Knows nothing of bytes.

mod verdict;

pub use verdict::*;
