//! What the console is made of, and who asks it.

use std::{path::PathBuf, sync::Arc};

use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use tokio::sync::{Mutex, Semaphore};

use super::{
    api::Verification,
    login::{Login, SessionKey},
    page::Page,
    peer::Dialled,
    person::{Person, Role},
    refused::Refused,
};
use crate::{
    admin::ControlPlane,
    config::{Config, Console, ConsoleAt},
    identity::Jobs,
    session::Gate,
};

/// Event streams open at a time, in all.
const MAX_STREAMS: usize = 128;
/// Requests that read the evidence at a time: each reads all of it.
const MAX_READERS: usize = 2;

/// The console's parts.
pub struct App {
    /// The daemon's configuration.
    pub config: Arc<Config>,
    /// Its section on the console.
    pub console: Console,
    /// Held statements, the policy, the log.
    pub gate: Arc<Gate>,
    /// The jobs.
    pub jobs: Arc<Jobs>,
    /// The daemon's state, and catalogs of its databases.
    pub control: Arc<dyn ControlPlane>,
    /// The evidence folder.
    pub evidence: PathBuf,
    pub(super) access: Access,
    pub(super) page: Page,
    pub(super) streams: Arc<Semaphore>,
    pub(super) readers: Semaphore,
    pub(super) verification: Mutex<Verification>,
}

/// How it is known who asks.
pub(super) enum Access {
    /// By the socket's peer. Its token against forged requests follows from this key and the user.
    Socket(hmac::Key),
    /// By a login.
    Login(Box<Login>),
}

/// Who asks, and what a change of theirs must carry.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The person.
    pub person: Person,
    /// The token that only the console's own page knows.
    pub csrf: String,
    /// The login session, where there is one.
    pub(super) session: Option<SessionKey>,
}

impl Asker {
    /// Fails unless the person may do what this role may.
    pub fn needs(&self, role: Role) -> Result<(), Refused> {
        if self.person.role >= role {
            return Ok(());
        }
        Err(Refused::forbidden(format!(
            "this is for the role {}; {} has the role {}",
            role.word(),
            self.person.name,
            self.person.role.word()
        )))
    }
}

impl App {
    /// Puts it together.
    ///
    /// # Errors
    /// If the system has no randomness, or TLS towards the identity provider cannot be set up.
    pub fn new(
        config: Arc<Config>,
        console: Console,
        gate: Arc<Gate>,
        jobs: Arc<Jobs>,
        control: Arc<dyn ControlPlane>,
    ) -> Result<Self, String> {
        let access = match &console.at {
            ConsoleAt::Socket(_) => {
                let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
                    .map_err(|_unspecified| "the system has no randomness".to_owned())?;
                Access::Socket(key)
            }
            ConsoleAt::Tcp(tcp) => Access::Login(Box::new(Login::new(tcp, jobs.host())?)),
        };
        let provider = match &access {
            Access::Socket(_) => None,
            Access::Login(login) => Some(login.config().login.issuer.url.clone()),
        };
        Ok(Self {
            evidence: config.evidence_dir(),
            page: Page::new(provider.as_deref()),
            config,
            console,
            gate,
            jobs,
            control,
            access,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            readers: Semaphore::new(MAX_READERS),
            verification: Mutex::default(),
        })
    }

    /// Where people find it.
    pub fn place(&self) -> String {
        match &self.console.at {
            ConsoleAt::Socket(path) => path.display().to_string(),
            ConsoleAt::Tcp(tcp) => tcp.origin.clone(),
        }
    }

    /// Who asks with these headers over this connection. `counts`: whether it is something that the
    /// person does, which keeps their login from ending for idleness.
    pub(super) fn asker(
        &self,
        headers: &HeaderMap,
        dialled: &Dialled,
        counts: bool,
    ) -> Result<Asker, Refused> {
        match &self.access {
            Access::Login(login) => login.asker(headers, counts).ok_or_else(Refused::unknown),
            Access::Socket(key) => {
                let peer = dialled
                    .user(&self.config, &self.jobs)
                    .ok_or_else(Refused::unknown)?;
                let person = Person::of_peer(&peer, &self.console).ok_or_else(|| {
                    Refused::forbidden(format!(
                        "the console is not for the user {}: be a member of the configured `approvers`, or be listed in `console.auditors` or `console.viewers`",
                        peer.user
                    ))
                })?;
                let tag = hmac::sign(key, &peer.uid.to_be_bytes());
                Ok(Asker {
                    person,
                    csrf: URL_SAFE_NO_PAD.encode(tag),
                    session: None,
                })
            }
        }
    }

    /// Whether who asked then may still ask.
    pub(super) fn still(&self, asker: &Asker, dialled: &Dialled) -> bool {
        match (&self.access, &asker.session) {
            (Access::Login(login), Some(session)) => login.is_open(session),
            (Access::Login(_), None) => false,
            (Access::Socket(_), _) => {
                let peer = dialled.user(&self.config, &self.jobs);
                let person = peer
                    .filter(|peer| peer.inside_job.is_none())
                    .and_then(|peer| Person::of_peer(&peer, &self.console));
                person.is_some_and(|person| person.is_same(&asker.person))
            }
        }
    }
}

/// 256 random bits, in base64url.
pub(super) fn random_text() -> Result<String, Refused> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| Refused::fault("the system has no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
