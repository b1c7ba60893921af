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

    /// The planner's guess of the rows that it would touch.
    pub fn estimated(&self, rows: u64) {
        self.store.estimated(&self.item, rows);
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

/// A request that nobody waits for on a connection: its statement was refused, and may be sent
/// again when it is approved. Dropping this changes nothing.
pub struct Waiting {
    store: Approvals,
    item: Arc<Item>,
}

impl Waiting {
    pub(super) fn new(store: Approvals, item: Arc<Item>) -> Self {
        Self { store, item }
    }

    /// Approval id.
    pub fn id(&self) -> &str {
        &self.item.id
    }

    /// The request as people see it now.
    pub fn view(&self) -> ApprovalView {
        self.item.view()
    }

    /// True as long as no guess is known.
    pub fn lacks_estimate(&self) -> bool {
        self.item.lock().estimated_rows.is_none()
    }

    /// The planner's guess of the rows that it would touch.
    pub fn estimated(&self, rows: u64) {
        self.store.estimated(&self.item, rows);
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("id", &self.item.id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("id", &self.item.id)
            .finish_non_exhaustive()
    }
}
