//! The requester's side: waits for the answer, or takes the request back.

use std::{pin::pin, sync::Arc};

use crate::admin::ApprovalView;

use super::{
    outcome::ApprovalOutcome,
    store::{Approvals, Item, Status},
};

/// A held statement. Dropping it withdraws the request.
pub struct Held {
    store: Approvals,
    item: Arc<Item>,
}

impl Held {
    pub(super) fn new(store: Approvals, item: Arc<Item>) -> Self {
        Self { store, item }
    }

    /// Approval id.
    pub fn id(&self) -> &str {
        &self.item.id
    }

    /// The request as people see it now, for notices to the client.
    pub fn view(&self) -> ApprovalView {
        self.item.view()
    }

    /// Resolves when the request ends. Dropping the future and calling this again loses nothing;
    /// the proof of an approval comes once.
    pub async fn wait(&mut self) -> ApprovalOutcome {
        loop {
            let mut changed = pin!(self.item.changed.notified());
            // Listens from here on: a change after the look below is not missed.
            changed.as_mut().enable();
            if let Some(outcome) = self.item.take_outcome(&self.store.ledger) {
                return outcome;
            }
            changed.await;
        }
    }

    /// Takes the request back and says why, for the evidence.
    pub fn withdraw(self, reason: &str) {
        self.store.end(
            &self.item,
            Status::Withdrawn {
                reason: reason.to_owned(),
            },
        );
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.store.end(
            &self.item,
            Status::Withdrawn {
                reason: "its session stopped waiting".to_owned(),
            },
        );
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("id", &self.item.id)
            .finish_non_exhaustive()
    }
}
