//! The log's state: what is on file, what waits to be, and who waits for the disk.

use std::{io, sync::Arc, time::Instant};

use tokio::sync::oneshot;

use super::{
    clock,
    encode::Encoded,
    error::AppendError,
    segment::Segment,
    tree::{Hash, Tree, leaf_hash},
};

/// Where the log ends: the next index is the tree's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Leaf hash of the last entry.
    pub(super) previous: Hash,
    pub(super) tree: Tree,
}

impl Chain {
    pub(super) fn push(&mut self, leaf: Hash) {
        self.tree.push(leaf);
        self.previous = leaf;
    }

    /// Index of the next entry.
    pub(super) fn next(&self) -> u64 {
        self.tree.size()
    }
}

/// Somebody who waits until the entries below an index are on disk.
pub(super) struct Waiter {
    /// Entries that must be synced.
    pub(super) upto: u64,
    pub(super) done: oneshot::Sender<Result<(), AppendError>>,
}

/// Is sent the new public key, or why there is none.
pub(super) type Rotation = oneshot::Sender<Result<String, String>>;

/// Frames waiting for the next write are at most this many bytes.
const PENDING_BYTES: usize = 1024 * 1024;

/// Everything the log's lock guards.
pub(super) struct State {
    pub(super) segment: Segment,
    /// The log's end, entries in `pending` included.
    pub(super) chain: Chain,
    /// Frames that are sequenced but not written yet.
    pending: Vec<u8>,
    /// Frames that are written, and of which no sync has said yet that they are on disk.
    pub(super) unsynced: Vec<u8>,
    /// Bytes of the segment before them.
    pub(super) synced_length: u64,
    /// Entries on file.
    pub(super) written: u64,
    /// Entries on disk.
    pub(super) synced: u64,
    /// Entries under a signed checkpoint.
    pub(super) signed: u64,
    pub(super) waiters: Vec<Waiter>,
    /// Somebody who wants another key to sign.
    pub(super) rotation: Option<Rotation>,
    /// The last write failed with this.
    pub(super) unwritable: Option<Arc<str>>,
    /// A sync failed: nothing can be promised until the segment is written anew.
    pub(super) broken: Option<Arc<str>>,
    /// A thread failed while it held the lock: what is here may be half an entry.
    pub(super) unsound: bool,
    /// Events that could not be kept while the log was unwritable.
    pub(super) lost: u64,
    pub(super) closed: bool,
    /// When the last entry was sequenced.
    pub(super) last_entry: Instant,
}

/// A sequenced entry.
pub(super) struct Stamp {
    pub(super) index: u64,
    pub(super) leaf: Hash,
}

impl State {
    pub(super) fn new(segment: Segment, chain: Chain) -> Self {
        let written = chain.next();
        Self {
            synced_length: segment.length,
            segment,
            unsynced: Vec::new(),
            chain,
            pending: Vec::new(),
            written,
            synced: written,
            signed: 0,
            waiters: Vec::new(),
            rotation: None,
            unwritable: None,
            broken: None,
            unsound: false,
            lost: 0,
            closed: false,
            last_entry: Instant::now(),
        }
    }

    fn ready(&self) -> Result<(), AppendError> {
        match &self.broken {
            Some(reason) => Err(AppendError::Sync(Arc::clone(reason))),
            None if self.closed => Err(AppendError::Closed),
            None => Ok(()),
        }
    }

    /// Sequences an entry and writes it, with what was pending before it. If that fails, the
    /// entry has never been; what was pending still is.
    pub(super) fn append(&mut self, encoded: &Encoded) -> Result<Stamp, AppendError> {
        self.ready()?;
        let before = self.pending.len();
        let stamp = self.stamp(encoded);
        if let Err(error) = self.segment.write(&self.pending) {
            self.pending.truncate(before);
            return Err(self.failed(&error));
        }
        self.chain.push(stamp.leaf);
        self.wrote();
        Ok(stamp)
    }

    /// Sequences an entry to go out with the next write. False if it had to be dropped.
    pub(super) fn enqueue(&mut self, encoded: &Encoded) -> bool {
        if self.closed || self.unsound {
            return false;
        }
        if self.pending.len() > PENDING_BYTES / 2
            && (self.broken.is_some() || self.flush().is_err())
            && self.pending.len() > PENDING_BYTES
        {
            return false;
        }
        let stamp = self.stamp(encoded);
        self.chain.push(stamp.leaf);
        true
    }

    /// Writes what is pending.
    pub(super) fn flush(&mut self) -> Result<(), AppendError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        match self.segment.write(&self.pending) {
            Ok(()) => {
                self.wrote();
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn stamp(&mut self, encoded: &Encoded) -> Stamp {
        let index = self.chain.next();
        let place = encoded.frame(
            &mut self.pending,
            &self.chain.previous,
            index,
            clock::wall_micros(),
            clock::boot_ns(),
        );
        self.last_entry = Instant::now();
        Stamp {
            index,
            leaf: leaf_hash(self.pending.get(place).unwrap_or_default()),
        }
    }

    fn wrote(&mut self) {
        self.unsynced.extend_from_slice(&self.pending);
        self.pending.clear();
        // One burst of long entries must not hold its memory for ever.
        self.pending.shrink_to(PENDING_BYTES / 8);
        self.written = self.chain.next();
        self.unwritable = None;
    }

    fn failed(&mut self, error: &io::Error) -> AppendError {
        let reason: Arc<str> = Arc::from(error.to_string());
        if self.unwritable.is_none() {
            tracing::error!(%error, "the evidence cannot be written; traffic stops until it can");
        }
        self.unwritable = Some(Arc::clone(&reason));
        AppendError::Write(reason)
    }

    /// Ends everybody's wait with an error: a sync failed.
    pub(super) fn break_off(&mut self, error: &io::Error) {
        let reason: Arc<str> = Arc::from(error.to_string());
        tracing::error!(%error, "the evidence cannot be synced; traffic stops until it is written anew");
        self.broken = Some(Arc::clone(&reason));
        for waiter in self.waiters.drain(..) {
            // Whoever stopped waiting needs no answer.
            let _ = waiter
                .done
                .send(Err(AppendError::Sync(Arc::clone(&reason))));
        }
    }

    /// Ends the wait of those whose entries are on disk.
    pub(super) fn synced_upto(&mut self, size: u64) {
        self.synced = self.synced.max(size);
        let (done, waiting) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|w| w.upto <= self.synced);
        self.waiters = waiting;
        let done: Vec<Waiter> = done;
        for waiter in done {
            let _ = waiter.done.send(Ok(()));
        }
    }
}
