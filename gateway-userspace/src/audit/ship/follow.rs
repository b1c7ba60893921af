//! Reads what is new in a log, up to its last checkpoint.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::audit::{
    error::ReadError,
    layout::{Layout, write_whole},
    place::Place,
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
    /// Where in the file of checkpoints it ends.
    #[serde(default)]
    pub checkpoint_offset: u64,
    /// The same of those that witnesses have cosigned.
    #[serde(default)]
    pub cosigned: u64,
    #[serde(default)]
    pub cosigned_offset: u64,
}

/// How much of recordings and side files waits to be shipped. Entries are looked at once.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Up to where the log was looked at.
    seen: Option<Place>,
    /// Entries that name something, and how many bytes of it.
    waiting: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Parts {
    fn waiting(&mut self, dir: &Path, shipped: Position) -> Result<u64, String> {
        let failed = |error: ReadError| error.to_string();
        let behind = self.seen.as_ref().map_or(0, Place::size);
        if self.seen.is_none() || behind < shipped.entries {
            self.waiting.clear();
            self.bytes = 0;
            let mut place = match Place::before(dir, shipped.entries) {
                Err(ReadError::Removed { .. }) => Place::first(dir),
                place => place,
            }
            .map_err(failed)?;
            if place.size() < shipped.entries {
                place
                    .advance(dir, shipped.entries, |_, _| Ok(()))
                    .map_err(failed)?;
            }
            self.seen = Some(place);
        }
        if let Some(place) = &mut self.seen {
            let (waiting, bytes) = (&mut self.waiting, &mut self.bytes);
            place
                .advance_to_end(dir, |index, entry| {
                    let named = named_bytes(entry);
                    if named > 0 {
                        waiting.push_back((index, named));
                        *bytes += named;
                    }
                    Ok(())
                })
                .map_err(failed)?;
        }
        while let Some((_, named)) = self
            .waiting
            .pop_front_if(|(index, _)| *index < shipped.entries)
        {
            self.bytes -= named;
        }
        Ok(self.bytes)
    }
}

/// Bytes of recordings and side files that an entry names.
fn named_bytes(entry: &[u8]) -> u64 {
    // Most entries name nothing, which shows without reading them as JSON.
    let names = [&b"\"session-recorded\""[..], b"\"blobs\""];
    if !names
        .iter()
        .any(|name| memchr::memmem::find(entry, name).is_some())
    {
        return 0;
    }
    let Ok(body) = serde_json::from_slice::<Body>(entry.get(32..).unwrap_or_default()) else {
        return 0;
    };
    let blobs: u64 = body.blobs.iter().map(|blob| blob.bytes).sum();
    let part = match body.event.kind.as_str() {
        "session-recorded" => body.event.bytes.unwrap_or(0),
        _ => 0,
    };
    blobs.saturating_add(part)
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
    /// The same of those that witnesses have cosigned.
    pub cosigned: u64,
    pub cosigned_notes: String,
    /// Where the log is shipped to with this.
    pub after: Position,
}

