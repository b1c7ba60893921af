//! The daemon's control socket: who may ask for what.

mod request;

pub use request::*;
