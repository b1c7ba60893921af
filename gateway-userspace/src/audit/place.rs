//! A place in the log, between two entries, and the tree over all entries before it. Reading begins
//! there instead of at the log's beginning, which may have been removed.

use std::{
    fs::File,
    io::{BufReader, Seek as _, SeekFrom},
    path::Path,
};

use super::{
    error::ReadError,
    layout::Layout,
    segment::{Frame, open_segment, read_frame},
    tree::{Tree, leaf_hash},
};

/// A place between two entries.
#[derive(Clone, Debug)]
pub(super) struct Place {
    tree: Tree,
    /// First index of the segment, and where in its file the next entry stands.
    segment: u64,
    offset: u64,
}

impl Place {
    /// The beginning of the last segment of the log in `dir` that begins at or before `index`.
    pub(super) fn before(dir: &Path, index: u64) -> Result<Self, ReadError> {
        let layout = Layout::new(dir);
        let segments = layout
            .list_segments()
            .map_err(ReadError::io(layout.segments()))?;
        let Some(segment) = segments.iter().rev().find(|first| **first <= index) else {
            return Err(ReadError::Removed {
                index,
                first: segments.first().copied().unwrap_or(0),
            });
        };
        let path = layout.segment(*segment);
        let (_, header, offset) = open_segment(&path).map_err(ReadError::io(&path))?;
        Ok(Self {
            tree: header.tree,
            segment: *segment,
            offset,
        })
    }

    /// The beginning of what there is of the log.
    pub(super) fn first(dir: &Path) -> Result<Self, ReadError> {
        let layout = Layout::new(dir);
        let segments = layout
            .list_segments()
            .map_err(ReadError::io(layout.segments()))?;
        Self::before(dir, segments.first().copied().unwrap_or(0))
    }

    /// Entries before it.
    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The tree over the entries before it.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Moves on to the end of what there is.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(super) fn advance_to_end(
        &mut self,
        dir: &Path,
        visit: impl FnMut(u64, &[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        self.walk(dir, u64::MAX, visit).map(drop)
    }

    /// Moves on to behind entry `upto - 1`, and calls `visit` with index and bytes of each entry on
    /// the way.
    ///
    /// # Errors
    /// If the log cannot be read, or ends before.
    pub(super) fn advance(
        &mut self,
        dir: &Path,
        upto: u64,
        visit: impl FnMut(u64, &[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if self.walk(dir, upto, visit)? {
            return Ok(());
        }
        Err(ReadError::Malformed {
            path: dir.to_owned(),
            offset: 0,
            problem: format!(
                "it holds {} entries, its checkpoint says {upto}",
                self.size()
            ),
        })
    }

    /// True if there are so many entries.
    fn walk(
        &mut self,
        dir: &Path,
        upto: u64,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), ReadError>,
    ) -> Result<bool, ReadError> {
        let layout = Layout::new(dir);
        let mut entry = Vec::new();
        while self.size() < upto {
            let path = layout.segment(self.segment);
            let mut file = File::open(&path).map_err(ReadError::io(&path))?;
            file.seek(SeekFrom::Start(self.offset))
                .map_err(ReadError::io(&path))?;
            let mut input = BufReader::with_capacity(256 * 1024, file);
            while self.size() < upto
                && let Frame::Entry =
                    read_frame(&mut input, &mut entry).map_err(ReadError::io(&path))?
            {
                visit(self.size(), &entry)?;
                self.tree.push(leaf_hash(&entry));
                self.offset += 4 + entry.len() as u64;
            }
            if self.size() >= upto {
                break;
            }
            let next = layout.segment(self.size());
            if self.segment == self.size() || !next.exists() {
                return Ok(false);
            }
            let (_, _, offset) = open_segment(&next).map_err(ReadError::io(&next))?;
            self.segment = self.size();
            self.offset = offset;
        }
        Ok(true)
    }
}
