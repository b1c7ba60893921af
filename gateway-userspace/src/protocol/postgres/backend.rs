//! The connection to the database: TLS, start-up, authentication with Cordon's own credential.

use std::{collections::BTreeMap, io, time::Duration};

use bytes::{Bytes, BytesMut};
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256},
    },
    message::frontend,
};

use super::wire::{Body, Framing, HEADER, error_field, error_fields, framing};
use crate::transport::{Address, Channel, Stream, UpstreamTls};

/// How long the database may take to accept a connection and log us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest message accepted before the session is up, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;
/// Most that a server may say before the session is up, in bytes: its notices and parameters are
/// kept until then.
const MAX_LOGIN: usize = 4 * MAX_MESSAGE;

/// Where and as whom to log in.
pub struct Destination<'a> {
    /// Address that the client dialled: the one of the database's that is used.
    pub address: &'a Address,
    /// Host name, for the certificate.
    pub host: &'a str,
    /// TLS, or `None` where the configuration disables it.
    pub tls: Option<&'a UpstreamTls>,
    /// Database name.
    pub database: &'a str,
    /// Role.
    pub user: &'a str,
    /// The role's password.
    pub password: &'a [u8],
    /// Start-up parameters besides user and database.
    pub parameters: &'a [(String, String)],
}

