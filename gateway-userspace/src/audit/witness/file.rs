//! The file of checkpoints that witnesses have cosigned.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use crate::audit::{
    checkpoint::{NoteFile, TAIL_BYTES, ends_of_notes},
    layout::Layout,
};

/// Written by the daemon alone.
pub(super) struct CosignedFile {
    notes: NoteFile,
    /// Entries of the last checkpoint in it.
    last: u64,
    /// Index of the log's first entry.
    first: u64,
}

impl CosignedFile {
    /// Opens the file, and cuts off what a crash left of a note.
    pub(super) fn open(layout: &Layout) -> io::Result<Self> {
        let (notes, last, cut) = NoteFile::open(&layout.cosigned())?;
        if cut > 0 {
            tracing::warn!(bytes = cut, "a torn cosigned checkpoint was cut off");
        }
        Ok(Self {
            last: last
                .and_then(|note| cordon_verify::note_size(&note))
                .unwrap_or(0),
            notes,
            first: layout.list_segments()?.first().copied().unwrap_or(0),
        })
    }

    /// Adds a note of `size` entries. Those of removed entries go.
    pub(super) fn append(&mut self, size: u64, note: &str) -> io::Result<()> {
        if size <= self.last {
            return Ok(());
        }
        self.notes.append(note)?;
        self.last = size;
        self.notes.forget_before(self.first)
    }
}

/// The last whole note of a file of notes, if there is one.
pub(in crate::audit) fn read_tail(path: &Path) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let start = size.saturating_sub(TAIL_BYTES);
    let mut tail = vec![0; usize::try_from(size - start).map_err(io::Error::other)?];
    file.read_exact_at(&mut tail, start)?;
    let ends = ends_of_notes(&tail);
    let mut ends = ends.iter().rev();
    let Some(end) = ends.next() else {
        return Ok(None);
    };
    let begin = match (ends.next(), start) {
        (Some(before), _) => *before,
        (None, 0) => 0,
        (None, _) => return Ok(None),
    };
    // Behind a note stands an empty line.
    let note = tail.get(begin..end.saturating_sub(1)).unwrap_or_default();
    String::from_utf8(note.to_vec())
        .map(Some)
        .map_err(io::Error::other)
}
