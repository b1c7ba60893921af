//! The writer's side of the log.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    blobs::Blobs,
    encode::{Encoded, encode},
    error::{AppendError, OpenError},
    event::{Event, LogClosed},
    layout::Layout,
    log_keys::{FileLogKeys, LogKeys},
    recover::{Recovery, recover},
    state::{State, Waiter},
};

/// What "on record" means for ordinary statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fsync {
    /// On disk: every append waits for a sync, shared by concurrent sessions.
    #[default]
    Always,
    /// With the kernel, and on disk within a second; only [`Durability::Synced`] waits.
    Risky,
}

/// How long an append waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// As [`Fsync`] says: for decisions.
    Now,
    /// On disk, whatever [`Fsync`] says: for held, approved and writing statements.
    Synced,
    /// Written, never waiting for the disk: for what nothing depends on.
    Lazy,
}

/// Which log to open, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Its folder; created if missing.
    pub dir: PathBuf,
    /// What an append waits for.
    pub fsync: Fsync,
    /// Host name; part of the log's origin, so it must not change.
    pub host: String,
    /// Digest of the policy in force, hex, if one is loaded already.
    pub policy: Option<String>,
    /// Sign with a new key from this opening on; the old one vouches for it.
    pub rotate_key: bool,
    /// Who signs.
    pub keys: Arc<dyn LogKeys>,
    /// Sizes and intervals.
    pub tuning: Tuning,
}

impl LogConfig {
    /// A log with the usual sizes and intervals, whose keys are in files ([`FileLogKeys::of`]).
    pub fn new(dir: impl Into<PathBuf>, fsync: Fsync, host: impl Into<String>) -> Self {
        let dir = dir.into();
        Self {
            keys: Arc::new(FileLogKeys::of(&dir)),
            dir,
            fsync,
            host: host.into(),
            policy: None,
            rotate_key: false,
            tuning: Tuning::default(),
        }
    }
}

/// Sizes and intervals; the defaults are meant for production.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// A segment that has grown beyond this is followed by a new one.
    pub segment_bytes: u64,
    /// News are synced and signed at least this often.
    pub checkpoint_every: Duration,
    /// And after this many entries.
    pub checkpoint_entries: u64,
    /// A sign of life after this long without an entry.
    pub heartbeat: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            checkpoint_every: Duration::from_secs(1),
            checkpoint_entries: 8_192,
            heartbeat: Duration::from_mins(1),
        }
    }
}

/// Proof that an event is on record. Only an append makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    index: u64,
    leaf: [u8; 32],
}

impl Receipt {
    /// The entry's index in the log.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The entry's hash in the Merkle tree.
    pub fn leaf_hash(&self) -> &[u8; 32] {
        &self.leaf
    }
}

/// The log of one host, open for appending. One process holds it at a time.
pub struct Log {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What the log's handle and its committer thread share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Wakes the committer.
    pub(super) wake: Condvar,
    pub(super) fsync: Fsync,
    pub(super) tuning: Tuning,
    pub(super) layout: Layout,
    blobs: Blobs,
    pub(super) stop: std::sync::atomic::AtomicBool,
    /// Checkpoints of fewer entries can go; 0: none.
    pub(super) forget_before: std::sync::atomic::AtomicU64,
    /// Makes the next syncs fail.
    #[cfg(test)]
    pub(super) fail_syncs: std::sync::atomic::AtomicBool,
}

impl Shared {
    /// The state; a thread that panicked while it held the lock leaves it broken rather than
    /// unlocked with half an entry.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned: PoisonError<_>| {
                let mut state = poisoned.into_inner();
                state.unsound = true;
                if state.broken.is_none() {
                    state.break_off(&std::io::Error::other(
                        "a thread failed while it wrote an entry",
                    ));
                }
                state
            })
    }

    /// Encodes, writes side files, sequences without waiting.
    pub(super) fn enqueue(&self, event: Event) -> bool {
        let Ok(encoded) = encode(event) else {
            return false;
        };
        encoded
            .blobs
            .iter()
            .all(|blob| self.blobs.put(blob).is_ok())
            && self.lock().enqueue(&encoded)
    }

    /// Encodes, writes side files, sequences and writes; blocks on the disk only for side files.
    pub(super) fn append_blocking(&self, event: Event) -> Result<Receipt, AppendError> {
        let encoded = encode(event)?;
        self.put_blobs(&encoded)?;
        let stamp = self.lock().append(&encoded)?;
        Ok(Receipt {
            index: stamp.index,
            leaf: stamp.leaf,
        })
    }

    /// True if the committer should look now: it sleeps while all is signed, and looks by itself
    /// after the first entry that is not.
    fn nudge(&self, state: &State) -> bool {
        let unsigned = state.chain.next().saturating_sub(state.signed);
        unsigned <= 1
            || unsigned.is_multiple_of(self.tuning.checkpoint_entries.max(1))
            || state.segment.length >= self.tuning.segment_bytes
    }

    fn put_blobs(&self, encoded: &Encoded) -> Result<(), AppendError> {
        for blob in &encoded.blobs {
            self.blobs
                .put(blob)
                .map_err(|error| AppendError::Write(Arc::from(error.to_string())))?;
        }
        Ok(())
    }
}

