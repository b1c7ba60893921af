//! One session's task: both sockets, their buffers, and the tables of names.
//!
//! A single task owns everything, so nothing on the path of a statement is locked or sent
//! through a channel. `process_server` turns the server's messages into the client's;
//! `handle_client` does the reverse; `pump` waits for either side.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    cancel::CancelTarget,
    close::Close,
    guard::Guarding,
    limit::{Canceller, Enforcement},
    names::InternalError,
    recording::Tap,
    reply::{Expected, Portal, Prepared},
    wire::{Framing, Report, put_flush, put_parameter_status, put_report, put_terminate},
};
use crate::{session::Session, transport::Channel};

/// Above this many unsent bytes a side is not given more, in bytes.
pub(super) const HIGH_WATER: usize = 256 * 1024;
/// Longest message buffered from a client, in bytes: a Bind with large parameters.
pub(super) const MAX_CLIENT_MESSAGE: usize = 64 * 1024 * 1024;
/// How often a half-closed client is looked at.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Longest row buffered for masking, in bytes; unmasked rows stream whatever their size.
pub(super) const MAX_MASKED_ROW: usize = 64 * 1024 * 1024;

/// A message body that is passed on as it arrives, without waiting for its end.
#[derive(Debug, Default)]
pub(super) struct Relay {
    /// Bytes still to come.
    pub rest: usize,
    /// They go nowhere.
    pub swallow: bool,
}

/// One client connection and its server connection.
pub struct Connection {
    pub(super) client: Channel,
    pub(super) server: Channel,
    pub(super) session: Session,
    pub(super) expected: VecDeque<Expected>,
    pub(super) statements: HashMap<Vec<u8>, Arc<Prepared>>,
    pub(super) portals: HashMap<Vec<u8>, Arc<Portal>>,
    /// Transaction status of the last ReadyForQuery: `I`, `T` or `E`.
    pub(super) status: u8,
    /// Messages have gone to the server since the last Sync.
    pub(super) pipeline_open: bool,
    /// An error ended the client's pipeline: ignore its messages until Sync.
    pub(super) skip_until_sync: bool,
    /// A statement in flight may change how the next one is read.
    pub(super) barrier: bool,
    /// The server receives COPY data.
    pub(super) copy_in: bool,
    /// Syncs that were on their way when it began to: it ignores them, unless the COPY fails before
    /// the first of its data is read.
    pub(super) ignored_syncs: usize,
    /// Rest of a large server message on its way to the client.
    pub(super) to_client: Relay,
    /// Rest of a large CopyData on its way to the server.
    pub(super) to_server: Relay,
    /// Bytes of an oversized client message still to be thrown away.
    pub(super) discard: usize,
    /// Rows of the gateway's own query in progress.
    pub(super) internal: Vec<Vec<Vec<Option<String>>>>,
    /// The gateway's own query failed.
    pub(super) internal_error: Option<InternalError>,
    /// A query of the gateway's own has failed: its names may still exist at the server.
    pub(super) internal_left: bool,
    /// Where cancel requests for this session arrive.
    pub(super) cancel: Arc<CancelTarget>,
    /// Resolves when the job ends, with the reason.
    pub(super) ended: Pin<Box<dyn Future<Output = String> + Send>>,
    /// The job has ended; its future must not be polled again.
    pub(super) has_ended: bool,
    /// A half-closed client has been probed.
    pub(super) probed: bool,
    /// The server has been asked for what a half-closed client's last pipeline gave.
    flushed: bool,
    /// The server reported an error since a statement of a Query set this to `false`.
    pub(super) failed_in_query: bool,
    /// Limits that are being enforced.
    pub(super) limits: Enforcement,
    /// The query that stands before statements.
    pub(super) guard: Guarding,
    /// Records what the client sends and sees.
    tap: Option<Tap>,
}

impl Connection {
    /// A session that is about to be told that it is ready.
    pub fn new(
        client: Channel,
        server: Channel,
        session: Session,
        cancel: Arc<CancelTarget>,
        canceller: Canceller,
        ended: Pin<Box<dyn Future<Output = String> + Send>>,
    ) -> Self {
        let mut tap = session
            .start_recording()
            .map(|(recording, retention)| Tap::new(recording, retention));
        if let Some(tap) = &mut tap {
            // What came right behind the start-up.
            tap.arrived(&client.rx, session.withholds_results());
        }
        Self {
            client,
            server,
            session,
            expected: VecDeque::new(),
            statements: HashMap::new(),
            portals: HashMap::new(),
            status: b'I',
            pipeline_open: false,
            skip_until_sync: false,
            barrier: false,
            copy_in: false,
            ignored_syncs: 0,
            to_client: Relay::default(),
            to_server: Relay::default(),
            discard: 0,
            internal: Vec::new(),
            internal_error: None,
            internal_left: false,
            cancel,
            ended,
            has_ended: false,
            probed: false,
            flushed: false,
            failed_in_query: false,
            limits: Enforcement::new(canceller),
            guard: Guarding::default(),
            tap,
        }
    }

