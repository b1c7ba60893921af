//! Ties the parts to the seams of jobs and of the control socket.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Instant};

use tokio::runtime::Handle;

use super::{
    catalog,
    refusals::{Kept, Refusals},
    reload::PolicyFiles,
};
use crate::{
    admin::{
        ApprovalView, ControlPlane, DatabaseCheckView, Peer, StatusView, WitnessView, rfc3339,
    },
    approval::{Approver, ApproverId},
    audit::{Durability, Event, JobEnded, JobRefused, JobStarted, Log, RoleChanged},
    config::Config,
    identity::{Assurance, EndReason, Job, JobLedger, Jobs, StartError, Starter},
    protocol::postgres::{Database, backend::Destination},
    session::{Gate, hex},
    sql::SavedCatalog,
    upstream::{RoleChange, RoleLedger},
};

/// The evidence of the lives of jobs; held statements go with their job.
pub struct Ledger {
    /// The log.
    pub log: Arc<Log>,
    /// Held statements.
    pub approvals: crate::approval::Approvals,
    /// How many refused starts were recorded.
    pub refusals: Refusals,
}

impl JobLedger for Ledger {
    fn started(&self, job: &Job) -> Result<(), String> {
        let identity = job.identity();
        let event = Event::JobStarted(JobStarted {
            job: job.id().to_owned(),
            issuer: identity.issuer().to_owned(),
            subject: identity.subject().to_owned(),
            assurance: match identity.assurance() {
                Assurance::RunnerAsserted => "runner-asserted",
                Assurance::OidcVerified => "oidc-verified",
            }
            .to_owned(),
            groups: identity.groups().to_vec(),
            claims: identity.claims().clone(),
            cgroup: job.cgroup().path().to_string(),
            cgroup_id: job.cgroup().id(),
            pid: job.process(),
            peer_uid: job.starter().uid,
        });
        wait(self.log.append(event, Durability::Synced))
            .map(|_receipt| ())
            .map_err(|error| error.to_string())
    }

    fn ended(&self, job: &Job, reason: EndReason) {
        self.approvals
            .withdraw_job(job.id(), &format!("the job has ended: {reason}"));
        self.log.record_later(Event::JobEnded(JobEnded {
            job: job.id().to_owned(),
            reason: reason.to_string(),
        }));
    }

    fn refused(&self, starter: &Starter, pid: u32, error: &StartError) {
        tracing::warn!(peer_uid = starter.uid, pid, %error, "job start refused");
        let mut reason = error.to_string();
        match self.refusals.count(starter.uid, Instant::now()) {
            Kept::Recorded { left_out: 0 } => {}
            Kept::Recorded { left_out } => {
                let _ = write!(
                    reason,
                    " ({left_out} refused starts of this user before it are not recorded one by one)"
                );
            }
            Kept::Last => reason
                .push_str(" (further refused starts of this user are only counted for a minute)"),
            Kept::Counted => return,
        }
        self.log.record_later(Event::JobRefused(JobRefused {
            reason,
            issuer: None,
            subject: None,
            peer_pid: starter.pid.unwrap_or_default(),
            peer_uid: starter.uid,
            inside_job: starter.inside_job.clone(),
        }));
    }
}

impl RoleLedger for Ledger {
    fn role_changed(&self, database: &str, role: &str, job: Option<&str>, change: RoleChange) {
        let change = match change {
            RoleChange::Made => "made",
            RoleChange::Changed => "changed",
            RoleChange::Removed => "removed",
            RoleChange::Left => "left",
        };
        self.log.record_later(Event::RoleChanged(RoleChanged {
            database: database.to_owned(),
            role: role.to_owned(),
            job: job.map(str::to_owned),
            change: change.to_owned(),
        }));
    }
}

/// What the control socket shows and changes besides jobs.
pub struct Control {
    config: Arc<Config>,
    gate: Arc<Gate>,
    jobs: Arc<Jobs>,
    databases: Vec<Arc<Database>>,
    policy: Arc<PolicyFiles>,
}

impl Control {
    /// Wires it together.
    pub fn new(
        config: Arc<Config>,
        gate: Arc<Gate>,
        jobs: Arc<Jobs>,
        databases: Vec<Arc<Database>>,
        policy: Arc<PolicyFiles>,
    ) -> Self {
        Self {
            config,
            gate,
            jobs,
            databases,
            policy,
        }
    }
}

