//! The sessions' recordings: what the log says of them, compared with the files.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
};

use ring::digest::{Context, SHA256};

use crate::{
    frame::Summary,
    report::{Problem, Report, problem},
    tree::hex,
};

/// Recordings that have begun and not ended.
pub(crate) struct Recordings {
    dir: PathBuf,
    open: BTreeMap<String, Open>,
}

#[derive(Default)]
struct Open {
    /// Bytes on record so far.
    length: u64,
    /// The entry that names a part whose file is gone.
    missing: Option<u64>,
    ended: bool,
}

impl Recordings {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.join("recordings"),
            open: BTreeMap::new(),
        }
    }

    /// Checks the part that an entry names. `pruned`: entries are missing from the log's beginning,
    /// so that a recording may have begun before it.
    pub(crate) fn part(
        &mut self,
        index: u64,
        event: &Summary,
        pruned: bool,
        report: &mut Report,
    ) -> Result<(), String> {
        let (Some(session), Some(offset), Some(bytes), Some(sha256)) =
            (&event.session, event.offset, event.bytes, &event.sha256)
        else {
            return Err("it does not say what was recorded".to_owned());
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if session.is_empty() || !session.bytes().all(plain) {
            return Err("it names a session that no file can have".to_owned());
        }
        let path = self.dir.join(format!("{session}.rec"));
        let known = self.open.contains_key(session);
        let open = self.open.entry(session.clone()).or_default();
        if !known {
            report.recorded_sessions += 1;
            if pruned {
                open.length = offset;
            }
        }
        if open.ended {
            return Err(format!("the recording of {session} goes on behind its end"));
        }
        if offset != open.length {
            return Err(format!(
                "the recording of {session} has {} bytes on record, and this part begins at {offset}",
                open.length
            ));
        }
        open.length = offset
            .checked_add(bytes)
            .ok_or("its recording is too long")?;
        open.ended = event.end;
        report.recorded_parts += 1;
        if open.missing.is_some() {
            return Ok(());
        }
        match hash_part(&path, offset, bytes) {
            Ok(digest) if digest == *sha256 => {}
            Ok(_) => return Err(format!("the recording {} is changed", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if bytes > 0 {
                    // The log may say later that it was removed.
                    open.missing = Some(index);
                }
            }
            Err(error) => {
                return Err(format!(
                    "the recording {} cannot be read: {error}",
                    path.display()
                ));
            }
        }
        if open.ended && open.missing.is_none() {
            let length = fs::metadata(&path).map_or(0, |file| file.len());
            if length > open.length {
                return Err(format!(
                    "the recording {} is longer than what is on record",
                    path.display()
                ));
            }
            // Anything further of this session begins at an offset that no recording begins with.
            if open.length > 0 {
                self.open.remove(session);
            }
        }
        Ok(())
    }

    /// The log says that a recording was removed.
    pub(crate) fn removed(&mut self, event: &Summary, report: &mut Report) -> Result<(), String> {
        let session = event.session.as_ref().ok_or("it names no session")?;
        report.removed_recordings += 1;
        self.open.remove(session);
        Ok(())
    }

    /// Files that are gone though nothing says so; and how much is not on record yet.
    pub(crate) fn finish(self, report: &mut Report) -> Result<(), Problem> {
        let missing = self
            .open
            .iter()
            .filter_map(|(session, open)| Some((open.missing?, session)))
            .min();
        if let Some((entry, session)) = missing {
            let path = self.dir.join(format!("{session}.rec"));
            return Err(Problem {
                entry: Some(entry),
                ..problem(
                    &path,
                    0,
                    "the recording is gone, and nothing says that it was removed",
                )
            });
        }
        for (session, open) in &self.open {
            report.unended_recordings += u64::from(!open.ended);
            let path = self.dir.join(format!("{session}.rec"));
            let length = fs::metadata(path).map_or(0, |file| file.len());
            report.unrecorded_bytes += length.saturating_sub(open.length);
        }
        Ok(())
    }
}

fn hash_part(path: &Path, offset: u64, bytes: u64) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut file = File::open(path)?;
    file.seek(io::SeekFrom::Start(offset))?;
    let mut part = file.take(bytes);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match part.read(&mut buffer)? {
            0 => break,
            count => context.update(buffer.get(..count).unwrap_or_default()),
        }
    }
    Ok(hex(context.finish().as_ref()))
}
