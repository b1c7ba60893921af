//! As whom Cordon logs in at databases.
//!
//! A grant names a login of the configuration ([`Logins`]), or has a role made for each job
//! ([`JobRoles`]): with a password that never leaves this process, the privileges of the job's grants
//! and no others, and an end that is the job's.

mod admin;
mod credential;
mod objects;
mod operation;
mod privileges;
mod roles;

pub use admin::{Admin, AdminError, Server};
pub use credential::{Credential, CredentialError, Logins};
pub use operation::prepare_sql;
pub use roles::{JobRoles, RoleChange, RoleLedger, Settings};
