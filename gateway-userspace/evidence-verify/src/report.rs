//! What a check found.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The first thing wrong; the check ends there.
    pub problem: Option<Problem>,
    /// The log's name.
    pub origin: String,
    /// Id of the key that signs it, hex.
    pub key_id: String,
    /// True if the key was taken from beside the log.
    pub key_from_log: bool,
    /// Good entries.
    pub entries: u64,
    /// Good segments.
    pub segments: u64,
    /// Good checkpoints.
    pub checkpoints: u64,
    /// Good side files, counted once per mention.
    pub blobs: u64,
    /// Entries by type.
    pub events: BTreeMap<String, u64>,
    /// Time of the first entry.
    pub first_time: Option<String>,
    /// Time of the last entry.
    pub last_time: Option<String>,
    /// Entries that no checkpoint covers yet: who holds the file could still change them.
    pub unsigned_entries: u64,
    /// Bytes behind the last entry that are no whole entry: a crash, or a log being written.
    pub torn_bytes: u64,
    /// The same in the file of checkpoints.
    pub torn_checkpoint_bytes: u64,
    /// True if the log was closed in order.
    pub closed: bool,
    /// How often it was opened again without having been closed.
    pub unclean_restarts: u64,
    /// How often the wall clock went back from one entry to the next.
    pub clock_set_back: u64,
    /// Declared gaps.
    pub gaps: Vec<DeclaredGap>,
    /// Their number.
    pub gap_count: u64,
    /// Good parts of recordings.
    pub recorded_parts: u64,
    /// Sessions that they are of.
    pub recorded_sessions: u64,
    /// Recordings whose end is not on record: of open sessions, or cut off by a crash.
    pub unended_recordings: u64,
    /// Bytes of recordings that are not on record: a crash, or a log being written.
    pub unrecorded_bytes: u64,
    /// Recordings that the log says were removed.
    pub removed_recordings: u64,
    /// Checkpoints that witnesses have cosigned, whoever they are.
    pub cosigned_checkpoints: u64,
    /// Bytes at the end of the file of cosigned checkpoints that are no whole one.
    pub torn_cosigned_bytes: u64,
    /// The witnesses that were given, and what they have cosigned.
    pub witnesses: Vec<Witnessed>,
    /// How many of them must have cosigned what counts as witnessed.
    pub quorum: u64,
    /// Entries of the last checkpoint that so many have cosigned. Later entries have the log's
    /// signature alone.
    pub witnessed_entries: u64,
    /// What was removed from the log's beginning.
    pub pruned: Option<Pruned>,
    /// Keys that have signed it, one after the other.
    pub keys: Vec<String>,
    /// The root over all good entries, base64.
    pub root: String,
}

impl Report {
    /// True if nothing is wrong.
    pub fn ok(&self) -> bool {
        self.problem.is_none()
    }
}

/// Something that must not be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Index of the first bad entry, if it is about one.
    pub entry: Option<u64>,
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}: ")?;
        }
        write!(
            f,
            "{} ({}, byte {})",
            self.what,
            self.file.display(),
            self.offset
        )
    }
}

/// What one witness has cosigned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    /// Its name.
    pub name: String,
    /// Id of its key, hex.
    pub key_id: String,
    /// Entries of the last checkpoint that it has cosigned; 0: none.
    pub entries: u64,
    /// When, as the witness says, RFC 3339.
    pub time: Option<String>,
    /// Checkpoints that it has cosigned.
    pub checkpoints: u64,
}

/// A beginning that was removed, as the log itself declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Index of the first entry that is there.
    pub first: u64,
    /// Index of the entry that declares the removal.
    pub entry: u64,
    /// Why.
    pub reason: String,
}

/// A gap that the log itself declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeclaredGap {
    /// Index of the entry that declares it.
    pub entry: u64,
    /// When.
    pub time: String,
    /// Why.
    pub reason: String,
    /// Bytes cut off.
    pub cut_bytes: u64,
    /// Events lost.
    pub lost_events: u64,
}

pub(crate) fn problem(file: &Path, offset: u64, what: impl Into<String>) -> Problem {
    Problem {
        entry: None,
        file: file.to_owned(),
        offset,
        what: what.into(),
    }
}
