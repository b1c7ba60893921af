//! The deep module: what a protocol asks about each statement.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

use super::{
    Outcome, Permit, Refusal, Rows, SessionEffect, Understood,
    names::{Names, Snapshot},
    permit::hex,
    refusal::{code_name, reason_of, sqlstate},
    understood::CursorChange,
};
use crate::{
    approval::{
        ApprovalOutcome, ApprovalRequest, Approvals, Approved, Binding, Bound, BoundParameter, Held,
    },
    audit::{self, Content, Durability, Event, Log, StatementDecided},
    identity::{Principal, SessionGuard},
    masking::{ColumnShape, MaskKey, RowMasker},
    policy::{Admission, Kinship, Policy, Reason, ReasonCode, Verdict, evaluate_in},
    sql::{
        BigStack, Catalog, Namespace, NotUnderstood, Parsed, Statement, StatementKind, analyze,
        split,
    },
};

/// Understood texts kept by a session, at most.
const MAX_CACHED: usize = 1024;
/// Longest text kept, in bytes.
const MAX_CACHED_TEXT: usize = 64 * 1024;

/// What all sessions share.
pub struct Gate {
    pub(super) policy: ArcSwap<Policy>,
    pub(super) log: Arc<Log>,
    pub(super) approvals: Approvals,
    pub(super) stack: BigStack,
    pub(super) mask_key: MaskKey,
    pub(super) snapshots: Mutex<HashMap<String, Snapshot>>,
    pub(super) sessions: AtomicU32,
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
            snapshots: Mutex::default(),
            sessions: AtomicU32::new(0),
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

/// A bound parameter, for the evidence and the approver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// Text, or the text of a value in text format.
    Text(String),
    /// A value in binary format.
    Binary(Vec<u8>),
    /// A value too large to be kept.
    Large {
        /// SHA-256.
        sha256: [u8; 32],
        /// Its length in bytes.
        bytes: u64,
        /// How it begins.
        head: String,
    },
}

impl Parameter {
    /// A value as it came in a Bind; longer ones than `max` bytes are kept by digest. Binary values
    /// of common types are shown as people write them.
    pub fn new(value: &[u8], binary: bool, type_oid: u32, max: usize) -> Self {
        if value.len() > max {
            let mut sha256 = [0; 32];
            sha256.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, value).as_ref());
            let head = value.get(..64).unwrap_or(value);
            return Self::Large {
                sha256,
                bytes: value.len() as u64,
                head: String::from_utf8_lossy(head).into_owned(),
            };
        }
        if binary && let Some(text) = readable(value, type_oid) {
            return Self::Text(text);
        }
        match std::str::from_utf8(value) {
            Ok(text) if !binary => Self::Text(text.to_owned()),
            Ok(_) | Err(_) => Self::Binary(value.to_vec()),
        }
    }

    fn content(&self) -> Option<Content> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(Content::text(text.clone())),
            Self::Binary(bytes) => Some(Content::Hex { hex: bytes.clone() }),
            Self::Large {
                sha256,
                bytes,
                head,
            } => Some(Content::Digest {
                sha256: hex(sha256),
                bytes: *bytes,
                head: head.clone(),
            }),
        }
    }

    /// What an approval fixes of it.
    fn bound(&self) -> BoundParameter<'_> {
        let (binary, value) = match self {
            Self::Null => (false, None),
            Self::Text(text) => (false, Some(text.as_bytes())),
            Self::Binary(bytes) => (true, Some(bytes.as_slice())),
            Self::Large { sha256, .. } => (true, Some(sha256.as_slice())),
        };
        BoundParameter {
            type_oid: 0,
            binary,
            value,
        }
    }

    fn shown(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text.clone()),
            Self::Binary(bytes) => Some(format!("\\x{}", hex(bytes))),
            Self::Large {
                sha256,
                bytes,
                head,
            } => Some(format!("{head}... ({bytes} bytes, sha256 {})", hex(sha256))),
        }
    }
}

