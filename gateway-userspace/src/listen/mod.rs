//! Accepts redirected connections and hands each to its protocol.

mod accept;

pub use accept::*;
