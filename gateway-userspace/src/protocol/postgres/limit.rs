//! Limits at work: a statement that passes one is ended for its client at once, and cancelled at
//! the server.
//!
//! What the server still sends of it is swallowed until it has ended there too. A cancel request
//! names a backend, not a statement, and comes over a connection of its own: nothing new goes
//! upstream until the server has closed that connection, so that it cannot meet the next
//! statement. For the same reason nothing is sent behind a statement that may be cut off but the
//! Sync that ends it, and that only where it commits no change.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    backend::BackendError,
    close::Close,
    connection::Connection,
    refuse::put_refusal,
    reply::{Expected, Running},
    wire::{put_bind_empty, put_cstr, put_message},
};
use crate::session::{LimitReached, Understood, Volume};

/// A cancel request on its way; ends when the server has passed it on.
pub type Cancelling = Pin<Box<dyn Future<Output = Result<(), BackendError>> + Send>>;
/// Asks the server to cancel what the session runs.
pub type Canceller = Box<dyn Fn() -> Cancelling + Send>;

/// What the limits of a session have under way.
pub(super) struct Enforcement {
    canceller: Canceller,
    /// What runs at the server is to be cancelled.
    cancel_due: bool,
    cancelling: Option<Cancelling>,
    /// The statement's time is over: an error 57014 is this limit's doing.
    overdue: Option<LimitReached>,
    /// The client has been told of an error, and is told of no other before ReadyForQuery.
    pub(super) told: bool,
    /// The server met no error where the client was told of one.
    fail_at_ready: bool,
    /// What was sent since the last Sync changes something.
    changes: bool,
    /// Since when the statement in front runs.
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Enforcement {
    pub(super) fn new(canceller: Canceller) -> Self {
        Self {
            canceller,
            cancel_due: false,
            cancelling: None,
            overdue: None,
            told: false,
            fail_at_ready: false,
            changes: false,
            since: None,
            alarm: None,
        }
    }

    /// A cancel request is on its way: it would meet whatever is sent now.
    pub(super) fn is_cancelling(&self) -> bool {
        self.cancelling.is_some()
    }

    /// The statement in front has ended: what is not cancelled yet need not be.
    pub(super) fn statement_ended(&mut self) {
        self.cancel_due = false;
        self.since = None;
    }

    /// The limit behind the server's error, if it is the doing of one.
    pub(super) fn overdue(&mut self, sqlstate: &str) -> Option<LimitReached> {
        if sqlstate == "57014" {
            self.overdue.take()
        } else {
            None
        }
    }

    /// A Sync is being sent.
    pub(super) fn synced(&mut self) {
        self.changes = false;
    }
}

/// Ends COPY data in binary format. No row looks like it, in any format.
const COPY_TRAILER: &[u8] = &[0xff, 0xff];

impl Running {
    /// As [`Running::count`], for a message of COPY data: a row, but for the header line and the end
    /// of the binary format.
    pub(super) fn count_copied(&mut self, data: &[u8]) -> Result<(), LimitReached> {
        let row = !std::mem::take(&mut self.header) && data != COPY_TRAILER;
        self.count(u64::from(row), data.len())
    }

    /// As [`Running::count`], for a row or COPY data of which only the length is known yet.
    pub(super) fn count_partial(&mut self, tag: u8, bytes: usize) -> Result<(), LimitReached> {
        let header = tag == b'd' && std::mem::take(&mut self.header);
        self.count(u64::from(!header), bytes)
    }