/// A value in binary format as text, for the types that are plain to read.
fn readable(value: &[u8], type_oid: u32) -> Option<String> {
    match type_oid {
        16 => Some(if value == [0] { "false" } else { "true" }.to_owned()),
        20 => Some(i64::from_be_bytes(value.try_into().ok()?).to_string()),
        21 => Some(i16::from_be_bytes(value.try_into().ok()?).to_string()),
        23 => Some(i32::from_be_bytes(value.try_into().ok()?).to_string()),
        26 => Some(u32::from_be_bytes(value.try_into().ok()?).to_string()),
        700 => Some(f32::from_be_bytes(value.try_into().ok()?).to_string()),
        701 => Some(f64::from_be_bytes(value.try_into().ok()?).to_string()),
        18 | 19 | 25 | 114 | 1042 | 1043 => std::str::from_utf8(value).ok().map(str::to_owned),
        _ => None,
    }
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

/// A statement that waits for humans. Dropping it withdraws the request.
#[derive(Debug)]
pub struct Hold {
    held: Held,
    outcome: Option<ApprovalOutcome>,
    understood: Arc<Understood>,
    parameters: Vec<Parameter>,
    phase: Phase,
    number: u64,
    group: Option<String>,
    needed: u32,
}

impl Hold {
    /// Returns when the humans have answered, or time is up. Cancel-safe.
    pub async fn wait(&mut self) {
        if self.outcome.is_none() {
            self.outcome = Some(self.held.wait().await);
        }
    }

    /// What the client is told while it waits: message and hint.
    pub fn notice(&self) -> (String, String) {
        let whom = match (&self.group, self.needed) {
            (Some(group), 1) => format!("group {group}"),
            (Some(group), needed) => format!("{needed} members of group {group}"),
            (None, 1) => "an approver".to_owned(),
            (None, needed) => format!("{needed} approvers"),
        };
        (
            format!(
                "cordon: the statement is held until {whom} approves it ({})",
                self.held.id()
            ),
            format!(
                "An approver runs: cordon approvals approve {}. Cancel the statement to withdraw it.",
                self.held.id()
            ),
        )
    }
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
    /// The search path that is on record.
    pub(super) recorded: Option<Arc<Namespace>>,
    pub(super) generation: u64,
    pub(super) cache: HashMap<Box<str>, Arc<Understood>>,
    pub(super) cursors: HashMap<String, (Arc<Understood>, bool)>,
    pub(super) declaring: Option<Arc<Understood>>,
    pub(super) statements: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) cells: u64,
    pub(super) opened: Instant,
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

    /// Who it belongs to.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// True if any column is protected from this job.
    pub fn has_masks(&self) -> bool {
        self.admission.has_masks()
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
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = shared.get(&self.database)
            && self.names.fingerprint() == Some(&snapshot.fingerprint)
        {
            self.names.snapshot = Some(snapshot.clone());
        }
        drop(shared);
        Ok(self.names.wants_catalog())
    }

    /// Takes the rows of the catalog queries.
    ///
    /// # Errors
    /// If the rows are not what the queries give.
    pub fn install_catalog(&mut self, rows: &[Rows], private: bool) -> Result<(), String> {
        let catalog = Catalog::from_rows(rows).map_err(|error| error.to_string())?;
        let Some(fingerprint) = self.names.fingerprint().cloned() else {
            return Err("the catalog was read before its fingerprint".to_owned());
        };
        let kinship = Arc::new(Kinship::of(&catalog));
        let snapshot = Snapshot {
            fingerprint,
            catalog: Arc::new(catalog),
            kinship,
        };
        if !private && !self.names.is_own() {
            let mut shared = self
                .gate
                .snapshots
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            shared.insert(self.database.clone(), snapshot.clone());
        }
        self.names.snapshot = Some(snapshot);
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        self.generation += 1;
        self.cache.clear();
    }

    /// Follows a change of the policy in force.
    fn follow_policy(&mut self) {
        let current = self.gate.policy.load();
        if Arc::ptr_eq(&current, self.admission.policy()) {
            return;
        }
        let current = current.clone();
        self.policy_hex = hex(&current.digest());
        match current.admit(&self.principal, &self.database) {
            Ok(admission) if admission.login() == self.admission.login() => {
                self.admission = admission;
                self.revoked = None;
            }
            Ok(_) => {
                self.revoked = Some(Reason {
                    code: ReasonCode::NotPermitted,
                    message: "the policy now gives this job another database role".to_owned(),
                    rule: "policy changed".to_owned(),
                    hint: "connect again".to_owned(),
                });
            }
            Err(reason) => self.revoked = Some(reason),
        }
        self.forget();
    }

    /// What is already known of a text, if it still holds.
    pub fn cached(&mut self, text: &str) -> Option<Arc<Understood>> {
        self.follow_policy();
        self.cache.get(text).cloned()
    }

    /// True as long as neither names nor policy have changed since it was understood.
    pub fn is_current(&self, understood: &Understood) -> bool {
        understood.generation == self.generation
    }

    /// Splits a text into its statements.
    ///
    /// # Errors
    /// The refusal, which is on record, if the text is not understood.
    pub async fn split(&mut self, text: &str) -> Result<Vec<Arc<Parsed>>, Refusal> {
        let owned = text.to_owned();
        let outcome = self.gate.stack.run(move || split(&owned)).await;
        let error = match outcome {
            Ok(Ok(statements)) => return Ok(statements.into_iter().map(Arc::new).collect()),
            Ok(Err(error)) => error,
            Err(error) => NotUnderstood::Limit(format!("the parser failed: {error}")),
        };
        Err(self.refuse_text(text, &error).await)
    }

    /// Understands one statement in the session's names and asks the policy.
    ///
    /// # Errors
    /// If it is not understood; not yet on record, because a fresh catalog may know more.
    pub async fn analyze(
        &mut self,
        parsed: &Arc<Parsed>,
    ) -> Result<Arc<Understood>, NotUnderstood> {
        self.follow_policy();
        if let Some(understood) = self.cache.get(parsed.text()) {
            return Ok(understood.clone());
        }
        let statement = self.resolve(parsed).await?;
        let understood = Arc::new(self.judge(statement)?);
        self.remember(parsed.text(), &understood);
        Ok(understood)
    }

    /// Keeps what is known of a text. Also for a text that holds this one statement and no more, as
    /// with a semicolon at its end.
    pub fn remember(&mut self, text: &str, understood: &Arc<Understood>) {
        if understood.fleeting || text.len() > MAX_CACHED_TEXT {
            return;
        }
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(text.into(), understood.clone());
    }

    async fn resolve(&self, parsed: &Arc<Parsed>) -> Result<Statement, NotUnderstood> {
        let (Some(snapshot), Some(namespace)) = (&self.names.snapshot, &self.names.namespace)
        else {
            return Err(NotUnderstood::Unsupported(
                "the database's catalog is not known yet".to_owned(),
            ));
        };
        let (catalog, namespace) = (snapshot.catalog.clone(), namespace.clone());
        let parsed = parsed.clone();
        self.gate
            .stack
            .run(move || analyze(&parsed, &catalog, &namespace))
            .await
            .unwrap_or_else(|error| {
                Err(NotUnderstood::Limit(format!(
                    "the analysis failed: {error}"
                )))
            })
    }

    fn judge(&self, mut statement: Statement) -> Result<Understood, NotUnderstood> {
        if let StatementKind::Fetch { name, moves } = statement.kind.clone() {
            // What a FETCH returns is what its cursor selects.
            let Some((cursor, _)) = self.cursors.get(&name) else {
                return Err(NotUnderstood::UnknownName {
                    sqlstate: "34000",
                    message: format!("cursor \"{name}\" does not exist"),
                    position: None,
                });
            };
            fetch_from(&mut statement, &cursor.statement, moves);
        }
        refuse_shadowing(&statement)?;
        Ok(self.weigh(statement))
    }

    fn weigh(&self, statement: Statement) -> Understood {
        let verdict = match (&self.revoked, &self.names.snapshot) {
            (Some(reason), _) => Verdict::Deny(reason.clone()),
            (None, Some(snapshot)) => evaluate_in(&self.admission, &statement, &snapshot.kinship),
            (None, None) => evaluate_in(&self.admission, &statement, &Kinship::none()),
        };
        let protects = self.touches_protected(&statement);
        let text = statement.text.clone();
        Understood::new(
            Arc::new(statement),
            verdict,
            self.generation,
            protects,
            text,
        )
    }

    /// True if any table that the statement touches, or one of its family, has a protected
    /// column: then the server's errors may quote one.
    fn touches_protected(&self, statement: &Statement) -> bool {
        if !self.admission.has_masks() {
            return false;
        }
        let Some(snapshot) = &self.names.snapshot else {
            return true;
        };
        let protected = |schema: &str, name: &str| {
            snapshot
                .catalog
                .relation(schema, name)
                .is_none_or(|relation| {
                    relation
                        .columns
                        .iter()
                        .any(|column| self.admission.protects(schema, name, &column.name))
                })
        };
        statement
            .relations
            .iter()
            .filter(|used| !used.system)
            .any(|used| {
                protected(&used.relation.schema, &used.relation.name)
                    || snapshot
                        .kinship
                        .of_relation(&used.relation)
                        .iter()
                        .any(|(schema, name)| protected(schema, name))
            })
    }

    /// SQL EXECUTE: judges what was prepared together with what the arguments do.
    pub fn executed(&self, execute: &Understood, inner: &Understood) -> Arc<Understood> {
        let statement = Understood::executing(&execute.statement, &inner.statement);
        let mut understood = self.weigh(statement);
        understood.fleeting = true;
        Arc::new(understood)
    }

    fn reference(&self, number: u64) -> String {
        format!("{}-{number}", self.id.trim_start_matches("ses-"))
    }

    fn next_number(&mut self) -> u64 {
        self.statements += 1;
        self.statements
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
        // Preparing runs nothing: what is prepared is held when it is executed.
        let released = phase == Phase::Resume
            || phase == Phase::Prepare
            || matches!(understood.statement.kind, StatementKind::Prepare { .. });
        let decision = match &understood.verdict {
            Verdict::Allow(obligations) => audit::Decision::Allow {
                grants: obligations.grants.clone(),
            },
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
        match &understood.verdict {
            Verdict::Deny(reason) => Decision::Refuse(Refusal::new(reason, self.reference(number))),
            Verdict::RequireApproval { .. } if !released => {
                self.submit(understood, phase, parameters, number).await
            }
            Verdict::Allow(_) | Verdict::RequireApproval { .. } => {
                if phase == Phase::Prepare {
                    Decision::Run(Permit::inert(&self.id, number, receipt))
                } else {
                    self.note_cursor(understood);
                    Decision::Run(Permit::new(&self.gate.log, &self.id, number, receipt))
                }
            }
        }
    }

    fn note_cursor(&mut self, understood: &Arc<Understood>) {
        if matches!(
            understood.statement.kind,
            StatementKind::DeclareCursor { .. }
        ) {
            self.declaring = Some(understood.clone());
        }
    }

    /// The search path, if it is another one than on record.
    fn search_path(&mut self) -> Vec<String> {
        let Some(namespace) = &self.names.namespace else {
            return Vec::new();
        };
        let same = self.recorded.as_ref().is_some_and(|recorded| {
            Arc::ptr_eq(recorded, namespace) || recorded.search_path == namespace.search_path
        });
        if same {
            return Vec::new();
        }
        self.recorded = Some(namespace.clone());
        namespace.search_path.clone()
    }

    fn decided(
        &mut self,
        understood: &Understood,
        phase: Phase,
        parameters: &[Parameter],
        number: u64,
        decision: audit::Decision,
        approval: Option<String>,
    ) -> Event {
        Event::StatementDecided(StatementDecided {
            session: self.id.to_string(),
            statement: number,
            phase: audit_phase(phase),
            text: Content::text(understood.text()),
            parameters: parameters.iter().map(Parameter::content).collect(),
            relations: understood.relations.clone(),
            effects: understood.effects.clone(),
            decision,
            policy: self.policy_hex.clone(),
            masked: understood.masked.clone(),
            search_path: self.search_path(),
            approval,
        })
    }

    async fn submit(
        &mut self,
        understood: &Arc<Understood>,
        phase: Phase,
        parameters: &[Parameter],
        number: u64,
    ) -> Decision {
        let Some((requirement, _)) = understood.requirement() else {
            return Decision::Refuse(self.fault(number, "a statement without a rule was held"));
        };
        let Some(binding) = self.binding(&understood.statement, parameters) else {
            return Decision::Refuse(self.fault(number, "a statement was held without names"));
        };
        let job = self.principal.job();
        let request = ApprovalRequest {
            session: self.id.to_string(),
            job: job.id().to_owned(),
            statement_number: number,
            requester: format!("{} {}", job.issuer(), job.subject()),
            requester_uid: self.principal.process().uid,
            process: process_line(&self.principal),
            database: self.database.clone(),
            statement: understood.text().to_owned(),
            parameters: parameters.iter().map(Parameter::shown).collect(),
            effects: understood.effects.clone(),
            requirement: requirement.clone(),
            binding,
        };
        let (group, needed) = (requirement.group.clone(), requirement.count);
        match self.gate.approvals.submit(request).await {
            Ok(held) => Decision::Hold(Hold {
                held,
                outcome: None,
                understood: understood.clone(),
                parameters: parameters.to_vec(),
                phase,
                number,
                group,
                needed,
            }),
            Err(error) => Decision::Refuse(self.fault(number, &error.to_string())),
        }
    }

    /// What becomes of a held statement once it is answered: runs only if it is approved and
    /// still means exactly what was approved.
    ///
    /// # Errors
    /// The refusal, which is on record.
    pub async fn answered(&mut self, mut hold: Hold) -> Result<Permit, Refusal> {
        let number = hold.number;
        let reason = match hold.outcome.take() {
            Some(ApprovalOutcome::Approved { proof, .. }) => {
                return self.release(hold, proof).await;
            }
            Some(ApprovalOutcome::Denied { by, reason }) => match reason {
                Some(reason) => format!("{by} denied the statement: {reason}"),
                None => format!("{by} denied the statement"),
            },
            Some(ApprovalOutcome::Expired) => {
                "the request expired: nobody approved the statement in time".to_owned()
            }
            Some(ApprovalOutcome::Withdrawn { reason }) => {
                format!("the request was withdrawn: {reason}")
            }
            None => "the statement was not approved".to_owned(),
        };
        Err(self.refuse_held(&hold, number, &reason).await)
    }

    /// Everything that an approval fixes.
    fn binding(&self, statement: &Statement, parameters: &[Parameter]) -> Option<Binding> {
        let parameters: Vec<BoundParameter<'_>> = parameters.iter().map(Parameter::bound).collect();
        Some(Binding::of(&Bound {
            session: &self.id,
            job: self.principal.job().id(),
            database: &self.database,
            login: self.admission.login(),
            statement,
            namespace: self.names.namespace.as_deref()?,
            parameters: &parameters,
        }))
    }

    async fn release(&mut self, hold: Hold, proof: Approved) -> Result<Permit, Refusal> {
        let number = hold.number;
        let redeemed = match self.now_means(&hold).await {
            Ok(binding) => proof.redeem(&binding).map_err(|error| error.to_string()),
            Err(reason) => Err(reason),
        };
        let redeemed = match redeemed {
            Ok(redeemed) => redeemed,
            Err(reason) => return Err(self.refuse_held(&hold, number, &reason).await),
        };
        let grants = hold
            .understood
            .obligations()
            .map(|obligations| obligations.grants.clone())
            .unwrap_or_default();
        let event = self.decided(
            &hold.understood,
            hold.phase,
            &hold.parameters,
            number,
            audit::Decision::Allow { grants },
            Some(redeemed.id().to_owned()),
        );
        match self.gate.log.append(event, Durability::Synced).await {
            Ok(receipt) => {
                self.note_cursor(&hold.understood);
                Ok(Permit::new(&self.gate.log, &self.id, number, receipt))
            }
            Err(error) => Err(self.unrecorded(number, &error)),
        }
    }

    /// What the held statement would do now, as a binding: the job must live, and the policy must
    /// ask for the same as when it was shown to the approver.
    async fn now_means(&mut self, hold: &Hold) -> Result<Binding, String> {
        if let Some(reason) = self.principal.life().end_reason() {
            return Err(format!("the job has ended: {reason}"));
        }
        self.follow_policy();
        let unnamed = || "the names of the session are not known".to_owned();
        let held = &hold.understood;
        if held.generation == self.generation {
            return self
                .binding(&held.statement, &hold.parameters)
                .ok_or_else(unnamed);
        }
        let changed = || "the policy or the schema changed while the statement was held".to_owned();
        let text = held.statement.text.clone();
        let Ok(Ok(statements)) = self.gate.stack.run(move || split(&text)).await else {
            return Err(changed());
        };
        let [parsed] = <[Parsed; 1]>::try_from(statements).map_err(|_other| changed())?;
        let again = self
            .analyze(&Arc::new(parsed))
            .await
            .map_err(|error| error.to_string())?;
        if again.verdict != held.verdict {
            return Err(changed());
        }
        self.binding(&again.statement, &hold.parameters)
            .ok_or_else(unnamed)
    }

    /// The client cancelled a held statement.
    pub async fn cancelled(&mut self, hold: Hold) -> Refusal {
        let number = hold.number;
        let refusal = self
            .refuse_held(&hold, number, "canceling statement due to user request")
            .await;
        hold.held.withdraw("cancelled by the client");
        refusal
    }

    async fn refuse_held(&mut self, hold: &Hold, number: u64, message: &str) -> Refusal {
        let rule = hold
            .understood
            .requirement()
            .map_or_else(String::new, |(requirement, _)| requirement.rule.clone());
        let reason = Reason {
            code: ReasonCode::NotApproved,
            message: message.to_owned(),
            rule,
            hint: format!(
                "approval {}; ask again when it can be answered",
                hold.held.id()
            ),
        };
        let event = self.decided(
            &hold.understood,
            hold.phase,
            &hold.parameters,
            number,
            denied(&reason),
            Some(hold.held.id().to_owned()),
        );
        match self.gate.log.append(event, Durability::Now).await {
            Ok(_) => Refusal::new(&reason, self.reference(number)),
            Err(error) => self.unrecorded(number, &error),
        }
    }

    /// An empty statement of the extended protocol.
    pub async fn decide_empty(&mut self) -> Decision {
        let number = self.next_number();
        let event = Event::StatementDecided(StatementDecided {
            session: self.id.to_string(),
            statement: number,
            phase: audit::Phase::Execute,
            text: Content::text(""),
            parameters: Vec::new(),
            relations: Vec::new(),
            effects: Vec::new(),
            decision: audit::Decision::Allow { grants: Vec::new() },
            policy: self.policy_hex.clone(),
            masked: Vec::new(),
            search_path: self.search_path(),
            approval: None,
        });
        match self.gate.log.append(event, Durability::Now).await {
            Ok(receipt) => Decision::Run(Permit::new(&self.gate.log, &self.id, number, receipt)),
            Err(error) => Decision::Refuse(self.unrecorded(number, &error)),
        }
    }

    /// Refuses a text that is not understood.
    pub async fn refuse_text(&mut self, text: &str, error: &NotUnderstood) -> Refusal {
        let reason = reason_of(error, &error.to_string());
        let number = self.next_number();
        match self.record_refusal(text, &reason, number).await {
            Ok(()) => Refusal::not_understood(error, self.reference(number)),
            Err(refusal) => refusal,
        }
    }

    /// Refuses something of the protocol that carries no statement.
    pub async fn refuse_protocol(&mut self, message: &str, hint: &str) -> Refusal {
        let reason = Reason {
            code: ReasonCode::NotUnderstood,
            message: message.to_owned(),
            rule: "only statements that can be decided are forwarded".to_owned(),
            hint: hint.to_owned(),
        };
        let number = self.next_number();
        match self.record_refusal("", &reason, number).await {
            Ok(()) => Refusal::new(&reason, self.reference(number)),
            Err(refusal) => refusal,
        }
    }

    /// Refuses a statement whose result cannot be masked.
    pub async fn refuse_unmaskable(&mut self, understood: &Understood, message: &str) -> Refusal {
        let reason = Reason {
            code: ReasonCode::NotMaskable,
            message: message.to_owned(),
            rule: "what cannot be masked is denied".to_owned(),
            hint: "select the protected columns plainly, or leave them out".to_owned(),
        };
        let number = self.next_number();
        match self
            .record_refusal(understood.text(), &reason, number)
            .await
        {
            Ok(()) => Refusal::new(&reason, self.reference(number)),
            Err(refusal) => refusal,
        }
    }

    async fn record_refusal(
        &mut self,
        text: &str,
        reason: &Reason,
        number: u64,
    ) -> Result<(), Refusal> {
        let event = Event::StatementDecided(StatementDecided {
            session: self.id.to_string(),
            statement: number,
            phase: audit::Phase::Simple,
            text: Content::text(text),
            parameters: Vec::new(),
            relations: Vec::new(),
            effects: Vec::new(),
            decision: denied(reason),
            policy: self.policy_hex.clone(),
            masked: Vec::new(),
            search_path: self.search_path(),
            approval: None,
        });
        match self.gate.log.append(event, Durability::Now).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.unrecorded(number, &error)),
        }
    }

    fn unrecorded(&mut self, number: u64, error: &audit::AppendError) -> Refusal {
        self.recorded = None;
        tracing::error!(session = %self.id, error = %error, "evidence cannot be written");
        self.fault(number, "the evidence cannot be written, so nothing may run")
    }

    fn fault(&self, number: u64, message: &str) -> Refusal {
        let reason = Reason {
            code: ReasonCode::Fault,
            message: message.to_owned(),
            rule: "what cannot be recorded is refused".to_owned(),
            hint: "tell whoever runs this host; see the daemon's log".to_owned(),
        };
        Refusal::new(&reason, self.reference(number))
    }

    /// Binds a statement's masks to the columns of its result as the server describes them, and
    /// checks that the server sees the same origins as the analysis.
    ///
    /// # Errors
    /// The refusal, which is on record.
    pub async fn bind_masks(
        &mut self,
        understood: &Arc<Understood>,
        shape: Option<&[ColumnShape]>,
    ) -> Result<RowMasker, Refusal> {
        let redactions = match understood.obligations() {
            Some(obligations) => obligations.redactions.clone(),
            None => return Ok(RowMasker::passthrough()),
        };
        let Some(shape) = shape else {
            return Ok(RowMasker::passthrough());
        };
        let outcome = check_origins(&understood.statement, shape).and_then(|()| {
            RowMasker::bind(&redactions, shape, &self.gate.mask_key)
                .map_err(|error| error.to_string())
        });
        match outcome {
            Ok(masker) => Ok(masker),
            Err(message) => Err(self.refuse_unmaskable(understood, &message).await),
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
        if status == b'I' {
            self.cursors.retain(|_, (_, hold)| *hold);
            if self.names.transaction_ended() {
                self.gate.epoch.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// A FETCH does what its cursor's query does, and returns what that selects.
pub(super) fn fetch_from(fetch: &mut Statement, cursor: &Statement, moves: bool) {
    fetch.output = if moves { None } else { cursor.output.clone() };
    fetch.relations.clone_from(&cursor.relations);
    fetch.functions.clone_from(&cursor.functions);
}

/// Refuses a `SET search_path` under which built-in names may mean something else.
pub(super) fn refuse_shadowing(statement: &Statement) -> Result<(), NotUnderstood> {
    if let StatementKind::Set {
        name,
        value: Some(value),
        ..
    } = &statement.kind
        && name == "search_path"
        && shadows_system(value)
    {
        return Err(NotUnderstood::Unsupported(
            "a search_path that names pg_catalog behind another schema lets that schema \
             replace built-in functions and operators"
                .to_owned(),
        ));
    }
    Ok(())
}

/// True if `pg_catalog` is listed, and not first: then names of ours would be looked for
/// elsewhere before.
pub fn shadows_system(search_path: &str) -> bool {
    search_path
        .split(',')
        .map(|schema| schema.trim().trim_matches(['"', '\'']))
        .position(|schema| schema.eq_ignore_ascii_case("pg_catalog"))
        .is_some_and(|position| position > 0)
}

fn denied(reason: &Reason) -> audit::Decision {
    audit::Decision::Deny {
        code: code_name(reason.code).to_owned(),
        sqlstate: sqlstate(reason.code).to_owned(),
        rule: reason.rule.clone(),
        reason: reason.message.clone(),
        hint: reason.hint.clone(),
    }
}

fn audit_phase(phase: Phase) -> audit::Phase {
    match phase {
        Phase::Prepare => audit::Phase::Prepare,
        Phase::Execute | Phase::Resume => audit::Phase::Execute,
        Phase::Simple => audit::Phase::Simple,
    }
}

fn process_line(principal: &Principal) -> String {
    let process = principal.process();
    match &process.command_line {
        Some(line) => format!("{} ({}): {line}", process.pid, process.comm),
        None => format!("{} ({})", process.pid, process.comm),
    }
}

/// Every column that the server traces to a table must come from a relation of the analysis, and
/// the numbers of columns must agree: otherwise masks would sit on the wrong ones.
fn check_origins(statement: &Statement, shape: &[ColumnShape]) -> Result<(), String> {
    let Some(output) = &statement.output else {
        return if statement.relations.iter().all(|relation| relation.system) {
            Ok(())
        } else {
            Err("the database returns rows where the analysis expects none".to_owned())
        };
    };
    if output.len() != shape.len() {
        return Err(format!(
            "the database returns {} columns where the analysis expects {}",
            shape.len(),
            output.len()
        ));
    }
    for (column, described) in output.iter().zip(shape) {
        if described.table_oid == 0 {
            continue;
        }
        let base = column.origins.iter().any(|origin| {
            origin.relation.oid == described.table_oid && origin.attnum == described.attnum
        });
        // The server stops at a view; the analysis looks through it.
        let view = column
            .origins
            .iter()
            .all(|o| o.relation.oid != described.table_oid)
            && statement
                .relations
                .iter()
                .any(|r| r.relation.oid == described.table_oid);
        if !base && !view {
            return Err(format!(
                "the database traces the column {:?} to another origin than the analysis",
                described.name
            ));
        }
    }
    Ok(())
}
