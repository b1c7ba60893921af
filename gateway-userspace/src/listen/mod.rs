//! Accepts redirected connections and hands each to its protocol; records attempts to get past.

mod accept;
mod bypass;
mod namespaces;

pub use accept::*;
pub use bypass::BypassWatch;
pub use namespaces::Namespaces;
