//! The deep module: what a protocol asks about each statement.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

use super::{
    CursorChange, Hold, Outcome, Parameter, Permit, Refusal, Rows, SessionEffect, Understood,
    confirm::Confirmed,
    guard::Versions,
    limit::Rates,
    names::{KnownBase, Names, Snapshot},
    reading::Readings,
    recent::Recent,
    record::{denied, permitted},
    recording::Recordings,
    understand::shadowing_parameter,
};
use crate::{
    approval::Approvals,
    audit::{self, Durability, Log, Shipper, Witnesses},
    identity::{Host, Principal, SessionGuard},
    masking::{Blotter, MaskKey, screened},
    policy::{Admission, Kinship, Policy, Reason, ReasonCode, Verdict},
    sql::{Base, BigStack, Catalog, Namespace, StatementKind},
};

/// What all sessions share.
pub struct Gate {
    pub(super) policy: ArcSwap<Policy>,
    pub(super) log: Arc<Log>,
    pub(super) approvals: Approvals,
    pub(super) stack: BigStack,
    pub(super) mask_key: MaskKey,
    /// What texts of statements and parameters may not keep.
    pub(super) blotter: Blotter,
    /// Absent: sessions are not recorded.
    pub(super) recordings: OnceLock<Recordings>,
    /// Absent: evidence is not shipped.
    pub(super) shipper: OnceLock<Arc<Shipper>>,
    pub(super) witnesses: OnceLock<Arc<Witnesses>>,
    pub(super) snapshots: Mutex<HashMap<String, Snapshot>>,
    pub(super) bases: Mutex<HashMap<String, KnownBase>>,
    /// What sessions have read.
    pub(super) readings: Readings,
    /// Texts that the server reads as the analysis does.
    pub(super) confirmed: Mutex<HashMap<Box<str>, Confirmed>>,
    /// Statements that it read differently.
    pub(super) disagreements: AtomicU64,
    pub(super) sessions: AtomicU32,
    /// How often jobs send statements.
    pub(super) rates: Rates,
    /// Absent: which step of its run a process belongs to is not known.
    pub(super) host: OnceLock<Arc<dyn Host>>,
    /// Counts definitions made through Cordon: whoever sees it rise looks its names up again.
    pub(super) epoch: AtomicU64,
}

impl Gate {
    /// Wires the parts together.
    pub fn new(
        policy: Policy,
        log: Arc<Log>,
        approvals: Approvals,
        stack: BigStack,
        mask_key: MaskKey,
    ) -> Arc<Self> {
        Arc::new(Self {
            policy: ArcSwap::from_pointee(policy),
            log,
            approvals,
            stack,
            mask_key,
            blotter: Blotter::default(),
            recordings: OnceLock::new(),
            shipper: OnceLock::new(),
            witnesses: OnceLock::new(),
            host: OnceLock::new(),
            snapshots: Mutex::default(),
            bases: Mutex::default(),
            readings: Readings::default(),
            confirmed: Mutex::default(),
            disagreements: AtomicU64::new(0),
            sessions: AtomicU32::new(0),
            rates: Rates::default(),
            epoch: AtomicU64::new(0),
        })
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Puts another policy in force, for open sessions too.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// The evidence log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The held statements.
    pub fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// Statements that were refused because the server read them differently than the analysis:
    /// faults of Cordon.
    pub fn disagreements(&self) -> u64 {
        self.disagreements.load(Ordering::Relaxed)
    }

    /// Open sessions.
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Ordering::Relaxed)
    }
}

/// Where in its life a statement is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Parse: nothing runs yet, so nothing is held.
    Prepare,
    /// Execute.
    Execute,
    /// Execute of a portal that was executed before and has rows left: asks no human again.
    Resume,
    /// The simple protocol.
    Simple,
}

/// The answer to a statement.
#[derive(Debug)]
pub enum Decision {
    /// It may be sent.
    Run(Permit),
    /// It waits for humans.
    Hold(Hold),
    /// It may not be sent.
    Refuse(Refusal),
}

/// One client connection: who, where, what its names mean, and what it may do.
pub struct Session {
    pub(super) gate: Arc<Gate>,
    pub(super) id: Arc<str>,
    pub(super) principal: Principal,
    pub(super) database: String,
    pub(super) admission: Admission,
    pub(super) policy_hex: String,
    /// Set when a new policy no longer admits the job.
    pub(super) revoked: Option<Reason>,
    pub(super) names: Names,
    /// The names whose search path is on record.
    pub(super) recorded: Option<Arc<Namespace>>,
    pub(super) generation: u64,
    /// By text. The session's own texts can collide with each other only, so a fast hash will do.
    pub(super) cache: HashMap<Box<str>, Arc<Understood>, foldhash::fast::RandomState>,
    pub(super) cursors: HashMap<String, (Arc<Understood>, bool)>,
    pub(super) declaring: Option<Arc<Understood>>,
    pub(super) statements: u64,
    pub(super) recent: Recent,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) cells: u64,
    pub(super) opened: Instant,
    /// The limit that ended it.
    pub(super) limit: Option<audit::LimitReached>,
    pub(super) closed: bool,
    pub(super) _guard: SessionGuard,
}

