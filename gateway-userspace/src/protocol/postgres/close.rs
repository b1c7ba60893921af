//! Why a connection ends, and what its client is told.

use std::io;

use super::wire::{Report, put_report};
use crate::transport::{Channel, TlsError};

/// The end of a connection.
#[derive(Debug)]
pub enum Close {
    /// The client said goodbye.
    Terminated,
    /// The client's side failed or closed.
    Client(io::Error),
    /// The database's side failed or closed.
    Server(io::Error),
    /// The client broke the protocol; told with SQLSTATE 08P01 where it can be.
    Protocol(String),
    /// The database said something that Cordon does not follow.
    Upstream(String),
    /// The session must not go on (job ended, evidence unwritable ...).
    Fatal {
        /// SQLSTATE.
        code: &'static str,
        /// Message for the client.
        message: String,
    },
    /// The database closed after a fatal error that the client has been sent already.
    Told(String),
    /// A refusal that has been written to this channel and only needs to be sent.
    Report(Box<Channel>, String),
    /// Nothing can or need be said.
    Silent(&'static str),
}

impl Close {
    /// The client's side failed.
    pub fn client(error: io::Error) -> Self {
        Self::Client(error)
    }

    /// The database's side failed.
    pub fn server(error: io::Error) -> Self {
        Self::Server(error)
    }

    /// The client broke the protocol.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::Protocol(message.into())
    }

    /// Puts a fatal error on the channel, to be sent at the close.
    pub fn report(mut channel: Channel, code: &str, message: &str) -> Self {
        let report = Report {
            severity: "FATAL",
            code,
            message,
            ..Report::default()
        };
        put_report(&mut channel.tx, b'E', &report);
        Self::Report(Box::new(channel), message.to_owned())
    }

    /// The fatal error to tell the client, if one is due: SQLSTATE and message.
    pub fn farewell(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Terminated
            | Self::Client(_)
            | Self::Told(_)
            | Self::Report(..)
            | Self::Silent(_) => None,
            Self::Protocol(message) => Some(("08P01", message.clone())),
            Self::Server(error) => Some((
                "08006",
                format!("the connection to the database failed: {error}"),
            )),
            Self::Upstream(message) => Some(("08006", message.clone())),
            Self::Fatal { code, message } => Some((code, message.clone())),
        }
    }

    /// One word or sentence for the evidence.
    pub fn reason(&self) -> String {
        match self {
            Self::Terminated => "client closed the session".to_owned(),
            Self::Client(error) => format!("client's side: {error}"),
            Self::Server(error) => format!("database's side: {error}"),
            Self::Protocol(message) | Self::Upstream(message) | Self::Told(message) => {
                message.clone()
            }
            Self::Fatal { code, message } => format!("{code}: {message}"),
            Self::Report(_, message) => message.clone(),
            Self::Silent(reason) => (*reason).to_owned(),
        }
    }
}

impl From<TlsError> for Close {
    fn from(error: TlsError) -> Self {
        Self::Client(io::Error::other(error))
    }
}
