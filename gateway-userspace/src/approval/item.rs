//! One request and the states it passes through.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use crate::{
    admin::{AnswerView, ApprovalView},
    audit::{ApprovalExpired, ApprovalWithdrawn, Event, rfc3339, wall_micros},
};

use super::{
    change::ChangeKind,
    database::Row,
    decide::{Approver, ApproverId},
    outcome::ApprovalOutcome,
    request::ApprovalRequest,
};

/// One request.
pub(super) struct Item {
    pub(super) id: String,
    /// Order of arrival.
    pub(super) arrival: u64,
    pub(super) request: ApprovalRequest,
    created: String,
    state: Mutex<State>,
    /// Told at every change of the status.
    pub(super) changed: Notify,
    /// Held while an answer is put on record: answers are taken one after the other.
    pub(super) deciding: tokio::sync::Mutex<()>,
}

pub(super) struct State {
    pub(super) status: Status,
    /// What has been answered, oldest first.
    pub(super) answers: Vec<Answer>,
    /// When it ends by itself: as shown, and as waited for.
    pub(super) expires: String,
    pub(super) deadline: Instant,
    pub(super) estimated_rows: Option<u64>,
    /// When it ended.
    pub(super) ended: Option<String>,
    pub(super) timer: Option<AbortHandle>,
}

/// Where a request stands. Pending becomes any other; approved becomes used, expired or withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Approved,
    /// What it asked for was let through, once.
    Used,
    Denied {
        by: String,
        reason: Option<String>,
    },
    Expired,
    Withdrawn {
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) by: String,
    pub(super) id: ApproverId,
    /// Their other names.
    pub(super) aliases: Vec<String>,
    /// Their approvers' groups.
    pub(super) groups: Vec<String>,
    pub(super) approve: bool,
    pub(super) reason: Option<String>,
    pub(super) at: String,
}

impl Item {
    pub(super) fn new(
        id: String,
        arrival: u64,
        request: ApprovalRequest,
        expires: String,
        deadline: Instant,
    ) -> Self {
        Self {
            id,
            arrival,
            request,
            created: rfc3339(wall_micros()),
            state: Mutex::new(State {
                status: Status::Pending,
                answers: Vec::new(),
                expires,
                deadline,
                estimated_rows: None,
                ended: None,
                timer: None,
            }),
            changed: Notify::new(),
            deciding: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_approved(&self) -> bool {
        self.lock().status == Status::Approved
    }

    /// As shown to people.
    pub(super) fn view(&self) -> ApprovalView {
        self.view_of(&self.lock())
    }

    fn view_of(&self, state: &State) -> ApprovalView {
        let mut view = self.request.view(&self.id, &self.created, &state.expires);
        state.status.name().clone_into(&mut view.state);
        for (need, quorum) in view.needs.iter_mut().zip(&self.request.requirement.quorums) {
            need.approved = quorum.met(state.groups());
        }
        view.approved_by = state.approvers();
        view.answers = state.answers.iter().map(Answer::view).collect();
        view.estimated_rows = state.estimated_rows;
        view.ended.clone_from(&state.ended);
        match &state.status {
            Status::Pending | Status::Approved | Status::Expired => {}
            Status::Used => view.used.clone_from(&state.ended),
            Status::Denied { reason, .. } => view.ended_because.clone_from(reason),
            Status::Withdrawn { reason } => view.ended_because = Some(reason.clone()),
        }
        view
    }

    /// As it is kept on disk.
    pub(super) fn row(&self) -> Row {
        self.row_of(&self.lock())
    }

    pub(super) fn row_of(&self, state: &State) -> Row {
        Row {
            arrival: self.arrival,
            live: !state.status.is_end(),
            view: self.view_of(state),
        }
    }

    /// How it ended; `None` while it is open.
    pub(super) fn outcome(&self) -> Option<ApprovalOutcome> {
        let state = self.lock();
        match &state.status {
            Status::Pending => None,
            Status::Approved => Some(ApprovalOutcome::Approved {
                by: state.approvers(),
            }),
            Status::Used => Some(ApprovalOutcome::Withdrawn {
                reason: "its approval has been used".to_owned(),
            }),
            Status::Denied { by, reason } => Some(ApprovalOutcome::Denied {
                by: by.clone(),
                reason: reason.clone(),
            }),
            Status::Expired => Some(ApprovalOutcome::Expired),
            Status::Withdrawn { reason } => Some(ApprovalOutcome::Withdrawn {
                reason: reason.clone(),
            }),
        }
    }
}

impl State {
    fn approvals(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| answer.approve)
    }

    /// The groups of each who has approved.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[String]> {
        self.approvals().map(|answer| answer.groups.as_slice())
    }

    pub(super) fn approvers(&self) -> Vec<String> {
        self.approvals().map(|answer| answer.by.clone()).collect()
    }

    /// Whether this person has approved, as far as ids and names tell.
    pub(super) fn has_approved(&self, approver: &Approver) -> bool {
        self.approvals().any(|answer| {
            let mut names = std::iter::once(&answer.by).chain(&answer.aliases);
            answer.id == approver.id || names.any(|name| approver.is_called(name))
        })
    }

    pub(super) fn stop_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }
}

impl Answer {
    fn view(&self) -> AnswerView {
        AnswerView {
            by: self.by.clone(),
            approve: self.approve,
            reason: self.reason.clone(),
            at: self.at.clone(),
        }
    }
}

impl Status {
    pub(super) fn withdrawn(reason: &str) -> Self {
        Self::Withdrawn {
            reason: reason.to_owned(),
        }
    }

    /// One of the five states that people are shown.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved | Self::Used => "approved",
            Self::Denied { .. } => "denied",
            Self::Expired => "expired",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }

    /// Nothing can change any more.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Pending | Self::Approved => false,
            Self::Used | Self::Denied { .. } | Self::Expired | Self::Withdrawn { .. } => true,
        }
    }

    pub(super) fn may_become(&self, next: &Self) -> bool {
        match next {
            Self::Pending => false,
            Self::Approved | Self::Denied { .. } => *self == Self::Pending,
            Self::Used => *self == Self::Approved,
            Self::Expired | Self::Withdrawn { .. } => !self.is_end(),
        }
    }

    pub(super) fn change(&self) -> ChangeKind {
        match self {
            Self::Pending => ChangeKind::Updated,
            Self::Approved => ChangeKind::Approved,
            Self::Used => ChangeKind::Used,
            Self::Denied { .. } => ChangeKind::Denied,
            Self::Expired => ChangeKind::Expired,
            Self::Withdrawn { .. } => ChangeKind::Withdrawn,
        }
    }

    /// What is recorded of an end that only takes something away.
    pub(super) fn event(&self, id: &str) -> Option<Event> {
        match self {
            Self::Expired => Some(Event::ApprovalExpired(ApprovalExpired {
                approval: id.to_owned(),
            })),
            Self::Withdrawn { reason } => Some(Event::ApprovalWithdrawn(ApprovalWithdrawn {
                approval: id.to_owned(),
                reason: reason.clone(),
            })),
            Self::Pending | Self::Approved | Self::Used | Self::Denied { .. } => None,
        }
    }
}
