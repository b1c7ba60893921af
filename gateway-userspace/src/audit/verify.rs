//! The offline verifier. It is written from `docs/evidence-format.md` and shares no code with
//! the writer: own framing, own tree, own notes. Memory does not grow with the log.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    digest::{Context, SHA256},
    signature::{ED25519, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};

type Digest = [u8; 32];

/// Gaps reported one by one; more are only counted.
const GAPS: usize = 1_000;
/// Side files remembered as good; forgotten all at once when there are more.
const GOOD_BLOBS: usize = 65_536;
/// Progress is told after this many bytes.
const PROGRESS_BYTES: u64 = 8 * 1024 * 1024;

/// What to check the log against.
#[derive(Default)]
pub struct VerifyOptions<'a> {
    /// The public key as the log's `keys/log.pub` has it, from a copy kept elsewhere. Without
    /// it, the key beside the log is trusted, and whoever rewrote the log may have replaced it.
    pub public_key: Option<&'a str>,
    /// A checkpoint kept elsewhere, which the log must still contain. Without one, a log cut
    /// back to an older checkpoint of its own looks like an older log.
    pub checkpoint: Option<&'a str>,
    /// Is told how far the check is.
    pub progress: Option<&'a mut dyn FnMut(Progress)>,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of segments read.
    pub bytes: u64,
    /// Bytes of segments in all.
    pub total_bytes: u64,
    /// Entries checked.
    pub entries: u64,
}

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The first thing wrong; the check ends there.
    pub problem: Option<Problem>,
    /// The log's name.
    pub origin: String,
    /// Id of the key that signs it, hex.
    pub key_id: String,
    /// True if the key was taken from beside the log.
    pub key_from_log: bool,
    /// Good entries.
    pub entries: u64,
    /// Good segments.
    pub segments: u64,
    /// Good checkpoints.
    pub checkpoints: u64,
    /// Good side files, counted once per mention.
    pub blobs: u64,
    /// Entries by type.
    pub events: BTreeMap<String, u64>,
    /// Time of the first entry.
    pub first_time: Option<String>,
    /// Time of the last entry.
    pub last_time: Option<String>,
    /// Entries that no checkpoint covers yet: who holds the file could still change them.
    pub unsigned_entries: u64,
    /// Bytes behind the last entry that are no whole entry: a crash, or a log being written.
    pub torn_bytes: u64,
    /// The same in the file of checkpoints.
    pub torn_checkpoint_bytes: u64,
    /// True if the log was closed in order.
    pub closed: bool,
    /// How often it was opened again without having been closed.
    pub unclean_restarts: u64,
    /// How often the wall clock went back from one entry to the next.
    pub clock_set_back: u64,
    /// Declared gaps.
    pub gaps: Vec<DeclaredGap>,
    /// Their number.
    pub gap_count: u64,
    /// The root over all good entries, base64.
    pub root: String,
}

impl Report {
    /// True if nothing is wrong.
    pub fn ok(&self) -> bool {
        self.problem.is_none()
    }
}

/// Something that must not be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Index of the first bad entry, if it is about one.
    pub entry: Option<u64>,
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}: ")?;
        }
        write!(f, "{} ({}, byte {})", self.what, self.file.display(), self.offset)
    }
}

/// A gap that the log itself declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeclaredGap {
    /// Index of the entry that declares it.
    pub entry: u64,
    /// When.
    pub time: String,
    /// Why.
    pub reason: String,
    /// Bytes cut off.
    pub cut_bytes: u64,
    /// Events lost.
    pub lost_events: u64,
}

/// Checks the log in `dir`.
pub fn verify(dir: &Path, mut options: VerifyOptions<'_>) -> Report {
    let mut report = Report::default();
    let mut progress = options.progress.take();
    if let Err(problem) = check(dir, &options, &mut progress, &mut report) {
        report.problem = Some(problem);
    }
    report
}

/// The last signed checkpoint of the log in `dir`, as a note, its signature checked.
pub fn latest_checkpoint(dir: &Path, public_key: Option<&str>) -> Result<String, Problem> {
    let (key, _) = load_key(dir, public_key)?;
    let mut notes = Notes::open(&dir.join("checkpoints"))?;
    let mut last = None;
    while let Some(note) = notes.next_unchecked()? {
        last = Some(note);
    }
    let note = last.ok_or_else(|| problem(&notes.path, 0, "it holds no checkpoint"))?;
    key.open(&note).map_err(|what| problem(&notes.path, notes.offset, what))?;
    Ok(note)
}

