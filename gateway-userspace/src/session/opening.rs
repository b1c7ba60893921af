//! Admission: from a principal and the database it asks for to a session on record.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use ring::rand::{SecureRandom, SystemRandom};

use super::{Gate, Refusal, Session, names::Names, permit::hex, recent::Recent};
pub use crate::audit::{BypassAttempted, ConnectionRefused, ProcessRecord, RefusalCause};
use crate::{
    audit::{Durability, Event, SessionClosed, SessionOpened},
    identity::{Principal, ProcessEvidence},
    policy::{Reason, ReasonCode},
};

/// What a client asks for when it connects.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Database, by its configured name.
    pub database: String,
    /// The address that the process dialled.
    pub original: SocketAddr,
    /// Start-up parameters as sent.
    pub parameters: BTreeMap<String, String>,
    /// The name of the job's own role, where the database has somebody who makes it.
    pub job_role: Option<String>,
}

impl Gate {
    /// Admits a principal to a database, by policy, and records the session.
    ///
    /// # Errors
    /// The refusal, which is on record.
    pub async fn admit(
        self: &Arc<Self>,
        principal: Principal,
        opening: Opening,
    ) -> Result<Session, Refusal> {
        let policy = self.policy();
        let mut admission = match policy.admit(&principal, &opening.database) {
            Ok(admission) => admission,
            Err(reason) => {
                return Err(self
                    .refuse_opening(&principal, &opening, RefusalCause::NotGranted, &reason)
                    .await);
            }
        };
        if let Some(role) = &opening.job_role {
            admission.set_job_role(role);
        }
        if let Some(reason) = self.admission_fault() {
            return Err(self
                .refuse_opening(&principal, &opening, RefusalCause::Fault, &reason)
                .await);
        }
        let Some(guard) = principal.life().open_session() else {
            let reason = Reason {
                code: ReasonCode::NotAttributed,
                message: "the job has ended".to_owned(),
                rule: "access ends with the job".to_owned(),
                hint: "start a new job".to_owned(),
            };
            return Err(self
                .refuse_opening(&principal, &opening, RefusalCause::JobEnded, &reason)
                .await);
        };
        let mut random = [0_u8; 6];
        if SystemRandom::new().fill(&mut random).is_err() {
            return Err(fault("the system has no randomness"));
        }
        let id: Arc<str> = Arc::from(format!("ses-{}", hex(&random)));
        let policy_hex = hex(&policy.digest());
        let event = Event::SessionOpened(SessionOpened {
            session: id.to_string(),
            job: principal.job().id().to_owned(),
            process: self.kept(process_record(principal.process())),
            database: opening.database.clone(),
            login: admission.login().to_owned(),
            client: opening
                .parameters
                .into_iter()
                .map(|(name, value)| {
                    let kept = self.blotter.blotted(&value);
                    (name, kept.unwrap_or(value))
                })
                .collect(),
            original: opening.original.to_string(),
            policy: policy_hex.clone(),
        });
        if let Err(error) = self.log.append(event, Durability::Now).await {
            tracing::error!(error = %error, "evidence cannot be written");
            return Err(fault(
                "the evidence cannot be written, so no session may open",
            ));
        }
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(Session {
            gate: self.clone(),
            id,
            principal,
            database: opening.database,
            admission,
            policy_hex,
            revoked: None,
            names: Names::default(),
            recorded: None,
            generation: 0,
            cache: HashMap::default(),
            cursors: HashMap::new(),
            declaring: None,
            statements: 0,
            recent: Recent::default(),
            rows: 0,
            bytes: 0,
            cells: 0,
            opened: Instant::now(),
            limit: None,
            closed: false,
            _guard: guard,
        })
    }

    /// A process as the evidence has it: SQL in its command line may hold personal data.
    fn kept(&self, mut process: ProcessRecord) -> ProcessRecord {
        if let Some(line) = &process.command_line
            && let Some(kept) = self.blotter.blotted(line)
        {
            process.command_line = Some(kept);
        }
        process
    }

    async fn refuse_opening(
        &self,
        principal: &Principal,
        opening: &Opening,
        cause: RefusalCause,
        reason: &Reason,
    ) -> Refusal {
        self.refuse_connection(ConnectionRefused {
            cause,
            reason: reason.message.clone(),
            job: Some(principal.job().id().to_owned()),
            process: Some(process_record(principal.process())),
            original: Some(opening.original.to_string()),
            peer: None,
        })
        .await;
        Refusal::new(reason, principal.job().id().to_owned())
    }

    /// Records an attempt to get past the gateway.
    pub async fn record_bypass(&self, mut attempted: BypassAttempted) {
        attempted.process = attempted.process.map(|process| self.kept(process));
        tracing::warn!(
            way = %attempted.way,
            refused = attempted.refused,
            job = attempted.job,
            pid = attempted.process.as_ref().map(|process| process.pid),
            comm = attempted.process.as_ref().map(|process| process.comm.as_str()),
            destination = attempted.destination,
            suppressed = attempted.suppressed,
            "attempt to get past the gateway"
        );
        if let Err(error) = self
            .log
            .append(Event::BypassAttempted(attempted), Durability::Lazy)
            .await
        {
            tracing::error!(error = %error, "evidence cannot be written");
        }
    }

    /// Records a connection that did not become a session.
    pub async fn refuse_connection(&self, mut refused: ConnectionRefused) {
        refused.process = refused.process.map(|process| self.kept(process));
        tracing::warn!(reason = %refused.reason, job = refused.job, "connection refused");
        if let Err(error) = self
            .log
            .append(Event::ConnectionRefused(refused), Durability::Lazy)
            .await
        {
            tracing::error!(error = %error, "evidence cannot be written");
        }
    }
}

/// A process as the evidence has it.
pub fn process_record(process: &ProcessEvidence) -> ProcessRecord {
    ProcessRecord {
        pid: process.pid,
        uid: process.uid,
        comm: process.comm.clone(),
        executable: process.executable.clone(),
        command_line: process.command_line.clone(),
        start_time: process.start_time,
    }
}

fn fault(message: &str) -> Refusal {
    let reason = Reason {
        code: ReasonCode::Fault,
        message: message.to_owned(),
        rule: "what cannot be recorded is refused".to_owned(),
        hint: "tell whoever runs this host; see the daemon's log".to_owned(),
    };
    Refusal::new(&reason, String::new())
}

impl Session {
    /// Records the end of the session, and with it every outcome that still waits to be written.
    pub async fn close(mut self, reason: &str) {
        if let Some(event) = self.closing(reason)
            && let Err(error) = self.gate.log.append(event, Durability::Lazy).await
        {
            tracing::error!(%error, "the end of a session is not on record");
        }
    }

    /// The session's last event, once.
    fn closing(&mut self, reason: &str) -> Option<Event> {
        if std::mem::replace(&mut self.closed, true) {
            return None;
        }
        self.gate.sessions.fetch_sub(1, Ordering::Relaxed);
        Some(Event::SessionClosed(SessionClosed {
            session: self.id.to_string(),
            reason: reason.to_owned(),
            statements: self.statements,
            rows: self.rows,
            bytes: self.bytes,
            cells_masked: self.cells,
            duration_us: u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX),
            limit: self.limit.take(),
        }))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(event) = self.closing("the session's task ended") {
            self.gate.log.record_later(event);
        }
    }
}
