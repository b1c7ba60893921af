//! The approvers' side: who may answer, and what an answer does.

use std::sync::Arc;

use nix::unistd::{Uid, User};

use crate::{
    admin::ApprovalView,
    audit::{AppendError, ApprovalDecided, ApprovalRefused, Event, rfc3339, wall_micros},
};

use super::{
    change::ChangeKind,
    item::{Answer, Item, Status},
    store::{Approvals, Found},
};

/// A reason is a sentence or two.
const REASON_BYTES: usize = 4_096;

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver {
    /// Name, as people know them.
    pub name: String,
    /// What makes them the same person the next time.
    pub id: ApproverId,
    /// Further names of theirs, such as user name and e-mail address at the provider: nobody counts
    /// twice, or answers their own request, under another name.
    pub aliases: Vec<String>,
    /// The configured approvers' groups that the user is a member of.
    pub groups: Vec<String>,
    /// The job that the answering process is inside of, if any.
    pub inside_job: Option<String>,
}

/// By what an approver is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApproverId {
    /// A user of this host, by the kernel's word: the control socket's peer.
    User(u32),
    /// Somebody who logged in with an identity provider.
    Oidc {
        /// The provider.
        issuer: String,
        /// Their subject there.
        subject: String,
    },
}

impl Approver {
    /// Whether this is one of their names. Compared without regard to case, and whoever gave the
    /// name: rather one answer too few.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let mut names = std::iter::once(&self.name).chain(&self.aliases);
        names.any(|own| own.eq_ignore_ascii_case(name))
    }
}

impl ApproverId {
    fn uid(&self) -> Option<u32> {
        match self {
            Self::User(uid) => Some(*uid),
            Self::Oidc { .. } => None,
        }
    }

    /// `issuer subject`, for the evidence.
    fn subject(&self) -> Option<String> {
        match self {
            Self::User(_) => None,
            Self::Oidc { issuer, subject } => Some(format!("{issuer} {subject}")),
        }
    }
}

/// An answer does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// No such request.
    #[error("no request for approval {0}; `cordon approvals list` shows them")]
    Unknown(String),
    /// Several requests begin like this.
    #[error("{0} is the start of several ids; give more of it")]
    Ambiguous(String),
    /// It has ended.
    #[error("request {id} is not open any more: it is {state}")]
    Ended {
        /// Approval id.
        id: String,
        /// `approved`, `denied`, `expired`, `withdrawn`.
        state: String,
    },
    /// Not a member.
    #[error("{name} may not answer this: {needed}")]
    NotApprover {
        /// User name.
        name: String,
        /// Whose answer is needed.
        needed: String,
    },
    /// From inside a job.
    #[error("nobody answers from inside a job ({0}); answer from outside")]
    InsideJob(String),
    /// The requester themselves.
    #[error("{0} is who asks, or who started the job that asks; somebody else must answer")]
    Requester(String),
    /// One vote each.
    #[error("{0} has approved already; somebody else must agree, too")]
    AlreadyApproved(String),
    /// Too long.
    #[error("the reason is longer than {REASON_BYTES} bytes")]
    ReasonTooLong,
    /// The answer is not on disk; the request is withdrawn.
    #[error("{0}; the request is withdrawn, so let the statement be sent again")]
    NotSaved(String),
    /// The answer is not on record and has no effect.
    #[error("the answer is not on record, so it has no effect: {0}")]
    Record(String),
}

impl From<AppendError> for DecideError {
    fn from(error: AppendError) -> Self {
        Self::Record(error.to_string())
    }
}

impl Approvals {
    /// Takes an answer: checks that it counts, puts it on record, then lets it take effect. The
    /// first denial ends the request; so do as many approvals as are needed. Once started, it
    /// completes even if the caller goes away.
    pub async fn decide(
        &self,
        id_or_prefix: &str,
        approver: &Approver,
        approve: bool,
        reason: Option<String>,
    ) -> Result<ApprovalView, DecideError> {
        let item = match self.find(id_or_prefix)? {
            Found::Live(item) => item,
            Found::Ended(view) => {
                return Err(DecideError::Ended {
                    id: view.id,
                    state: view.state,
                });
            }
        };
        if reason
            .as_ref()
            .is_some_and(|reason| reason.len() > REASON_BYTES)
        {
            return Err(DecideError::ReasonTooLong);
        }
        let answer = answer(self.clone(), item, approver.clone(), approve, reason);
        tokio::spawn(answer)
            .await
            .map_err(|error| DecideError::Record(error.to_string()))?
    }
}

