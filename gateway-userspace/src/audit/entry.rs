//! Reading entries back, for listing and replay. Checks nothing but that they are readable:
//! whether they are true is for [`super::verify()`].

use std::{
    fs,
    io::{BufReader, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    content::Content,
    error::ReadError,
    event::Event,
    layout::Layout,
    segment::{Frame, open_segment, read_frame},
    tree::{Hash, leaf_hash},
};

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Entry {
    /// Its index.
    pub index: u64,
    /// RFC 3339, microseconds.
    pub time: String,
    /// Nanoseconds since boot.
    pub mono_ns: u64,
    /// What happened; `None` for kinds that this version does not know.
    #[serde(deserialize_with = "known")]
    pub event: Option<Event>,
}

/// The entries of a log, in order. A torn end is where a live log ends.
pub(super) struct Entries {
    layout: Layout,
    /// First indexes of the segments still to come, last one first.
    segments: Vec<u64>,
    current: Option<Current>,
    bytes: Vec<u8>,
    /// Where the last entry ends, and where in its segment it begins.
    position: Position,
    entry_offset: u64,
}

struct Current {
    path: PathBuf,
    segment: u64,
    input: BufReader<fs::File>,
    offset: u64,
}

/// A place between two entries: the first index of a segment, and where in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl Entries {
    pub(super) fn open(dir: &Path) -> Result<Self, ReadError> {
        let layout = Layout::new(dir);
        let mut segments = layout
            .list_segments()
            .map_err(ReadError::io(layout.segments()))?;
        segments.reverse();
        Ok(Self {
            layout,
            segments,
            current: None,
            bytes: Vec::new(),
            position: Position::default(),
            entry_offset: 0,
        })
    }

    /// The entries behind a position.
    pub(super) fn open_at(dir: &Path, position: Position) -> Result<Self, ReadError> {
        let mut entries = Self::open(dir)?;
        entries.segments.retain(|first| *first > position.segment);
        let path = entries.layout.segment(position.segment);
        let opened = fs::File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(position.offset))?;
            Ok(BufReader::with_capacity(256 * 1024, file))
        });
        entries.current = Some(Current {
            input: opened.map_err(ReadError::io(&path))?,
            path,
            segment: position.segment,
            offset: position.offset,
        });
        Ok(entries)
    }

    /// Where the last entry ends.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Where in its segment the last entry begins.
    pub(super) fn entry_offset(&self) -> u64 {
        self.entry_offset
    }

    /// The leaf hash of the last entry.
    pub(super) fn leaf(&self) -> Hash {
        leaf_hash(&self.bytes)
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(first) = self.segments.pop() else {
                    return Ok(None);
                };
                let path = self.layout.segment(first);
                let (input, _, offset) = open_segment(&path).map_err(ReadError::io(&path))?;
                self.current = Some(Current {
                    path,
                    segment: first,
                    input,
                    offset,
                });
                continue;
            };
            let frame = read_frame(&mut current.input, &mut self.bytes)
                .map_err(ReadError::io(&current.path))?;
            let Frame::Entry = frame else {
                self.current = None;
                continue;
            };
            let json = self.bytes.get(32..).unwrap_or_default();
            let mut entry: Entry =
                serde_json::from_slice(json).map_err(|error| ReadError::Malformed {
                    path: current.path.clone(),
                    offset: current.offset,
                    problem: error.to_string(),
                })?;
            self.entry_offset = current.offset;
            current.offset += 4 + self.bytes.len() as u64;
            self.position = Position {
                segment: current.segment,
                offset: current.offset,
            };
            if let Some(Event::Spilled(spilled)) = &entry.event {
                entry.event = Some(unspill(&self.layout, &spilled.event)?);
            }
            return Ok(Some(entry));
        }
    }
}

/// Calls `visit` with every entry of the log in `dir`, in order, until it returns false.
pub fn read_entries(dir: &Path, mut visit: impl FnMut(Entry) -> bool) -> Result<(), ReadError> {
    let mut entries = Entries::open(dir)?;
    while let Some(entry) = entries.next()? {
        if !visit(entry) {
            break;
        }
    }
    Ok(())
}

/// The whole of a content, side file and all; values known by digest alone stay what they are.
pub(super) fn load(dir: &Path, content: &Content) -> Result<Content, ReadError> {
    match content {
        Content::Blob { blob, .. } => {
            blob_bytes(&Layout::new(dir), blob).map(|bytes| Content::bytes(&bytes))
        }
        Content::Text(_) | Content::Hex { .. } | Content::Digest { .. } => Ok(content.clone()),
    }
}

fn unspill(layout: &Layout, content: &Content) -> Result<Event, ReadError> {
    let (path, bytes) = match content {
        Content::Blob { blob, .. } => (layout.blobs().join(blob), blob_bytes(layout, blob)?),
        Content::Text(_) | Content::Hex { .. } | Content::Digest { .. } => (
            layout.blobs(),
            content.inline().unwrap_or_default().to_vec(),
        ),
    };
    serde_json::from_slice(&bytes).map_err(|error| ReadError::Malformed {
        path,
        offset: 0,
        problem: error.to_string(),
    })
}

fn blob_bytes(layout: &Layout, name: &str) -> Result<Vec<u8>, ReadError> {
    // The name comes from a file that somebody may have changed: it must be a digest, no path.
    let path: PathBuf = layout.blobs().join(name);
    if name.len() != 64 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ReadError::Malformed {
            path: layout.blobs(),
            offset: 0,
            problem: "a side file's name is no digest".into(),
        });
    }
    let mut bytes = Vec::new();
    fs::File::open(&path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(ReadError::io(&path))?;
    Ok(bytes)
}

/// Kinds of a newer version are skipped, not errors.
fn known<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Event>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}
