//! Cordon: a checkpoint between AI coding agents and databases on CI runner hosts.
//!
//! The kernel *observes* a connection ([`intercept`]), [`identity`] *attests* who made it, a
//! [`protocol`] *speaks* bytes, [`sql`] *understands* them, [`policy`] *decides*, [`approval`]
//! *waits*, [`audit`] *remembers*, [`upstream`] *dials*, [`masking`] *redacts*, [`session`]
//! *orders* all of it. `ARCHITECTURE.md` follows one connection through these folders.

pub mod admin;
pub mod approval;
pub mod audit;
pub mod cli;
pub mod identity;
pub mod intercept;
pub mod masking;
pub mod policy;
pub mod sql;
