//! The daemon's control socket: who may ask for what.
//!
//! Anybody on the host may connect; every request is judged by the kernel's word on who asks
//! ([`Peer`]) in one table (`authorize`). Jobs are handled here; approvals and the daemon's state
//! by the [`ControlPlane`].

mod authorize;
mod client;
mod line;
mod peer;
mod request;
mod server;
#[cfg(test)]
mod tests;
mod view;

pub use client::{Client, ClientError};
pub(crate) use peer::Credentials;
pub use peer::Peer;
pub use request::*;
pub use server::{ControlPlane, bind, serve};
pub use view::{job_view, rfc3339};
