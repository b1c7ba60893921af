//! Who a connection belongs to.

mod principal;

pub use principal::*;