    /// Serves the session to its end.
    ///
    /// The last value is true if the server may still be running something.
    pub async fn serve(mut self: Box<Self>) -> (Close, Session, bool) {
        let close = match self.run().await {
            Ok(never) => match never {},
            Err(close) => close,
        };
        Box::pin(self.end(close)).await
    }

    async fn end(mut self: Box<Self>, close: Close) -> (Close, Session, bool) {
        if let Some(farewell) = close.farewell()
            && !self.inside_message()
        {
            let report = Report {
                severity: "FATAL",
                code: farewell.code,
                message: &farewell.message,
                detail: farewell.detail.as_deref(),
                hint: farewell.hint.as_deref(),
                position: None,
            };
            put_report(&mut self.client.tx, b'E', &report);
        }
        self.record_unsent();
        let busy = self
            .expected
            .iter()
            .any(|e| matches!(e, Expected::Execute(_)));
        let Self {
            mut client,
            mut server,
            session,
            expected,
            ..
        } = *self;
        // Permits that never completed record themselves as abandoned.
        drop(expected);
        // A client that does not read its farewell must not delay the end of the server's side.
        tokio::spawn(async move { client.close().await });
        server.tx.clear();
        put_terminate(&mut server.tx);
        server.close().await;
        (close, session, busy)
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, Close> {
        Box::pin(self.load_names()).await?;
        loop {
            self.process_server()?;
            while self.server.tx.len() < HIGH_WATER {
                if !self.step_client().await? {
                    break;
                }
                self.process_server()?;
            }
            if self.expected.is_empty() {
                self.past_repeat().await?;
            }
            if self.client.is_eof() {
                if self.expected.is_empty() {
                    return Err(Close::Client(std::io::ErrorKind::UnexpectedEof.into()));
                }
                if self.pipeline_open && !std::mem::replace(&mut self.flushed, true) {
                    // No Sync will come, and the server keeps its answers until one does.
                    put_flush(&mut self.server.tx);
                }
            }
            if self.expected.is_empty() {
                self.client.release_idle();
                self.server.release_idle();
            }
            self.pump().await?;
        }
    }

    /// Handles the client's next message, if it is there. `false`: nothing to do yet.
    async fn step_client(&mut self) -> Result<bool, Close> {
        if self.discard > 0 {
            let now = self.discard.min(self.client.rx.len());
            drop(self.client.rx.split_to(now));
            self.discard -= now;
            return Ok(now > 0);
        }
        if self.to_server.rest > 0 || self.copy_in {
            return self.step_copy();
        }
        match super::wire::framing(&self.client.rx) {
            // Some drivers send the data before they have been asked for it.
            Framing::Complete {
                tag: b'd' | b'c' | b'f',
                ..
            }
            | Framing::Partial {
                tag: b'd' | b'f', ..
            } if self.copy_is_coming() => Ok(false),
            Framing::Complete { tag, len } => {
                let frame = self.client.rx.split_to(len).freeze();
                if self.expected.is_empty() && !self.pipeline_open {
                    self.cancel.forget();
                }
                self.handle_client(tag, &frame).await?;
                Ok(true)
            }
            Framing::Partial { tag, len } if len > MAX_CLIENT_MESSAGE => {
                self.discard = len;
                Box::pin(self.refuse_oversized(tag, len)).await?;
                Ok(true)
            }
            Framing::Partial { .. } | Framing::Incomplete => Ok(false),
            Framing::Malformed => Err(Close::protocol("invalid message length")),
        }
    }

    fn copy_is_coming(&self) -> bool {
        self.expected
            .iter()
            .any(|expected| matches!(expected, Expected::Execute(running) if running.copies_in))
    }

    /// Waits until either side has something new, writing what can be written meanwhile.
    pub(super) async fn pump(&mut self) -> Result<(), Close> {
        if !self.client.is_eof() {
            return std::future::poll_fn(|cx| self.poll_pump(cx)).await;
        }
        // Half-closed: the client may still wait for what it asked for. One that is gone answers
        // the probe with a reset.
        let gone = || Close::Client(std::io::ErrorKind::UnexpectedEof.into());
        if self.client.stream().is_tls() || self.lacks_data() {
            return Err(gone());
        }
        if !self.inside_message() && !std::mem::replace(&mut self.probed, true) {
            put_parameter_status(&mut self.client.tx, b"integer_datetimes", b"on");
        }
        let pumped = std::future::poll_fn(|cx| self.poll_pump(cx));
        match tokio::time::timeout(PROBE_EVERY, pumped).await {
            Ok(outcome) => outcome?,
            Err(_elapsed) => {}
        }
        match self.client.take_error() {
            None => Ok(()),
            Some(error) => Err(Close::Client(error)),
        }
    }

    /// The client has the beginning of a message whose rest is still to come: whatever else it were
    /// sent, it would take for that.
    fn inside_message(&self) -> bool {
        self.to_client.rest > 0 && !self.to_client.swallow
    }

    /// The server waits for COPY data of a client that will send no more.
    fn lacks_data(&self) -> bool {
        let rest = self.to_server.rest;
        if rest > 0 {
            return self.client.rx.is_empty();
        }
        self.copy_in
            && !matches!(
                super::wire::framing(&self.client.rx),
                Framing::Complete { .. }
            )
    }

    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Close>> {
        if !self.has_ended
            && let Poll::Ready(reason) = self.ended.as_mut().poll(cx)
        {
            self.has_ended = true;
            return Poll::Ready(Err(Close::Fatal {
                code: "57P01",
                message: reason,
            }));
        }
        if let Some(tap) = &mut self.tap
            && tap.recording().poll_room(cx).is_pending()
        {
            // What cannot be recorded does not pass; clocks go on, and what the server waits for
            // still may.
            let limited = self.poll_limits(cx)?;
            if self.server.wants_drain()
                && let Poll::Ready(outcome) = self.server.poll_drain(cx)
            {
                return Poll::Ready(outcome.map_err(Close::Server));
            }
            return if limited {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        }
        let server_was_high = self.server.tx.len() >= HIGH_WATER;
        let client_was_high = self.client.tx.len() >= HIGH_WATER;
        if self.server.wants_drain()
            && let Poll::Ready(outcome) = self.server.poll_drain(cx)
        {
            outcome.map_err(Close::Server)?;
        }
        if self.client.wants_drain() {
            self.record_unsent();
            let drained = self.client.poll_drain(cx);
            if let Some(tap) = &mut self.tap {
                tap.sent(self.client.tx.len());
            }
            if let Poll::Ready(outcome) = drained {
                outcome.map_err(Close::Client)?;
                if self.expected.is_empty() {
                    self.client.release_large();
                }
            }
        }
        let limited = self.poll_limits(cx)?;
        let mut progress = limited
            || (server_was_high && self.server.tx.len() < HIGH_WATER)
            || (client_was_high && self.client.tx.len() < HIGH_WATER);
        if self.client.tx.len() < HIGH_WATER
            && self.server.rx.len() < HIGH_WATER.max(self.server_wants())
            && let Poll::Ready(outcome) = self.server.poll_fill(cx)
        {
            if outcome.map_err(Close::Server)? == 0 {
                return Poll::Ready(Err(Close::Server(std::io::ErrorKind::UnexpectedEof.into())));
            }
            progress = true;
        }
        if !self.client.is_eof()
            && self.server.tx.len() < HIGH_WATER
            && self.client.rx.len() < HIGH_WATER.max(self.client_wants())
            && let Poll::Ready(outcome) = self.client.poll_fill(cx)
        {
            // The end of the client's sending side is a change too.
            let read = outcome.map_err(Close::Client)?;
            if let Some(tap) = &mut self.tap {
                let before = self.client.rx.len() - read;
                let new = self.client.rx.get(before..).unwrap_or_default();
                tap.arrived(new, self.session.withholds_results());
            }
            progress = true;
        }
        if progress {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Records what is about to be sent to the client.
    fn record_unsent(&mut self) {
        if let Some(tap) = &mut self.tap {
            tap.leaves(&self.client.tx, self.session.withholds_results());
        }
    }

    /// Length of the client message that is being received.
    fn client_wants(&self) -> usize {
        match super::wire::framing(&self.client.rx) {
            Framing::Complete { len, .. } | Framing::Partial { len, .. } => {
                len.min(MAX_CLIENT_MESSAGE) + 1
            }
            Framing::Incomplete | Framing::Malformed => 0,
        }
    }

    fn server_wants(&self) -> usize {
        match super::wire::framing(&self.server.rx) {
            Framing::Complete { len, .. } | Framing::Partial { len, .. } => {
                len.min(MAX_MASKED_ROW) + 1
            }
            Framing::Incomplete | Framing::Malformed => 0,
        }
    }

    /// Waits until the server has answered everything sent so far.
    pub(super) async fn settle(&mut self) -> Result<(), Close> {
        if !self.expected.is_empty() || self.limits.is_cancelling() {
            if !matches!(self.expected.back(), None | Some(Expected::Ready { .. })) {
                put_flush(&mut self.server.tx);
            }
            self.process_server()?;
            while !self.expected.is_empty() || self.limits.is_cancelling() {
                while self.copy_in && self.server.tx.len() < HIGH_WATER && self.step_copy()? {}
                self.pump().await?;
                self.process_server()?;
            }
        }
        self.barrier = false;
        Ok(())
    }
}
