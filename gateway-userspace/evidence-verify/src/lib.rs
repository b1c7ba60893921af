//! The offline verifier. It is written from `docs/evidence-format.md` and shares no code with what
//! writes the evidence: own framing, own tree, own notes. Memory does not grow with the log, but for
//! what it remembers of each recorded session.

mod frame;
mod notes;
mod proof;
mod recordings;
mod report;
mod rotations;
mod tree;
mod walk;
mod witness;

use std::{collections::HashSet, fs, path::Path};

use self::{
    frame::list_segments, notes::Notes, recordings::Recordings, report::problem,
    rotations::load_keys, tree::Counter, walk::Walk, witness::Cosigned,
};

pub use proof::{Claim, Proven, check_proof};
pub use report::{DeclaredGap, Problem, Pruned, Report, Witnessed};
pub use witness::{Witness, check_cosignatures, latest_cosigned};

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
    /// Witnesses whose cosignatures are checked. A wrong one is a problem; those of others are not
    /// looked at.
    pub witnesses: Vec<Witness>,
    /// How many of them must have cosigned a checkpoint of the log; `None`: all.
    pub quorum: Option<usize>,
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
    let (keys, _) = load_keys(dir, public_key)?;
    let mut notes = Notes::open(&dir.join("checkpoints"))?;
    let mut last = None;
    while let Some(note) = notes.next_unchecked()? {
        last = Some(note);
    }
    let note = last.ok_or_else(|| problem(&notes.path, 0, "it holds no checkpoint"))?;
    keys.open(&note)
        .map_err(|what| problem(&notes.path, notes.offset, what))?;
    Ok(note)
}

/// The number of entries that a checkpoint is of; its signature is not looked at.
pub fn note_size(note: &str) -> Option<u64> {
    note.lines().nth(1)?.parse().ok()
}

fn check(
    dir: &Path,
    options: &VerifyOptions<'_>,
    progress: &mut Option<&mut dyn FnMut(Progress)>,
    report: &mut Report,
) -> Result<(), Problem> {
    let (keys, from_log) = load_keys(dir, options.public_key)?;
    report.origin.clone_from(&keys.current().name);
    report.key_id.clone_from(&keys.current().id);
    report.keys = keys.ids();
    report.key_from_log = from_log;
    let known = match options.checkpoint {
        None => None,
        Some(note) => {
            let given = Path::new("the given checkpoint");
            let note = format!("{}\n", note.trim_end());
            Some(
                keys.open_cosigned(&note)
                    .map_err(|what| problem(given, 0, what))?,
            )
        }
    };
    // Opened before the entries are read: of a log that is being written, the entries that a
    // checkpoint covers are then there.
    let notes = Notes::open(&dir.join("checkpoints"))?;
    let cosigned = Cosigned::open(dir, options.witnesses.clone(), options.quorum, report)?;
    let mut walk = Walk {
        dir,
        keys,
        notes,
        cosigned,
        next_note: None,
        last_note: None,
        known,
        tree: Counter::default(),
        previous: [0; 32],
        last_kind: String::new(),
        good_blobs: HashSet::new(),
        recordings: Recordings::new(dir),
        first: 0,
        report,
    };
    let segments = list_segments(&dir.join("segments"))?;
    if let Some((first, path)) = segments.first().filter(|(first, _)| *first > 0) {
        walk.begin_at(*first, path)?;
    }
    walk.advance_note()?;
    walk.begin_cosigned()?;
    let total_bytes = segments
        .iter()
        .map(|(_, path)| fs::metadata(path).map_or(0, |meta| meta.len()))
        .sum();
    let mut bytes = 0;
    let mut told = 0;
    for (position, (first, path)) in segments.iter().enumerate() {
        let is_last = position + 1 == segments.len();
        walk.segment(*first, path, is_last, &mut |length, entries| {
            bytes += length;
            if bytes - told >= PROGRESS_BYTES || bytes == total_bytes {
                told = bytes;
                if let Some(progress) = progress {
                    progress(Progress {
                        bytes,
                        total_bytes,
                        entries,
                    });
                }
            }
        })?;
    }
    walk.finish(segments.is_empty())
}
