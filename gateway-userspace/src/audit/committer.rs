//! The thread that syncs, signs and rotates: everything that waits for the disk.

use std::{
    io,
    os::unix::fs::FileExt as _,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    checkpoint::{self, NoteFile},
    error::OpenError,
    event::{Event, Gap, Heartbeat},
    key::SigningKey,
    layout::{sync_dir, write_whole},
    log::Shared,
    recover::Lock,
    segment::{Header, Segment},
    state::State,
};

/// How often the last commit of all is tried again.
const LAST_ATTEMPTS: u32 = 10;
/// Memory kept between commits, in bytes.
const SPARE_BYTES: usize = 256 * 1024;

/// What the committer alone holds.
pub(super) struct Committer {
    pub(super) key: SigningKey,
    pub(super) checkpoints: NoteFile,
    /// Held for as long as the log is open.
    pub(super) lock: Lock,
    /// Memory for frames that are written and not synced.
    pub(super) spare: Vec<u8>,
}

/// Records the opening's events, synced and signed, then starts the thread.
pub(super) fn start(
    shared: &Arc<Shared>,
    mut committer: Committer,
    events: Vec<Event>,
    rotate_key: bool,
) -> Result<JoinHandle<()>, OpenError> {
    let segments = shared.layout.segments();
    for event in events {
        shared
            .append_blocking(event)
            .map_err(|error| OpenError::io("write to", &segments)(io::Error::other(error)))?;
    }
    committer
        .commit(shared, true)
        .map_err(OpenError::io("sync", &segments))?;
    // The gap is on record now.
    let pending = shared.layout.pending_gap();
    if pending.exists() {
        std::fs::remove_file(&pending)
            .and_then(|()| sync_dir(pending.parent().unwrap_or(&pending)))
            .map_err(OpenError::io("remove", &pending))?;
    }
    if rotate_key {
        committer
            .rotate_key(shared)
            .map_err(OpenError::io("change the key of", &segments))?;
    }
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("evidence".to_owned())
        .spawn(move || committer.run(&shared))
        .map_err(OpenError::io("start a thread for", segments))
}

/// What there is to do.
struct Work {
    /// Sign a checkpoint after syncing.
    sign: bool,
    /// And end.
    stop: bool,
}

impl Committer {
    fn run(mut self, shared: &Shared) {
        let mut last_commit = Instant::now();
        let mut failed = false;
        loop {
            let work = Self::wait(shared, last_commit, failed);
            let sign = work.sign || work.stop;
            let mut result = self.commit(shared, sign);
            if !work.stop && result.is_ok() {
                result = self.rotate_if_due(shared);
                Self::beat_if_silent(shared);
            }
            let rotation = shared.lock().rotation.take();
            if let Some(asked) = rotation {
                let rotated = self.rotate_key(shared).map_err(|error| error.to_string());
                // Who asked may be gone.
                let _ = asked.send(rotated);
            }
            // Nobody comes after the end: it is tried again for a while.
            for _ in 0..LAST_ATTEMPTS {
                if !work.stop || result.is_ok() {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(100));
                result = self.commit(shared, true);
            }
            failed = result.is_err();
            if sign || failed {
                last_commit = Instant::now();
            }
            if let Err(error) = result {
                tracing::error!(%error, "the evidence cannot be committed; retrying");
            }
            if work.stop {
                break;
            }
        }
        // Unlocks the log only after the last write.
        drop(self.lock);
    }

    /// Sleeps until somebody waits for the disk, news are due to be signed, or it is time to end.
    fn wait(shared: &Shared, last_commit: Instant, failed: bool) -> Work {
        let tuning = &shared.tuning;
        let mut state = shared.lock();
        loop {
            let stop = shared.stop.load(Ordering::SeqCst);
            let live = state.broken.is_none();
            let unsigned = state.chain.next().saturating_sub(state.signed);
            // A broken log is to be mended, again and again.
            let news = (unsigned > 0 || state.lost > 0 || !live) && !state.unsound;
            let full = state.segment.length >= tuning.segment_bytes && !state.closed;
            // After a failure, only time brings the next attempt.
            let many = !failed && live && (unsigned >= tuning.checkpoint_entries || full);
            let due = last_commit + tuning.checkpoint_every;
            let now = Instant::now();
            let sign = news && (many || now >= due);
            if stop || sign || !state.waiters.is_empty() || state.rotation.is_some() {
                return Work { sign, stop };
            }
            let silent_until = if live && !state.closed {
                state.last_entry + tuning.heartbeat
            } else {
                now + tuning.heartbeat
            };
            if now >= silent_until {
                return Work {
                    sign: false,
                    stop: false,
                };
            }
            let until = if news {
                due.min(silent_until)
            } else {
                silent_until
            };
            let pause = until
                .saturating_duration_since(now)
                .max(Duration::from_millis(1));
            state = match shared.wake.wait_timeout(state, pause) {
                Ok((state, _)) => state,
                // `lock` deals with it.
                Err(poisoned) => {
                    drop(poisoned);
                    shared.lock()
                }
            };
        }
    }

