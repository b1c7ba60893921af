//! Removes what need not be kept any longer, after the log itself has said so.
//!
//! Whole segments go, from the beginning, and recordings. The first segment that stays begins with
//! the signed state of the log before it, so what is left can be verified.

use std::{
    collections::HashSet,
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    error::{AppendError, ReadError},
    event::{Event, LogPruned, RecordingRemoved},
    layout::{Layout, sync_dir},
    log::Log,
    segment::{Frame, open_segment, read_frame},
    tiles,
};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Index of the first entry that is left.
    pub first: u64,
    /// Segments.
    pub segments: u64,
    /// Recordings.
    pub recordings: u64,
    /// Side files.
    pub side_files: u64,
}

/// Nothing, or not everything, could be removed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The log cannot say it.
    #[error("the removal cannot be put on record")]
    Record(#[from] AppendError),
    /// What is to go cannot be read.
    #[error("what is to be removed cannot be read")]
    Read(#[from] ReadError),
    /// A file cannot be read or removed.
    #[error("{path} cannot be read or removed")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl PruneError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// What is to go.
#[derive(Default)]
struct Due {
    segments: Vec<u64>,
    /// Where the segments behind each of them begin.
    boundaries: Vec<u64>,
    /// Index of the first entry that stays, if segments go.
    first: u64,
    /// Sessions, and the sizes of their recordings.
    recordings: Vec<(String, u64)>,
}

impl Log {
    /// Removes segments and recordings that were last written longer than `keep` ago. The log
    /// says so first, on disk and signed. Blocks on the disk.
    ///
    /// # Errors
    /// If the log cannot say so (then nothing is removed), or a file cannot be removed.
    pub fn prune(&self, keep: Duration) -> Result<Removed, PruneError> {
        let layout = self.layout().clone();
        let due = due(&layout, keep)?;
        let reason = format!("older than {} days", keep.as_secs() / 86_400);
        let mut removed = Removed {
            first: layout
                .list_segments()
                .map_err(PruneError::io(layout.segments()))?
                .first()
                .copied()
                .unwrap_or(0),
            ..Removed::default()
        };
        if due.segments.is_empty() && due.recordings.is_empty() {
            return Ok(removed);
        }
        for (session, bytes) in &due.recordings {
            self.append_blocking(Event::RecordingRemoved(RecordingRemoved {
                session: session.clone(),
                bytes: *bytes,
                reason: reason.clone(),
            }))?;
        }
        if !due.segments.is_empty() {
            self.append_blocking(Event::LogPruned(LogPruned {
                first: due.first,
                segments: due.segments.len() as u64,
                reason,
            }))?;
        }
        self.wait_signed()?;
        let side_files = unreferenced(&layout, &due)?;
        match tiles::keep_before(layout.dir(), &due.boundaries) {
            Ok(()) => {}
            Err(error @ ReadError::Removed { .. }) => {
                tracing::warn!(%error, "tiles cannot be made of this log");
            }
            Err(error) => return Err(error.into()),
        }
        for (session, _) in &due.recordings {
            let path = layout.recordings().join(format!("{session}.rec"));
            fs::remove_file(&path).map_err(PruneError::io(path))?;
            removed.recordings += 1;
        }
        for first in &due.segments {
            let path = layout.segment(*first);
            fs::remove_file(&path).map_err(PruneError::io(path))?;
            removed.segments += 1;
        }
        sync_dir(&layout.segments()).map_err(PruneError::io(layout.segments()))?;
        for name in side_files {
            let path = layout.blobs().join(name);
            match fs::remove_file(&path) {
                Ok(()) => removed.side_files += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(PruneError::io(path)(error)),
            }
        }
        if !due.segments.is_empty() {
            removed.first = due.first;
            self.forget_checkpoints_before(due.first);
            if let Err(error) = tiles::forget_before(layout.dir(), due.first) {
                tracing::warn!(%error, "what tiles needed of removed entries stays");
            }
        }
        Ok(removed)
    }
}

fn due(layout: &Layout, keep: Duration) -> Result<Due, PruneError> {
    let mut due = Due::default();
    let Some(before) = SystemTime::now().checked_sub(keep) else {
        return Ok(due);
    };
    let is_old = |path: &PathBuf| -> Result<bool, PruneError> {
        let modified = fs::metadata(path).and_then(|file| file.modified());
        Ok(modified.map_err(PruneError::io(path))? < before)
    };
    let segments = layout
        .list_segments()
        .map_err(PruneError::io(layout.segments()))?;
    for pair in segments.windows(2) {
        let &[first, next] = pair else { break };
        if !is_old(&layout.segment(first))? {
            break;
        }
        due.segments.push(first);
        due.boundaries.push(next);
        due.first = next;
    }
    let folder = layout.recordings();
    let items = match fs::read_dir(&folder) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(due),
        Err(error) => return Err(PruneError::io(folder)(error)),
    };
    for item in items {
        let path = item.map_err(PruneError::io(&folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(session) = name.and_then(|name| name.strip_suffix(".rec"))
            && is_old(&path)?
        {
            let bytes = fs::metadata(&path).map_err(PruneError::io(&path))?.len();
            due.recordings.push((session.to_owned(), bytes));
        }
    }
    Ok(due)
}

/// Side files that only the segments name that go.
fn unreferenced(layout: &Layout, due: &Due) -> Result<HashSet<String>, PruneError> {
    let mut names = HashSet::new();
    for first in &due.segments {
        side_files(layout, *first, &mut |name| {
            names.insert(name);
        })?;
    }
    if names.is_empty() {
        return Ok(names);
    }
    let segments = layout
        .list_segments()
        .map_err(PruneError::io(layout.segments()))?;
    for first in segments.into_iter().filter(|first| *first >= due.first) {
        side_files(layout, first, &mut |name| {
            names.remove(&name);
        })?;
    }
    Ok(names)
}

fn side_files(
    layout: &Layout,
    first: u64,
    visit: &mut dyn FnMut(String),
) -> Result<(), PruneError> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        blobs: Vec<Blob>,
    }
    #[derive(Deserialize)]
    struct Blob {
        sha256: String,
    }
    let path = layout.segment(first);
    let (mut input, _, _) = open_segment(&path).map_err(PruneError::io(&path))?;
    let mut entry = Vec::new();
    while let Frame::Entry = read_frame(&mut input, &mut entry).map_err(PruneError::io(&path))? {
        let json = entry.get(32..).unwrap_or_default();
        let body: Body = serde_json::from_slice(json)
            .map_err(|error| PruneError::io(&path)(io::Error::other(error)))?;
        for blob in body.blobs {
            visit(blob.sha256);
        }
    }
    Ok(())
}