impl ControlPlane for Control {
    fn approvals(&self) -> Vec<ApprovalView> {
        self.gate.approvals().list()
    }

    fn approval(&self, id: &str) -> Result<ApprovalView, String> {
        self.gate
            .approvals()
            .show(id)
            .map_err(|error| error.to_string())
    }

    fn decide(
        &self,
        id: &str,
        peer: &Peer,
        approve: bool,
        reason: Option<String>,
    ) -> Result<ApprovalView, String> {
        let approver = Approver {
            name: peer.user.clone(),
            id: ApproverId::User(peer.uid),
            aliases: Vec::new(),
            groups: self
                .config
                .approver_groups(peer.uid)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            inside_job: peer.inside_job.clone(),
        };
        wait(self.gate.approvals().decide(id, &approver, approve, reason))
            .map_err(|error| error.to_string())
    }

    fn status(&self) -> StatusView {
        let databases: BTreeMap<String, String> = self
            .config
            .databases
            .iter()
            .map(|database| {
                (
                    database.name.clone(),
                    format!("{}:{}", database.host, database.port),
                )
            })
            .collect();
        let policy = self.gate.policy();
        let shown = self.policy.shown();
        let witnesses = self.gate.witnesses().unwrap_or_default();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        StatusView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::os::unix::process::parent_id(),
            policy: hex(&policy.digest()),
            policy_since: rfc3339(shown.since),
            policy_error: shown.error,
            observing: policy.observing().map(|grant| grant.name.clone()).collect(),
            jobs: count(self.jobs.list().len()),
            sessions: self.gate.sessions(),
            disagreements: self.gate.disagreements(),
            held: count(self.gate.approvals().open()),
            evidence_entries: self.gate.log().entries(),
            evidence_witnessed: witnesses.entries,
            witnesses: witnesses
                .witnesses
                .into_iter()
                .map(|witness| WitnessView {
                    name: witness.name,
                    entries: witness.entries,
                    time: witness.time,
                    problem: witness.problem,
                })
                .collect(),
            databases,
        }
    }

    fn rotate_key(&self, current: &str) -> Result<String, String> {
        let log = self.gate.log();
        let key = log
            .public_key()
            .map_err(|error| format!("the evidence's key cannot be read: {error}"))?;
        if key != current.trim() {
            return Err(format!(
                "this daemon's evidence is signed with {key}, not with {current}: ask the daemon that writes that log, with --control"
            ));
        }
        let key = wait(log.rotate_key())
            .map_err(|error| format!("the evidence's key cannot be changed: {error}"))?;
        tracing::info!(%key, "the evidence is signed with a new key");
        Ok(key)
    }

    fn catalog(&self, database: &str, login: Option<&str>) -> Result<SavedCatalog, String> {
        let found = self.databases.iter().find(|known| known.name == database);
        let database = found.ok_or_else(|| {
            let known: Vec<&str> = self
                .databases
                .iter()
                .map(|known| known.name.as_str())
                .collect();
            format!(
                "no database {database:?} is configured; known: {}",
                known.join(", ")
            )
        })?;
        wait(read_catalog(database, login))
    }

    fn check_databases(&self) -> Vec<DatabaseCheckView> {
        wait(super::logins::check(&self.config, &self.databases))
    }
}

async fn read_catalog(database: &Database, login: Option<&str>) -> Result<SavedCatalog, String> {
    let logins: Vec<&str> = database.logins.users().collect();
    let user = match login {
        Some(login) => logins.iter().find(|known| **known == login),
        None => logins.first(),
    };
    let user = user.ok_or_else(|| {
        format!(
            "the database {} has no such login in the configuration; it has: {}. Name one to read its catalog with",
            database.name,
            if logins.is_empty() { "none".to_owned() } else { logins.join(", ") }
        )
    })?;
    let credential = database
        .logins
        .credential(user, &database.name)
        .await
        .map_err(|error| error.to_string())?;
    let destination = Destination {
        address: &database.address,
        host: &database.host,
        tls: database.tls.as_ref(),
        database: &database.dbname,
        user,
        password: &credential.password,
        parameters: &catalog::parameters(),
    };
    catalog::read(&destination, &database.name)
        .await
        .map_err(|error| format!("{error:#}"))
}

/// Waits for a future from a call that is not async, on the daemon's runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| Handle::current().block_on(future))
}
