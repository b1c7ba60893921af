//! The requester's side: waits for the answer, or takes the request back.

use std::{pin::pin, sync::Arc};

use crate::admin::ApprovalView;

use super::{
    item::{Item, Status},
    outcome::{ApprovalOutcome, Approved},
    store::Approvals,
};

/// A held statement. Dropping it withdraws the request, approved or not.
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

    /// Resolves when the request has been answered, or has ended. Dropping the future and calling
    /// this again loses nothing.
    pub async fn wait(&self) -> ApprovalOutcome {
        loop {
            let mut changed = pin!(self.item.changed.notified());
            // Listens from here on: a change after the look below is not missed.
            changed.as_mut().enable();
            if let Some(outcome) = self.item.outcome() {
                return outcome;
            }
            changed.await;
        }
    }

    /// What was approved, to be used once.
    pub fn approved(&self) -> Approved {
        Approved::new(self.store.clone(), Arc::clone(&self.item))
    }

    /// Takes the request back and says why, for the evidence.
    pub fn withdraw(self, reason: &str) {
        self.store.end(&self.item, Status::withdrawn(reason));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let reason = if self.item.is_approved() {
            "its session ended before the approved statement ran"
        } else {
            "its session stopped waiting"
        };
        self.store.end(&self.item, Status::withdrawn(reason));
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("id", &self.item.id)
            .finish_non_exhaustive()
    }
}
