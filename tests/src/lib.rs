//! Fixtures for tests that drive Cordon from outside: real database clusters, a real token
//! issuer, the daemon as a process of its own, and commands that run inside jobs.
//!
//! Everything is made for one test: own ports, directories, cgroups and pins, so that many run at
//! the same time on one host. Everything goes away on `Drop`; what a crash or an interrupt leaves
//! is removed by the [`reaper`]. A host that lacks something makes the test fail with a message
//! that says what to do; nothing is skipped.

pub mod agent;
#[cfg(feature = "agreement")]
pub mod agreement;
pub mod browser;
pub mod canary;
pub mod cluster;
pub mod daemon;
pub mod host;
pub mod issuer;
pub mod job;
pub mod live;
pub mod machine;
pub mod output;
pub mod people;
pub mod policies;
pub mod raw;
pub mod reaper;
pub mod receiver;
pub mod relay;
pub mod stand;
pub mod store;
#[cfg(feature = "drivers")]
pub mod suites;
pub mod tools;
#[cfg(feature = "agreement")]
pub mod transparency;
pub mod web;
pub mod witness;

pub use agent::{Agent, Told};
pub use cluster::Cluster;
pub use daemon::{Daemon, Setup};
pub use issuer::Issuer;
pub use job::JobCommand;
pub use live::LivePsql;
pub use output::Output;
pub use receiver::Receiver;
pub use stand::Stand;
