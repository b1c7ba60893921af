//! Accepts redirected connections and hands each to its protocol; records attempts to get past.

mod accept;
mod bypass;

pub use accept::*;
pub use bypass::BypassWatch;
