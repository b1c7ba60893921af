//! Opening: lock, key, the state at the end of the log, and the cut after a crash.

use std::{
    fs::{self, TryLockError},
    io::{self, Read as _, Seek as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    checkpoint::{self, Checkpoint, NoteFile, open_checkpoints},
    committer::Committer,
    content::{Content, Spilled},
    error::OpenError,
    event::{Event, Gap, LogOpened},
    key::{SigningKey, origin},
    layout::{Layout, open_rw, remove_temporaries, write_whole},
    log::LogConfig,
    rotation,
    segment::{Frame, Header, Segment, open_segment, read_frame},
    state::{Chain, State},
    tree::leaf_hash,
};

/// What opening the log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries that were there.
    pub entries: u64,
    /// True if the log was closed in order, or is new.
    pub clean: bool,
    /// What was cut off; it is in the log as a gap, too.
    pub cut: Option<Cut>,
}

/// The torn end of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Bytes that were no whole entry.
    pub bytes: u64,
    /// Index of the first entry that was lost with them.
    pub at_index: u64,
    /// Bytes of a checkpoint that was being written.
    pub checkpoint_bytes: u64,
    /// The side file that keeps the bytes.
    #[serde(default)]
    pub(super) kept: Option<Content>,
}

/// A log ready to be written.
pub(super) struct Recovered {
    pub(super) state: State,
    pub(super) committer: Committer,
    /// To be recorded first.
    pub(super) events: Vec<Event>,
    pub(super) report: Recovery,
}

pub(super) fn recover(layout: &Layout, config: &LogConfig) -> Result<Recovered, OpenError> {
    layout.create().map_err(|(path, source)| OpenError::Io {
        doing: "create",
        path,
        source,
    })?;
    let lock = take_lock(layout, &config.dir)?;
    for dir in [
        layout.segments(),
        layout.blobs(),
        config.dir.join("keys"),
        config.dir.clone(),
    ] {
        remove_temporaries(&dir).map_err(OpenError::io("clear", dir))?;
    }
    let segments = layout
        .list_segments()
        .map_err(OpenError::io("list", layout.segments()))?;
    let name = origin(&config.host);
    rotation::settle(layout, &config.keys, &name)?;
    let key = SigningKey::open(layout, &config.keys, &name, segments.is_empty())?;
    let (mut checkpoints, signed, checkpoint_cut) = open_checkpoints(&layout.checkpoints(), &key)?;
    let mut cut = Cut {
        checkpoint_bytes: checkpoint_cut,
        ..Cut::default()
    };
    let (segment, chain, clean) = match segments.last() {
        None => (
            new_log(layout, &key, &mut checkpoints, signed.as_ref())?,
            Chain::default(),
            true,
        ),
        Some(first) => resume(layout, &key, *first, signed.as_ref(), &mut cut)?,
    };
    let report_cut =
        (cut.bytes > 0 || (cut.checkpoint_bytes > 0 && !segments.is_empty())).then_some(cut);
    let mut declared = pending_gaps(layout)?;
    declared.extend(report_cut.clone().filter(|cut| cut.bytes == 0));
    let mut events = vec![Event::LogOpened(LogOpened {
        host: config.host.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        key_id: key.id(),
        policy: config.policy.clone(),
        boot_id: boot_id(),
    })];
    events.extend(declared.into_iter().map(|cut| {
        Event::Gap(Gap {
            reason: "the log was not closed in order and ended within an entry or a checkpoint"
                .to_owned(),
            cut_bytes: cut.bytes,
            at_index: Some(cut.at_index),
            cut: cut.kept,
            lost_events: 0,
        })
    }));
    let report = Recovery {
        entries: chain.next(),
        clean,
        cut: report_cut,
    };
    let mut state = State::new(segment, chain);
    state.signed = signed.map_or(0, |checkpoint| checkpoint.size);
    Ok(Recovered {
        state,
        committer: Committer {
            key,
            checkpoints,
            lock,
            spare: Vec::new(),
        },
        events,
        report,
    })
}

/// The hold on a log that nobody else writes.
#[derive(Debug)]
pub(super) struct Lock(fs::File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started holds a copy until it
        // executes its program.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the evidence log cannot be unlocked");
        }
    }
}

fn take_lock(layout: &Layout, dir: &Path) -> Result<Lock, OpenError> {
    let path = layout.lock();
    let file = open_rw(&path).map_err(OpenError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io {
            doing: "lock",
            path,
            source,
        }),
    }
}

