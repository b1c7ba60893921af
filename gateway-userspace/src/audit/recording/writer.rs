//! The thread that writes what the sessions recorded.

use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    message::{BLOTTED, Direction, HEAD, Header, RECORD_HEADER, WITHHELD, put_header},
    slot::{Recording, Slot},
};
use crate::audit::{
    Log,
    error::AppendError,
    event::{Event, SessionRecorded},
    hex,
    layout::sync_dir,
    tree::sha256,
};

/// All sessions wait for the writer above this many bytes of theirs.
const ALL_BYTES: usize = 64 * 1024 * 1024;
/// After a failure, the next attempt comes after this.
const RETRY: Duration = Duration::from_millis(250);
/// Fast, and still a fifth of the size for rows of text.
const LEVEL: i32 = 1;

/// Blots out, in place, what looks like personal data in a message's body; true if there was any.
pub type Blot = Arc<dyn Fn(Direction, u8, &mut [u8]) -> bool + Send + Sync>;

/// How sessions are recorded.
#[derive(Clone)]
pub struct RecorderConfig {
    /// What a message may not keep.
    pub blot: Blot,
    /// A message is on disk after this at the latest.
    pub every: Duration,
}

impl RecorderConfig {
    /// With the usual interval.
    pub fn new(blot: Blot) -> Self {
        Self {
            blot,
            every: Duration::from_secs(1),
        }
    }
}

/// What the sessions and the writer share.
pub(super) struct Shared {
    listing: Mutex<Listing>,
    wake: Condvar,
    /// Bytes recorded and not yet written.
    pending: AtomicUsize,
    faulty: AtomicBool,
    fault: Mutex<Option<Arc<str>>>,
}

