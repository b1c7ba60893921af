//! Reads what is new in a log, up to its last checkpoint.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::audit::{
    layout::{Layout, write_whole},
    segment::{Frame, open_segment, read_frame},
};

/// A bundle is closed when its frames, or its parts, have grown beyond this, in bytes.
const BUNDLE_BYTES: usize = 8 * 1024 * 1024;
/// Where the position is kept, in the log's folder.
const POSITION: &str = "shipped.json";

/// How far the log is shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Entries.
    pub entries: u64,
    /// First index of the segment that goes on.
    pub segment: u64,
    /// Bytes of it.
    pub offset: u64,
    /// Entries that the last shipped checkpoint covers, and one: 0 is none.
    pub checkpoints: u64,
}

/// What is shipped together.
pub(super) struct Bundle {
    /// The segment's first index, and where the frames stand in it.
    pub segment: u64,
    pub offset: u64,
    pub frames: Vec<u8>,
    /// Recordings' parts and side files that the frames name, each behind a line that says what it
    /// is.
    pub parts: Vec<u8>,
    /// Entries of the first of the checkpoints, and the checkpoints.
    pub checkpoint: u64,
    pub checkpoints: String,
    /// Where the log is shipped to with this.
    pub after: Position,
}

/// A reader of one log.
pub(super) struct Follower {
    layout: Layout,
    dir: PathBuf,
    position: Position,
    /// Entries that the last checkpoint covers.
    covered: u64,
}

/// What of an entry says what goes with it.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    blobs: Vec<Blob>,
    event: Part,
}

#[derive(Deserialize)]
struct Blob {
    sha256: String,
    bytes: u64,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    session: Option<String>,
    offset: Option<u64>,
    bytes: Option<u64>,
}