/// Signs the empty tree before there is an entry, so that no log is without a checkpoint.
fn new_log(
    layout: &Layout,
    key: &SigningKey,
    checkpoints: &mut NoteFile,
    signed: Option<&Checkpoint>,
) -> Result<Segment, OpenError> {
    if signed.is_some_and(|checkpoint| checkpoint.size > 0) {
        return Err(OpenError::damaged(
            layout.segments(),
            "its segments are gone, but signed checkpoints speak of entries",
        ));
    }
    let chain = Chain::default();
    let note =
        checkpoint::sign(key, &chain.tree).map_err(OpenError::io("sign", layout.checkpoints()))?;
    if signed.is_none() {
        checkpoints
            .append(&note)
            .map_err(OpenError::io("write", layout.checkpoints()))?;
    }
    let header = Header {
        previous: chain.previous,
        tree: chain.tree,
        note,
    };
    Segment::create(layout, &header)
        .map_err(OpenError::io("create a segment in", layout.segments()))
}

/// Finds the end of the log in its last segment; cuts off what is no whole entry behind it.
fn resume(
    layout: &Layout,
    key: &SigningKey,
    first: u64,
    signed: Option<&Checkpoint>,
    cut: &mut Cut,
) -> Result<(Segment, Chain, bool), OpenError> {
    let path = layout.segment(first);
    let damaged = |problem: &str| OpenError::damaged(&path, problem);
    let signed =
        signed.ok_or_else(|| OpenError::damaged(layout.checkpoints(), "it holds no checkpoint"))?;
    let (mut input, header, header_bytes) =
        open_segment(&path).map_err(OpenError::io("read the header of", &path))?;
    let start = checkpoint::open_note(key, &header.note)
        .ok_or_else(|| damaged("its header is not signed by this log's key"))?;
    if start.size != first || header.tree.size() != first || start.root != header.tree.root() {
        return Err(damaged("its header does not fit its signed checkpoint"));
    }
    if signed.size < first {
        return Err(OpenError::damaged(
            layout.checkpoints(),
            "its last checkpoint is older than the last segment",
        ));
    }
    let mut chain = Chain {
        previous: header.previous,
        tree: header.tree,
    };
    let mut length = header_bytes;
    let mut entry = Vec::new();
    let mut clean = false;
    let check = |chain: &Chain| {
        if chain.next() == signed.size && chain.tree.root() != signed.root {
            return Err(damaged(
                "its entries are not those of the last signed checkpoint",
            ));
        }
        Ok(())
    };
    check(&chain)?;
    while let Frame::Entry =
        read_frame(&mut input, &mut entry).map_err(OpenError::io("read", &path))?
    {
        let Some(body) = follows(&entry, &chain) else {
            break;
        };
        clean = matches!(body.event.kind.as_str(), "log-closed");
        chain.push(leaf_hash(&entry));
        length += 4 + entry.len() as u64;
        check(&chain)?;
    }
    if chain.next() < signed.size {
        return Err(damaged(&format!(
            "entry {} is missing or changed, and a signed checkpoint covers {} entries",
            chain.next(),
            signed.size
        )));
    }
    cut.at_index = chain.next();
    let torn = read_from(&path, length).map_err(OpenError::io("read", &path))?;
    if !torn.is_empty() {
        cut.bytes = torn.len() as u64;
        keep(layout, cut, torn)?;
        clean = false;
    }
    let segment = Segment::resume(&path, length).map_err(OpenError::io("cut", &path))?;
    Ok((segment, chain, clean))
}

/// Keeps the torn bytes in a side file, and a note of the cut until it is on record: a second
/// crash must not make it silent.
fn keep(layout: &Layout, cut: &mut Cut, torn: Vec<u8>) -> Result<(), OpenError> {
    let head = super::hex::encode(torn.get(..torn.len().min(64)).unwrap_or_default());
    let spilled = Spilled::new(torn);
    let path = layout.blobs().join(&spilled.name);
    write_whole(&path, &spilled.bytes).map_err(OpenError::io("write", &path))?;
    cut.kept = Some(Content::Blob {
        blob: spilled.name,
        bytes: cut.bytes,
        head,
    });
    let marker = layout.pending_gap();
    let mut cuts = pending_gaps(layout)?;
    cuts.push(cut.clone());
    let json =
        serde_json::to_vec(&cuts).map_err(|error| OpenError::io("write", &marker)(error.into()))?;
    write_whole(&marker, &json).map_err(OpenError::io("write", &marker))
}

/// Cuts that are decided and not on record yet, those of earlier openings included.
fn pending_gaps(layout: &Layout) -> Result<Vec<Cut>, OpenError> {
    let path = layout.pending_gap();
    match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json)
            .map_err(|error| OpenError::damaged(&path, format!("it cannot be read: {error}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(OpenError::io("read", &path)(error)),
    }
}

#[derive(Deserialize)]
struct Body {
    index: u64,
    event: Kind,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

/// The entry's body, if it is the one that follows.
fn follows(entry: &[u8], chain: &Chain) -> Option<Body> {
    let (previous, json) = entry.split_first_chunk::<32>()?;
    let body: Body = serde_json::from_slice(json).ok()?;
    (*previous == chain.previous && body.index == chain.next()).then_some(body)
}

fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    file.seek(io::SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The kernel's boot id; empty where there is none.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
