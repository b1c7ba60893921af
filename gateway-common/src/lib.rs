//! The contract between the eBPF programs and the daemon: what their shared maps hold.
//!
//! Every struct is `repr(C)`, made of integers only, without implicit padding, and every byte of
//! it is written before it is shared; [`layout`] asserts sizes at compile time on both sides.
//! Addresses are 16 bytes, IPv4 as IPv4-mapped IPv6, in network byte order; ports are in host
//! byte order.

#![no_std]

mod attempt;
mod conn;
mod counters;
pub mod layout;
mod namespace;
mod settings;

pub use attempt::{Attempt, Caller, Way};
pub use conn::{ConnKey, ConnRecord, Endpoint};
pub use counters::Counter;
pub use namespace::NamespaceRequest;
pub use settings::{
    RECOGNISE_OFF, RECOGNISE_REFUSE, RECOGNISE_REPORT, SCOPE_CGROUPS, SCOPE_HOST, Settings,
};

/// Words of the set of ports of protected destinations: port `p` is bit `p % 64` of word `p / 64`.
pub const PORT_WORDS: usize = 1024;

/// How many levels of the cgroup tree, counted from the root, the ancestor walk looks at. A job
/// or scope cgroup deeper than this cannot be registered; processes may nest as deep as they
/// like below one.
pub const MAX_CGROUP_LEVEL: u32 = 16;
