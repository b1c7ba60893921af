//! What is remembered. Statement texts and bind values are evidence; secrets never are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::content::Content;

/// One thing that happened. Adding a variant or an optional field keeps the format's version;
/// changing the meaning of one raises it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// The daemon opened the log.
    LogOpened(LogOpened),
    /// A policy took force.
    PolicyLoaded(PolicyLoaded),
    /// The policy's files cannot come into force; the policy before stays.
    PolicyRefused(PolicyRefused),
    /// A job was registered.
    JobStarted(JobStarted),
    /// A job ended; its sessions are closed.
    JobEnded(JobEnded),
    /// A job start was refused.
    JobRefused(JobRefused),
    /// A role that is made for jobs was made, changed or removed.
    RoleChanged(RoleChanged),
    /// A connection was refused before it became a session.
    ConnectionRefused(ConnectionRefused),
    /// Somebody tried to get past the gateway.
    BypassAttempted(BypassAttempted),
    /// A session was admitted.
    SessionOpened(SessionOpened),
    /// A statement was decided; it goes to the database only after this is on record.
    StatementDecided(StatementDecided),
    /// A statement that was decided ended, one way or the other.
    StatementCompleted(StatementCompleted),
    /// A statement is held until humans answer.
    ApprovalRequested(ApprovalRequested),
    /// Somebody answered.
    ApprovalDecided(ApprovalDecided),
    /// Somebody tried to answer who may not.
    ApprovalRefused(ApprovalRefused),
    /// Nobody answered in time.
    ApprovalExpired(ApprovalExpired),
    /// It was withdrawn: cancelled, disconnected, or the job ended.
    ApprovalWithdrawn(ApprovalWithdrawn),
    /// The approved statement was released, this once.
    ApprovalUsed(ApprovalUsed),
    /// A message of a client was refused before a statement was read of it.
    MessageRefused(MessageRefused),
    /// A session ended.
    SessionClosed(SessionClosed),
    /// A part of a session's recording was written.
    SessionRecorded(SessionRecorded),
    /// A recording is about to be removed.
    RecordingRemoved(RecordingRemoved),
    /// The log's beginning is about to be removed.
    LogPruned(LogPruned),
    /// Another key is about to sign the log.
    KeyRotated(KeyRotated),
    /// Something that should be here is not, and this says so.
    Gap(Gap),
    /// Nothing happened for a while, and the daemon was alive.
    Heartbeat(Heartbeat),
    /// The daemon closed the log.
    LogClosed(LogClosed),
    /// An event too large for an entry; its JSON is in a side file.
    Spilled(SpilledEvent),
}

/// See [`Event::LogOpened`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOpened {
    /// Host name.
    pub host: String,
    /// Version of the daemon.
    pub version: String,
    /// Key id of the signing key, hex.
    pub key_id: String,
    /// Digest of the policy in force, hex, if one is loaded yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The kernel's boot id: `mono_ns` of two entries compare only within one boot.
    pub boot_id: String,
}

/// See [`Event::PolicyLoaded`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLoaded {
    /// Digest, hex.
    pub digest: String,
    /// Names of its files.
    #[serde(default)]
    pub files: Vec<String>,
}

/// See [`Event::PolicyRefused`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRefused {
    /// What is wrong, each with file, line and column where it has a place.
    pub problems: Vec<String>,
    /// SHA-256 over names, lengths and contents of the files, hex; absent if they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_sha256: Option<String>,
    /// Digest of the policy that stays in force, hex.
    pub policy: String,
}

/// See [`Event::JobStarted`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobStarted {
    /// Job id.
    pub job: String,
    /// Issuer's configured name.
    pub issuer: String,
    /// The token's subject.
    pub subject: String,
    /// How well the identity is proven: `runner-asserted`, `oidc-verified`.
    pub assurance: String,
    /// Its groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The token's claims. The token itself is a secret and is not recorded.
    pub claims: BTreeMap<String, serde_json::Value>,
    /// Path of the job's cgroup, relative to the cgroup v2 root.
    pub cgroup: String,
    /// Id of that cgroup.
    #[serde(default)]
    pub cgroup_id: u64,
    /// The process that was moved.
    #[serde(default)]
    pub pid: u32,
    /// Who asked, as the control socket's peer.
    #[serde(default)]
    pub peer_uid: u32,
}

/// See [`Event::JobEnded`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnded {
    /// Job id.
    pub job: String,
    /// Why: asked for, cgroup empty, maximum duration, ...
    pub reason: String,
}

