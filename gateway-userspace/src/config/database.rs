//! A protected database.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use rustls::RootCertStore;

use super::PasswordSource;

/// A protected database.
#[derive(Clone, Debug)]
pub struct Database {
    /// As policies and clients name it.
    pub name: String,
    /// As the server names it.
    pub dbname: String,
    /// Host as written, for the server's certificate and for people.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Addresses of `host`; these are dialled.
    pub addrs: Vec<SocketAddr>,
    /// Further addresses under which jobs could reach the same server.
    pub aliases: BTreeSet<SocketAddr>,
    /// How the server is spoken to.
    pub tls: TlsMode,
    /// Roots for [`TlsMode::VerifyFull`]; empty otherwise.
    pub roots: Arc<RootCertStore>,
    /// What clients are asked for by SCRAM-SHA-256; `None`: they are asked for nothing. No secret:
    /// who a client is, the kernel tells.
    pub client_password: Option<String>,
    /// Logins by user name.
    pub logins: BTreeMap<String, Login>,
    /// Who makes the roles of jobs; `None`: nobody, and policies can name logins only.
    pub admin: Option<Admin>,
}

impl Database {
    /// Whether the database can be dialled under this (canonical) address.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        self.addrs.contains(&address) || self.aliases.contains(&address)
    }

    /// All addresses under which it can be dialled.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addrs.iter().chain(&self.aliases).copied()
    }

    /// The login of this user.
    pub fn login(&self, user: &str) -> Option<&Login> {
        self.logins.get(user)
    }
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// TLS; certificate and host name are verified.
    VerifyFull,
    /// TLS; nothing is verified. Keeps out listeners, not impostors.
    Require,
    /// No TLS.
    Disable,
}

/// A login at a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// User name at the server.
    pub user: String,
    /// Where its password is.
    pub password: PasswordSource,
}

/// The role that makes and removes the roles of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Its login.
    pub login: Login,
    /// It calls the procedures of the schema `cordon`, and may do nothing else; otherwise it may
    /// make roles itself.
    pub procedures: bool,
    /// Most connections that a job's role may have at once.
    pub connections: u32,
}
