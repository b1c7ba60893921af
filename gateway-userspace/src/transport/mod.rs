//! Byte streams to both sides: plain or TLS, with their buffers. Knows no protocol.

mod channel;
mod tls;

#[cfg(test)]
mod tests;

pub use channel::*;
pub use tls::*;