    /// Counts a message of the result, unless it would pass a limit: then that one.
    pub(super) fn count(&mut self, rows: u64, bytes: usize) -> Result<(), LimitReached> {
        let volume = Volume {
            rows: self.rows + rows,
            bytes: self.bytes + bytes as u64,
        };
        if !self.allowance.admits(volume)
            && let Some(reached) = self.allowance.passed(volume)
        {
            return Err(reached.clone());
        }
        self.rows = volume.rows;
        self.bytes = volume.bytes;
        Ok(())
    }
}

impl Connection {
    /// Waits, before a message of the client's is handled, for what it must not overtake.
    pub(super) async fn past_limits(&mut self) -> Result<(), Close> {
        let behind_sync = !self.pipeline_open && !self.expected.is_empty();
        if self.limits.is_cancelling() || (behind_sync && self.session.may_cancel()) {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits, before the client's Sync, for a statement that may be cut off after it has changed
    /// something: it must not commit. `false`: it was, or failed.
    pub(super) async fn past_commit(&mut self) -> Result<bool, Close> {
        let cuttable = matches!(
            self.expected.back(),
            Some(Expected::Execute(running)) if running.cuttable
        );
        if !cuttable || !self.limits.changes || self.status != b'I' {
            return Ok(true);
        }
        self.failed_in_query = false;
        self.settle().await?;
        Ok(!self.failed_in_query)
    }

    /// Sets the limits of a statement that is about to be sent.
    pub(super) fn limit(&mut self, running: &mut Running, understood: &Understood) {
        let before = running
            .portal
            .as_ref()
            .map_or_else(Volume::default, |portal| portal.returned());
        running.allowance = self.session.allowance(before);
        running.cuttable = understood.may_return_rows() && running.allowance.is_limited();
        running.header = running.cuttable
            && matches!(understood.copy_format(), Some(Ok(format)) if format.has_header());
        self.barrier |= running.cuttable;
        self.limits.changes |= !understood.only_reads();
    }

    /// Ends the statement in front for its client: it has passed a limit.
    pub(super) fn cut(&mut self, reached: LimitReached) {
        let Some(Expected::Execute(running)) = self.expected.front_mut() else {
            return;
        };
        let refusal = self.session.limited(running.permit.number(), &reached);
        running.limited = Some(reached);
        put_refusal(&mut self.client.tx, &refusal);
        self.failed_in_query = true;
        self.limits.told = true;
        self.limits.cancel_due = true;
    }

    /// The statement that was cut off came to its end at the server: its transaction must fail
    /// there all the same.
    pub(super) fn fail_transaction(&mut self) {
        if matches!(self.expected.front(), Some(Expected::Ready { .. })) {
            self.limits.fail_at_ready = true;
        } else {
            self.provoke();
        }
    }

    /// Has the server fail, without a word to the client.
    fn provoke(&mut self) {
        put_bind_empty(&mut self.server.tx, b"", b"cordon cut off a statement");
        self.expected.push_back(Expected::Failure);
        self.pipeline_open = true;
    }

    /// ReadyForQuery has come. `true`: the client gets another one, of the failed transaction.
    pub(super) fn failed_behind(&mut self, status: u8) -> bool {
        if self.limits.cancelling.is_none() {
            self.limits.overdue = None;
        }
        if std::mem::take(&mut self.limits.fail_at_ready) && status == b'T' {
            self.provoke();
            self.sync(true);
            return true;
        }
        self.limits.told = false;
        false
    }

    /// Lets cancel requests and clocks go on. `true`: something has changed.
    pub(super) fn poll_limits(&mut self, cx: &mut Context<'_>) -> Result<bool, Close> {
        self.poll_clocks(cx)?;
        if self.limits.cancel_due && self.limits.cancelling.is_none() {
            self.limits.cancel_due = false;
            self.limits.cancelling = Some((self.limits.canceller)());
        }
        let Some(cancelling) = &mut self.limits.cancelling else {
            return Ok(false);
        };
        let Poll::Ready(outcome) = cancelling.as_mut().poll(cx) else {
            return Ok(false);
        };
        self.limits.cancelling = None;
        if self.expected.is_empty() {
            self.limits.overdue = None;
        }
        match outcome {
            Ok(()) => Ok(true),
            // Whatever runs on is ended with the connection.
            Err(error) => Err(Close::Upstream(format!(
                "a statement that passed a limit cannot be cancelled: {error}"
            ))),
        }
    }

    /// Looks whether the statement's or the session's time is over, and is woken when it will be.
    fn poll_clocks(&mut self, cx: &mut Context<'_>) -> Result<(), Close> {
        let session = self.session.end().map(Instant::from_std);
        let statement = self.session.statement_time();
        if session.is_none() && statement.is_none() {
            self.limits.alarm = None;
            return Ok(());
        }
        let runs = match self.expected.front() {
            None
            | Some(Expected::Internal {
                for_client: false, ..
            }) => false,
            Some(_) => true,
        };
        let limits = &mut self.limits;
        loop {
            let now = Instant::now();
            if runs {
                limits.since.get_or_insert(now);
            } else {
                limits.since = None;
            }
            let mut next = None;
            if let Some(end) = session {
                if now < end {
                    next = Some(end);
                } else if let Some(refusal) = self.session.over() {
                    return Err(Close::Limit(Box::new(refusal)));
                }
            }
            if let Some(most) = statement
                && let Some(since) = limits.since
                && limits.overdue.is_none()
                && !limits.told
            {
                let end = since + most;
                if now >= end {
                    limits.overdue = self.session.overdue();
                    limits.cancel_due = true;
                    if self.copy_in && self.to_server.rest == 0 {
                        // A server that waits for COPY data hears no cancel request.
                        put_message(&mut self.server.tx, b'f', |out| {
                            put_cstr(out, b"the statement ran too long");
                        });
                    }
                } else {
                    next = Some(next.map_or(end, |next: Instant| next.min(end)));
                }
            }
            let Some(next) = next else {
                return Ok(());
            };
            // One that rings too early is set anew then: cheaper than at each statement.
            let alarm = limits
                .alarm
                .get_or_insert_with(|| Box::pin(sleep_until(next)));
            if alarm.is_elapsed() || alarm.deadline() > next {
                alarm.as_mut().reset(next);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
        }
    }
}
