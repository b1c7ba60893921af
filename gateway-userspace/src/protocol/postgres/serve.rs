//! One accepted connection, from its first byte to a session that both sides have agreed to.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    authenticate::authenticate,
    backend::{self, BackendError, Destination},
    cancel::{CancelEntry, CancelRegistry, CancelTarget},
    close::Close,
    opened::{Agreed, Opened, Upstream, cancel_upstream},
    scram::Verifier,
    server::pinned,
    startup::{MINOR, Start, StartupMessage, start, upstream_parameters},
    wire::{
        Report, put_authentication_ok, put_backend_key, put_negotiate_version,
        put_parameter_status, put_ready, put_report,
    },
};
use crate::{
    identity::{IdentityRefusal, Principal},
    intercept::InterceptedConn,
    policy::{Admission, GrantRole},
    session::{
        ConnectionRefused, Gate, Opening, ProcessRecord, Refusal, RefusalCause, Session,
        process_record,
    },
    transport::{Address, Authority, Channel, Socket, UpstreamTls},
    upstream::{Credential, CredentialError, JobRoles, Logins},
};

/// A protected database, as the protocol needs it.
pub struct Database {
    /// Name, as policies have it.
    pub name: String,
    /// Name at the server.
    pub dbname: String,
    /// Host name, for certificates on both sides.
    pub host: String,
    /// Address to dial.
    pub address: Address,
    /// TLS; `None` where the configuration disables it.
    pub tls: Option<UpstreamTls>,
    /// What clients are asked for; `None`: nothing.
    pub client_password: Option<Verifier>,
    /// Logins of the configuration.
    pub logins: Logins,
    /// Makes the roles of jobs; `None`: nobody does.
    pub roles: Option<Arc<JobRoles>>,
}

impl Database {
    /// What a session of this job logs in with.
    async fn credential(
        &self,
        principal: &Principal,
        admission: &Admission,
    ) -> Result<Credential, CredentialError> {
        match (admission.role(), &self.roles) {
            (GrantRole::Login(login), _) => self.logins.credential(login, &self.name).await,
            (GrantRole::PerJob, Some(roles)) => roles.credential(principal, admission).await,
            (GrantRole::PerJob, None) => Err(CredentialError::NoAdmin {
                database: self.name.clone(),
            }),
        }
    }
}

/// What all PostgreSQL connections share.
pub struct Service {
    gate: Arc<Gate>,
    authority: Arc<Authority>,
    cancels: Arc<CancelRegistry<Upstream>>,
}

impl Service {
    /// Wires it together.
    pub fn new(gate: Arc<Gate>, authority: Arc<Authority>) -> Arc<Self> {
        Arc::new(Self {
            gate,
            authority,
            cancels: Arc::default(),
        })
    }