fn check(
    dir: &Path,
    options: &VerifyOptions<'_>,
    progress: &mut Option<&mut dyn FnMut(Progress)>,
    report: &mut Report,
) -> Result<(), Problem> {
    let (key, from_log) = load_key(dir, options.public_key)?;
    report.origin.clone_from(&key.name);
    report.key_id.clone_from(&key.id);
    report.key_from_log = from_log;
    let known = match options.checkpoint {
        None => None,
        Some(note) => {
            let given = Path::new("the given checkpoint");
            let note = format!("{}\n", note.trim_end());
            Some(key.open(&note).map_err(|what| problem(given, 0, what))?)
        }
    };
    // Opened before the entries are read: of a log that is being written, the entries that a
    // checkpoint covers are then there.
    let notes = Notes::open(&dir.join("checkpoints"))?;
    let mut walk = Walk {
        dir,
        key,
        notes,
        next_note: None,
        last_note: None,
        known,
        tree: Counter::default(),
        previous: [0; 32],
        last_kind: String::new(),
        good_blobs: HashSet::new(),
        report,
    };
    walk.advance_note()?;
    let segments = list_segments(&dir.join("segments"))?;
    let total_bytes = segments.iter().map(|(_, path)| fs::metadata(path).map_or(0, |meta| meta.len())).sum();
    let mut bytes = 0;
    let mut told = 0;
    for (position, (first, path)) in segments.iter().enumerate() {
        let is_last = position + 1 == segments.len();
        walk.segment(*first, path, is_last, &mut |length, entries| {
            bytes += length;
            if bytes - told >= PROGRESS_BYTES || bytes == total_bytes {
                told = bytes;
                if let Some(progress) = progress {
                    progress(Progress { bytes, total_bytes, entries });
                }
            }
        })?;
    }
    walk.finish(segments.is_empty())
}

/// The state of a check.
struct Walk<'a> {
    dir: &'a Path,
    key: Verifier,
    notes: Notes,
    /// The next checkpoint, not reached yet.
    next_note: Option<Head>,
    /// Size of the last checkpoint that was reached.
    last_note: Option<u64>,
    /// A checkpoint from elsewhere, until it is reached.
    known: Option<Head>,
    tree: Counter,
    previous: Digest,
    last_kind: String,
    good_blobs: HashSet<String>,
    report: &'a mut Report,
}

