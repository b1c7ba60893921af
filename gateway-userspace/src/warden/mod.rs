//! Privilege separation: the daemon is two processes.
//!
//! The **warden** is root. It holds the programs in the kernel, the cgroups of jobs, the private keys
//! and the passwords of logins, and reads nothing that a job, a database or the network has sent. The
//! **gateway** is its child: it speaks with jobs, databases, approvers and issuers, as a user of its
//! own, without capabilities, confined by Landlock and seccomp ([`confine()`]). For the few things that
//! take rights it asks the warden ([`Client`]), in messages of a fixed form ([`Request`]) whose every
//! field is checked: a gateway that an attacker has taken over gets no further by them than it is.
//!
//! Neither outlives the other: the kernel kills the gateway with the warden, and the warden ends when
//! the gateway does.

mod client;
mod confine;
mod message;
mod namespaces;
mod prepare;
mod server;
mod spawn;
mod wire;

pub use client::{ClaimsIn, Client};
pub use confine::{Confinement, confine};
pub use message::{Event, Hello, Request, Said};
pub use namespaces::NamespaceWatch;
pub use prepare::{gateway_user, prepare};
pub use server::{Keys, Warden};
pub use spawn::{Events, Gateway, Link, Listeners};
