//! The walk over all entries, in order.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    frame::{Blob, Body, Framed, frame, take},
    notes::{Head, Notes, Verifier},
    report::{DeclaredGap, Problem, Report, problem},
    tree::{Counter, Digest, hash_file, hex, leaf},
};

/// Gaps reported one by one; more are only counted.
const GAPS: usize = 1_000;
/// Side files remembered as good; forgotten all at once when there are more.
const GOOD_BLOBS: usize = 65_536;

/// The state of a check.
pub(super) struct Walk<'a> {
    pub(super) dir: &'a Path,
    pub(super) key: Verifier,
    pub(super) notes: Notes,
    /// The next checkpoint, not reached yet.
    pub(super) next_note: Option<Head>,
    /// Size of the last checkpoint that was reached.
    pub(super) last_note: Option<u64>,
    /// A checkpoint from elsewhere, until it is reached.
    pub(super) known: Option<Head>,
    pub(super) tree: Counter,
    pub(super) previous: Digest,
    pub(super) last_kind: String,
    pub(super) good_blobs: HashSet<String>,
    pub(super) report: &'a mut Report,
}

impl Walk<'_> {
    pub(super) fn segment(
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
        let short = |error: io::Error| bad(&error.to_string());
        if &take::<16>(input).map_err(short)? != b"cordon evidence\n" {
            return Err(bad("this is no evidence segment"));
        }
        let version = u32::from_be_bytes(take(input).map_err(short)?);
        if version != 1 {
            return Err(bad(&format!(
                "format version {version} is not known to this program"
            )));
        }
        if u64::from_be_bytes(take(input).map_err(short)?) != self.tree.size {
            return Err(bad("its first index is not the next one"));
        }
        if take::<32>(input).map_err(short)? != self.previous {
            return Err(bad("it does not follow the entry before"));
        }
        let edge = self.tree.edge();
        if usize::try_from(u32::from_be_bytes(take(input).map_err(short)?)) != Ok(edge.len()) {
            return Err(bad("its tree has another size"));
        }
        for hash in &edge {
            if take::<32>(input).map_err(short)? != *hash {
                return Err(bad("its tree is not that of the entries before"));
            }
        }
        let length = u32::from_be_bytes(take(input).map_err(short)?);
        if length > 4_096 {
            return Err(bad("its checkpoint is too long"));
        }
        let mut note = vec![0; length as usize];
        input.read_exact(&mut note).map_err(short)?;
        let note = String::from_utf8(note)
            .map_err(|_utf8: std::string::FromUtf8Error| bad("its checkpoint is no text"))?;
        let head = self.key.open(&note).map_err(|what| bad(&what))?;
        if head.size != self.tree.size || head.root != self.tree.root() {
            return Err(bad("its checkpoint is another one's"));
        }
        if self.last_note != Some(head.size) {
            return Err(bad(
                "its checkpoint is missing from the file of checkpoints",
            ));
        }
        Ok(16 + 4 + 8 + 32 + 4 + 32 * edge.len() as u64 + 4 + u64::from(length))
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
        if kind == "log-opened" && body.event.key_id.as_deref() != Some(self.key.id.as_str()) {
            return Err(bad("the log was opened with another key"));
        }
        if kind == "gap" {
            self.report.gap_count += 1;
            if self.report.gaps.len() < GAPS {
                self.report.gaps.push(DeclaredGap {
                    entry: index,
                    time: body.time.clone(),
                    reason: body.event.reason.unwrap_or_default(),
                    cut_bytes: body.event.cut_bytes.unwrap_or_default(),
                    lost_events: body.event.lost_events.unwrap_or_default(),
                });
            }
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
        Ok(())
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

    pub(super) fn advance_note(&mut self) -> Result<(), Problem> {
        let offset = self.notes.offset;
        self.next_note = match self.notes.next_unchecked()? {
            None => None,
            Some(note) => Some(
                self.key
                    .open(&note)
                    .map_err(|what| problem(&self.notes.path, offset, what))?,
            ),
        };
        // The empty tree's checkpoint, and what repeats it.
        if self.next_note.as_ref().is_some_and(|note| note.size == 0) && self.tree.size == 0 {
            let path = self.notes.path.clone();
            self.reach_notes(&path, offset)?;
        }
        Ok(())
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

    pub(super) fn finish(self, empty: bool) -> Result<(), Problem> {
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