/// See [`Event::JobRefused`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRefused {
    /// Why.
    pub reason: String,
    /// Issuer's configured name, if it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The subject that the token claims, if it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The control socket's peer.
    pub peer_pid: u32,
    /// The peer's user.
    pub peer_uid: u32,
    /// The job that the peer is inside of, if any: an attempt at tampering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside_job: Option<String>,
}

/// See [`Event::RoleChanged`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleChanged {
    /// Database, by its configured name.
    pub database: String,
    /// The role's name at the server.
    pub role: String,
    /// The job that it is for, if it is known: a leftover's is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// `made`; `changed`: it holds other privileges; `removed`; `left`: it owns objects, and stays
    /// without login and without rights.
    pub change: String,
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCause {
    /// The kernel redirected no such connection: somebody dialled the proxy's port.
    NoEvidence,
    /// The process belongs to no job.
    NoJob,
    /// The job has ended.
    JobEnded,
    /// The address is no configured database's.
    UnknownDatabase,
    /// The policy grants the job nothing there.
    NotGranted,
    /// The handshake was malformed, or asked for what is not offered.
    Protocol,
    /// A limit of connections or requests.
    Limit,
    /// A fault of Cordon's own, or of the upstream database.
    Fault,
}

/// A process, as evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Process id on the host.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Command name at connect.
    pub comm: String,
    /// Executable path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Command line; passwords in it are blotted out when it is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// Start time in clock ticks since boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
}

/// See [`Event::ConnectionRefused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRefused {
    /// Kind of refusal.
    pub cause: RefusalCause,
    /// In words.
    pub reason: String,
    /// The job, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The process, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessRecord>,
    /// The address it dialled, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// The socket's peer address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// See [`Event::BypassAttempted`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BypassAttempted {
    /// What was tried: `postgres-startup`, `postgres-tls`, `mysql-startup` or `obscured` (what a
    /// connection to an unprotected destination begins with), `stray-connection` and
    /// `stray-packet` (to a protected one), `raw-socket`, `direct-dial`.
    pub way: String,
    /// Whether it was stopped; otherwise it passed, and is only on record.
    pub refused: bool,
    /// In words.
    pub reason: String,
    /// The job, live or ended, if it was one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The process, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessRecord>,
    /// Where it was going, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The socket's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Attempts of the same job, or of processes of the same cgroup, since its last entry that
    /// have none of their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

/// See [`Event::SessionOpened`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOpened {
    /// Session id.
    pub session: String,
    /// Job id.
    pub job: String,
    /// The process that dialled.
    pub process: ProcessRecord,
    /// Database, by its configured name.
    pub database: String,
    /// The upstream login role.
    pub login: String,
    /// Start-up parameters as the client sent them.
    #[serde(default)]
    pub client: BTreeMap<String, String>,
    /// The address the process dialled.
    pub original: String,
    /// Digest of the policy in force, hex.
    #[serde(default)]
    pub policy: String,
}

/// Where in a statement's life a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// A prepared statement's Parse: no parameters yet, nothing runs.
    Prepare,
    /// Execute of a portal.
    Execute,
    /// The simple protocol.
    Simple,
}

/// The verdict, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Decision {
    /// May run.
    Allow {
        /// Names of the grants that allow it.
        grants: Vec<String>,
    },
    /// May run only because a grant is in observe mode.
    Observe {
        /// Names of the grants.
        grants: Vec<String>,
        /// What enforcement would have done: `deny` or `hold`.
        would: String,
        /// The rule that would have decided.
        rule: String,
        /// Why.
        reason: String,
        /// What would allow it.
        hint: String,
    },
    /// May run once humans agree.
    Approve {
        /// Names of the grants.
        grants: Vec<String>,
        /// The rule that holds it.
        rule: String,
        /// Why.
        reason: String,
    },
    /// May not run.
    Deny {
        /// Kind of refusal: `not-permitted`, `not-understood`, ...
        code: String,
        /// SQLSTATE that the client was told.
        #[serde(default)]
        sqlstate: String,
        /// The rule that decided.
        rule: String,
        /// Why, as the client was told.
        reason: String,
        /// What would allow it, as the client was told.
        hint: String,
    },
}

/// See [`Event::StatementDecided`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementDecided {
    /// Session id.
    pub session: String,
    /// Number of the statement in its session, from 1. A statement that is held is decided
    /// twice under one number: `approve` first, then `allow` or `deny`.
    pub statement: u64,
    /// Where in its life.
    pub phase: Phase,
    /// The text.
    pub text: Content,
    /// Bind values; `None` is NULL.
    #[serde(default)]
    pub parameters: Vec<Option<Content>>,
    /// Relations it touches, in words: `public.orders`.
    #[serde(default)]
    pub relations: Vec<String>,
    /// What it does, in words: `delete public.orders (reads id)`.
    #[serde(default)]
    pub effects: Vec<String>,
    /// The verdict.
    pub decision: Decision,
    /// Digest of the policy that decided, hex.
    pub policy: String,
    /// Output columns to be masked, in words: `email: partial`.
    #[serde(default)]
    pub masked: Vec<String>,
    /// The effective search path that its names were resolved in; empty: that of the session's
    /// statement before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search_path: Vec<String>,
    /// The approval that released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