/// Why there is no connection to the database.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// TCP.
    #[error("cannot connect to the database at {0}")]
    Connect(Address, #[source] io::Error),
    /// The server does not offer TLS.
    #[error("the database offers no TLS, and the configuration demands it")]
    NoTls,
    /// TLS.
    #[error("TLS with the database")]
    Tls(#[from] crate::transport::TlsError),
    /// Reading or writing during start-up.
    #[error("the database closed the connection during start-up")]
    Io(#[source] io::Error),
    /// Too slow.
    #[error("the database did not accept the connection in {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// The server refuses the login; its own words.
    #[error("{message}")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// Message.
        message: String,
    },
    /// There is nothing to log in with.
    #[error(transparent)]
    Credential(#[from] crate::upstream::CredentialError),
    /// Something that is not the protocol, or a method that is not supported.
    #[error("{0}")]
    Protocol(String),
}

/// A session of the database, logged in and idle.
#[derive(Debug)]
pub struct Backend {
    /// The connection.
    pub channel: Channel,
    /// Parameters that the server reported.
    pub parameters: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Notices sent during the login, whole messages.
    pub notices: Vec<Bytes>,
    /// Key with which its statements can be cancelled.
    pub key: CancelKey,
}

/// The server's cancel key, and where to use it.
#[derive(Clone, Debug)]
pub struct CancelKey {
    /// Process id of the backend.
    pub pid: u32,
    /// Secret.
    pub secret: Vec<u8>,
}

/// Connects and logs in.
///
/// # Errors
/// If the database cannot be reached or refuses.
pub async fn connect(destination: &Destination<'_>) -> Result<Backend, BackendError> {
    tokio::time::timeout(CONNECT_TIMEOUT, async {
        let mut channel = Channel::new(dial(destination).await?);
        startup(&mut channel, destination)?;
        login(channel, destination).await
    })
    .await
    .map_err(|_elapsed| BackendError::Timeout)?
}

/// Asks the database to cancel what the session with this key runs.
///
/// # Errors
/// If the database cannot be reached.
pub async fn cancel(destination: &Destination<'_>, key: &CancelKey) -> Result<(), BackendError> {
    tokio::time::timeout(CONNECT_TIMEOUT, async {
        let mut channel = Channel::new(dial(destination).await?);
        let length = u32::try_from(12 + key.secret.len()).unwrap_or(u32::MAX);
        channel.tx.extend_from_slice(&length.to_be_bytes());
        channel.tx.extend_from_slice(&80_877_102_u32.to_be_bytes());
        channel.tx.extend_from_slice(&key.pid.to_be_bytes());
        channel.tx.extend_from_slice(&key.secret);
        channel.drain().await.map_err(BackendError::Io)?;
        // The server closes when it has passed the signal on.
        while std::future::poll_fn(|cx| channel.poll_fill(cx))
            .await
            .map_err(BackendError::Io)?
            > 0
        {
            channel.rx.clear();
        }
        Ok(())
    })
    .await
    .map_err(|_elapsed| BackendError::Timeout)?
}

async fn dial(destination: &Destination<'_>) -> Result<Stream, BackendError> {
    let socket = destination
        .address
        .connect()
        .await
        .map_err(|error| BackendError::Connect(destination.address.clone(), error))?;
    socket.set_nodelay().map_err(BackendError::Io)?;
    let Some(tls) = destination.tls else {
        return Ok(Stream::Plain(socket));
    };
    let mut channel = Channel::new(Stream::Plain(socket));
    frontend::ssl_request(&mut channel.tx);
    channel.drain().await.map_err(BackendError::Io)?;
    channel.fill_to(1).await.map_err(BackendError::Io)?;
    let answer = channel.rx.split_to(1);
    if answer.first() != Some(&b'S') {
        return Err(BackendError::NoTls);
    }
    if !channel.rx.is_empty() {
        return Err(BackendError::Protocol(
            "the database sent unencrypted data after its answer to the SSL request".to_owned(),
        ));
    }
    let Stream::Plain(socket) = channel.into_stream() else {
        return Err(BackendError::NoTls);
    };
    Ok(tls.connect(socket, destination.host).await?)
}

fn startup(channel: &mut Channel, destination: &Destination<'_>) -> Result<(), BackendError> {
    let parameters = [
        ("user", destination.user),
        ("database", destination.database),
    ]
    .into_iter()
    .chain(
        destination
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    frontend::startup_message(parameters, &mut channel.tx).map_err(BackendError::Io)
}

async fn login(
    mut channel: Channel,
    destination: &Destination<'_>,
) -> Result<Backend, BackendError> {
    let mut scram: Option<ScramSha256> = None;
    let mut verified = false;
    let mut authenticated = false;
    let mut parameters = BTreeMap::new();
    let mut notices = Vec::new();
    let mut key = CancelKey {
        pid: 0,
        secret: Vec::new(),
    };
    channel.drain().await.map_err(BackendError::Io)?;
    let mut said = 0;
    loop {
        let (tag, message) = read_message(&mut channel).await?;
        said += message.len();
        if said > MAX_LOGIN {
            return Err(BackendError::Protocol(
                "the database says too much during start-up".to_owned(),
            ));
        }
        let mut body = Body(message.get(HEADER..).unwrap_or_default());
        let malformed = |_| BackendError::Protocol("malformed message from the database".into());
        match tag {
            b'R' => {
                match body.u32().map_err(malformed)? {
                    0 => {
                        if scram.is_some() && !verified {
                            return Err(BackendError::Protocol(
                                "the database did not prove that it knows the password".to_owned(),
                            ));
                        }
                        authenticated = true;
                    }
                    3 if destination.tls.is_some() => {
                        frontend::password_message(destination.password, &mut channel.tx)
                            .map_err(BackendError::Io)?;
                    }
                    3 => {
                        return Err(BackendError::Protocol(
                            "the database asks for a clear-text password without TLS".to_owned(),
                        ));
                    }
                    5 => {
                        let salt = body.bytes(4).map_err(malformed)?;
                        let salt = <[u8; 4]>::try_from(salt).unwrap_or_default();
                        let hash =
                            md5_hash(destination.user.as_bytes(), destination.password, salt);
                        frontend::password_message(hash.as_bytes(), &mut channel.tx)
                            .map_err(BackendError::Io)?;
                    }
                    10 => {
                        let (mut plain, mut plus) = (false, false);
                        while let Ok(name) = body.cstr() {
                            plain |= name == SCRAM_SHA_256.as_bytes();
                            plus |= name == SCRAM_SHA_256_PLUS.as_bytes();
                        }
                        // Bound to the certificate, the proof is worth nothing to somebody in
                        // between; and the server notices if they have struck the offer out.
                        let (mechanism, binding) = match channel.stream().server_end_point() {
                            Some(hash) if plus => (
                                SCRAM_SHA_256_PLUS,
                                ChannelBinding::tls_server_end_point(hash),
                            ),
                            Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
                            None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
                        };
                        if mechanism == SCRAM_SHA_256 && !plain {
                            return Err(BackendError::Protocol(
                                "the database offers no SCRAM-SHA-256".to_owned(),
                            ));
                        }
                        let client = ScramSha256::new(destination.password, binding);
                        frontend::sasl_initial_response(
                            mechanism,
                            client.message(),
                            &mut channel.tx,
                        )
                        .map_err(BackendError::Io)?;
                        scram = Some(client);
                    }
                    11 => {
                        let client = scram.as_mut().ok_or_else(|| {
                            BackendError::Protocol("SASL message out of order".to_owned())
                        })?;
                        client.update(body.0).map_err(BackendError::Io)?;
                        frontend::sasl_response(client.message(), &mut channel.tx)
                            .map_err(BackendError::Io)?;
                    }
                    12 => {
                        let client = scram.as_mut().ok_or_else(|| {
                            BackendError::Protocol("SASL message out of order".to_owned())
                        })?;
                        client.finish(body.0).map_err(BackendError::Io)?;
                        verified = true;
                    }
                    method => {
                        return Err(BackendError::Protocol(format!(
                            "the database asks for authentication method {method}, which is not supported"
                        )));
                    }
                }
                channel.drain().await.map_err(BackendError::Io)?;
            }
            b'S' if authenticated => {
                let name = body.cstr().map_err(malformed)?.to_vec();
                let value = body.cstr().map_err(malformed)?.to_vec();
                parameters.insert(name, value);
            }
            b'K' if authenticated => {
                key = CancelKey {
                    pid: body.u32().map_err(malformed)?,
                    secret: body.0.to_vec(),
                };
            }
            b'N' => notices.push(message),
            b'Z' if authenticated => {
                return Ok(Backend {
                    channel,
                    parameters,
                    notices,
                    key,
                });
            }
            b'E' => {
                let fields = error_fields(body.0).map_err(malformed)?;
                let text = |code| {
                    error_field(&fields, code)
                        .map(|value| String::from_utf8_lossy(value).into_owned())
                        .unwrap_or_default()
                };
                return Err(BackendError::Refused {
                    code: text(b'C'),
                    message: text(b'M'),
                });
            }
            tag => {
                return Err(BackendError::Protocol(format!(
                    "unexpected message {:?} from the database during start-up",
                    char::from(tag)
                )));
            }
        }
    }
}

pub(super) async fn read_message(channel: &mut Channel) -> Result<(u8, Bytes), BackendError> {
    loop {
        match framing(&channel.rx) {
            Framing::Complete { tag, len } => {
                return Ok((tag, BytesMut::freeze(channel.rx.split_to(len))));
            }
            Framing::Partial { len, .. } if len <= MAX_MESSAGE => {
                channel.fill_to(len).await.map_err(BackendError::Io)?;
            }
            Framing::Incomplete => {
                let next = channel.rx.len() + 1;
                channel.fill_to(next).await.map_err(BackendError::Io)?;
            }
            Framing::Partial { .. } | Framing::Malformed => {
                return Err(BackendError::Protocol(
                    "malformed message from the database during start-up".to_owned(),
                ));
            }
        }
    }
}