/// A reader of one log.
pub(super) struct Follower {
    layout: Layout,
    dir: PathBuf,
    position: Position,
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
        Ok(Self {
            layout: Layout::new(dir),
            dir: dir.to_owned(),
            position,
        })
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Bytes of the log that are not shipped, and of the recordings and side files that it names.
    pub(super) fn backlog(&self, parts: &mut Parts) -> Result<u64, String> {
        let mut bytes = parts.waiting(&self.dir, self.position)?;
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
        let covered = self.covered()?;
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
        while index < covered && frames.len() < BUNDLE_BYTES && parts.len() < BUNDLE_BYTES {
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
        let new = self.new_checkpoints(index)?;
        let cosigned = self.new_cosigned(index)?;
        let mut after = Position {
            entries: index,
            segment,
            offset: offset + frames.len() as u64,
            checkpoints: new.behind,
            checkpoint_offset: new.offset,
            cosigned: cosigned.behind,
            cosigned_offset: cosigned.offset,
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
            checkpoint: new.first,
            checkpoints: new.notes,
            cosigned: cosigned.first,
            cosigned_notes: cosigned.notes,
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
    fn new_checkpoints(&self, upto: u64) -> Result<NewCheckpoints, String> {
        let mut new = NewCheckpoints {
            first: 0,
            notes: String::new(),
            behind: self.position.checkpoints,
            offset: self.position.checkpoint_offset,
        };
        let shipped = self.position.checkpoints;
        self.each_checkpoint(|size, note, end| {
            if size + 1 > shipped && size <= upto {
                if new.notes.is_empty() {
                    new.first = size;
                }
                new.behind = size + 1;
                new.notes.push_str(note);
            }
            if size < new.behind {
                new.offset = end;
            }
        })?;
        Ok(new)
    }

    /// Cosigned checkpoints that are not shipped, of at most `upto` entries.
    fn new_cosigned(&self, upto: u64) -> Result<NewCheckpoints, String> {
        let path = self.layout.cosigned();
        let failed = |error: io::Error| at(&path, &error);
        let mut new = NewCheckpoints {
            first: 0,
            notes: String::new(),
            behind: self.position.cosigned,
            offset: self.position.cosigned_offset,
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(new),
            Err(error) => return Err(failed(error)),
        };
        let mut origin = String::new();
        BufReader::new(&file)
            .read_line(&mut origin)
            .map_err(failed)?;
        let mut read_from = |offset: u64| {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(offset))?;
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let mut bytes = read_from(new.offset).map_err(failed)?;
        // Another file since: its beginning was removed.
        let length = fs::metadata(&path).map_err(failed)?.len();
        if new.offset > length || (!bytes.is_empty() && !bytes.starts_with(origin.as_bytes())) {
            new.offset = 0;
            bytes = read_from(0).map_err(failed)?;
        }
        let text = String::from_utf8_lossy(&bytes);
        let mut rest = &*text;
        while let Some(note) = next_note(rest) {
            rest = rest.get(note.len()..).unwrap_or_default();
            let size = cordon_verify::note_size(note)
                .ok_or_else(|| format!("{} holds no checkpoints", path.display()))?;
            if size > upto {
                break;
            }
            new.offset += note.len() as u64;
            if size + 1 > new.behind {
                if new.notes.is_empty() {
                    new.first = size;
                }
                new.behind = size + 1;
                new.notes.push_str(note);
            }
        }
        Ok(new)
    }

    /// Entries of the last checkpoint.
    fn covered(&self) -> Result<u64, String> {
        let mut last = 0;
        self.each_checkpoint(|size, _, _| last = size)?;
        Ok(last)
    }

    /// Visits the checkpoints from the one where the last reading has ended: size, note, and where
    /// in the file it ends. From the first one, if the file is another one since.
    fn each_checkpoint(&self, mut visit: impl FnMut(u64, &str, u64)) -> Result<(), String> {
        let path = self.layout.checkpoints();
        let failed = |error: io::Error| at(&path, &error);
        let mut input = BufReader::new(File::open(&path).map_err(failed)?);
        let mut origin = String::new();
        input.read_line(&mut origin).map_err(failed)?;
        let mut offset = self.position.checkpoint_offset;
        let length = fs::metadata(&path).map_err(failed)?.len();
        let mut note = String::new();
        if offset > 0 && offset < length {
            input.seek(SeekFrom::Start(offset)).map_err(failed)?;
            // In the middle of a character, it is no text.
            let fits = input.read_line(&mut note).is_ok() && note == origin;
            if !fits {
                offset = 0;
            }
        } else if offset > length {
            offset = 0;
        }
        input.seek(SeekFrom::Start(offset)).map_err(failed)?;
        loop {
            note.clear();
            for _ in 0..6 {
                input.read_line(&mut note).map_err(failed)?;
            }
            if !note.ends_with("\n\n") {
                return Ok(());
            }
            offset += note.len() as u64;
            let size = note.lines().nth(1).and_then(|size| size.parse().ok());
            let size = size.ok_or_else(|| format!("{} holds no checkpoints", path.display()))?;
            visit(size, &note, offset);
        }
    }
}

/// The first note of a text of notes, with its signatures and the empty line behind them.
fn next_note(text: &str) -> Option<&str> {
    let signatures = text.find("\n\n")? + 2;
    let end = signatures + text.get(signatures..)?.find("\n\n")? + 2;
    text.get(..end)
}

/// Checkpoints to be shipped.
struct NewCheckpoints {
    /// Entries of the first.
    first: u64,
    notes: String,
    /// Entries of the last, and one.
    behind: u64,
    /// Where in the file they end.
    offset: u64,
}

fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