async fn answer(
    store: Approvals,
    item: Arc<Item>,
    approver: Approver,
    approve: bool,
    reason: Option<String>,
) -> Result<ApprovalView, DecideError> {
    let requester = is_requester(&item, &approver);
    let turn = item.deciding.lock().await;
    if let Err(error) = may_answer(&item, &approver, requester, approve) {
        let tampering = matches!(
            error,
            DecideError::NotApprover { .. }
                | DecideError::InsideJob(_)
                | DecideError::Requester(_)
                | DecideError::AlreadyApproved(_)
        );
        if tampering {
            store
                .ledger
                .record_later(Event::ApprovalRefused(ApprovalRefused {
                    approval: item.id.clone(),
                    by: approver.name,
                    uid: approver.id.uid(),
                    subject: approver.id.subject(),
                    inside_job: approver.inside_job,
                    reason: error.to_string(),
                }));
        }
        return Err(error);
    }
    let (approvals, complete) = tally(&item, &approver, approve);
    let event = Event::ApprovalDecided(ApprovalDecided {
        approval: item.id.clone(),
        by: approver.name.clone(),
        uid: approver.id.uid(),
        subject: approver.id.subject(),
        approve,
        reason: reason.clone(),
        approvals,
        estimated_rows: item.lock().estimated_rows,
        complete,
        binding: item.request.binding.hex(),
    });
    store.ledger.record(event).await?;
    let answer = Answer {
        by: approver.name.clone(),
        id: approver.id,
        aliases: approver.aliases,
        groups: approver.groups,
        approve,
        reason: reason.clone(),
        at: rfc3339(wall_micros()),
    };
    // It may have expired or been withdrawn meanwhile: then the answer comes too late.
    let saving = {
        let mut state = item.lock();
        if state.status != Status::Pending {
            return Err(ended(&item, &state.status));
        }
        state.answers.push(answer);
        store.save(item.row_of(&state))
    };
    if let Err(error) = saving.await {
        // The answer is on record, and must not have an effect that a restart would not know of.
        let reason = format!("an answer could not be kept: {error}");
        store.end(&item, Status::withdrawn(&reason));
        return Err(DecideError::NotSaved(error.to_string()));
    }
    let status = match (approve, complete) {
        (true, false) => {
            store.tell(&item.id, ChangeKind::Approved);
            drop(turn);
            return Ok(item.view());
        }
        (true, true) => Status::Approved,
        (false, _) => Status::Denied {
            by: approver.name,
            reason,
        },
    };
    if !store.end(&item, status) {
        return Err(ended(&item, &item.lock().status));
    }
    drop(turn);
    Ok(item.view())
}

/// How many have approved, with this answer, and whether that is enough: of every group as many as
/// are asked for. Who is in several groups counts for each.
fn tally(item: &Item, approver: &Approver, approve: bool) -> (u32, bool) {
    let state = item.lock();
    let with_this = || {
        let this = approve.then_some(approver.groups.as_slice());
        state.groups().chain(this)
    };
    let approvals = u32::try_from(with_this().count()).unwrap_or(u32::MAX);
    let quorums = &item.request.requirement.quorums;
    // None at all would be a fault: then nothing is enough.
    let complete = !quorums.is_empty() && quorums.iter().all(|quorum| quorum.is_met(with_this()));
    (approvals, approve && complete)
}

/// Whether the approver is the user whose process asks, or the person behind its job.
fn is_requester(item: &Item, approver: &Approver) -> bool {
    let request = &item.request;
    let mut named = request.requester_names.iter();
    if named.any(|name| approver.is_called(name)) {
        return true;
    }
    match &approver.id {
        ApproverId::User(uid) => *uid == request.requester_uid,
        // The name service is asked: a request that waits for people can wait for that, too.
        ApproverId::Oidc { .. } => User::from_uid(Uid::from_raw(request.requester_uid))
            .ok()
            .flatten()
            .is_some_and(|user| approver.is_called(&user.name)),
    }
}

fn may_answer(
    item: &Item,
    approver: &Approver,
    requester: bool,
    approve: bool,
) -> Result<(), DecideError> {
    let state = item.lock();
    if state.status != Status::Pending {
        return Err(ended(item, &state.status));
    }
    if let Some(job) = &approver.inside_job {
        return Err(DecideError::InsideJob(job.clone()));
    }
    if requester {
        return Err(DecideError::Requester(approver.name.clone()));
    }
    let quorums = &item.request.requirement.quorums;
    if !quorums.iter().any(|quorum| quorum.admits(&approver.groups)) {
        let groups: Vec<&str> = quorums
            .iter()
            .map(|quorum| quorum.group.as_deref().unwrap_or("any approvers' group"))
            .collect();
        return Err(DecideError::NotApprover {
            name: approver.name.clone(),
            needed: format!("a member of {} must", groups.join(" or ")),
        });
    }
    // Whoever has approved may still deny.
    if approve && state.has_approved(approver) {
        return Err(DecideError::AlreadyApproved(approver.name.clone()));
    }
    Ok(())
}

fn ended(item: &Item, status: &Status) -> DecideError {
    DecideError::Ended {
        id: item.id.clone(),
        state: status.name().to_owned(),
    }
}
