//! How a request is answered, and how an approval is used.

use std::sync::Arc;

use tokio::time::Instant;

use crate::audit::{ApprovalUsed, Event};

use super::{
    binding::Binding,
    item::{Item, Status},
    store::Approvals,
};

/// How a request for approval was answered, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalOutcome {
    /// Enough people agreed. [`Held::approved`](super::Held::approved) lets it be used.
    Approved {
        /// Their names.
        by: Vec<String>,
    },
    /// Somebody refused.
    Denied {
        /// Their name.
        by: String,
        /// Their reason.
        reason: Option<String>,
    },
    /// Nobody answered in time.
    Expired,
    /// It was taken back: cancelled, disconnected, or the job ended.
    Withdrawn {
        /// Why.
        reason: String,
    },
}

/// A request that was approved. Several of these may stand for one request, of which the first to
/// be [redeemed](Self::redeem) uses it up.
#[derive(Clone)]
pub struct Approved {
    store: Approvals,
    item: Arc<Item>,
}

impl Approved {
    pub(super) fn new(store: Approvals, item: Arc<Item>) -> Self {
        Self { store, item }
    }

    /// Approval id.
    pub fn id(&self) -> &str {
        &self.item.id
    }

    /// True if this is what was approved.
    pub fn matches(&self, binding: &Binding) -> bool {
        self.item.request.binding == *binding
    }

    /// Takes it back.
    pub fn withdraw(&self, reason: &str) {
        self.store.end(&self.item, Status::withdrawn(reason));
    }

    /// Uses the approval for what is about to run. If that is not what was approved, or the time
    /// is over, the approval is gone all the same. Once this returns, the use is on disk; its record
    /// in the evidence stands before that of the decision that follows.
    ///
    /// # Errors
    /// If it may not run.
    pub async fn redeem(self, binding: &Binding) -> Result<Redeemed, RedeemError> {
        let Self { store, item } = self;
        if item.request.binding != *binding {
            let error = RedeemError::OtherEffect;
            store.end(&item, Status::withdrawn(&error.to_string()));
            return Err(error);
        }
        let late = Instant::now() >= item.lock().deadline;
        if late {
            store.end(&item, Status::Expired);
        }
        if !store.end(&item, Status::Used) {
            let status = item.lock().status.clone();
            return Err(match status {
                Status::Used => RedeemError::Used,
                Status::Expired => RedeemError::Expired,
                Status::Withdrawn { reason } => RedeemError::Withdrawn(reason),
                Status::Pending | Status::Approved | Status::Denied { .. } => {
                    RedeemError::NotApproved
                }
            });
        }
        // Without this, a restart could take it for one that was never used.
        if let Err(error) = store.save(item.row()).await {
            return Err(RedeemError::NotSaved(error.to_string()));
        }
        let by = item.lock().approvers();
        store.ledger.record_later(Event::ApprovalUsed(ApprovalUsed {
            approval: item.id.clone(),
            approved_by: by.clone(),
            binding: binding.hex(),
        }));
        Ok(Redeemed {
            id: item.id.clone(),
            by,
        })
    }
}

impl std::fmt::Debug for Approved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approved")
            .field("id", &self.item.id)
            .field("binding", &self.item.request.binding)
            .finish_non_exhaustive()
    }
}

/// Proof that an approval was used for what it was given for. Made by [`Approved::redeem`] only.
#[derive(Debug, PartialEq, Eq)]
pub struct Redeemed {
    id: String,
    by: Vec<String>,
}

impl Redeemed {
    /// Approval id, for the decision's record.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who approved.
    pub fn by(&self) -> &[String] {
        &self.by
    }
}

/// An approval is not for what is about to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedeemError {
    /// Text, parameters, objects, schema or session differ.
    #[error(
        "what would run now is not what was approved: its objects or their schema have changed; send it again"
    )]
    OtherEffect,
    /// The time for it is over.
    #[error("the approval has expired; send the statement again")]
    Expired,
    /// Somebody else was quicker.
    #[error("the approval has been used already; send the statement again")]
    Used,
    /// It was taken back meanwhile.
    #[error("the request was withdrawn: {0}")]
    Withdrawn(String),
    /// It never was.
    #[error("the statement was not approved")]
    NotApproved,
    /// Its use cannot be saved.
    #[error("{0}, so the approved statement may not run")]
    NotSaved(String),
}
