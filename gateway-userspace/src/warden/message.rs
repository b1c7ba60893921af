//! What the two processes say to each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use gateway_common::Way;
use serde::{Deserialize, Serialize};

use crate::{
    audit::KeySlot,
    config::LoginName,
    intercept::{BypassAttempt, InterceptedConn},
};

/// What the gateway asks of the warden. Each is answered by a `Reply` of what it asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// The kernel's evidence of a connection, taken out: `Option<InterceptedConn>`.
    Claim {
        /// The network namespace of the proxy's listener; `None`: the host's own.
        netns_cookie: Option<u64>,
        /// The client's end.
        peer: SocketAddr,
        /// The proxy's end.
        local: SocketAddr,
    },
    /// Of a job, by its id: [`crate::identity::Host`].
    MakeCgroup(String),
    /// A process into a job's.
    JoinCgroup(String, u32),
    /// All processes of a job.
    KillCgroup(String),
    /// Of a job.
    RemoveCgroup(String),
    /// A job's cgroup with the programs in the kernel.
    Register(String),
    /// The cgroup of this id.
    Unregister(u64),
    /// Of a process: `PathBuf`.
    Executable(u32),
    /// Of a process: `Vec<u8>`.
    Environment(u32),
    /// In reach of a process: `Option<PathBuf>`.
    LocalSocket(u32, BTreeSet<u16>),
    /// In a configured file: `Vec<u8>`.
    KeySet(PathBuf),
    /// Of the log: `Option<Vec<u8>>`.
    LogPublic(KeySlot),
    /// Of the log: `Vec<u8>`.
    LogMake(KeySlot),
    /// A text of the log's: `Vec<u8>`.
    LogSign(KeySlot, Vec<u8>),
    /// The log's next key.
    LogInstallNext,
    /// The log's next key.
    LogDiscardNext,
    /// A certificate of the host's authority: `Vec<u8>`.
    SignCertificate(Vec<u8>),
    /// Of a login: `Result<String, String>`.
    Password(LoginName),
    /// The server did not take it.
    PasswordRefused(LoginName),
    /// Of the policy's files: [`crate::policy::Stamp`].
    PolicyStamp,
    /// The policy's files: [`crate::policy::Sources`].
    PolicySources,
    /// Of the policy's files: `Option<[u8; 32]>`.
    PolicyDigest,
    /// It serves, or lives.
    Said(Said),
}

/// What the gateway lets the warden know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// Jobs are served.
    Ready,
    /// The threads that serve sessions run.
    Alive,
}

/// An answer.
pub type Reply<T> = Result<T, Failure>;

/// Why something was not done, as it travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    errno: Option<i32>,
    kind: Kind,
    message: String,
}

/// The kinds of errors that somebody tells apart.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Kind {
    NotFound,
    AlreadyExists,
    PermissionDenied,
    InvalidInput,
    InvalidData,
    Other,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::AlreadyExists => Kind::AlreadyExists,
            io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
            io::ErrorKind::InvalidInput => Kind::InvalidInput,
            io::ErrorKind::InvalidData => Kind::InvalidData,
            _ => Kind::Other,
        };
        Self {
            errno: error.raw_os_error(),
            kind,
            message: error.to_string(),
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        if let Some(errno) = failure.errno {
            return Self::from_raw_os_error(errno);
        }
        let kind = match failure.kind {
            Kind::NotFound => io::ErrorKind::NotFound,
            Kind::AlreadyExists => io::ErrorKind::AlreadyExists,
            Kind::PermissionDenied => io::ErrorKind::PermissionDenied,
            Kind::InvalidInput => io::ErrorKind::InvalidInput,
            Kind::InvalidData => io::ErrorKind::InvalidData,
            Kind::Other => io::ErrorKind::Other,
        };
        Self::new(kind, failure.message)
    }
}

/// What the warden tells the gateway of its own accord.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event {
    /// Somebody tried to get past the gateway.
    Bypass(Attempt),
    /// The proxy listens in a network namespace of a job; its listeners come with this.
    NamespaceOpened(u64),
    /// Nobody is in that namespace any more.
    NamespaceClosed(u64),
}

/// A [`BypassAttempt`], as it travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    way: u32,
    refused: bool,
    conn: InterceptedConn,
    client: Option<SocketAddr>,
}

impl From<BypassAttempt> for Attempt {
    fn from(attempt: BypassAttempt) -> Self {
        Self {
            way: attempt.way as u32,
            refused: attempt.refused,
            conn: attempt.conn,
            client: attempt.client,
        }
    }
}

impl Attempt {
    /// The attempt; `None` for a way that nobody knows.
    pub fn read(self) -> Option<BypassAttempt> {
        Some(BypassAttempt {
            way: Way::from_code(self.way)?,
            refused: self.refused,
            conn: self.conn,
            client: self.client,
        })
    }
}

/// The first message to the gateway; the descriptors of [`super::Link`] come with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The configuration file.
    pub config: PathBuf,
    /// Addresses of each database, as the warden has resolved and protected them.
    pub databases: BTreeMap<String, (Vec<SocketAddr>, BTreeSet<SocketAddr>)>,
    /// The certificate of the host's authority, DER, and its public key.
    pub authority: (Vec<u8>, Vec<u8>),
    /// Listeners of the proxy, one for each address family.
    pub proxies: usize,
    /// Whether there is a listener of the console.
    pub console: bool,
    /// How often the gateway says that it lives; `None`: nobody wants to know.
    pub beat: Option<Duration>,
}
