//! Cordon: a checkpoint between AI coding agents and databases on CI runner hosts.
//!
//! The kernel *observes* a connection ([`intercept`]), [`identity`] *attests* who made it, a
//! [`protocol`] *speaks* bytes, [`sql`] *understands* them, [`policy`] *decides*, [`approval`]
//! *waits*, [`audit`] *remembers*, [`masking`] *redacts*, [`notify`] *tells*, [`session`] *orders* all of it. The [`warden`] *holds* what takes rights. `ARCHITECTURE.md` follows one connection through these folders.

pub mod admin;
pub mod approval;
pub mod audit;
pub mod cli;
pub mod config;
pub mod console;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod identity;
pub mod intercept;
pub mod listen;
pub mod masking;
pub mod notify;
pub mod policy;
pub mod protocol;
pub mod session;
pub mod sql;
pub mod telemetry;
pub mod transport;
pub mod upstream;
pub mod warden;
