//! Requests and responses on the control socket: one JSON object a line, each way.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::sql::SavedCatalog;

/// What a client of the control socket asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Verifies a token, makes a cgroup, moves process `pid` into it, registers the job.
    JobStart {
        /// The token, compact serialisation; empty with `asserted`.
        token: String,
        /// The runner's word instead of a token, for the CI system of this configured issuer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asserted: Option<String>,
        /// The process is a hook: the runner's worker above it becomes the job, with all below.
        #[serde(default)]
        worker: bool,
        /// Process to move; it and its future children are the job. It must belong to the
        /// caller's user, unless the caller is root.
        pid: u32,
        /// End the job (and kill what is left in its cgroup) when this connection closes.
        bound: bool,
    },
    /// Ends a job. Refused from inside any job.
    JobEnd {
        /// Job id.
        job: String,
    },
    /// Ends the job that the caller is inside of.
    JobEndOwn,
    /// Lists the jobs, or one.
    JobStatus {
        /// Job id; all if absent.
        job: Option<String>,
    },
    /// Lists held statements.
    ApprovalList,
    /// One held statement.
    ApprovalShow {
        /// Approval id, or an unambiguous prefix.
        id: String,
    },
    /// What has become of requests for approval: inside of a job of its own ones only.
    ApprovalStatus {
        /// Approval id, or an unambiguous prefix; all if absent.
        id: Option<String>,
    },
    /// Answers a held statement as the peer's user.
    ApprovalDecide {
        /// Approval id, or an unambiguous prefix.
        id: String,
        /// Approve or deny.
        approve: bool,
        /// Reason, for the evidence.
        reason: Option<String>,
    },
    /// State of the daemon.
    Status,
    /// Has a new key sign the evidence.
    EvidenceRotateKey {
        /// The public key that signs it now: whoever asks and the daemon mean the same log.
        current: String,
    },
    /// Reads the catalog of a protected database, for the policy tools.
    Catalog {
        /// Its configured name.
        database: String,
        /// The login to read it with; one of the configured ones if absent.
        login: Option<String>,
    },
    /// Logs in to every protected database with each login, and tells how that went.
    CheckDatabases,
}

/// The daemon's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// Done.
    Done,
    /// A job, after `JobStart`.
    Job(JobView),
    /// Jobs.
    Jobs {
        /// All, or the one asked for.
        jobs: Vec<JobView>,
    },
    /// Held statements.
    Approvals {
        /// Oldest first.
        approvals: Vec<ApprovalView>,
    },
    /// What has become of requests for approval.
    Requests {
        /// Oldest first.
        requests: Vec<RequestView>,
    },
    /// State of the daemon.
    Status(StatusView),
    /// The key that signs the evidence from now on.
    EvidenceKey {
        /// Its public half, as a C2SP verifier key.
        public_key: String,
    },
    /// The catalog of a database.
    Catalog(Box<SavedCatalog>),
    /// How the logins at the databases went.
    DatabaseChecks {
        /// One for each login, in the order of the configuration.
        checks: Vec<DatabaseCheckView>,
    },
    /// The request is refused or failed.
    Error {
        /// What is wrong and what to do.
        message: String,
    },
}

/// A job as shown to people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// Job id.
    pub id: String,
    /// Issuer's configured name.
    pub issuer: String,
    /// The token's subject.
    pub subject: String,
    /// Claims that policies may match.
    pub claims: BTreeMap<String, serde_json::Value>,
    /// Path of the job's cgroup, relative to the cgroup v2 root.
    pub cgroup: String,
    /// Processes in it.
    pub processes: u32,
    /// Open database sessions.
    pub sessions: u32,
    /// RFC 3339.
    pub started: String,
}

/// A held statement as shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalView {
    /// Approval id: `apr-` and 12 hex digits.
    pub id: String,
    /// `pending`, `approved` (used or not), `denied`, `expired`, `withdrawn`.
    pub state: String,
    /// Session id.
    pub session: String,
    /// Job id.
    pub job: String,
    /// Who asks: issuer and subject.
    pub requester: String,
    /// Process that connected.
    pub process: String,
    /// Database name.
    pub database: String,
    /// The full statement; control and look-alike characters are escaped by whoever prints it.
    pub statement: String,
    /// Parameters as text; `None` is NULL. `\x..` for binary values of unknown type.
    pub parameters: Vec<Option<String>>,
    /// The types that they were declared with; `None`: the server chooses.
    #[serde(default)]
    pub parameter_types: Vec<Option<String>>,
    /// Resolved effects: `delete public.orders (reads id)`.
    pub effects: Vec<String>,
    /// Rows that it would touch, as the server's planner guesses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// What an approver should mind.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The page of the job's run in its CI system, made of signed claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_url: Option<String>,
    /// The step of the job, as the environment of its process says: nobody vouches for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Number of the statement in its session.
    #[serde(default)]
    pub statement_number: u64,
    /// The last statements of the session before it, oldest first.
    #[serde(default)]
    pub before: Vec<EarlierView>,
    /// Why it is held, in a sentence.
    #[serde(default)]
    pub why: String,
    /// The rule that holds it.
    pub rule: String,
    /// Whose approval is needed: all of these.
    pub needs: Vec<NeedView>,
    /// Who has approved so far.
    pub approved_by: Vec<String>,
    /// RFC 3339.
    pub created: String,
    /// RFC 3339. Where `on_hold` is `refuse`, an approval gives it anew: the time to send the
    /// statement again.
    pub expires: String,
    /// `wait`: the statement waits on its connection. `refuse`: it was refused, and may be sent
    /// once more when it is approved.
    #[serde(default = "wait")]
    pub on_hold: String,
    /// All answers, oldest first.
    #[serde(default)]
    pub answers: Vec<AnswerView>,
    /// When what was approved was let through, RFC 3339. It is never let through again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// When nothing more could become of it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Why it was denied or withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_because: Option<String>,
}

