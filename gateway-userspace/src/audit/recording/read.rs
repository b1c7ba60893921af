//! Reads a recording back, message by message, in memory that does not grow with it.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::message::{
    BLOTTED, Direction, HEAD, Header, Message, RECORD_HEADER, WITHHELD, read_withheld,
};

/// A recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Reading or decompressing failed.
    #[error("the recording {path} cannot be read; run `cordon evidence verify`")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's or the decompressor's reason.
        #[source]
        source: io::Error,
    },
    /// It is not what the format says.
    #[error("the recording {path} is damaged: {problem}; run `cordon evidence verify`")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
}

/// The messages of one recording.
pub struct RecordingReader {
    path: PathBuf,
    input: zstd::Decoder<'static, BufReader<io::Take<File>>>,
    body: Vec<u8>,
    started: Started,
}

/// When a recording began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Started {
    unix_us: u64,
    mono_ns: u64,
}

impl RecordingReader {
    /// Opens the recording of `session` in the log's folder; `bytes` of its file are on record.
    /// `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(dir: &Path, session: &str, bytes: u64) -> Result<Option<Self>, RecordingError> {
        let named = session
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !named || bytes == 0 {
            return Ok(None);
        }
        let path = dir.join("recordings").join(format!("{session}.rec"));
        let failed = |source| RecordingError::Io {
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let input = BufReader::with_capacity(128 * 1024, file.take(bytes));
        Ok(Some(Self {
            input: zstd::Decoder::with_buffer(input).map_err(failed)?,
            body: Vec::new(),
            started: Started::default(),
            path,
        }))
    }

    /// When it began: nanoseconds since boot. Known once the first message is read.
    pub fn mono_ns(&self) -> u64 {
        self.started.mono_ns
    }

    /// When it began: microseconds since 1970. Known once the first message is read.
    pub fn unix_us(&self) -> u64 {
        self.started.unix_us
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn read(&mut self) -> Result<Option<Message<'_>>, RecordingError> {
        let header = loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.body.resize(header.length, 0);
            self.input
                .read_exact(&mut self.body)
                .map_err(|source| RecordingError::Io {
                    path: self.path.clone(),
                    source,
                })?;
            if header.code != HEAD {
                break header;
            }
            self.started = serde_json::from_slice(&self.body)
                .map_err(|_json| self.malformed("a frame's head cannot be read"))?;
        };
        let Some(direction) = Direction::of(header.code) else {
            return Err(self.malformed("a message has no direction"));
        };
        let withheld = if header.flags & WITHHELD == 0 {
            None
        } else {
            let read = read_withheld(&self.body);
            Some(read.ok_or_else(|| self.malformed("a count is cut off"))?)
        };
        Ok(Some(Message {
            direction,
            tag: header.tag,
            time_us: header.time_us,
            blotted: header.flags & BLOTTED != 0,
            body: match withheld {
                None => Cow::Borrowed(&self.body),
                Some(_) => Cow::Borrowed(&[]),
            },
            withheld,
        }))
    }

    fn header(&mut self) -> Result<Option<Header>, RecordingError> {
        let mut fixed = [0; RECORD_HEADER];
        let mut filled = 0;
        while let Some(rest) = fixed.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.malformed("it ends within a message")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(RecordingError::Io {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
        match Header::read(&fixed) {
            Some(header) => Ok(Some(header)),
            None => Err(self.malformed("a message's header cannot be read")),
        }
    }

    fn malformed(&self, problem: &'static str) -> RecordingError {
        RecordingError::Malformed {
            path: self.path.clone(),
            problem,
        }
    }
}

impl std::fmt::Debug for RecordingReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingReader")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
