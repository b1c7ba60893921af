//! The walk over all entries, in order.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{BufReader, Read},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    frame::{Blob, Body, Framed, Header, frame},
    notes::{Head, Notes},
    recordings::Recordings,
    report::{DeclaredGap, Problem, Pruned, Report, problem},
    rotations::Keys,
    tree::{Counter, Digest, hash_file, hex, leaf},
    witness::Cosigned,
};

/// Gaps reported one by one; more are only counted.
const GAPS: usize = 1_000;
/// Side files remembered as good; forgotten all at once when there are more.
const GOOD_BLOBS: usize = 65_536;

/// The state of a check.
pub(crate) struct Walk<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) keys: Keys,
    pub(crate) notes: Notes,
    /// Checkpoints that witnesses have cosigned.
    pub(crate) cosigned: Cosigned,
    /// The next checkpoint, not reached yet.
    pub(crate) next_note: Option<Head>,
    /// Size of the last checkpoint that was reached.
    pub(crate) last_note: Option<u64>,
    /// A checkpoint from elsewhere, until it is reached.
    pub(crate) known: Option<Head>,
    pub(crate) tree: Counter,
    pub(crate) previous: Digest,
    pub(crate) last_kind: String,
    pub(crate) good_blobs: HashSet<String>,
    pub(crate) recordings: Recordings,
    /// Index of the first entry that is there.
    pub(crate) first: u64,
    pub(crate) report: &'a mut Report,
}

