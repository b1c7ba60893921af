//! Byte streams to both sides: plain or TLS, with their buffers. Knows no protocol.

mod channel;
mod socket;
mod tls;

#[cfg(test)]
mod tests;

pub use channel::*;
pub use socket::*;
pub use tls::*;
