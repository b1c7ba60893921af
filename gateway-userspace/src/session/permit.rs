//! The proof that a decision is on record, and what becomes of the statement.

use std::{sync::Arc, time::Instant};

use super::limit::recorded;
use crate::{
    audit::{self, Event, Log, Receipt, StatementCompleted},
    policy::LimitReached,
};

/// Proof that a statement was decided and that the decision is on record. Not `Clone`; sending a
/// statement takes one, completing the statement consumes it. Dropping it records that the end
/// of the statement was never seen.
#[derive(Debug)]
pub struct Permit {
    log: Option<Arc<Log>>,
    session: Arc<str>,
    statement: u64,
    started: Instant,
    _receipt: Option<Receipt>,
}

/// How a statement ended, as the protocol saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How.
    pub kind: OutcomeKind,
    /// The server's command tag, for example `DELETE 3`.
    pub command: String,
    /// Rows sent to the client.
    pub rows: u64,
    /// Bytes of results sent to the client, without the headers of the messages.
    pub bytes: u64,
    /// Cells masked.
    pub cells: u64,
    /// SHA-256 of the results as the client saw them.
    pub digest: [u8; 32],
}

/// The kinds of end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    /// Ran to its end.
    Ok,
    /// The portal has more rows; it may be executed again.
    Suspended,
    /// The server reported this SQLSTATE.
    Error(String),
    /// It passed this limit, and was ended there.
    Limited(LimitReached),
    /// The server skipped it because of an earlier error in the pipeline.
    Skipped,
}

impl Permit {
    pub(super) fn new(
        log: &Arc<Log>,
        session: &Arc<str>,
        statement: u64,
        receipt: Receipt,
    ) -> Self {
        Self {
            log: Some(log.clone()),
            session: session.clone(),
            statement,
            started: Instant::now(),
            _receipt: Some(receipt),
        }
    }

    /// For a decision that runs nothing, so that there is no end to record.
    pub(super) fn inert(session: &Arc<str>, statement: u64, receipt: Receipt) -> Self {
        Self {
            log: None,
            session: session.clone(),
            statement,
            started: Instant::now(),
            _receipt: Some(receipt),
        }
    }

    /// The statement's number in its session.
    pub fn number(&self) -> u64 {
        self.statement
    }

    pub(super) fn complete(mut self, outcome: &Outcome) {
        let Some(log) = self.log.take() else { return };
        let kind = match &outcome.kind {
            OutcomeKind::Ok | OutcomeKind::Suspended => audit::Outcome::Ok,
            OutcomeKind::Error(sqlstate) if sqlstate == "57014" => audit::Outcome::Cancelled,
            OutcomeKind::Error(sqlstate) => audit::Outcome::Error {
                sqlstate: sqlstate.clone(),
            },
            OutcomeKind::Limited(reached) => audit::Outcome::Limited(recorded(reached)),
            OutcomeKind::Skipped => audit::Outcome::Abandoned,
        };
        log.record_later(Event::StatementCompleted(StatementCompleted {
            session: self.session.to_string(),
            statement: self.statement,
            rows: outcome.rows,
            bytes: outcome.bytes,
            cells_masked: outcome.cells,
            duration_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            outcome: kind,
            result_sha256: (outcome.bytes > 0).then(|| hex(&outcome.digest)),
        }));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(log) = self.log.take() {
            log.record_later(Event::StatementCompleted(StatementCompleted {
                session: self.session.to_string(),
                statement: self.statement,
                rows: 0,
                bytes: 0,
                cells_masked: 0,
                duration_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
                outcome: audit::Outcome::Abandoned,
                result_sha256: None,
            }));
        }
    }
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}