impl Session {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The role that Cordon logs in as for it.
    pub fn login(&self) -> &str {
        self.admission.login()
    }

    /// What the policy gives it.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Who it belongs to.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// True if any column is protected from this job.
    pub fn has_masks(&self) -> bool {
        self.admission.has_masks()
    }

    /// True if detectors look at what this job is shown.
    pub fn has_detectors(&self) -> bool {
        !self.admission.detections().is_empty()
    }

    /// A text of the server's own that may quote values, as this job may see it.
    pub fn screened<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        screened(self.admission.detections(), &self.gate.mask_key, text)
    }

    /// True if names must be looked up before the next statement is read.
    pub fn names_due(&self) -> bool {
        self.names.due(self.gate.epoch.load(Ordering::SeqCst))
    }

    /// Count of definitions made through Cordon; read it before asking the server.
    pub fn epoch(&self) -> u64 {
        self.gate.epoch.load(Ordering::SeqCst)
    }

    /// Takes the rows of the namespace queries, asked when `epoch` was read. `true`: the catalog has to be read too.
    ///
    /// # Errors
    /// If the rows are not what the queries give.
    pub fn install_namespace(
        &mut self,
        rows: &[Rows],
        private: bool,
        epoch: u64,
    ) -> Result<bool, String> {
        if self.names.install_namespace(rows, private, epoch)? {
            self.forget();
        }
        if !self.names.wants_catalog() {
            return Ok(false);
        }
        let shared = self
            .gate
            .snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&self.database)
            .cloned();
        if let Some(snapshot) = shared
            && self.names.fingerprint() == Some(&snapshot.fingerprint)
        {
            self.names.adopt(snapshot);
            self.forget();
        }
        Ok(self.names.wants_catalog())
    }

    fn base(&self) -> Option<KnownBase> {
        let bases = self.gate.bases.lock();
        let bases = bases.unwrap_or_else(PoisonError::into_inner);
        bases.get(&self.database).cloned()
    }

    /// True if the base of the database's catalog is not known yet.
    pub fn wants_base(&self) -> bool {
        let bases = self.gate.bases.lock();
        let bases = bases.unwrap_or_else(PoisonError::into_inner);
        !bases.contains_key(&self.database)
    }

    /// Takes the rows of [`NameQueries::catalog`](super::NameQueries::catalog). `false`: they are
    /// without the catalog's base, and that is another by now.
    ///
    /// # Errors
    /// If the rows are not what the queries give.
    pub fn install_catalog(
        &mut self,
        rows: &[Rows],
        with_base: bool,
        private: bool,
    ) -> Result<bool, String> {
        let [versions, base_version, rows @ ..] = rows else {
            return Err("the catalog queries gave no rows".to_owned());
        };
        let Some([Some(base_version)]) = base_version.first().map(Vec::as_slice) else {
            return Err("the version of the catalog's base cannot be read".to_owned());
        };
        let versions = Arc::new(Versions::from_rows(versions)?);
        let catalog = if with_base {
            if !private {
                let base = Base::from_rows(rows).map_err(|error| error.to_string())?;
                let known = KnownBase {
                    version: base_version.clone(),
                    base: Arc::new(base),
                };
                let bases = self.gate.bases.lock();
                let mut bases = bases.unwrap_or_else(PoisonError::into_inner);
                bases.insert(self.database.clone(), known);
            }
            Catalog::from_rows(rows)
        } else {
            match self.base() {
                Some(known) if known.version == *base_version => known.base.with(rows),
                _ => return Ok(false),
            }
        }
        .map_err(|error| error.to_string())?;
        let Some(fingerprint) = self.names.fingerprint().cloned() else {
            return Err("the catalog was read before its fingerprint".to_owned());
        };
        let kinship = Arc::new(Kinship::of(&catalog));
        let snapshot = Snapshot {
            fingerprint,
            catalog: Arc::new(catalog),
            kinship,
            versions,
        };
        if !private && !self.names.is_own() {
            let mut shared = self
                .gate
                .snapshots
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            shared.insert(self.database.clone(), snapshot.clone());
        }
        self.names.adopt(snapshot);
        self.forget();
        Ok(true)
    }

    pub(super) fn forget(&mut self) {
        self.generation += 1;
        self.cache.clear();
    }

    /// Decides a statement and puts the decision on record.
    pub async fn decide(
        &mut self,
        understood: &Arc<Understood>,
        phase: Phase,
        parameters: &[Parameter],
    ) -> Decision {
        let number = self.next_number();
        if let Some(reason) = self.principal.life().end_reason() {
            let reason = Reason {
                code: ReasonCode::NotAttributed,
                message: format!("the job has ended: {reason}"),
                rule: "access ends with the job".to_owned(),
                hint: "start a new job".to_owned(),
            };
            return Decision::Refuse(Refusal::new(&reason, self.reference(number)));
        }
        if let Some(reason) = self.gate.recording_fault() {
            return Box::pin(self.refuse_uncounted(understood, phase, parameters, number, &reason))
                .await;
        }
        // Preparing runs nothing: what is prepared is held when it is executed.
        let released = phase == Phase::Resume
            || phase == Phase::Prepare
            || matches!(understood.statement().kind, StatementKind::Prepare { .. });
        let shadowing = match phase {
            Phase::Prepare => None,
            Phase::Simple | Phase::Execute | Phase::Resume => {
                shadowing_parameter(understood.statement(), parameters)
            }
        };
        // Rare and large: in a box, so that sessions need not keep room for it.
        let shadowing = shadowing.map(|reason| Box::new(Verdict::Deny(reason)));
        let verdict = shadowing.as_deref().unwrap_or(&understood.verdict);
        // A portal that goes on has been counted.
        let sends =
            matches!(phase, Phase::Execute | Phase::Simple) && !matches!(verdict, Verdict::Deny(_));
        if sends && let Err((reached, wait)) = self.count_statement(understood) {
            let reason = reached.reason(Some(wait));
            return Box::pin(self.refuse_uncounted(understood, phase, parameters, number, &reason))
                .await;
        }
        let decision = match verdict {
            Verdict::Allow(obligations) => permitted(obligations),
            Verdict::RequireApproval {
                obligations,
                requirement,
                reason,
            } => audit::Decision::Approve {
                grants: obligations.grants.clone(),
                rule: requirement.rule.clone(),
                reason: reason.message.clone(),
            },
            Verdict::Deny(reason) => denied(reason),
        };
        let durability = if phase == Phase::Prepare {
            // Nothing runs before an Execute, whose record waits for this one too.
            Durability::Lazy
        } else if understood.is_risky() {
            Durability::Synced
        } else {
            Durability::Now
        };
        let event = self.decided(understood, phase, parameters, number, decision, None);
        let receipt = match self.gate.log.append(event, durability).await {
            Ok(receipt) => receipt,
            Err(error) => return Decision::Refuse(self.unrecorded(number, &error)),
        };
        match verdict {
            Verdict::Deny(reason) => Decision::Refuse(Refusal::new(reason, self.reference(number))),
            Verdict::RequireApproval { .. } if !released => {
                Box::pin(self.submit(understood, phase, parameters, number)).await
            }
            Verdict::Allow(_) | Verdict::RequireApproval { .. } => {
                if phase == Phase::Prepare {
                    Decision::Run(Permit::inert(&self.id, number, receipt))
                } else {
                    self.note_cursor(understood);
                    self.recent.sent(number, understood);
                    Decision::Run(Permit::new(&self.gate.log, &self.id, number, receipt))
                }
            }
        }
    }

    pub(super) fn note_cursor(&mut self, understood: &Arc<Understood>) {
        if matches!(
            understood.statement().kind,
            StatementKind::DeclareCursor { .. }
        ) {
            self.declaring = Some(understood.clone());
        }
    }

    /// A named portal, from which SQL can FETCH.
    pub fn bind_cursor(&mut self, name: String, understood: Arc<Understood>) {
        self.cursors.insert(name, (understood, false));
    }

    /// A portal was closed.
    pub fn close_cursor(&mut self, name: &str) {
        self.cursors.remove(name);
    }

    /// True for a cursor that DECLARE or a Bind made in this session.
    pub fn has_cursor(&self, name: &str) -> bool {
        self.cursors.contains_key(name)
    }

    /// Records how a statement ended.
    pub fn complete(&mut self, permit: Permit, outcome: &Outcome) {
        self.rows += outcome.rows;
        self.bytes += outcome.bytes;
        self.cells += outcome.cells;
        permit.complete(outcome);
    }

    /// Follows what a completed statement changed in the session.
    pub fn apply(&mut self, effect: &SessionEffect) {
        if effect.names {
            self.names.mark_stale(effect.redefines, effect.defines);
            if effect.redefines {
                self.forget();
            }
        }
        if effect.prepared.is_some() || effect.cursor.is_some() {
            self.forget();
        }
        match &effect.cursor {
            None => {}
            Some(CursorChange::Declare { name, hold }) => {
                if let Some(understood) = self.declaring.take() {
                    self.cursors.insert(name.clone(), (understood, *hold));
                }
            }
            Some(CursorChange::Close(name)) => {
                self.cursors.remove(name);
            }
            Some(CursorChange::Clear) => self.cursors.clear(),
        }
    }

    /// A statement failed: what it declared does not exist.
    pub fn failed(&mut self) {
        self.declaring = None;
    }

    /// Follows the server's transaction status: `I`, `T` or `E`.
    pub fn transaction_status(&mut self, status: u8) {
        self.recent.status(status);
        if status == b'I' {
            self.cursors.retain(|_, (_, hold)| *hold);
            if self.names.transaction_ended() {
                self.gate.epoch.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}