fn wait() -> String {
    "wait".to_owned()
}

/// What has become of a request for approval, for the program that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// Approval id.
    pub id: String,
    /// `pending`, `approved` (used or not), `denied`, `expired`, `withdrawn`.
    pub state: String,
    /// `wait` or `refuse`; see [`ApprovalView::on_hold`].
    pub on_hold: String,
    /// When what was approved was let through, RFC 3339. It is never let through again.
    pub used: Option<String>,
    /// Until when it can be answered, or used, RFC 3339.
    pub expires: String,
    /// Why it was denied or withdrawn.
    pub reason: Option<String>,
    /// Whose approval is needed: all of these.
    pub needs: Vec<NeedView>,
    /// Session id.
    pub session: String,
    /// Number of the statement in it.
    pub statement_number: u64,
    /// The statement.
    pub statement: String,
    /// What to do next, in words.
    pub next: String,
}

impl From<ApprovalView> for RequestView {
    fn from(view: ApprovalView) -> Self {
        let refused = view.on_hold == "refuse";
        let next = match (view.state.as_str(), refused, &view.used) {
            ("pending", false, _) => "it waits on its connection: keep that open".to_owned(),
            ("pending", true, _) => {
                "wait until it is approved, then send exactly the same statement again, once"
                    .to_owned()
            }
            ("approved", true, None) => format!(
                "send exactly the same statement again, once, before {}",
                view.expires
            ),
            ("approved", false, None) => "it is about to run on its connection".to_owned(),
            ("approved", _, Some(_)) => {
                "it was let through and cannot be used again; its result came on its connection"
                    .to_owned()
            }
            ("denied", _, _) => "do something else: a person has refused it".to_owned(),
            _ => "send the statement again to ask anew".to_owned(),
        };
        Self {
            id: view.id,
            state: view.state,
            on_hold: view.on_hold,
            used: view.used,
            expires: view.expires,
            reason: view.ended_because,
            needs: view.needs,
            session: view.session,
            statement_number: view.statement_number,
            statement: view.statement,
            next,
        }
    }
}

/// A statement of the same session, before the one that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierView {
    /// Its number in the session.
    pub number: u64,
    /// Its text; a long one is cut, and ends in `...`.
    pub statement: String,
}

/// An answer to a request for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerView {
    /// Name of the approver.
    pub by: String,
    /// Approved or denied.
    pub approve: bool,
    /// Their reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// RFC 3339.
    pub at: String,
}

/// Why a policy did not come into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyErrorView {
    /// When it was tried, RFC 3339.
    pub at: String,
    /// What is wrong, each with file, line and column where it has a place.
    pub problems: Vec<String>,
}

/// How many people of a group must approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedView {
    /// The group; `None`: any approvers'.
    pub group: Option<String>,
    /// How many.
    pub count: u32,
    /// How many of them have.
    pub approved: u32,
}

/// How a login of the daemon's at a database went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseCheckView {
    /// The database's configured name.
    pub database: String,
    /// The login.
    pub user: String,
    /// It makes the roles of jobs.
    pub admin: bool,
    /// Why it failed, with what to do; `None`: it went well.
    pub error: Option<String>,
    /// The server's version, if it told.
    pub version: Option<String>,
    /// The connection was encrypted, and the server's certificate verified.
    pub verified: bool,
}

/// A witness of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessView {
    /// Its name.
    pub name: String,
    /// Entries of the last checkpoint that it has cosigned since the daemon started; 0: none.
    pub entries: u64,
    /// When, as it says, RFC 3339.
    pub time: Option<String>,
    /// Why it has not cosigned the last one that it was shown.
    pub problem: Option<String>,
}

/// State of the daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// Version of the daemon.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Digest of the policy in force, hex.
    pub policy: String,
    /// Since when, RFC 3339.
    #[serde(default)]
    pub policy_since: String,
    /// Why the files as they are now are not in force. Not told inside of jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_error: Option<PolicyErrorView>,
    /// Names of the grants that only observe. Not told inside of jobs.
    #[serde(default)]
    pub observing: Vec<String>,
    /// Live jobs.
    pub jobs: u32,
    /// Open sessions.
    pub sessions: u32,
    /// Statements refused because the database read them differently than the analysis.
    #[serde(default)]
    pub disagreements: u64,
    /// Held statements.
    pub held: u32,
    /// Entries in the evidence log.
    pub evidence_entries: u64,
    /// Entries that a quorum of witnesses has cosigned since the daemon started.
    #[serde(default)]
    pub evidence_witnessed: u64,
    /// The witnesses of the evidence. Not told inside of jobs.
    #[serde(default)]
    pub witnesses: Vec<WitnessView>,
    /// Protected databases: name and address.
    pub databases: BTreeMap<String, String>,
}