impl Log {
    /// Opens the log, or makes a new one; after a crash, cuts off what was being written and
    /// says so in the log. Blocks on the disk.
    pub fn open(config: LogConfig) -> Result<(Arc<Self>, Recovery), OpenError> {
        let layout = Layout::new(&config.dir);
        let recovered = recover(&layout, &config)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(recovered.state),
            wake: Condvar::new(),
            fsync: config.fsync,
            tuning: config.tuning,
            blobs: Blobs::new(layout.blobs()),
            layout,
            stop: std::sync::atomic::AtomicBool::new(false),
            forget_before: std::sync::atomic::AtomicU64::new(0),
            #[cfg(test)]
            fail_syncs: std::sync::atomic::AtomicBool::new(false),
        });
        let committer = super::committer::start(
            &shared,
            recovered.committer,
            recovered.events,
            config.rotate_key,
        )?;
        Ok((
            Arc::new(Self {
                shared,
                committer: Mutex::new(Some(committer)),
            }),
            recovered.report,
        ))
    }

    /// Puts an event on record. When this returns a receipt, the event is as durable as asked
    /// for. Dropping the future does not take the entry back.
    pub fn append(
        &self,
        event: Event,
        durability: Durability,
    ) -> impl Future<Output = Result<Receipt, AppendError>> + Send + '_ {
        // Before anything waits: what is encoded takes less room in the future than the event.
        let encoded = encode(event);
        async move {
            let mut encoded = encoded?;
            if !encoded.blobs.is_empty() {
                let shared = Arc::clone(&self.shared);
                let put = move || shared.put_blobs(&encoded).map(|()| encoded);
                encoded = tokio::task::spawn_blocking(put)
                    .await
                    .map_err(|error| AppendError::Write(Arc::from(error.to_string())))??;
            }
            let (receipt, waiting) = self.write(&encoded, durability, false)?;
            drop(encoded);
            match waiting {
                // A committer that is gone has synced nothing.
                Some(waiting) => waiting
                    .await
                    .map_err(|_gone: oneshot::error::RecvError| AppendError::Closed)?
                    .map(|()| receipt),
                None => Ok(receipt),
            }
        }
    }

    /// Puts an event on record without waiting for the disk; for threads that may block.
    pub(super) fn append_blocking(&self, event: Event) -> Result<Receipt, AppendError> {
        let receipt = self.shared.append_blocking(event)?;
        let nudge = self.shared.nudge(&self.shared.lock());
        if nudge {
            self.shared.wake.notify_one();
        }
        Ok(receipt)
    }

    /// Waits until all there is has been synced and signed. Blocks.
    pub(super) fn wait_signed(&self) -> Result<(), AppendError> {
        let (size, waiting) = {
            let mut state = self.shared.lock();
            let (done, waiting) = oneshot::channel();
            let upto = state.chain.next();
            state.waiters.push(Waiter { upto, done });
            (upto, waiting)
        };
        self.shared.wake.notify_one();
        waiting
            .blocking_recv()
            .map_err(|_gone: oneshot::error::RecvError| AppendError::Closed)??;
        // The signature follows within a second.
        while self.shared.lock().signed < size {
            if let Some(fault) = self.fault() {
                return Err(fault);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Checkpoints of fewer entries are not needed any more.
    pub(super) fn forget_checkpoints_before(&self, size: u64) {
        self.shared
            .forget_before
            .store(size, std::sync::atomic::Ordering::SeqCst);
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// The folder of the sessions' recordings.
    pub(super) fn recordings(&self) -> PathBuf {
        self.shared.layout.recordings()
    }

    /// Records an event in order, without waiting: for outcomes, also from `Drop`. If it can't
    /// be kept because the log can't be written, the log says later how many were lost.
    pub fn record_later(&self, event: Event) {
        let kept = self.shared.enqueue(event);
        let mut state = self.shared.lock();
        state.lost += u64::from(!kept);
        let nudge = self.shared.nudge(&state);
        drop(state);
        if nudge {
            self.shared.wake.notify_one();
        }
    }

    /// Has a new key sign from now on, which the old one vouches for, and gives its public half. Appends
    /// wait meanwhile.
    ///
    /// # Errors
    /// If it cannot be made, or the log cannot be written.
    pub async fn rotate_key(&self) -> Result<String, String> {
        let (done, rotated) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            if state.closed {
                return Err(AppendError::Closed.to_string());
            }
            if state.rotation.is_some() {
                return Err("the key is being changed already".to_owned());
            }
            state.rotation = Some(done);
        }
        self.shared.wake.notify_one();
        rotated
            .await
            .map_err(|_gone: oneshot::error::RecvError| AppendError::Closed.to_string())?
    }

    /// The public key that the log is signed with, as `keys/log.pub` has it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn public_key(&self) -> std::io::Result<String> {
        let key = std::fs::read_to_string(self.shared.layout.public_key())?;
        Ok(key.trim_end().to_owned())
    }

    /// Number of entries.
    pub fn entries(&self) -> u64 {
        self.shared.lock().chain.next()
    }

    /// Why nothing can be recorded at the moment, if so: new sessions should be refused.
    pub fn fault(&self) -> Option<AppendError> {
        let state = self.shared.lock();
        match (&state.broken, &state.unwritable) {
            (Some(reason), _) => Some(AppendError::Sync(Arc::clone(reason))),
            (None, Some(reason)) => Some(AppendError::Write(Arc::clone(reason))),
            (None, None) => state.closed.then_some(AppendError::Closed),
        }
    }

    /// Records that the log is closed, syncs it and signs its last checkpoint. Nothing can be
    /// appended afterwards.
    pub async fn close(&self, reason: &str) -> Result<(), AppendError> {
        let encoded = encode(Event::LogClosed(LogClosed {
            reason: reason.to_owned(),
        }))?;
        let (_, waiting) = self.write(&encoded, Durability::Synced, true)?;
        if let Some(waiting) = waiting {
            waiting
                .await
                .map_err(|_gone: oneshot::error::RecvError| AppendError::Closed)??;
        }
        let handle = self.stop();
        if let Some(handle) = handle {
            let joined = tokio::task::spawn_blocking(move || handle.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err(AppendError::Sync(Arc::from("the committer thread failed")));
            }
        }
        let state = self.shared.lock();
        match &state.broken {
            Some(reason) => Err(AppendError::Sync(Arc::clone(reason))),
            None if state.signed < state.chain.next() => Err(AppendError::Sync(Arc::from(
                "the last checkpoint could not be written",
            ))),
            None => Ok(()),
        }
    }

    fn write(
        &self,
        encoded: &Encoded,
        durability: Durability,
        last: bool,
    ) -> Result<Written, AppendError> {
        let sync = match durability {
            Durability::Now => self.shared.fsync == Fsync::Always,
            Durability::Synced => true,
            Durability::Lazy => false,
        };
        let mut state = self.shared.lock();
        let stamp = state.append(encoded)?;
        state.closed |= last;
        let waiting = sync.then(|| {
            let (done, waiting) = oneshot::channel();
            state.waiters.push(Waiter {
                upto: stamp.index + 1,
                done,
            });
            waiting
        });
        let nudge = self.shared.nudge(&state);
        drop(state);
        if sync || nudge {
            self.shared.wake.notify_one();
        }
        Ok((
            Receipt {
                index: stamp.index,
                leaf: stamp.leaf,
            },
            waiting,
        ))
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        self.shared
            .stop
            .store(true, std::sync::atomic::Ordering::SeqCst);
        // Under the lock, so that a committer about to wait sees it.
        drop(self.shared.lock());
        self.shared.wake.notify_one();
        self.committer
            .lock()
            .ok()
            .and_then(|mut committer| committer.take())
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

type Written = (Receipt, Option<oneshot::Receiver<Result<(), AppendError>>>);

impl Drop for Log {
    /// Writes, syncs and signs what is there; the log is not marked as closed.
    fn drop(&mut self) {
        if let Some(committer) = self.stop() {
            // A committer that panicked has said so; there is nobody to tell here.
            let _ = committer.join();
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("layout", &self.shared.layout)
            .finish_non_exhaustive()
    }
}
