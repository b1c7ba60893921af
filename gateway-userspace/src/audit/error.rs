//! What can go wrong with the evidence, and what to do about it.

use std::{io, path::PathBuf, sync::Arc};

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes this log.
    #[error("the evidence in {0} is being written by another process: stop it first")]
    Locked(PathBuf),
    /// Reading or writing failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The signing key is missing or not readable as one.
    #[error(
        "the evidence's signing key {path} cannot be used ({source}): restore it, or move the whole folder away to start a new log"
    )]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The log contradicts its own signed checkpoint: this is not the trace of a crash.
    #[error(
        "the evidence is damaged: {problem} ({path}); run `cordon evidence verify`, keep the folder for the inquiry, and start with a new one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl OpenError {
    /// An I/O error, with what was being done to what.
    pub(super) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    pub(super) fn damaged(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.into(),
            problem: problem.into(),
        }
    }
}

/// An event is not on record, so what it stands for must not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Writing failed; the next append tries again.
    #[error(
        "the evidence cannot be written, so traffic stops: {0}; free space or mend the disk, then retry"
    )]
    Write(Arc<str>),
    /// Syncing failed. What reached the disk is unknown until it is written anew.
    #[error(
        "the evidence cannot be synced, so traffic stops: {0}; mend the disk, it goes on by itself then"
    )]
    Sync(Arc<str>),
    /// The log is closed.
    #[error("the evidence log is closed")]
    Closed,
    /// The event is larger than an entry can be, even with its contents in side files.
    #[error("an evidence entry would be too large")]
    TooLarge,
    /// The event cannot be written as JSON.
    #[error("an evidence entry cannot be encoded: {0}")]
    Encode(Arc<str>),
}

/// The log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading failed.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file is not what the format says.
    #[error(
        "{path} is not readable as evidence at byte {offset}: {problem}; run `cordon evidence verify`"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// It was removed.
    #[error(
        "entry {index} was removed from this log, which begins with {first}: use a copy that has it, or what was shipped"
    )]
    Removed {
        /// The entry.
        index: u64,
        /// The first one that is there.
        first: u64,
    },
    /// A recording cannot be read.
    #[error(transparent)]
    Recording(#[from] super::recording::RecordingError),
    /// No such session.
    #[error("no session {0} in this log; `cordon sessions list` shows them")]
    NoSession(String),
    /// The prefix names several sessions.
    #[error("{prefix} is the start of several session ids: {}", matches.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Some that match.
        matches: Vec<String>,
    },
}

impl ReadError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
