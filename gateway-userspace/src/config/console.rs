//! `console:`: where the web console listens, and who may use it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_saphyr::{Location, Spanned};

use super::{ConfigError, Issuer, JwksSource, Secret, file, resolve::Place, secret};

const DEFAULT_IDLE: Duration = Duration::from_mins(15);
const DEFAULT_MAX_DURATION: Duration = Duration::from_hours(8);
/// Identity providers give ID tokens of up to a day.
const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_hours(24);
/// Clocks of an identity provider and this host may differ this much.
const LEEWAY: Duration = Duration::from_secs(30);

/// The web console.
#[derive(Clone, Debug)]
pub struct Console {
    /// Where it listens.
    pub at: ConsoleAt,
    /// Users of this host who may look at everything, on the socket. root always may.
    pub auditors: BTreeSet<u32>,
    /// Users of this host who may see what waits and which sessions there are, on the socket.
    pub viewers: BTreeSet<u32>,
}

impl Console {
    /// Where browsers find it; `None` on a socket, which everybody forwards to a port of their own.
    pub fn url(&self) -> Option<&str> {
        match &self.at {
            ConsoleAt::Socket(_) => None,
            ConsoleAt::Tcp(tcp) => Some(&tcp.origin),
        }
    }

    /// How people log in; `None` on a socket, where the kernel tells who they are.
    pub fn login(&self) -> Option<&ConsoleLogin> {
        match &self.at {
            ConsoleAt::Socket(_) => None,
            ConsoleAt::Tcp(tcp) => Some(&tcp.login),
        }
    }
}

/// Where the console listens.
#[derive(Clone, Debug)]
pub enum ConsoleAt {
    /// A Unix socket; the peer's user decides what they may.
    Socket(PathBuf),
    /// TCP. Every process of the host can dial it, so everybody logs in.
    Tcp(Box<ConsoleTcp>),
}

/// The console on TCP.
#[derive(Clone, Debug)]
pub struct ConsoleTcp {
    /// Address and port.
    pub address: SocketAddr,
    /// What browsers call it: scheme, host and port, without a slash at the end.
    pub origin: String,
    /// TLS; `None` on loopback only.
    pub tls: Option<Arc<ServerConfig>>,
    /// How people log in.
    pub login: ConsoleLogin,
}

impl ConsoleTcp {
    /// Whether browsers reach it by https, directly or through a proxy on this host.
    pub fn is_secure(&self) -> bool {
        self.origin.starts_with("https://")
    }
}

/// Login at an `OpenID` Connect provider.
#[derive(Clone, Debug)]
pub struct ConsoleLogin {
    /// The provider, whose ID tokens are for the audience `client_id`.
    pub issuer: Issuer,
    /// The client's id.
    pub client_id: String,
    /// The client's secret; `None` for a public client, which has PKCE alone.
    pub client_secret: Option<Secret>,
    /// Scopes asked for.
    pub scopes: Vec<String>,
    /// Approvers' groups, and the provider's groups whose members are in them.
    pub approvers: BTreeMap<String, BTreeSet<String>>,
    /// The provider's groups whose members may look at everything.
    pub auditors: BTreeSet<String>,
    /// The provider's groups whose members may see what waits and which sessions there are.
    pub viewers: BTreeSet<String>,
    /// A login without requests ends after this.
    pub idle: Duration,
    /// Every login ends after this.
    pub max_duration: Duration,
}

