//! Why a connection ends, and what its client is told.

use std::io;

use super::wire::{Report, put_report};
use crate::{
    session::Refusal,
    transport::{Channel, TlsError},
};

/// The fatal error that a client is told at the end.
#[derive(Debug)]
pub struct Farewell {
    /// SQLSTATE.
    pub code: &'static str,
    /// Message.
    pub message: String,
    /// What decided.
    pub detail: Option<String>,
    /// What would allow it.
    pub hint: Option<String>,
}

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
    /// A limit of the policy ends the session.
    Limit(Box<Refusal>),
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

    /// The fatal error to tell the client, if one is due.
    pub fn farewell(&self) -> Option<Farewell> {
        let plain = |code, message| {
            Some(Farewell {
                code,
                message,
                detail: None,
                hint: None,
            })
        };
        match self {
            Self::Terminated
            | Self::Client(_)
            | Self::Told(_)
            | Self::Report(..)
            | Self::Silent(_) => None,
            Self::Protocol(message) => plain("08P01", message.clone()),
            Self::Server(error) => plain(
                "08006",
                format!("the connection to the database failed: {error}"),
            ),
            Self::Upstream(message) => plain("08006", message.clone()),
            Self::Fatal { code, message } => plain(code, message.clone()),
            Self::Limit(refusal) => Some(Farewell {
                code: refusal.sqlstate(),
                message: refusal.message(),
                detail: refusal.detail(),
                hint: refusal.hint().map(str::to_owned),
            }),
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
            Self::Limit(refusal) => format!("{}: {}", refusal.sqlstate(), refusal.message()),
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