impl Walk<'_> {
    /// Begins with a segment that is not the log's first: what was before is what its header's
    /// signed checkpoint says. An entry must say that it was removed.
    pub(crate) fn begin_at(&mut self, first: u64, path: &Path) -> Result<(), Problem> {
        let file = File::open(path).map_err(|error| problem(path, 0, error.to_string()))?;
        let bad = |what: String| problem(path, 0, format!("the segment's header is bad: {what}"));
        let header = Header::read(&mut BufReader::new(file)).map_err(bad)?;
        let tree = Counter::from_edge(first, &header.edge)
            .ok_or_else(|| bad("its tree has another size".to_owned()))?;
        let head = self.keys.open(&header.note).map_err(bad)?;
        if header.size != first || head.size != first || head.root != tree.root() {
            return Err(bad("its checkpoint is another one's".to_owned()));
        }
        if self.known.as_ref().is_some_and(|known| known.size < first) {
            return Err(bad(
                "the given checkpoint is of entries that were removed; give a newer one".to_owned(),
            ));
        }
        self.first = first;
        self.tree = tree;
        self.previous = header.previous;
        "(removed)".clone_into(&mut self.last_kind);
        Ok(())
    }

    pub(crate) fn segment(
        &mut self,
        first: u64,
        path: &Path,
        is_last: bool,
        tell: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Problem> {
        if first != self.tree.size {
            let what = format!(
                "a segment is missing: entry {} should be next, and this one begins with {first}",
                self.tree.size
            );
            return Err(Problem {
                entry: Some(self.tree.size),
                ..problem(path, 0, what)
            });
        }
        let file = File::open(path).map_err(|error| problem(path, 0, error.to_string()))?;
        let mut input = BufReader::with_capacity(1024 * 1024, file);
        let mut offset = self.header(path, &mut input)?;
        tell(offset, self.tree.size);
        let mut entry = Vec::new();
        loop {
            match frame(&mut input, &mut entry)
                .map_err(|error| problem(path, offset, error.to_string()))?
            {
                Framed::End => break,
                Framed::Torn => {
                    let rest = fs::metadata(path)
                        .map_or(0, |meta| meta.len())
                        .saturating_sub(offset);
                    let covered = self.next_note.as_ref().map(|note| note.size);
                    let what = match covered {
                        Some(size) => format!(
                            "it is cut off or its length is changed, and a signed checkpoint covers {size} entries"
                        ),
                        None if !is_last => {
                            "it is cut off or its length is changed, and other segments follow"
                                .to_owned()
                        }
                        None if self.last_kind == "log-closed" => {
                            "something stands behind the end of a closed log".to_owned()
                        }
                        None => {
                            self.report.torn_bytes = rest;
                            tell(rest, self.tree.size);
                            break;
                        }
                    };
                    return Err(self.bad(path, offset, what));
                }
                Framed::Entry => {
                    if entry.get(..32) != Some(&self.previous) {
                        return Err(self.misfit(path, offset, &entry, &mut input));
                    }
                    self.entry(path, offset, &entry)?;
                    offset += 4 + entry.len() as u64;
                    tell(4 + entry.len() as u64, self.tree.size);
                }
            }
        }
        self.report.segments += 1;
        Ok(())
    }

    /// The header repeats what the entries so far must have come to.
    fn header(&mut self, path: &Path, input: &mut impl Read) -> Result<u64, Problem> {
        let bad = |what: &str| problem(path, 0, format!("the segment's header is bad: {what}"));
        let header = Header::read(input).map_err(|what| bad(&what))?;
        if header.size != self.tree.size {
            return Err(bad("its first index is not the next one"));
        }
        if header.previous != self.previous {
            return Err(bad("it does not follow the entry before"));
        }
        if header.edge != self.tree.edge() {
            return Err(bad("its tree is not that of the entries before"));
        }
        let head = self.keys.open(&header.note).map_err(|what| bad(&what))?;
        if head.size != self.tree.size || head.root != self.tree.root() {
            return Err(bad("its checkpoint is another one's"));
        }
        if self.last_note != Some(head.size) {
            return Err(bad(
                "its checkpoint is missing from the file of checkpoints",
            ));
        }
        Ok(header.length)
    }

    fn entry(&mut self, path: &Path, offset: u64, entry: &[u8]) -> Result<(), Problem> {
        let index = self.tree.size;
        let json = entry.get(32..).unwrap_or_default();
        let body: Body = serde_json::from_slice(json).map_err(|error| {
            self.bad(
                path,
                offset,
                format!("its body is not what the format says: {error}"),
            )
        })?;
        if body.v != 1 {
            return Err(self.bad(
                path,
                offset,
                format!("its version {} is not known to this program", body.v),
            ));
        }
        if body.index != index {
            return Err(self.bad(
                path,
                offset,
                format!("it says that its index is {}", body.index),
            ));
        }
        for blob in &body.blobs {
            self.blob(blob)
                .map_err(|what| self.bad(path, offset, what))?;
        }
        let recorded = match body.event.kind.as_str() {
            "session-recorded" => {
                let pruned = self.first > 0;
                self.recordings
                    .part(index, &body.event, pruned, self.report)
            }
            "recording-removed" => self.recordings.removed(&body.event, self.report),
            _ => Ok(()),
        };
        recorded.map_err(|what| self.bad(path, offset, what))?;
        let hash = leaf(entry);
        self.tree.push(hash);
        self.previous = hash;
        self.reach_notes(path, offset)?;
        self.remember(path, offset, index, body)
    }

    /// An entry that does not name the one before: is it that one, this one, or one between?
    fn misfit(&self, path: &Path, offset: u64, entry: &[u8], input: &mut impl Read) -> Problem {
        let index = self.tree.size;
        let stands = serde_json::from_slice::<Body>(entry.get(32..).unwrap_or_default())
            .map(|body| body.index);
        if let Ok(other) = stands
            && other != index
        {
            return self.bad(
                path,
                offset,
                format!("it is missing: entry {other} stands in its place"),
            );
        }
        // The next entry vouches for this one, if this one is as it was.
        let mut next = Vec::new();
        let vouched = matches!(frame(input, &mut next), Ok(Framed::Entry))
            && next.get(..32) == Some(&leaf(entry));
        match index.checked_sub(1) {
            Some(before) if vouched => Problem {
                entry: Some(before),
                ..problem(
                    path,
                    offset,
                    format!("it is changed: entry {index} does not follow it any more"),
                )
            },
            Some(_) | None => self.bad(
                path,
                offset,
                "it is changed: it does not follow the entry before",
            ),
        }
    }

    /// The order of openings and closings, and what the report tells.
    fn remember(
        &mut self,
        path: &Path,
        offset: u64,
        index: u64,
        body: Body,
    ) -> Result<(), Problem> {
        let bad = |what: &str| Problem {
            entry: Some(index),
            ..problem(path, offset, what)
        };
        let kind = body.event.kind;
        match (self.last_kind.as_str(), kind.as_str()) {
            ("" | "log-closed", "log-opened") => {}
            ("", _) => return Err(bad("the log does not begin with its opening")),
            ("log-closed", _) => return Err(bad("it stands behind the log's closing")),
            (_, "log-opened") => self.report.unclean_restarts += 1,
            _ => {}
        }
        let key_id = body.event.key_id.as_deref().unwrap_or_default();
        if kind == "log-opened" && !self.keys.signs(key_id, index + 1) {
            return Err(bad("the log was opened with another key"));
        }
        if kind == "gap" {
            self.report.gap_count += 1;
            if self.report.gaps.len() < GAPS {
                self.report.gaps.push(DeclaredGap {
                    entry: index,
                    time: body.time.clone(),
                    reason: body.event.reason.clone().unwrap_or_default(),
                    cut_bytes: body.event.cut_bytes.unwrap_or_default(),
                    lost_events: body.event.lost_events.unwrap_or_default(),
                });
            }
        }
        if kind == "log-pruned"
            && let Some(first) = body.event.first.filter(|first| *first >= self.first)
            && self.first > 0
        {
            self.report.pruned.get_or_insert_with(|| Pruned {
                first: self.first.min(first),
                entry: index,
                reason: body.event.reason.unwrap_or_default(),
            });
        }
        // Times have one fixed form: they compare as text.
        if self
            .report
            .last_time
            .as_ref()
            .is_some_and(|last| body.time < *last)
        {
            self.report.clock_set_back += 1;
        }
        self.report
            .first_time
            .get_or_insert_with(|| body.time.clone());
        self.report.last_time = Some(body.time);
        self.report.entries = self.tree.size;
        match self.report.events.get_mut(&kind) {
            Some(count) => *count += 1,
            None => {
                self.report.events.insert(kind.clone(), 1);
            }
        }
        self.last_kind = kind;
        Ok(())
    }

    /// Compares the tree with every checkpoint of this size.
    fn reach_notes(&mut self, path: &Path, offset: u64) -> Result<(), Problem> {
        while let Some(note) = self.next_note.take_if(|note| note.size <= self.tree.size) {
            if note.size < self.tree.size {
                return Err(problem(
                    &self.notes.path,
                    self.notes.offset,
                    "checkpoints are out of order",
                ));
            }
            if note.root != self.tree.root() {
                return Err(self.unlike(path, offset, "the signed checkpoint"));
            }
            self.last_note = Some(note.size);
            self.report.checkpoints += 1;
            self.advance_note()?;
        }
        if let Some(known) = self.known.take_if(|known| known.size == self.tree.size)
            && known.root != self.tree.root()
        {
            return Err(self.unlike(path, offset, "the given checkpoint"));
        }
        let tree = &self.tree;
        self.cosigned
            .reach(tree.size, || tree.root(), &self.keys, self.report)
    }

    /// Finds the first cosigned checkpoint, behind what was removed.
    pub(crate) fn begin_cosigned(&mut self) -> Result<(), Problem> {
        self.cosigned.advance(&self.keys, self.first, self.report)?;
        let tree = &self.tree;
        self.cosigned
            .reach(tree.size, || tree.root(), &self.keys, self.report)
    }

    fn unlike(&self, path: &Path, offset: u64, what: &str) -> Problem {
        let size = self.tree.size;
        let from = self.last_note.unwrap_or(0);
        Problem {
            entry: size.checked_sub(1),
            ..problem(
                path,
                offset,
                format!(
                    "it is not the one that {what} of size {size} covers, or the entries from {from} on are made anew"
                ),
            )
        }
    }

    pub(crate) fn advance_note(&mut self) -> Result<(), Problem> {
        loop {
            let offset = self.notes.offset;
            self.next_note = match self.notes.next_unchecked()? {
                None => None,
                Some(note) => Some(
                    self.keys
                        .open(&note)
                        .map_err(|what| problem(&self.notes.path, offset, what))?,
                ),
            };
            let Some(note) = &self.next_note else {
                return Ok(());
            };
            // Of entries that were removed.
            if note.size < self.first && self.tree.size == self.first {
                continue;
            }
            // The checkpoint that the log begins with, and what repeats it.
            if note.size == self.first && self.tree.size == self.first {
                let path = self.notes.path.clone();
                self.reach_notes(&path, offset)?;
            }
            return Ok(());
        }
    }

    fn blob(&mut self, blob: &Blob) -> Result<(), String> {
        if blob.sha256.len() != 64
            || !blob
                .sha256
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err("it names a side file that no digest has".to_owned());
        }
        self.report.blobs += 1;
        if self.good_blobs.contains(&blob.sha256) {
            return Ok(());
        }
        let path = self.dir.join("blobs").join(&blob.sha256);
        let (digest, bytes) = hash_file(&path)
            .map_err(|error| format!("its side file {} cannot be read: {error}", path.display()))?;
        if hex(&digest) != blob.sha256 || bytes != blob.bytes {
            return Err(format!("its side file {} is changed", path.display()));
        }
        if self.good_blobs.len() >= GOOD_BLOBS {
            self.good_blobs.clear();
        }
        self.good_blobs.insert(blob.sha256.clone());
        Ok(())
    }

    pub(crate) fn finish(self, empty: bool) -> Result<(), Problem> {
        self.recordings.finish(self.report)?;
        let size = self.tree.size;
        self.report.root = STANDARD.encode(self.tree.root());
        self.report.unsigned_entries = size - self.last_note.unwrap_or(0).min(size);
        self.report.torn_checkpoint_bytes = self.notes.torn;
        self.report.closed = self.last_kind == "log-closed" && self.report.torn_bytes == 0;
        let segments = self.dir.join("segments");
        let ends = |what: String| Problem {
            entry: Some(size),
            ..problem(&segments, 0, what)
        };
        if let Some(note) = self.next_note {
            return Err(ends(format!(
                "the log ends with {size} entries, and a signed checkpoint covers {}",
                note.size
            )));
        }
        if let Some(known) = self.known {
            return Err(ends(format!(
                "the log ends with {size} entries, and the given checkpoint covers {}",
                known.size
            )));
        }
        self.cosigned.finish(size, self.report)?;
        if self.first > 0 && self.report.pruned.is_none() {
            return Err(Problem {
                entry: Some(0),
                ..problem(
                    &segments,
                    0,
                    format!(
                        "the entries before {} are missing, and no entry says that they were removed",
                        self.first
                    ),
                )
            });
        }
        if self.last_note.is_none() {
            return Err(problem(&self.notes.path, 0, "it holds no checkpoint"));
        }
        if empty {
            return Err(problem(&segments, 0, "there are no segments"));
        }
        if self.report.closed && (self.report.unsigned_entries > 0 || self.notes.torn > 0) {
            return Err(problem(
                &self.notes.path,
                self.notes.offset,
                "the log is closed, but no checkpoint covers its end; if the daemon was killed while it stopped, start it once",
            ));
        }
        Ok(())
    }

    fn bad(&self, path: &Path, offset: u64, what: impl Into<String>) -> Problem {
        Problem {
            entry: Some(self.tree.size),
            ..problem(path, offset, what)
        }
    }
}