/// How a statement ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran to its end.
    Ok,
    /// The database reported an error.
    Error {
        /// Its SQLSTATE.
        sqlstate: String,
    },
    /// It was cancelled.
    Cancelled,
    /// It passed a limit of the policy, and was ended there.
    Limited(LimitReached),
    /// The session ended, or the portal was dropped, before its end was seen.
    Abandoned,
}

/// A limit of the policy that was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReached {
    /// Its key: `rows`, `bytes`, `session_rows`, `session_bytes`, `statement`, `session`.
    pub limit: String,
    /// The most that it allows: rows, bytes or milliseconds.
    pub most: u64,
    /// The rule that sets it: `agent-orders: limits.rows`.
    pub rule: String,
}

/// See [`Event::StatementCompleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementCompleted {
    /// Session id.
    pub session: String,
    /// Number of the statement in its session.
    pub statement: u64,
    /// Rows sent to the client.
    pub rows: u64,
    /// Bytes of the result sent to the client: of the messages that carry rows or COPY data,
    /// without tag and length.
    pub bytes: u64,
    /// Cells masked in them.
    pub cells_masked: u64,
    /// From decision to the end of the reply.
    pub duration_us: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// SHA-256 of the result's bytes as the client saw them, hex; absent if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_sha256: Option<String>,
}

/// How many people of a group must approve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalNeed {
    /// The group; absent: any approvers'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How many.
    pub count: u32,
}

/// See [`Event::ApprovalRequested`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRequested {
    /// Approval id.
    pub approval: String,
    /// Session id.
    pub session: String,
    /// Job id.
    pub job: String,
    /// Number of the statement in its session.
    pub statement: u64,
    /// Who asks: issuer and subject.
    pub requester: String,
    /// Their uid on the host.
    pub requester_uid: u32,
    /// The rule that holds it.
    pub rule: String,
    /// Whose approval is needed: all of these.
    #[serde(default)]
    pub needs: Vec<ApprovalNeed>,
    /// It was refused meanwhile, and may be sent once more when it is approved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// RFC 3339.
    pub expires: String,
    /// Digest of exactly what would run, hex.
    pub binding: String,
}

/// See [`Event::ApprovalDecided`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalDecided {
    /// Approval id.
    pub approval: String,
    /// Name of the approver.
    pub by: String,
    /// Their uid, if they answered as a user of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Issuer and subject, if they answered after a login with an identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Approves or denies.
    pub approve: bool,
    /// Their reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many have approved, this one included.
    pub approvals: u32,
    /// The planner's guess of the rows it would touch, if it was known to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// With this one all that are needed have approved.
    #[serde(default)]
    pub complete: bool,
    /// Digest of exactly what this answers, hex.
    pub binding: String,
}

/// See [`Event::ApprovalRefused`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRefused {
    /// Approval id.
    pub approval: String,
    /// Their name.
    pub by: String,
    /// Their uid, if they answered as a user of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Issuer and subject, if they answered after a login with an identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The job they are inside of, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside_job: Option<String>,
    /// Why their answer does not count.
    pub reason: String,
}

/// See [`Event::ApprovalExpired`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalExpired {
    /// Approval id.
    pub approval: String,
}

/// See [`Event::ApprovalWithdrawn`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalWithdrawn {
    /// Approval id.
    pub approval: String,
    /// Why.
    pub reason: String,
}

/// See [`Event::ApprovalUsed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalUsed {
    /// Approval id.
    pub approval: String,
    /// Who approved.
    pub approved_by: Vec<String>,
    /// Digest of exactly what was approved, hex.
    pub binding: String,
}

/// See [`Event::MessageRefused`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRefused {
    /// Session id.
    pub session: String,
    /// What the client was told.
    pub sqlstate: String,
    /// The same in words; what looks like personal data is blotted out.
    pub reason: String,
}

/// See [`Event::SessionClosed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionClosed {
    /// Session id.
    pub session: String,
    /// Why.
    pub reason: String,
    /// Statements decided.
    pub statements: u64,
    /// Rows sent to the client.
    pub rows: u64,
    /// Bytes sent to the client.
    pub bytes: u64,
    /// Cells masked.
    pub cells_masked: u64,
    /// How long it lived.
    pub duration_us: u64,
    /// The limit that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitReached>,
}