impl Follower {
    pub(super) fn open(dir: &Path) -> Result<Self, String> {
        let path = dir.join(POSITION);
        let position = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| format!("{}: {error}", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Position::default(),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let mut follower = Self {
            layout: Layout::new(dir),
            dir: dir.to_owned(),
            position,
            covered: 0,
        };
        let (notes, _) = follower.checkpoints(u64::MAX)?;
        follower.covered = notes;
        Ok(follower)
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Bytes of the log and of recordings that are not shipped. Recordings shrink by what is
    /// compressed twice; nothing is read but sizes.
    pub(super) fn backlog(&self) -> Result<u64, String> {
        let mut bytes = 0;
        for first in self.segments()? {
            if first >= self.position.segment {
                let path = self.layout.segment(first);
                bytes += fs::metadata(&path)
                    .map_err(|error| at(&path, &error))?
                    .len();
            }
        }
        Ok(bytes.saturating_sub(self.position.offset))
    }

    /// What comes next; `None` if a checkpoint covers nothing more.
    pub(super) fn next(&mut self) -> Result<Option<Bundle>, String> {
        let Position {
            segment,
            offset,
            entries,
            ..
        } = self.position;
        let segments = self.segments()?;
        if segments.first().is_some_and(|first| *first > entries) {
            return Err(format!(
                "entries from {entries} on were removed before they were shipped"
            ));
        }
        let (covered, _) = self.checkpoints(u64::MAX)?;
        self.covered = covered;
        let path = self.layout.segment(segment);
        if !path.exists() {
            return Ok(None);
        }
        let (_, header, length) = open_segment(&path).map_err(|error| at(&path, &error))?;
        let mut file = File::open(&path).map_err(|error| at(&path, &error))?;
        let mut frames = Vec::new();
        if offset == 0 {
            frames.resize(usize::try_from(length).unwrap_or(0), 0);
            file.read_exact(&mut frames)
                .map_err(|error| at(&path, &error))?;
        } else {
            file.seek(SeekFrom::Start(offset))
                .map_err(|error| at(&path, &error))?;
        }
        let mut index = if offset == 0 {
            header.tree.size()
        } else {
            entries
        };
        let mut input = BufReader::with_capacity(256 * 1024, file);
        let mut entry = Vec::new();
        let mut parts = Vec::new();
        let mut ended = false;
        while index < self.covered && frames.len() < BUNDLE_BYTES && parts.len() < BUNDLE_BYTES {
            match read_frame(&mut input, &mut entry).map_err(|error| at(&path, &error))? {
                Frame::Entry => {}
                Frame::End => {
                    ended = true;
                    break;
                }
                Frame::Torn => return Err(format!("{} is torn", path.display())),
            }
            let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
            frames.extend_from_slice(&length.to_be_bytes());
            frames.extend_from_slice(&entry);
            self.gather(&entry, &mut parts)?;
            index += 1;
        }
        // Whoever looks at the end has seen it only if the next segment is there.
        let next = segments.iter().copied().find(|first| *first > segment);
        let (checkpoint, checkpoints) = self.new_checkpoints(index)?;
        let mut after = Position {
            entries: index,
            segment,
            offset: offset + frames.len() as u64,
            checkpoints: checkpoint.1,
        };
        if (ended || next == Some(index))
            && let Some(next) = next
        {
            after.segment = next;
            after.offset = 0;
        }
        if after == self.position {
            return Ok(None);
        }
        Ok(Some(Bundle {
            segment,
            offset,
            frames,
            parts,
            checkpoint: checkpoint.0,
            checkpoints,
            after,
        }))
    }

    pub(super) fn shipped(&mut self, after: Position) -> Result<(), String> {
        let path = self.dir.join(POSITION);
        let json = serde_json::to_vec(&after).map_err(|error| error.to_string())?;
        write_whole(&path, &json).map_err(|error| at(&path, &error))?;
        self.position = after;
        Ok(())
    }

    fn segments(&self) -> Result<Vec<u64>, String> {
        self.layout
            .list_segments()
            .map_err(|error| at(&self.layout.segments(), &error))
    }

    /// Adds what an entry names.
    fn gather(&self, entry: &[u8], parts: &mut Vec<u8>) -> Result<(), String> {
        let json = entry.get(32..).unwrap_or_default();
        let body: Body = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        for blob in &body.blobs {
            let name = format!("blobs/{}", blob.sha256);
            self.add(&name, 0, blob.bytes, parts)?;
        }
        if body.event.kind == "session-recorded"
            && let (Some(session), Some(offset), Some(bytes)) =
                (&body.event.session, body.event.offset, body.event.bytes)
            && bytes > 0
        {
            self.add(&format!("recordings/{session}.rec"), offset, bytes, parts)?;
        }
        Ok(())
    }

    fn add(&self, name: &str, offset: u64, bytes: u64, parts: &mut Vec<u8>) -> Result<(), String> {
        let path = self.dir.join(name);
        let mut part = Vec::new();
        let read = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            file.take(bytes).read_to_end(&mut part)
        });
        match read {
            Ok(_) => {}
            // The log says so itself, further on.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(&path, &error)),
        }
        parts.extend_from_slice(format!("{name} {offset} {}\n", part.len()).as_bytes());
        parts.extend_from_slice(&part);
        Ok(())
    }

    /// The checkpoints of at most `upto` entries that are not shipped, with the number of entries
    /// of the first; and the position behind them.
    fn new_checkpoints(&self, upto: u64) -> Result<((u64, u64), String), String> {
        let path = self.layout.checkpoints();
        let mut notes = String::new();
        let (mut first, mut behind) = (None, self.position.checkpoints);
        Self::each_checkpoint(&path, |size, note| {
            if size + 1 > self.position.checkpoints && size <= upto {
                first.get_or_insert(size);
                behind = size + 1;
                notes.push_str(note);
            }
        })?;
        Ok(((first.unwrap_or(0), behind), notes))
    }

    /// Entries of the last checkpoint, and how many checkpoints there are.
    fn checkpoints(&self, upto: u64) -> Result<(u64, u64), String> {
        let (mut last, mut count) = (0, 0);
        Self::each_checkpoint(&self.layout.checkpoints(), |size, _| {
            if size <= upto {
                last = size;
                count += 1;
            }
        })?;
        Ok((last, count))
    }

    fn each_checkpoint(path: &Path, mut visit: impl FnMut(u64, &str)) -> Result<(), String> {
        let file = File::open(path).map_err(|error| at(path, &error))?;
        let mut input = BufReader::new(file);
        let mut note = String::new();
        loop {
            note.clear();
            for _ in 0..6 {
                input
                    .read_line(&mut note)
                    .map_err(|error| at(path, &error))?;
            }
            if !note.ends_with("\n\n") {
                return Ok(());
            }
            let size = note.lines().nth(1).and_then(|size| size.parse().ok());
            let size = size.ok_or_else(|| format!("{} holds no checkpoints", path.display()))?;
            visit(size, &note);
        }
    }
}

fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
