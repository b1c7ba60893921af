//! Who dialled the console, by the kernel's word.

use std::net::{IpAddr, SocketAddr};

use crate::{
    admin::{Credentials, Peer},
    config::Config,
    identity::{Holder, Jobs},
};

/// The other end of a connection.
#[derive(Debug)]
pub enum Dialled {
    /// On the Unix socket.
    Socket(Credentials),
    /// By TCP.
    Tcp {
        /// Address, for the limits of logins.
        from: IpAddr,
        /// The job that the socket was made in. Where that cannot be told, this is not `None`.
        job: Option<String>,
    },
}

impl Dialled {
    /// Looks up who dialled by TCP. Asks the kernel, so it may block a little.
    pub fn tcp(peer: SocketAddr, local: SocketAddr, jobs: &Jobs) -> Self {
        let job = match jobs.holder(peer, local) {
            Ok(Holder::Elsewhere) => None,
            Ok(Holder::Here { job, .. }) => job,
            Err(error) => Some(format!("(cannot be told: {error})")),
        };
        Self::Tcp {
            from: peer.ip().to_canonical(),
            job,
        }
    }

    /// The job that asks, if one does. On the socket the process is looked at anew: it may have
    /// been moved into a job since it connected.
    pub fn job(&self, config: &Config, jobs: &Jobs) -> Option<String> {
        match self {
            Self::Socket(credentials) => credentials.look(config, jobs).inside_job,
            Self::Tcp { job, .. } => job.clone(),
        }
    }

    /// The user on the socket, as they are now.
    pub fn user(&self, config: &Config, jobs: &Jobs) -> Option<Peer> {
        match self {
            Self::Socket(credentials) => Some(credentials.look(config, jobs)),
            Self::Tcp { .. } => None,
        }
    }

    /// Its address; the unspecified one for the socket.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Socket(_) => IpAddr::from([0, 0, 0, 0]),
            Self::Tcp { from, .. } => *from,
        }
    }
}
