//! What is needed to log in.

use std::{collections::BTreeMap, fmt};

use zeroize::Zeroizing;

use super::AdminError;
use crate::config::{Login, PasswordSource};

/// A role and its password.
#[derive(Clone)]
pub struct Credential {
    /// The role.
    pub user: String,
    /// Its password; empty where the server asks for none.
    pub password: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why there is nothing to log in with.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The configuration does not have it.
    #[error("the configuration has no login for the role {user} of database {database}")]
    NoLogin {
        /// The role.
        user: String,
        /// The database.
        database: String,
    },
    /// Policies give roles per job, and nobody can make them.
    #[error(
        "the configuration names no `admin` for database {database}, who makes the roles of jobs"
    )]
    NoAdmin {
        /// The database.
        database: String,
    },
    /// The password cannot be read.
    #[error("the password of the role {user} cannot be had: {reason}")]
    Password {
        /// The role.
        user: String,
        /// What failed.
        reason: String,
    },
    /// The job has ended.
    #[error("the job has ended")]
    JobEnded,
    /// The role cannot be made.
    #[error("no role could be made for this job")]
    Role(#[from] AdminError),
}

/// The logins of a database that the configuration names.
#[derive(Clone, Debug, Default)]
pub struct Logins(BTreeMap<String, PasswordSource>);

impl Logins {
    /// Takes over the configuration's.
    pub fn new<'a>(logins: impl IntoIterator<Item = &'a Login>) -> Self {
        let logins = logins.into_iter();
        Self(
            logins
                .map(|login| (login.user.clone(), login.password.clone()))
                .collect(),
        )
    }

    /// The names of the roles.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What to log in with as this role of `database`.
    ///
    /// # Errors
    /// If the configuration does not name it, or its password cannot be read.
    pub async fn credential(
        &self,
        user: &str,
        database: &str,
    ) -> Result<Credential, CredentialError> {
        let Some(source) = self.0.get(user) else {
            return Err(CredentialError::NoLogin {
                user: user.to_owned(),
                database: database.to_owned(),
            });
        };
        let password = source
            .read()
            .await
            .map_err(|reason| CredentialError::Password {
                user: user.to_owned(),
                reason,
            })?;
        Ok(Credential {
            user: user.to_owned(),
            password: Zeroizing::new(password.expose().as_bytes().to_vec()),
        })
    }

    /// The server did not take this role's password.
    pub fn refused(&self, user: &str) {
        if let Some(source) = self.0.get(user) {
            source.refused();
        }
    }
}
