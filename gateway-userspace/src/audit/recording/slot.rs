//! A session's side: a buffer that the writer thread takes away.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::{
    message::{
        BODY_BYTES, Direction, RECORD_HEADER, WITHHELD, Withheld, put_header, withheld_body,
    },
    writer::{Shared, Written},
};
use crate::audit::clock;

/// A session waits for the writer above this many bytes of its own.
const SESSION_BYTES: usize = 256 * 1024;
/// The writer is woken before its time above this many.
const WAKE_BYTES: usize = 64 * 1024;

/// What a session and the writer share.
pub(super) struct Slot {
    pub(super) session: Arc<str>,
    /// When the recording began: microseconds since 1970, and nanoseconds since boot.
    pub(super) started: (u64, u64),
    pub(super) open: Mutex<Open>,
    /// No message will follow.
    pub(super) ended: AtomicBool,
    pub(super) written: Mutex<Written>,
}

/// What the slot's lock guards; the session holds it for a copy, the writer to take the buffer.
#[derive(Default)]
pub(super) struct Open {
    pub(super) buffer: Vec<u8>,
    /// It is in the writer's list.
    pub(super) listed: bool,
    /// The session waits for room.
    pub(super) waker: Option<Waker>,
}

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records one session's messages. Nothing that it was given is lost while the daemon lives: if it
/// cannot be written, it waits, and [`Recording::poll_room`] makes the session wait.
pub struct Recording {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
    began: Instant,
    full: bool,
}

impl Recording {
    pub(super) fn new(shared: &Arc<Shared>, session: &Arc<str>) -> Self {
        Self {
            slot: Arc::new(Slot {
                session: session.clone(),
                started: (clock::wall_micros(), clock::boot_ns()),
                open: Mutex::default(),
                ended: AtomicBool::new(false),
                written: Mutex::default(),
            }),
            shared: shared.clone(),
            began: Instant::now(),
            full: false,
        }
    }

    /// Time of a message that is seen now, in microseconds since the beginning.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Adds messages: `put` is given the place for them. One lock for all of them.
    pub fn add(&mut self, put: impl FnOnce(&mut Batch<'_>)) {
        let mut open = self.slot.lock();
        let before = open.buffer.len();
        put(&mut Batch(&mut open.buffer));
        let after = open.buffer.len();
        if after == before {
            return;
        }
        let listed = std::mem::replace(&mut open.listed, true);
        drop(open);
        let pending = self.shared.added(after - before);
        if !listed {
            self.shared.list(&self.slot);
        }
        if before < WAKE_BYTES && after >= WAKE_BYTES {
            self.shared.hurry();
        }
        self.full = after >= SESSION_BYTES || pending;
    }

    /// True if the session must ask [`Recording::poll_room`] before it goes on.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Ready once the writer has caught up.
    pub fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.full {
            let mut open = self.slot.lock();
            if open.buffer.len() >= SESSION_BYTES || self.shared.is_full() {
                open.waker = Some(cx.waker().clone());
                if !std::mem::replace(&mut open.listed, true) {
                    // The writer wakes those that are in its list.
                    drop(open);
                    self.shared.list(&self.slot);
                }
                return Poll::Pending;
            }
            self.full = false;
        }
        Poll::Ready(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.slot.ended.store(true, Ordering::Release);
        let listed = std::mem::replace(&mut self.slot.lock().listed, true);
        if !listed {
            self.shared.list(&self.slot);
        }
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording")
            .field("session", &self.slot.session)
            .finish_non_exhaustive()
    }
}

/// Where messages are added.
pub struct Batch<'a>(&'a mut Vec<u8>);

impl Batch<'_> {
    /// A message with its body, which is at most [`Batch::LONGEST`] bytes long.
    pub fn message(&mut self, direction: Direction, tag: u8, time_us: u64, body: &[u8]) {
        if body.len() > Self::LONGEST {
            let bytes = body.len() as u64;
            return self.withheld(direction, tag, time_us, Withheld { messages: 1, bytes });
        }
        self.0.reserve(RECORD_HEADER + body.len());
        put_header(self.0, direction.code(), tag, 0, time_us, body.len());
        self.0.extend_from_slice(body);
    }

    /// Messages whose contents are not kept.
    pub fn withheld(&mut self, direction: Direction, tag: u8, time_us: u64, withheld: Withheld) {
        let body = withheld_body(withheld);
        put_header(self.0, direction.code(), tag, WITHHELD, time_us, body.len());
        self.0.extend_from_slice(&body);
    }

    /// Longest body that is kept, in bytes.
    pub const LONGEST: usize = BODY_BYTES;
}