impl Walk<'_> {
    fn segment(&mut self, first: u64, path: &Path, is_last: bool, tell: &mut dyn FnMut(u64, u64)) -> Result<(), Problem> {
        if first != self.tree.size {
            let what = format!("a segment is missing: entry {} should be next, and this one begins with {first}", self.tree.size);
            return Err(Problem { entry: Some(self.tree.size), ..problem(path, 0, what) });
        }
        let file = File::open(path).map_err(|error| problem(path, 0, error.to_string()))?;
        let mut input = BufReader::with_capacity(1024 * 1024, file);
        let mut offset = self.header(path, &mut input)?;
        tell(offset, self.tree.size);
        let mut entry = Vec::new();
        loop {
            match frame(&mut input, &mut entry).map_err(|error| problem(path, offset, error.to_string()))? {
                Framed::End => break,
                Framed::Torn => {
                    let rest = fs::metadata(path).map_or(0, |meta| meta.len()).saturating_sub(offset);
                    let covered = self.next_note.as_ref().map(|note| note.size);
                    let what = match covered {
                        Some(size) => format!("it is cut off or its length is changed, and a signed checkpoint covers {size} entries"),
                        None if !is_last => "it is cut off or its length is changed, and other segments follow".to_owned(),
                        None if self.last_kind == "log-closed" => "something stands behind the end of a closed log".to_owned(),
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
            return Err(bad(&format!("format version {version} is not known to this program")));
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
        let note = String::from_utf8(note).map_err(|_utf8: std::string::FromUtf8Error| bad("its checkpoint is no text"))?;
        let head = self.key.open(&note).map_err(|what| bad(&what))?;
        if head.size != self.tree.size || head.root != self.tree.root() {
            return Err(bad("its checkpoint is another one's"));
        }
        if self.last_note != Some(head.size) {
            return Err(bad("its checkpoint is missing from the file of checkpoints"));
        }
        Ok(16 + 4 + 8 + 32 + 4 + 32 * edge.len() as u64 + 4 + u64::from(length))
    }

    fn entry(&mut self, path: &Path, offset: u64, entry: &[u8]) -> Result<(), Problem> {
        let index = self.tree.size;
        let json = entry.get(32..).unwrap_or_default();
        let body: Body = serde_json::from_slice(json)
            .map_err(|error| self.bad(path, offset, format!("its body is not what the format says: {error}")))?;
        if body.v != 1 {
            return Err(self.bad(path, offset, format!("its version {} is not known to this program", body.v)));
        }
        if body.index != index {
            return Err(self.bad(path, offset, format!("it says that its index is {}", body.index)));
        }
        for blob in &body.blobs {
            self.blob(blob).map_err(|what| self.bad(path, offset, what))?;
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
        let stands = serde_json::from_slice::<Body>(entry.get(32..).unwrap_or_default()).map(|body| body.index);
        if let Ok(other) = stands
            && other != index
        {
            return self.bad(path, offset, format!("it is missing: entry {other} stands in its place"));
        }
        // The next entry vouches for this one, if this one is as it was.
        let mut next = Vec::new();
        let vouched = matches!(frame(input, &mut next), Ok(Framed::Entry)) && next.get(..32) == Some(&leaf(entry));
        match index.checked_sub(1) {
            Some(before) if vouched => Problem {
                entry: Some(before),
                ..problem(path, offset, format!("it is changed: entry {index} does not follow it any more"))
            },
            Some(_) | None => self.bad(path, offset, "it is changed: it does not follow the entry before"),
        }
    }

    /// The order of openings and closings, and what the report tells.
    fn remember(&mut self, path: &Path, offset: u64, index: u64, body: Body) -> Result<(), Problem> {
        let bad = |what: &str| Problem { entry: Some(index), ..problem(path, offset, what) };
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
        if self.report.last_time.as_ref().is_some_and(|last| body.time < *last) {
            self.report.clock_set_back += 1;
        }
        self.report.first_time.get_or_insert_with(|| body.time.clone());
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
                return Err(problem(&self.notes.path, self.notes.offset, "checkpoints are out of order"));
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
            ..problem(path, offset, format!("it is not the one that {what} of size {size} covers, or the entries from {from} on are made anew"))
        }
    }

    fn advance_note(&mut self) -> Result<(), Problem> {
        let offset = self.notes.offset;
        self.next_note = match self.notes.next_unchecked()? {
            None => None,
            Some(note) => Some(self.key.open(&note).map_err(|what| problem(&self.notes.path, offset, what))?),
        };
        // The empty tree's checkpoint, and what repeats it.
        if self.next_note.as_ref().is_some_and(|note| note.size == 0) && self.tree.size == 0 {
            let path = self.notes.path.clone();
            self.reach_notes(&path, offset)?;
        }
        Ok(())
    }

    fn blob(&mut self, blob: &Blob) -> Result<(), String> {
        if blob.sha256.len() != 64 || !blob.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("it names a side file that no digest has".to_owned());
        }
        self.report.blobs += 1;
        if self.good_blobs.contains(&blob.sha256) {
            return Ok(());
        }
        let path = self.dir.join("blobs").join(&blob.sha256);
        let (digest, bytes) = hash_file(&path).map_err(|error| format!("its side file {} cannot be read: {error}", path.display()))?;
        if hex(&digest) != blob.sha256 || bytes != blob.bytes {
            return Err(format!("its side file {} is changed", path.display()));
        }
        if self.good_blobs.len() >= GOOD_BLOBS {
            self.good_blobs.clear();
        }
        self.good_blobs.insert(blob.sha256.clone());
        Ok(())
    }

    fn finish(self, empty: bool) -> Result<(), Problem> {
        let size = self.tree.size;
        self.report.root = STANDARD.encode(self.tree.root());
        self.report.unsigned_entries = size - self.last_note.unwrap_or(0).min(size);
        self.report.torn_checkpoint_bytes = self.notes.torn;
        self.report.closed = self.last_kind == "log-closed" && self.report.torn_bytes == 0;
        let segments = self.dir.join("segments");
        let ends = |what: String| Problem { entry: Some(size), ..problem(&segments, 0, what) };
        if let Some(note) = self.next_note {
            return Err(ends(format!("the log ends with {size} entries, and a signed checkpoint covers {}", note.size)));
        }
        if let Some(known) = self.known {
            return Err(ends(format!("the log ends with {size} entries, and the given checkpoint covers {}", known.size)));
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
        Problem { entry: Some(self.tree.size), ..problem(path, offset, what) }
    }
}

/// What of an entry's body the check looks at.
#[derive(Deserialize)]
struct Body {
    v: u32,
    index: u64,
    time: String,
    #[serde(default)]
    blobs: Vec<Blob>,
    event: Summary,
}

#[derive(Deserialize)]
struct Blob {
    sha256: String,
    bytes: u64,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(rename = "type")]
    kind: String,
    key_id: Option<String>,
    reason: Option<String>,
    cut_bytes: Option<u64>,
    lost_events: Option<u64>,
}

/// A checkpoint's content.
struct Head {
    size: u64,
    root: Digest,
}

/// The key that the log must be signed with.
struct Verifier {
    name: String,
    id: String,
    key: Vec<u8>,
}

impl Verifier {
    /// Reads `name+id+base64(0x01 || key)`.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '+');
        let (name, id, encoded) = (parts.next()?, parts.next()?, parts.next()?);
        let typed = STANDARD.decode(encoded).ok()?;
        let (1, key) = typed.split_first().map(|(kind, key)| (*kind, key))? else { return None };
        let mut context = Context::new(&SHA256);
        context.update(name.as_bytes());
        context.update(b"\n");
        context.update(&typed);
        let digest = context.finish();
        (key.len() == 32 && digest.as_ref().get(..4).map(hex)? == id && !name.is_empty())
            .then(|| Self { name: name.to_owned(), id: id.to_owned(), key: key.to_owned() })
    }

    /// Checks a note (three lines, a blank one, one signature line) and reads it.
    fn open(&self, note: &str) -> Result<Head, String> {
        let (text, signature) = note.split_at(note.find("\n\n").ok_or("a checkpoint has no signature")? + 1);
        let line = signature
            .strip_prefix('\n')
            .and_then(|line| line.strip_prefix("\u{2014} "))
            .and_then(|line| line.strip_suffix('\n'))
            .ok_or("a checkpoint's signature line is malformed")?;
        let (name, encoded) = line.rsplit_once(' ').ok_or("a checkpoint's signature line is malformed")?;
        if name != self.name {
            return Err(format!("a checkpoint is signed by {name:?}, not by {:?}", self.name));
        }
        let bytes = STANDARD.decode(encoded).map_err(|error| format!("a checkpoint's signature is no base64: {error}"))?;
        let Some((id, signature)) = bytes.split_first_chunk::<4>() else {
            return Err("a checkpoint's signature is too short".to_owned());
        };
        if hex(id) != self.id {
            return Err(format!("a checkpoint is signed with another key, {}", hex(id)));
        }
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(text.as_bytes(), signature)
            .map_err(|ring::error::Unspecified| "a checkpoint's signature is wrong: it is changed, or made without the key".to_owned())?;
        let mut lines = text.lines();
        let (origin, size, root) = (lines.next(), lines.next(), lines.next());
        if origin != Some(self.name.as_str()) {
            return Err("a checkpoint is of another log".to_owned());
        }
        let size = size.and_then(|size| size.parse().ok()).ok_or("a checkpoint's size is no number")?;
        let root = root.and_then(|root| STANDARD.decode(root).ok()).and_then(|root| root.try_into().ok());
        Ok(Head { size, root: root.ok_or("a checkpoint's root is no digest")? })
    }
}

fn load_key(dir: &Path, given: Option<&str>) -> Result<(Verifier, bool), Problem> {
    if let Some(text) = given {
        let given = Path::new("the given public key");
        let key = Verifier::parse(text.trim()).ok_or_else(|| problem(given, 0, "it is not of the form name+id+base64"))?;
        return Ok((key, false));
    }
    let path = dir.join("keys/log.pub");
    let text = fs::read_to_string(&path).map_err(|error| problem(&path, 0, error.to_string()))?;
    let key = text.strip_suffix('\n').and_then(Verifier::parse);
    key.map(|key| (key, true)).ok_or_else(|| problem(&path, 0, "it is not of the form name+id+base64"))
}

/// The notes of the file of checkpoints, up to where it ended when it was opened.
struct Notes {
    path: PathBuf,
    input: io::Take<BufReader<File>>,
    offset: u64,
    /// Bytes at the end that are no whole note.
    torn: u64,
}

impl Notes {
    fn open(path: &Path) -> Result<Self, Problem> {
        let open = || -> io::Result<_> {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok(BufReader::new(file).take(length))
        };
        let input = open().map_err(|error| problem(path, 0, error.to_string()))?;
        Ok(Self { path: path.to_owned(), input, offset: 0, torn: 0 })
    }

    /// Three lines, an empty one, a signature line, an empty line.
    fn next_unchecked(&mut self) -> Result<Option<String>, Problem> {
        let mut note = Vec::new();
        for line in 0..6 {
            let start = note.len();
            (&mut self.input)
                .take(2_048)
                .read_until(b'\n', &mut note)
                .map_err(|error| problem(&self.path, self.offset, error.to_string()))?;
            let text = note.get(start..).unwrap_or_default();
            if text.last() != Some(&b'\n') {
                if text.len() >= 2_048 {
                    return Err(problem(&self.path, self.offset, "a line is too long for a checkpoint's"));
                }
                self.torn = note.len() as u64;
                return Ok(None);
            }
            let must_be_empty = line == 3 || line == 5;
            if must_be_empty != (text.len() == 1) {
                return Err(problem(&self.path, self.offset, "a checkpoint is malformed"));
            }
        }
        self.offset += note.len() as u64;
        note.pop();
        String::from_utf8(note)
            .map(Some)
            .map_err(|_utf8: std::string::FromUtf8Error| problem(&self.path, self.offset, "a checkpoint is no text"))
    }
}

/// A Merkle tree as a binary counter: slot `n` holds the root of a complete tree of 2^n leaves.
#[derive(Default)]
struct Counter {
    size: u64,
    slots: Vec<Option<Digest>>,
}

impl Counter {
    fn push(&mut self, leaf: Digest) {
        let mut carry = leaf;
        for slot in &mut self.slots {
            match slot.take() {
                Some(left) => carry = node(&left, &carry),
                None => {
                    *slot = Some(carry);
                    self.size += 1;
                    return;
                }
            }
        }
        self.slots.push(Some(carry));
        self.size += 1;
    }

    /// Complete subtrees, largest first.
    fn edge(&self) -> Vec<Digest> {
        self.slots.iter().rev().flatten().copied().collect()
    }

    fn root(&self) -> Digest {
        let mut root = None;
        for subtree in self.slots.iter().flatten() {
            root = Some(root.map_or(*subtree, |right| node(subtree, &right)));
        }
        root.unwrap_or_else(|| hash(&[]))
    }
}

enum Framed {
    Entry,
    End,
    Torn,
}

fn frame(input: &mut impl Read, entry: &mut Vec<u8>) -> io::Result<Framed> {
    entry.clear();
    input.take(4).read_to_end(entry)?;
    let Ok(length) = <[u8; 4]>::try_from(entry.as_slice()) else {
        return Ok(if entry.is_empty() { Framed::End } else { Framed::Torn });
    };
    let length = u64::from(u32::from_be_bytes(length));
    if length <= 32 || length > 65_535 {
        return Ok(Framed::Torn);
    }
    entry.clear();
    input.take(length).read_to_end(entry)?;
    Ok(if entry.len() as u64 == length { Framed::Entry } else { Framed::Torn })
}

fn list_segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Problem> {
    let mut segments = Vec::new();
    for item in fs::read_dir(dir).map_err(|error| problem(dir, 0, error.to_string()))? {
        let path = item.map_err(|error| problem(dir, 0, error.to_string()))?.path();
        let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".log"));
        if let Some(first) = stem.filter(|stem| stem.len() == 20).and_then(|stem| stem.parse().ok()) {
            segments.push((first, path));
        }
    }
    segments.sort();
    Ok(segments)
}

fn take<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        context.update(buffer.get(..count).unwrap_or_default());
        bytes += count as u64;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok((digest, bytes))
}

fn hash(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn leaf(entry: &[u8]) -> Digest {
    hash(&[&[0], entry])
}

fn node(left: &Digest, right: &Digest) -> Digest {
    hash(&[&[1], left, right])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn problem(file: &Path, offset: u64, what: impl Into<String>) -> Problem {
    Problem { entry: None, file: file.to_owned(), offset, what: what.into() }
}
