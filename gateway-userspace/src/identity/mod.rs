//! Who a connection belongs to.
//!
//! A job begins with a verified token ([`Tokens`]) and a process that is moved into a cgroup of
//! its own ([`Jobs`]); children inherit the cgroup. A connection is attributed by the kernel's
//! evidence for it: the registered job cgroup above the process that dialled ([`resolve()`]).
//! Nothing a process says about itself counts.

mod binding;
mod cgroup;
mod crypto;
mod environment;
mod fetch;
mod host;
mod jwks;
mod life;
mod local_socket;
mod preset;
mod principal;
mod process;
mod registry;
mod replay;
mod resolve;
mod run;
mod seams;
mod socket;
mod start;
#[cfg(test)]
pub(crate) mod testing;
mod token;
mod tree;

pub use binding::{Job, Starter};
pub use cgroup::{Cgroup, CgroupRoot};
pub use environment::Environment;
pub(crate) use fetch::{Fetcher, is_loopback};
pub use host::LocalHost;
pub use jwks::KeysError;
pub use life::{EndReason, Life, SessionGuard};
pub use principal::*;
pub use process::Target;
pub(crate) use process::{is_alive, start_time};
pub use registry::Jobs;
pub use resolve::{IdentityRefusal, attribute, resolve};
pub use run::{run_url, step};
pub use seams::{Host, JobLedger, KernelJobs};
pub use socket::Holder;
pub use start::{Proof, Start, StartError};
pub use token::{TokenError, Tokens, VerifiedToken};