#[derive(Default)]
struct Listing {
    /// Sessions with something to write.
    dirty: VecDeque<Arc<Slot>>,
    hurry: bool,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Listing> {
        self.listing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes; true if there are too many.
    pub(super) fn added(&self, bytes: usize) -> bool {
        self.pending.fetch_add(bytes, Ordering::Relaxed) + bytes > ALL_BYTES
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.load(Ordering::Relaxed) > ALL_BYTES
    }

    /// Adds a session to the list. Wakes the writer only if there was nothing to do.
    pub(super) fn list(&self, slot: &Arc<Slot>) {
        let mut listing = self.lock();
        let first = listing.dirty.is_empty();
        listing.dirty.push_back(slot.clone());
        drop(listing);
        if first {
            self.wake.notify_one();
        }
    }

    pub(super) fn hurry(&self) {
        self.lock().hurry = true;
        self.wake.notify_one();
    }

    fn set_fault(&self, fault: Option<&str>) {
        let mut now = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*now, fault) {
            (None, Some(reason)) => {
                tracing::error!(%reason, "sessions cannot be recorded; traffic stops until they can");
            }
            (Some(_), None) => tracing::warn!("sessions can be recorded again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *now = fault.map(Arc::from);
        self.faulty.store(fault.is_some(), Ordering::Relaxed);
    }
}

/// What was written of a session's recording. The writer's alone.
#[derive(Default)]
pub(super) struct Written {
    /// Length of the file that is on record.
    offset: u64,
    /// A frame that could not be written or put on record yet.
    stuck: Option<Frame>,
    /// The end is on record.
    ended: bool,
}

/// A part of a recording: compressed, to be appended and put on record.
struct Frame {
    bytes: Vec<u8>,
    /// Its bytes before compression that sessions wait for.
    pending: usize,
    messages: u64,
    raw_bytes: u64,
    end: bool,
    /// The file has it.
    stored: bool,
}

/// Writes the recordings of all sessions.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Starts the thread. Recordings lie in the log's folder.
    ///
    /// # Errors
    /// If their folder or the thread cannot be made.
    pub fn start(log: Arc<Log>, config: RecorderConfig) -> io::Result<Arc<Self>> {
        let dir = log.recordings();
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .recursive(true)
            .create(&dir)?;
        let shared = Arc::new(Shared {
            listing: Mutex::default(),
            wake: Condvar::new(),
            pending: AtomicUsize::new(0),
            faulty: AtomicBool::new(false),
            fault: Mutex::default(),
        });
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        let writer = Writer {
            shared: shared.clone(),
            log,
            dir,
            config,
            compressor,
            sync_folder: true,
        };
        let thread = std::thread::Builder::new()
            .name("recordings".to_owned())
            .spawn(move || writer.run())?;
        Ok(Arc::new(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// A recording for a session. `session` becomes a file's name.
    pub fn record(&self, session: &Arc<str>) -> Recording {
        Recording::new(&self.shared, session)
    }

    /// Why nothing can be recorded at the moment, if so: nothing new may run.
    pub fn fault(&self) -> Option<Arc<str>> {
        if !self.shared.faulty.load(Ordering::Relaxed) {
            return None;
        }
        let fault = self.shared.fault.lock();
        fault.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes what there is and ends the thread. Blocks on the disk. What cannot be written is
    /// lost, and the log shows recordings without an end.
    pub fn close(&self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes recordings failed");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

struct Writer {
    shared: Arc<Shared>,
    log: Arc<Log>,
    dir: PathBuf,
    config: RecorderConfig,
    compressor: zstd::bulk::Compressor<'static>,
    /// Names were made that the folder must keep.
    sync_folder: bool,
}

impl Writer {
    fn run(mut self) {
        let mut failed = false;
        loop {
            let (dirty, stop) = self.wait(failed);
            failed = false;
            for slot in dirty {
                if !failed {
                    match self.write(&slot) {
                        Ok(()) => continue,
                        Err(error) => {
                            failed = true;
                            self.shared.set_fault(Some(&error.to_string()));
                        }
                    }
                }
                // It stays in the list, and so do those behind it: they would fail as well.
                self.shared.lock().dirty.push_back(slot);
            }
            if !failed {
                self.shared.set_fault(None);
            }
            if stop {
                break;
            }
        }
    }

    /// Sleeps until there is something to write, and then for as long as messages may wait.
    fn wait(&self, failed: bool) -> (VecDeque<Arc<Slot>>, bool) {
        let mut listing = self.shared.lock();
        let mut due: Option<Instant> = failed.then(|| Instant::now() + RETRY);
        loop {
            let now = Instant::now();
            let ready = match due {
                Some(due) => now >= due || (listing.hurry && !failed),
                None => false,
            };
            if listing.stop || ready {
                listing.hurry = false;
                return (std::mem::take(&mut listing.dirty), listing.stop);
            }
            if due.is_none() && !listing.dirty.is_empty() {
                due = Some(now + self.config.every);
                continue;
            }
            let wake = &self.shared.wake;
            listing = match due {
                Some(due) => {
                    let pause = due.saturating_duration_since(now);
                    let (listing, _) = wake
                        .wait_timeout(listing, pause)
                        .unwrap_or_else(PoisonError::into_inner);
                    listing
                }
                None => wake.wait(listing).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Appends what a session has recorded since, and puts its digest on record.
    fn write(&mut self, slot: &Slot) -> Result<(), WriteError> {
        let mut written = slot.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(frame) = written.stuck.take() {
            self.append(slot, &mut written, frame)?;
        }
        // Read first: what is in the buffer afterwards is then all there will be.
        let ended = slot.ended.load(Ordering::Acquire);
        let (buffer, waker) = {
            let mut open = slot.lock();
            open.listed = false;
            (std::mem::take(&mut open.buffer), open.waker.take())
        };
        let outcome = if buffer.is_empty() && (!ended || written.ended) {
            Ok(())
        } else {
            let frame = self.frame(slot, buffer, ended)?;
            self.append(slot, &mut written, frame)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        if outcome.is_err() {
            slot.lock().listed = true;
        }
        outcome
    }

    fn frame(&mut self, slot: &Slot, buffer: Vec<u8>, end: bool) -> Result<Frame, WriteError> {
        let pending = buffer.len();
        if buffer.is_empty() {
            return Ok(Frame {
                bytes: Vec::new(),
                pending,
                messages: 0,
                raw_bytes: 0,
                end,
                stored: true,
            });
        }
        let (wall, mono_ns) = slot.started;
        let head = serde_json::json!({
            "v": 1,
            "session": &*slot.session,
            "unix_us": wall,
            "mono_ns": mono_ns,
        })
        .to_string();
        let mut raw = Vec::with_capacity(RECORD_HEADER + head.len() + buffer.len());
        put_header(&mut raw, HEAD, 0, 0, 0, head.len());
        raw.extend_from_slice(head.as_bytes());
        let records = raw.len();
        raw.extend_from_slice(&buffer);
        drop(buffer);
        let messages = blot(
            raw.get_mut(records..).unwrap_or_default(),
            &self.config.blot,
        );
        let bytes = self.compressor.compress(&raw).map_err(WriteError::File)?;
        Ok(Frame {
            bytes,
            pending,
            messages,
            raw_bytes: raw.len() as u64,
            end,
            stored: false,
        })
    }

    fn append(
        &mut self,
        slot: &Slot,
        written: &mut Written,
        mut frame: Frame,
    ) -> Result<(), WriteError> {
        if !frame.stored {
            if let Err(error) = self.store(slot, written.offset, &frame.bytes) {
                written.stuck = Some(frame);
                return Err(WriteError::File(error));
            }
            frame.stored = true;
        }
        let event = Event::SessionRecorded(SessionRecorded {
            session: slot.session.to_string(),
            offset: written.offset,
            bytes: frame.bytes.len() as u64,
            sha256: hex::encode(&sha256(&frame.bytes)),
            messages: frame.messages,
            raw_bytes: frame.raw_bytes,
            end: frame.end,
        });
        if let Err(error) = self.log.append_blocking(event) {
            written.stuck = Some(frame);
            return Err(WriteError::Log(error));
        }
        written.offset += frame.bytes.len() as u64;
        written.ended |= frame.end;
        self.shared
            .pending
            .fetch_sub(frame.pending, Ordering::Relaxed);
        Ok(())
    }

    /// Writes and syncs bytes at `offset`; what a failed attempt left there is overwritten.
    fn store(&mut self, slot: &Slot, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.dir.join(format!("{}.rec", slot.session));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        self.sync_folder |= offset == 0;
        let stored = file
            .write_all_at(bytes, offset)
            .and_then(|()| file.sync_data());
        if stored.is_err() {
            // Best effort: gives room back on a full disk, and is overwritten in any case.
            let _ = file.set_len(offset);
        }
        stored?;
        if std::mem::take(&mut self.sync_folder) {
            sync_dir(&self.dir).inspect_err(|_| self.sync_folder = true)?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("a recording cannot be written: {0}")]
    File(io::Error),
    #[error("{0}")]
    Log(AppendError),
}

/// Blots out personal data in all records; gives the number of messages.
fn blot(mut records: &mut [u8], blot: &Blot) -> u64 {
    let mut messages = 0;
    while let Some((fixed, rest)) = records.split_first_chunk_mut::<RECORD_HEADER>() {
        let Some(header) = Header::read(fixed) else {
            break;
        };
        let Some((body, rest)) = rest.split_at_mut_checked(header.length) else {
            break;
        };
        if let Some(direction) = Direction::of(header.code) {
            messages += 1;
            if header.flags & WITHHELD == 0 && blot(direction, header.tag, body) {
                let [_, _, flags, ..] = fixed;
                *flags |= BLOTTED;
            }
        }
        records = rest;
    }
    messages
}
