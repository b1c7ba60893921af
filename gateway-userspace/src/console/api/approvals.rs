//! Held statements: one in full, and the answer to it.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
};
use serde::Deserialize;

use crate::{
    admin::ApprovalView,
    approval::DecideError,
    console::{
        app::App,
        guard::{Changer, Reader},
        refused::Refused,
        shown::Shown,
    },
};

/// A held statement, whole.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    _reader: Reader,
) -> Result<Shown<ApprovalView>, Refused> {
    let view = app
        .gate
        .approvals()
        .show(&id)
        .map_err(|error| refused(&error))?;
    Ok(Shown(view))
}

/// An answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    approve: bool,
    reason: Option<String>,
}

/// Answers a held statement as the person who asks.
pub async fn decide(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    changer: Changer,
    body: Bytes,
) -> Result<Shown<ApprovalView>, Refused> {
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|error| Refused::bad(format!("the answer is not understood: {error}")))?;
    let reason = answer.reason.filter(|reason| !reason.trim().is_empty());
    // Who is in no approvers' group is told so by the store, which puts the attempt on record.
    app.gate
        .approvals()
        .decide(
            &id,
            &changer.asker.person.approver(),
            answer.approve,
            reason,
        )
        .await
        .map(Shown)
        .map_err(|error| refused(&error))
}

fn refused(error: &DecideError) -> Refused {
    let message = error.to_string();
    match error {
        DecideError::Unknown(_) | DecideError::Ambiguous(_) => Refused::missing(message),
        DecideError::Ended { .. } | DecideError::AlreadyApproved(_) => Refused::conflict(message),
        DecideError::NotApprover { .. } | DecideError::InsideJob(_) | DecideError::Requester(_) => {
            Refused::forbidden(message)
        }
        DecideError::ReasonTooLong => Refused::bad(message),
        DecideError::NotSaved(_) | DecideError::Record(_) => Refused::fault(message),
    }
}