/// See [`Event::SessionRecorded`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecorded {
    /// Session id.
    pub session: String,
    /// Where in the session's file the part begins.
    pub offset: u64,
    /// Its length there.
    pub bytes: u64,
    /// SHA-256 of it, hex.
    pub sha256: String,
    /// Messages in it.
    pub messages: u64,
    /// Its length before compression.
    pub raw_bytes: u64,
    /// It is the last part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end: bool,
}

/// See [`Event::RecordingRemoved`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingRemoved {
    /// Session id.
    pub session: String,
    /// Length of its file.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// See [`Event::LogPruned`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPruned {
    /// Index of the first entry that stays.
    pub first: u64,
    /// Segments that go.
    pub segments: u64,
    /// Why.
    pub reason: String,
}

/// See [`Event::KeyRotated`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The key that has signed so far, as a C2SP verifier key.
    pub old: String,
    /// The key that signs from now on.
    pub new: String,
}

/// See [`Event::Gap`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// What happened.
    pub reason: String,
    /// Bytes cut off the end of the log when it was opened after a crash.
    #[serde(default)]
    pub cut_bytes: u64,
    /// Index that the first entry in them would have had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_index: Option<u64>,
    /// The bytes themselves, in a side file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Content>,
    /// Events that could not be recorded while the log could not be written.
    #[serde(default)]
    pub lost_events: u64,
}

/// See [`Event::Heartbeat`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {}

/// See [`Event::LogClosed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogClosed {
    /// Why.
    pub reason: String,
}

/// See [`Event::Spilled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpilledEvent {
    /// The event's JSON.
    pub event: Content,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Event {
    /// The parts of any length.
    pub(super) fn contents_mut(&mut self) -> Vec<&mut Content> {
        match self {
            Self::StatementDecided(decided) => {
                let mut contents = vec![&mut decided.text];
                contents.extend(decided.parameters.iter_mut().flatten());
                contents
            }
            Self::Gap(gap) => gap.cut.iter_mut().collect(),
            Self::Spilled(spilled) => vec![&mut spilled.event],
            Self::LogOpened(_)
            | Self::PolicyLoaded(_)
            | Self::PolicyRefused(_)
            | Self::JobStarted(_)
            | Self::JobEnded(_)
            | Self::JobRefused(_)
            | Self::RoleChanged(_)
            | Self::ConnectionRefused(_)
            | Self::BypassAttempted(_)
            | Self::SessionOpened(_)
            | Self::StatementCompleted(_)
            | Self::ApprovalRequested(_)
            | Self::ApprovalDecided(_)
            | Self::ApprovalRefused(_)
            | Self::ApprovalExpired(_)
            | Self::ApprovalWithdrawn(_)
            | Self::ApprovalUsed(_)
            | Self::MessageRefused(_)
            | Self::SessionClosed(_)
            | Self::SessionRecorded(_)
            | Self::RecordingRemoved(_)
            | Self::LogPruned(_)
            | Self::KeyRotated(_)
            | Self::Heartbeat(_)
            | Self::LogClosed(_) => Vec::new(),
        }
    }

    /// The process in it, if any.
    pub(super) fn process_mut(&mut self) -> Option<&mut ProcessRecord> {
        match self {
            Self::SessionOpened(opened) => Some(&mut opened.process),
            Self::ConnectionRefused(refused) => refused.process.as_mut(),
            Self::BypassAttempted(attempted) => attempted.process.as_mut(),
            Self::LogOpened(_)
            | Self::PolicyLoaded(_)
            | Self::PolicyRefused(_)
            | Self::JobStarted(_)
            | Self::JobEnded(_)
            | Self::JobRefused(_)
            | Self::RoleChanged(_)
            | Self::StatementDecided(_)
            | Self::StatementCompleted(_)
            | Self::ApprovalRequested(_)
            | Self::ApprovalDecided(_)
            | Self::ApprovalRefused(_)
            | Self::ApprovalExpired(_)
            | Self::ApprovalWithdrawn(_)
            | Self::ApprovalUsed(_)
            | Self::MessageRefused(_)
            | Self::SessionClosed(_)
            | Self::SessionRecorded(_)
            | Self::RecordingRemoved(_)
            | Self::LogPruned(_)
            | Self::KeyRotated(_)
            | Self::Gap(_)
            | Self::Heartbeat(_)
            | Self::LogClosed(_)
            | Self::Spilled(_) => None,
        }
    }
}
