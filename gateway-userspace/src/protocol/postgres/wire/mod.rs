//! PostgreSQL frontend/backend protocol 3.0 messages as bytes; no I/O, no state.
//!
//! Message formats: PostgreSQL documentation, "Message Formats" (protocol chapter, section 55.7).

mod backend;
mod frame;
mod frontend;

pub use backend::*;
pub use frame::*;
pub use frontend::*;
