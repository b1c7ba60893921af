//! How a request ends, and the proof that it was approved.

use std::sync::Arc;

use tokio::time::Instant;

use crate::audit::{ApprovalUsed, ApprovalWithdrawn, Event};

use super::{binding::Binding, ledger::Ledger};

/// How a request for approval ended.
#[derive(Debug)]
pub enum ApprovalOutcome {
    /// Enough people agreed.
    Approved {
        /// Their names.
        by: Vec<String>,
        /// The proof, for exactly one execution.
        proof: Approved,
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

/// Proof that exactly one thing was approved. Neither made nor copied elsewhere; using it uses
/// it up.
pub struct Approved {
    pub(super) id: String,
    pub(super) binding: Binding,
    pub(super) by: Vec<String>,
    pub(super) deadline: Instant,
    pub(super) ledger: Arc<dyn Ledger>,
}

impl Approved {
    /// Approval id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// True if this is what was approved.
    pub fn matches(&self, binding: &Binding) -> bool {
        self.binding == *binding
    }

    /// Uses the approval for what is about to run. If that is not what was approved, or the time
    /// is over, the approval is gone all the same.
    pub fn redeem(self, binding: &Binding) -> Result<Redeemed, RedeemError> {
        let refused = if !self.matches(binding) {
            RedeemError::OtherEffect
        } else if Instant::now() >= self.deadline {
            RedeemError::Expired
        } else {
            self.ledger.record_later(Event::ApprovalUsed(ApprovalUsed {
                approval: self.id.clone(),
                approved_by: self.by.clone(),
                binding: binding.hex(),
            }));
            return Ok(Redeemed {
                id: self.id,
                by: self.by,
            });
        };
        self.ledger
            .record_later(Event::ApprovalWithdrawn(ApprovalWithdrawn {
                approval: self.id,
                reason: refused.to_string(),
            }));
        Err(refused)
    }
}

impl std::fmt::Debug for Approved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approved")
            .field("id", &self.id)
            .field("binding", &self.binding)
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

/// Proof that an approval was used for what it was given for.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedeemError {
    /// Text, parameters, objects, schema or session differ.
    #[error(
        "what would run now is not what was approved: its objects or their schema have changed; send it again"
    )]
    OtherEffect,
    /// The time for it is over.
    #[error("the approval has expired; send the statement again")]
    Expired,
}