    /// Brings a new connection to a session that both sides have agreed to; `None`: it was no more
    /// than a cancel request, or was refused. `find` names the database that a start-up message
    /// means at the address that was dialled; `host` is the name behind that address.
    pub async fn open(
        &self,
        socket: Socket,
        conn: InterceptedConn,
        identity: Result<Principal, IdentityRefusal>,
        host: &str,
        find: impl Fn(&str) -> Option<Arc<Database>>,
    ) -> Option<Opened> {
        if let Err(error) = socket.set_nodelay() {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        match start(socket, &self.authority, host, conn.original.ip()).await {
            Ok((channel, Start::Session(message))) => {
                self.session(channel, &message, &conn, identity, find).await
            }
            Ok((mut channel, Start::Cancel { pid, secret })) => {
                self.cancel(pid, &secret, identity).await;
                channel.close().await;
                None
            }
            Err(close) => {
                self.refuse_unstarted(&conn, identity.ok().as_ref(), &close)
                    .await;
                if let Close::Report(mut channel, _) = close {
                    channel.close().await;
                }
                None
            }
        }
    }

    async fn refuse_unstarted(
        &self,
        conn: &InterceptedConn,
        principal: Option<&Principal>,
        close: &Close,
    ) {
        self.gate
            .refuse_connection(ConnectionRefused {
                cause: RefusalCause::Protocol,
                reason: close.reason(),
                job: principal.map(|principal| principal.job().id().to_owned()),
                process: principal.map(|principal| process_record(principal.process())),
                original: Some(conn.original.to_string()),
                peer: None,
            })
            .await;
    }

    async fn session(
        &self,
        mut client: Channel,
        message: &StartupMessage,
        conn: &InterceptedConn,
        identity: Result<Principal, IdentityRefusal>,
        find: impl Fn(&str) -> Option<Arc<Database>>,
    ) -> Option<Opened> {
        if !matches!(message.minor, 0 | MINOR) || !message.options.is_empty() {
            put_negotiate_version(&mut client.tx, message.agreed_minor(), &message.options);
        }
        if let Ok(agreed) = self.agree(&mut client, message, conn, identity, find).await {
            return Some(agreed.with(client));
        }
        client.close().await;
        None
    }

    /// Everything between the start-up message and the first ReadyForQuery. On refusal the error
    /// stands in the client's buffer.
    async fn agree(
        &self,
        client: &mut Channel,
        message: &StartupMessage,
        conn: &InterceptedConn,
        identity: Result<Principal, IdentityRefusal>,
        find: impl Fn(&str) -> Option<Arc<Database>>,
    ) -> Result<Agreed, ()> {
        let principal = match identity {
            Ok(principal) => principal,
            Err(refusal) => {
                let cause = match refusal {
                    IdentityRefusal::Ended { .. } => RefusalCause::JobEnded,
                    IdentityRefusal::NoJob { .. }
                    | IdentityRefusal::UnknownJob { .. }
                    | IdentityRefusal::LeftJob { .. } => RefusalCause::NoJob,
                };
                let text = refusal.to_string();
                // What is wrong, and after the semicolon what to do.
                let (wrong, remedy) = text.split_once("; ").unwrap_or((&text, ""));
                let message = format!("cordon: {wrong} (ref {:x})", conn.cookie);
                self.refused(conn, None, cause, &message).await;
                put_report(
                    &mut client.tx,
                    b'E',
                    &Report {
                        severity: "FATAL",
                        code: "28000",
                        message: &message,
                        detail: Some("Decided by: every session belongs to a job."),
                        hint: (!remedy.is_empty()).then_some(remedy),
                        position: None,
                    },
                );
                return Err(());
            }
        };
        let Some(database) = find(message.database()) else {
            let reason = format!(
                "database \"{}\" at {} is not configured",
                message.database(),
                conn.original
            );
            self.refused(
                conn,
                Some(&principal),
                RefusalCause::UnknownDatabase,
                &reason,
            )
            .await;
            fatal(client, "3D000", &format!("cordon: {reason}"));
            return Err(());
        };
        if let Some(verifier) = &database.client_password
            && let Err(close) =
                authenticate(client, verifier, message.certificate_hash.as_deref()).await
        {
            let cause = RefusalCause::Protocol;
            self.refused(conn, Some(&principal), cause, &close.reason())
                .await;
            if let Some(farewell) = close.farewell() {
                fatal(client, farewell.code, &farewell.message);
            }
            return Err(());
        }
        let parameters = match upstream_parameters(message) {
            Ok(parameters) => parameters,
            Err(reason) => {
                self.refused(conn, Some(&principal), RefusalCause::Protocol, &reason)
                    .await;
                fatal(client, "0A000", &format!("cordon: {reason}"));
                return Err(());
            }
        };
        let opening = Opening {
            database: database.name.clone(),
            original: conn.original,
            parameters: message.parameters.iter().cloned().collect(),
            job_role: database
                .roles
                .as_ref()
                .map(|roles| roles.name(principal.job())),
        };
        let session = match self.gate.admit(principal, opening).await {
            Ok(session) => session,
            Err(refusal) => {
                put_fatal_refusal(client, &refusal);
                return Err(());
            }
        };
        let secret = message.secret_len();
        match self
            .connect(client, session, database, &parameters, secret)
            .await
        {
            Ok(agreed) => Ok(agreed),
            Err((session, error)) => {
                let (code, text) = match &error {
                    BackendError::Refused { code, message } => (code.as_str(), message.clone()),
                    BackendError::Credential(CredentialError::JobEnded) => {
                        ("28000", format!("cordon: {}", chain(&error)))
                    }
                    other => ("08001", format!("cordon: {}", chain(other))),
                };
                tracing::error!(session = session.id(), error = %chain(&error), "no upstream");
                fatal(client, code, &text);
                session.close(&chain(&error)).await;
                Err(())
            }
        }
    }

    async fn connect(
        &self,
        client: &mut Channel,
        session: Session,
        database: Arc<Database>,
        parameters: &[(String, String)],
        secret: usize,
    ) -> Result<Agreed, (Session, BackendError)> {
        let credential = database.credential(session.principal(), session.admission());
        let credential = match credential.await {
            Ok(credential) => credential,
            Err(error) => return Err((session, error.into())),
        };
        let destination = Destination {
            address: &database.address,
            host: &database.host,
            tls: database.tls.as_ref(),
            database: &database.dbname,
            user: &credential.user,
            password: &credential.password,
            parameters,
        };
        let backend = match backend::connect(&destination).await {
            Ok(backend) => backend,
            Err(error) => {
                if matches!(&error, BackendError::Refused { code, .. } if code.starts_with("28")) {
                    database.logins.refused(&credential.user);
                }
                return Err((session, error));
            }
        };
        let target = Arc::new(CancelTarget::default());
        let upstream = Arc::new(Upstream {
            database: database.clone(),
            key: backend.key,
            since: Instant::now(),
            login: session.admission().role().login().map(str::to_owned),
        });
        let entry = CancelEntry {
            target: target.clone(),
            job: session.principal().job().id().to_owned(),
            upstream: upstream.clone(),
        };
        let Some(key) = self.cancels.issue(entry, upstream.key.pid, secret) else {
            let error = BackendError::Protocol("the system has no randomness".to_owned());
            return Err((session, error));
        };
        for (name, value) in &backend.parameters {
            if let Err(close) = pinned(name, value) {
                return Err((session, BackendError::Protocol(close.reason())));
            }
        }
        put_authentication_ok(&mut client.tx);
        for (name, value) in &backend.parameters {
            put_parameter_status(&mut client.tx, name, value);
        }
        for notice in &backend.notices {
            client.tx.extend_from_slice(notice);
        }
        put_backend_key(&mut client.tx, key.pid, &key.secret);
        put_ready(&mut client.tx, b'I');
        Ok(Agreed {
            server: backend.channel,
            session,
            target,
            key,
            upstream,
        })
    }

    async fn cancel(&self, pid: u32, secret: &[u8], identity: Result<Principal, IdentityRefusal>) {
        let Ok(principal) = identity else { return };
        let Some(entry) = self.cancels.find(pid, secret, principal.job().id()) else {
            tracing::warn!(
                job = principal.job().id(),
                "cancel request without a valid key"
            );
            return;
        };
        if entry.target.held.load(Ordering::SeqCst) {
            entry.target.request();
            return;
        }
        // Whoever finds the request waits until it has landed at the server.
        let _flight = entry.target.flight.lock().await;
        if !entry.target.request() {
            return;
        }
        if let Err(error) = cancel_upstream(&entry.upstream).await {
            tracing::warn!(error = %chain(&error), "a cancel request did not reach the database");
        }
    }

    async fn refused(
        &self,
        conn: &InterceptedConn,
        principal: Option<&Principal>,
        cause: RefusalCause,
        reason: &str,
    ) {
        self.gate
            .refuse_connection(ConnectionRefused {
                cause,
                reason: reason.to_owned(),
                job: principal.map(|principal| principal.job().id().to_owned()),
                process: Some(principal.map_or_else(
                    || ProcessRecord {
                        pid: conn.pid,
                        uid: conn.uid,
                        comm: conn.comm.clone(),
                        ..ProcessRecord::default()
                    },
                    |principal| process_record(principal.process()),
                )),
                original: Some(conn.original.to_string()),
                peer: None,
            })
            .await;
    }
}

fn fatal(client: &mut Channel, code: &str, message: &str) {
    let report = Report {
        severity: "FATAL",
        code,
        message,
        ..Report::default()
    };
    put_report(&mut client.tx, b'E', &report);
}

fn put_fatal_refusal(client: &mut Channel, refusal: &Refusal) {
    let message = refusal.message();
    let detail = refusal.detail();
    put_report(
        &mut client.tx,
        b'E',
        &Report {
            severity: "FATAL",
            code: refusal.sqlstate(),
            message: &message,
            detail: detail.as_deref(),
            hint: refusal.hint(),
            position: None,
        },
    );
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
