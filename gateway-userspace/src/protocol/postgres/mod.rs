//! PostgreSQL's frontend/backend protocol, 3.0 and 3.2, terminated on both sides.
//!
//! The path of a connection: [`startup`] → `serve.rs` (admission) → [`backend`] → `opened.rs` →
//! `connection::Connection`, which alternates between `client.rs` (with `simple.rs` and
//! `function_call.rs`) and `server.rs` until it ends.

pub mod ask;
mod authenticate;
pub mod backend;
mod cancel;
mod client;
pub mod close;
pub mod confirm;
mod connection;
mod function_call;
mod guard;
mod hold;
mod limit;
mod names;
mod opened;
mod recording;
mod refuse;
mod reply;
mod scram;
mod serve;
mod server;
mod shown;
mod simple;
pub mod startup;
#[cfg(test)]
mod tests;
pub mod wire;

pub use opened::Opened;
pub use recording::blot;
pub use scram::Verifier;
pub use serve::{Database, Service};
pub use shown::{Content, Shown, shown};
