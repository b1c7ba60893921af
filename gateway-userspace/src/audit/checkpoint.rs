//! Signed tree heads, in C2SP checkpoint form.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    error::OpenError,
    key::SigningKey,
    layout::{open_rw, write_whole},
    tree::{Hash, Tree},
};

/// A signed statement that the log had this many entries and this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Root of the RFC 6962 tree over them.
    pub root: [u8; 32],
}

impl Checkpoint {
    /// The signed text: origin, size, base64 root, a line each.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root)
        )
    }
}

/// The signed note for a tree: text, blank line, signature line.
pub(super) fn sign(key: &SigningKey, tree: &Tree) -> io::Result<String> {
    let text = Checkpoint {
        origin: key.name().to_owned(),
        size: tree.size(),
        root: tree.root(),
    }
    .text();
    let signature = key.sign(&text)?;
    Ok(format!("{text}\n{signature}"))
}

/// Reads a note that `key` signed; `None` for anything else.
pub(super) fn open_note(key: &SigningKey, note: &str) -> Option<Checkpoint> {
    let (text, signature) = note.split_once("\n\n")?;
    let text = format!("{text}\n");
    if !key.signed(&text, signature.strip_suffix('\n')?) {
        return None;
    }
    let mut lines = text.lines();
    let origin = lines.next()?.to_owned();
    let size = lines.next()?.parse().ok()?;
    let root: Hash = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
    let checkpoint = Checkpoint { origin, size, root };
    (checkpoint.text() == text && checkpoint.origin == key.name()).then_some(checkpoint)
}

/// A file of notes, each followed by an empty line.
pub(super) struct NoteFile {
    path: PathBuf,
    file: File,
    length: u64,
}

/// What of the file is looked at to find its last note; a note is some 250 bytes, and 100 more for
/// each cosignature.
pub(super) const TAIL_BYTES: u64 = 64 * 1024;

/// Opens the log's file of checkpoints and finds the last one. A note that was being written at a
/// crash is cut off; the last number says how many bytes.
pub(super) fn open_checkpoints(
    path: &Path,
    key: &SigningKey,
) -> Result<(NoteFile, Option<Checkpoint>, u64), OpenError> {
    let (file, last, cut) = NoteFile::open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::InvalidData {
            OpenError::damaged(path, error.to_string())
        } else {
            OpenError::io("open", path)(error)
        }
    })?;
    let last = last
        .map(|note| {
            open_note(key, &note).ok_or_else(|| {
                OpenError::damaged(path, "its last checkpoint is not signed by this log's key")
            })
        })
        .transpose()?;
    Ok((file, last, cut))
}

impl NoteFile {
    /// Opens the file, or makes it, and finds its last note. One that was being written at a crash
    /// is cut off; the last number says how many bytes.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<String>, u64)> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let incomplete = || invalid("it holds no complete checkpoint");
        let file = open_rw(path)?;
        let size = file.metadata()?.len();
        let start = size.saturating_sub(TAIL_BYTES);
        let mut tail = vec![0; usize::try_from(size - start).unwrap_or(0)];
        file.read_exact_at(&mut tail, start)?;
        // A note ends with its last signature's newline and an empty line. Within a note there is
        // one blank line, before the signatures, which begin with an em dash.
        let ends = ends_of_notes(&tail);
        let whole = ends.last().copied().unwrap_or(0);
        let cut = tail.len() - whole;
        if cut as u64 == size && size > TAIL_BYTES / 2 {
            return Err(incomplete());
        }
        let last = match ends.iter().rev().nth(1) {
            Some(previous) => tail.get(*previous..whole),
            // The first note of the file.
            None if start == 0 => tail.get(..whole),
            None => None,
        };
        let last = match last {
            Some([]) => None,
            Some(bytes) => {
                let note = std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|text| text.strip_suffix('\n'));
                Some(note.ok_or_else(|| invalid("its last checkpoint is no text"))?)
            }
            None => return Err(incomplete()),
        };
        let last = last.map(str::to_owned);
        let length = size - cut as u64;
        if cut > 0 {
            file.set_len(length).and_then(|()| file.sync_all())?;
        }
        let notes = Self {
            path: path.to_owned(),
            file,
            length,
        };
        Ok((notes, last, cut as u64))
    }

    /// Removes the checkpoints of fewer entries than `size`.
    pub(super) fn forget_before(&mut self, size: u64) -> io::Result<()> {
        let length = usize::try_from(self.length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, 0)?;
        let ends = ends_of_notes(&bytes);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let keep = starts.zip(&ends).find_map(|(start, end)| {
            let note = std::str::from_utf8(bytes.get(start..*end)?).ok()?;
            let of: u64 = note.lines().nth(1)?.parse().ok()?;
            (of >= size).then_some(start)
        });
        let Some(rest) = keep
            .filter(|start| *start > 0)
            .and_then(|start| bytes.get(start..))
        else {
            return Ok(());
        };
        write_whole(&self.path, rest)?;
        self.file = open_rw(&self.path)?;
        self.length = rest.len() as u64;
        Ok(())
    }

    /// Appends a note and syncs it.
    pub(super) fn append(&mut self, note: &str) -> io::Result<()> {
        let bytes = format!("{note}\n");
        let written = self
            .file
            .write_all_at(bytes.as_bytes(), self.length)
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                if let Err(error) = self.file.set_len(self.length) {
                    tracing::error!(path = %self.path.display(), %error, "cannot cut a torn checkpoint; the next one overwrites it");
                }
                Err(error)
            }
        }
    }
}

/// Offsets just behind each note's closing empty line.
pub(super) fn ends_of_notes(bytes: &[u8]) -> Vec<usize> {
    let dash = "\u{2014} ".as_bytes();
    let mut ends = Vec::new();
    let mut line_start = 0;
    let mut after_signature = false;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let line = bytes.get(line_start..at).unwrap_or_default();
        if after_signature && line.is_empty() {
            ends.push(at + 1);
        }
        after_signature = line.starts_with(dash);
        line_start = at + 1;
    }
    ends
}
