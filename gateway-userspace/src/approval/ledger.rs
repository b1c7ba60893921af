//! Where the steps of an approval are put on record.

use std::pin::Pin;

use crate::audit::{AppendError, Durability, Event, Log};

/// The future of [`Ledger::record`].
pub type Recording<'a> = Pin<Box<dyn Future<Output = Result<(), AppendError>> + Send + 'a>>;

/// Puts the steps of an approval on record. The second implementation is the tests' fake.
pub trait Ledger: Send + Sync {
    /// Resolves once the event is on disk. What it stands for takes effect only then.
    fn record(&self, event: Event) -> Recording<'_>;

    /// Records in order, without waiting: for steps that only take something away.
    fn record_later(&self, event: Event);
}

impl Ledger for Log {
    fn record(&self, event: Event) -> Recording<'_> {
        Box::pin(async move {
            self.append(event, Durability::Synced)
                .await
                .map(|_receipt| ())
        })
    }

    fn record_later(&self, event: Event) {
        Self::record_later(self, event);
    }
}