impl Place<'_> {
    pub(super) fn console(&self, written: Spanned<file::Console>) -> Result<Console, ConfigError> {
        let place = written.referenced;
        let console = written.value;
        let auditors = self.users(&console.auditors)?;
        let viewers = self.users(&console.viewers)?;
        let at = match (&console.socket, &console.address) {
            (Some(_), None) => self.on_socket(console)?,
            (None, Some(_)) if console.auditors.is_empty() && console.viewers.is_empty() => {
                self.on_tcp(console, place)?
            }
            (None, Some(_)) => {
                return Err(self.error(
                    place,
                    "`auditors` and `viewers` of the console are users of this host, for a `socket`; with an `address`, write groups into `login`",
                ));
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(self.error(
                    place,
                    "the console listens on a `socket` or an `address`; write one of the two",
                ));
            }
        };
        Ok(Console {
            at,
            auditors,
            viewers,
        })
    }

    fn on_socket(&self, console: file::Console) -> Result<ConsoleAt, ConfigError> {
        let unused = [
            console.url.map(|key| ("url", key.referenced)),
            console
                .certificate_file
                .map(|key| ("certificate_file", key.referenced)),
            console.key_file.map(|key| ("key_file", key.referenced)),
            console.login.map(|key| ("login", key.referenced)),
        ];
        if let Some((key, place)) = unused.into_iter().flatten().next() {
            return Err(self.error(
                place,
                format!("`{key}` has no effect on a socket, where the kernel tells who asks; remove it, or use `address`"),
            ));
        }
        Ok(ConsoleAt::Socket(self.absolute(
            console.socket,
            "",
            "socket",
        )?))
    }

    fn on_tcp(&self, console: file::Console, place: Location) -> Result<ConsoleAt, ConfigError> {
        let written = console
            .address
            .ok_or_else(|| self.error(place, "`address` is missing"))?;
        let address: SocketAddr = written.value.parse().map_err(|_not_one| {
            self.error(
                written.referenced,
                format!(
                    "`{}` is not an address with a port, such as 127.0.0.1:8440",
                    written.value
                ),
            )
        })?;
        let tls = match (console.certificate_file, console.key_file) {
            (Some(certificate), Some(key)) => Some(self.tls(&certificate, &key)?),
            (None, None) => None,
            (Some(alone), None) | (None, Some(alone)) => {
                return Err(self.error(
                    alone.referenced,
                    "`certificate_file` and `key_file` go together",
                ));
            }
        };
        let is_loopback = address.ip().to_canonical().is_loopback();
        if tls.is_none() && !is_loopback {
            return Err(self.error(
                written.referenced,
                "beyond loopback the console wants TLS; add `certificate_file` and `key_file`",
            ));
        }
        let Some(login) = console.login else {
            return Err(self
                .error(
                    written.referenced,
                    "a console on TCP wants a `login`: every process of this host can dial loopback, jobs among them",
                )
                .suggest(Some(
                    "add `login`, or use `socket`, which `ssh -L 8440:/run/cordon/console.sock HOST` brings to your browser".to_owned(),
                )));
        };
        let origin = match &console.url {
            Some(url) => self.origin(url, tls.is_some(), is_loopback)?,
            None if is_loopback => {
                format!("http{}://{address}", if tls.is_some() { "s" } else { "" })
            }
            None => {
                return Err(self.error(
                    written.referenced,
                    "beyond loopback the console must know what browsers call it; add `url`, such as https://cordon.example:8440",
                ));
            }
        };
        Ok(ConsoleAt::Tcp(Box::new(ConsoleTcp {
            address,
            origin,
            tls,
            login: self.login(login)?,
        })))
    }

    /// Scheme, host and port of the console as browsers name it. Behind a proxy on this host that
    /// does TLS it is https although the console itself has no certificate.
    fn origin(
        &self,
        written: &Spanned<String>,
        tls: bool,
        is_loopback: bool,
    ) -> Result<String, ConfigError> {
        self.url(written)?;
        let wrong = |message: &str| self.error(written.referenced, message);
        let url = reqwest::Url::parse(&written.value).map_err(|_checked| wrong("not a URL"))?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "`url` is scheme, host and port only, such as https://cordon.example:8440",
            ));
        }
        if url.scheme() == "http" && (tls || !is_loopback) {
            return Err(wrong("with TLS the `url` begins with https"));
        }
        Ok(url.origin().ascii_serialization())
    }

    fn tls(
        &self,
        certificate: &Spanned<PathBuf>,
        key: &Spanned<PathBuf>,
    ) -> Result<Arc<ServerConfig>, ConfigError> {
        let path = self.beside(&certificate.value);
        let wrong = |what: String| {
            let shown = path.display();
            self.error(
                certificate.referenced,
                format!("the certificate file {shown} {what}"),
            )
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let pem = secret::read(&self.beside(&key.value))
            .map_err(|message| self.error(key.referenced, message))?;
        let key =
            PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_no_details| {
                self.error(key.referenced, "the key file holds no private key in PEM")
            })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| wrong(format!("cannot be used with its key: {error}")))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn login(&self, written: Spanned<file::ConsoleLogin>) -> Result<ConsoleLogin, ConfigError> {
        let place = written.referenced;
        let login = written.value;
        self.url(&login.issuer)?;
        if login.client_id.value.is_empty() {
            return Err(self.error(login.client_id.referenced, "`client_id` is empty"));
        }
        let roles = login.approvers.values().flatten();
        if roles
            .chain(&login.auditors)
            .chain(&login.viewers)
            .next()
            .is_none()
        {
            return Err(self.error(
                place,
                "nobody could use the console; name groups of the provider in `approvers`, `auditors` or `viewers`",
            ));
        }
        let client_secret = login
            .client_secret_file
            .map(|path| {
                secret::read(&self.beside(&path.value))
                    .map_err(|message| self.error(path.referenced, message))
            })
            .transpose()?;
        let roots = login.ca_file.map(|path| self.roots(&path)).transpose()?;
        let mut scopes = login
            .scopes
            .unwrap_or_else(|| vec!["profile".to_owned(), "email".to_owned()]);
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        let hours = |hours| Duration::from_hours(hours);
        Ok(ConsoleLogin {
            issuer: Issuer {
                name: "console".to_owned(),
                url: login.issuer.value,
                audience: login.client_id.value.clone(),
                jwks: JwksSource::Discovery,
                max_lifetime: self.duration(
                    login.max_token_lifetime,
                    DEFAULT_TOKEN_LIFETIME,
                    Duration::from_secs(1)..=hours(31 * 24),
                )?,
                leeway: LEEWAY,
                preset: None,
                forks: false,
                asserted: false,
                token_expiry: super::TokenExpiry::Ignore,
                groups_claim: login.groups_claim.unwrap_or_else(|| "groups".to_owned()),
                roots,
            },
            client_id: login.client_id.value,
            client_secret,
            scopes,
            approvers: login
                .approvers
                .into_iter()
                .map(|(group, members)| (group, members.into_iter().collect()))
                .collect(),
            auditors: login.auditors.into_iter().collect(),
            viewers: login.viewers.into_iter().collect(),
            idle: self.duration(login.idle, DEFAULT_IDLE, Duration::from_secs(1)..=hours(24))?,
            max_duration: self.duration(
                login.max_duration,
                DEFAULT_MAX_DURATION,
                Duration::from_secs(1)..=hours(24 * 7),
            )?,
        })
    }
}