    /// Writes what is pending, syncs, and signs the result if asked to.
    pub(super) fn commit(&mut self, shared: &Shared, sign: bool) -> io::Result<()> {
        let (file, written, whole, mut in_flight, length) = {
            let mut state = shared.lock();
            if state.broken.is_some() {
                drop(state);
                return Self::mend(shared);
            }
            declare_losses(shared, &mut state);
            let flushed = state.flush();
            // Until what is pending is written, the tree is ahead of the file.
            (
                Arc::clone(&state.segment.file),
                state.written,
                flushed.map(|()| state.chain.tree.clone()),
                std::mem::replace(&mut state.unsynced, std::mem::take(&mut self.spare)),
                state.segment.length,
            )
        };
        let synced = sync(shared, &file);
        {
            let mut state = shared.lock();
            if let Err(error) = synced {
                in_flight.append(&mut state.unsynced);
                state.unsynced = in_flight;
                state.break_off(&error);
                return Err(error);
            }
            state.synced_length = length;
            state.synced_upto(written);
        }
        in_flight.clear();
        in_flight.shrink_to(SPARE_BYTES);
        self.spare = in_flight;
        let tree = whole.map_err(io::Error::other)?;
        let before = shared.forget_before.swap(0, Ordering::SeqCst);
        if before > 0
            && let Err(error) = self.checkpoints.forget_before(before)
        {
            tracing::warn!(%error, "checkpoints of removed entries stay");
        }
        if sign && tree.size() > shared.lock().signed {
            self.checkpoints
                .append(&checkpoint::sign(&self.key, &tree)?)?;
            shared.lock().signed = tree.size();
        }
        Ok(())
    }

    /// Starts a new segment when the current one is full. Appends wait meanwhile.
    fn rotate_if_due(&mut self, shared: &Shared) -> io::Result<()> {
        let mut state = shared.lock();
        let due = state.segment.length >= shared.tuning.segment_bytes
            && state.broken.is_none()
            && !state.closed;
        if due {
            self.rotate(shared, &mut state)
        } else {
            Ok(())
        }
    }

    fn rotate(&mut self, shared: &Shared, state: &mut State) -> io::Result<()> {
        let note = self.settle(shared, state)?;
        let header = Header {
            previous: state.chain.previous,
            tree: state.chain.tree.clone(),
            note,
        };
        state.segment = Segment::create(&shared.layout, &header)?;
        state.synced_length = state.segment.length;
        state.unsynced.clear();
        Ok(())
    }

    /// Writes, syncs and signs all there is, while appends wait. Gives the checkpoint.
    pub(super) fn settle(&mut self, shared: &Shared, state: &mut State) -> io::Result<String> {
        state.flush().map_err(io::Error::other)?;
        if let Err(error) = sync(shared, &state.segment.file) {
            state.break_off(&error);
            return Err(error);
        }
        let size = state.chain.next();
        state.synced_upto(size);
        state.synced_length = state.segment.length;
        state.unsynced.clear();
        let note = checkpoint::sign(&self.key, &state.chain.tree)?;
        if size > state.signed {
            self.checkpoints.append(&note)?;
            state.signed = size;
        }
        Ok(note)
    }

    /// Writes the current segment anew after a failed sync. What of it the disk has is unknown, and
    /// the kernel may take its pages for clean: a new file gets all of them.
    fn mend(shared: &Shared) -> io::Result<()> {
        let (file, length, unsynced, from, to) = {
            let state = shared.lock();
            if state.unsound {
                return Err(io::Error::other("a thread failed while it wrote an entry"));
            }
            (
                Arc::clone(&state.segment.file),
                state.synced_length,
                state.unsynced.clone(),
                state.synced,
                state.written,
            )
        };
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        let first = Header::read(&mut bytes.as_slice())?.0.tree.size();
        bytes.extend_from_slice(&unsynced);
        let path = shared.layout.segment(first);
        write_whole(&path, &bytes)?;
        // Its own way to the disk must work, too.
        let segment = Segment::resume(&path, bytes.len() as u64)?;
        sync(shared, &segment.file)?;
        let mut state = shared.lock();
        // Nothing was written meanwhile: the log was broken.
        state.synced_length = segment.length;
        state.segment = segment;
        state.unsynced.clear();
        state.broken = None;
        state.synced_upto(to);
        drop(state);
        tracing::warn!("the evidence was written anew and can be synced again");
        let gap = Gap {
            reason: format!(
                "the disk failed to sync; all was written anew and nothing is missing, but who \
                 waited for the entries from {from} to {to} was told that they are not on record"
            ),
            ..Gap::default()
        };
        shared.enqueue(Event::Gap(gap));
        Ok(())
    }

    fn beat_if_silent(shared: &Shared) {
        let silent = {
            let state = shared.lock();
            state.broken.is_none()
                && !state.closed
                && state.last_entry.elapsed() >= shared.tuning.heartbeat
        };
        if silent && !shared.enqueue(Event::Heartbeat(Heartbeat {})) {
            // Nothing can be recorded: whoever asks is told so. Do not come back at once.
            shared.lock().last_entry = Instant::now();
        }
    }
}

/// Declares events that could not be recorded, now that there may be room again.
fn declare_losses(shared: &Shared, state: &mut State) {
    if state.lost == 0 || state.closed {
        return;
    }
    let gap = Gap {
        reason: "events could not be recorded while the log could not be written".to_owned(),
        lost_events: state.lost,
        ..Gap::default()
    };
    let Ok(encoded) = super::encode::encode(Event::Gap(gap)) else {
        return;
    };
    if state.append(&encoded).is_ok() {
        tracing::warn!(lost = state.lost, dir = ?shared.layout, "evidence events were lost; the log says so");
        state.lost = 0;
    }
}

fn sync(shared: &Shared, file: &std::fs::File) -> io::Result<()> {
    #[cfg(test)]
    if shared.fail_syncs.load(Ordering::SeqCst) {
        return Err(io::Error::other("made to fail"));
    }
    // Only tests look at it.
    let _ = shared;
    file.sync_data()
}
