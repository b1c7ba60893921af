//! Connections of the role that makes and removes roles.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{
    Client, Config,
    config::SslMode,
    tls::{ChannelBinding, TlsConnect, TlsStream},
};

use crate::{
    config::Login,
    transport::{Address, Socket, Stream, TlsError, UpstreamTls},
};

/// How long the server may take to let us in.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// Connections at the same time, at most.
const MAX_CONNECTIONS: usize = 8;
/// Set for every connection: names mean the server's own objects, however the role is set up, and
/// nothing waits for ever.
const SETTINGS: &str = "-c search_path=pg_catalog,pg_temp -c client_min_messages=error \
    -c lock_timeout=10s -c statement_timeout=60s -c standard_conforming_strings=on";

/// Why something was not done at a database.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The password of the admin.
    #[error("the password of the admin {user} cannot be had: {reason}")]
    Password {
        /// The admin's role.
        user: String,
        /// What failed.
        reason: String,
    },
    /// TCP.
    #[error("cannot connect to the database at {0}")]
    Connect(Address, #[source] std::io::Error),
    /// Too slow.
    #[error("the database did not let the admin in within {} s", CONNECT_PATIENCE.as_secs())]
    Timeout,
    /// The server refuses, with its own words.
    #[error("{doing}: {message}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// SQLSTATE.
        code: String,
        /// The server's message and hint.
        message: String,
    },
    /// The connection broke, or a TLS handshake failed.
    #[error("{doing}")]
    Broken {
        /// What was being done.
        doing: &'static str,
        /// What failed.
        #[source]
        source: tokio_postgres::Error,
    },
}

impl AdminError {
    pub(super) fn new(doing: &'static str, error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            None => Self::Broken {
                doing,
                source: error,
            },
            Some(said) => {
                let hint = said.hint().map(|hint| format!(" ({hint})"));
                Self::Refused {
                    doing,
                    code: said.code().code().to_owned(),
                    message: format!("{}{}", said.message(), hint.unwrap_or_default()),
                }
            }
        }
    }

    /// Somebody else did the same at the same time: worth another try.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            // Internal error ("tuple concurrently updated"), deadlock, serialization failure.
            Self::Refused { code, .. } => matches!(code.as_str(), "XX000" | "40P01" | "40001"),
            Self::Password { .. } | Self::Connect(..) | Self::Timeout | Self::Broken { .. } => {
                false
            }
        }
    }
}

/// Where a server is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address to dial.
    pub address: Address,
    /// Host name, for the certificate.
    pub host: String,
    /// TLS; `None` where the configuration disables it.
    pub tls: Option<UpstreamTls>,
    /// Database name at the server.
    pub dbname: String,
}

/// The admin of one database.
#[derive(Debug)]
pub struct Admin {
    server: Server,
    login: Login,
    places: Arc<Semaphore>,
}

impl Admin {
    /// Nothing is connected yet.
    pub fn new(server: Server, login: Login) -> Self {
        Self {
            server,
            login,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    /// A new connection, closed when the client is dropped.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(&self) -> Result<AdminClient, AdminError> {
        let place = self.places.clone().acquire_owned().await.ok();
        let client = tokio::time::timeout(CONNECT_PATIENCE, self.dial())
            .await
            .map_err(|_elapsed| AdminError::Timeout)??;
        Ok(AdminClient {
            client,
            _place: place,
        })
    }

    async fn dial(&self) -> Result<Client, AdminError> {
        let user = &self.login.user;
        let password = self
            .login
            .password
            .read()
            .await
            .map_err(|reason| AdminError::Password {
                user: user.clone(),
                reason,
            })?;
        let Server {
            address,
            host,
            tls,
            dbname,
        } = &self.server;
        let socket = address
            .connect()
            .await
            .map_err(|error| AdminError::Connect(address.clone(), error))?;
        let mut config = Config::new();
        config
            .user(user)
            .dbname(dbname)
            .application_name("cordon admin")
            .options(SETTINGS)
            .ssl_mode(if tls.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            });
        if !password.expose().is_empty() {
            config.password(password.expose());
        }
        let connector = Connector {
            tls: tls.clone(),
            host: host.clone(),
        };
        let (client, connection) =
            config
                .connect_raw(socket, connector)
                .await
                .map_err(|error| {
                    if error
                        .code()
                        .is_some_and(|code| code.code().starts_with("28"))
                    {
                        self.login.password.refused();
                    }
                    AdminError::new("the admin's login", error)
                })?;
        // Ends when the client is dropped; what broke it, the client's calls report.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(client)
    }
}

/// A connection of the admin's.
pub struct AdminClient {
    client: Client,
    _place: Option<OwnedSemaphorePermit>,
}

impl std::ops::Deref for AdminClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Our TLS for the library.
struct Connector {
    tls: Option<UpstreamTls>,
    host: String,
}

impl TlsConnect<Socket> for Connector {
    type Stream = Stream;
    type Error = TlsError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, TlsError>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            match &self.tls {
                Some(tls) => tls.connect(socket, &self.host).await,
                // Not asked for where TLS is disabled.
                None => Ok(Stream::Plain(socket)),
            }
        })
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        self.server_end_point()
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}
