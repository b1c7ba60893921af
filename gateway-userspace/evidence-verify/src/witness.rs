//! Witnesses, and the checkpoints that they have cosigned: C2SP tlog-cosignature, its Ed25519 form
//! `cosignature/v1`.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::{
    notes::{Head, Notes, parse_key, split_all},
    report::{Problem, Report, Witnessed, problem},
    rotations::Keys,
    tree::{Digest, hex},
};

/// Algorithm byte of a cosigner's Ed25519 key.
const COSIGNATURE: u8 = 4;
/// Signatures of a cosigned checkpoint, at most.
const SIGNATURES: usize = 64;

/// The public key of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    name: String,
    id: String,
    key: Vec<u8>,
}

impl Witness {
    /// Reads `name+id+base64(0x04 || key)`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, id, key) = parse_key(text, COSIGNATURE).ok_or_else(|| {
            format!(
                "{text:?} is no witness's key: name+id+base64 of 04 and an Ed25519 public key, as the witness publishes it"
            )
        })?;
        Ok(Self { name, id, key })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of its key, hex.
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// When this witness cosigned `text`, the signed lines of a checkpoint, as `line`, a signature
    /// line without its newline, says: seconds since 1970. `None`: the line is of another key.
    ///
    /// # Errors
    /// If the line names this key, and the signature is not good.
    pub fn cosigned(&self, text: &str, line: &str) -> Result<Option<u64>, String> {
        let Some((name, encoded)) = line
            .strip_prefix("\u{2014} ")
            .and_then(|line| line.rsplit_once(' '))
        else {
            return Err("a signature line is malformed".to_owned());
        };
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|error| format!("a signature is no base64: {error}"))?;
        let Some((id, timed)) = bytes.split_first_chunk::<4>() else {
            return Err("a signature is too short".to_owned());
        };
        if name != self.name || hex(id) != self.id {
            return Ok(None);
        }
        let (time, signature) = timed
            .split_first_chunk::<8>()
            .ok_or_else(|| format!("a cosignature of {name:?} is too short"))?;
        let time = u64::from_be_bytes(*time);
        let message = format!("cosignature/v1\ntime {time}\n{text}");
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(message.as_bytes(), signature)
            .map_err(|ring::error::Unspecified| {
                format!("the cosignature of {name:?} is wrong: something is changed, or it is made without the key")
            })?;
        Ok(Some(time))
    }
}

/// A cosigned checkpoint that was not reached yet.
struct Next {
    head: Head,
    offset: u64,
    /// Which of the given witnesses have cosigned it, and when.
    by: Vec<(usize, u64)>,
}

/// The file of cosigned checkpoints, read beside the walk over the entries.
pub(crate) struct Cosigned {
    notes: Option<Notes>,
    next: Option<Next>,
    witnesses: Vec<Witness>,
    quorum: usize,
}

impl Cosigned {
    /// Opens the file; there is none where no witness was ever asked.
    pub(crate) fn open(
        dir: &Path,
        witnesses: Vec<Witness>,
        quorum: Option<usize>,
        report: &mut Report,
    ) -> Result<Self, Problem> {
        let given = Path::new("the given witnesses");
        let quorum = quorum.unwrap_or(witnesses.len());
        if quorum > witnesses.len() {
            let what = format!(
                "a quorum of {quorum} needs as many, {} are given",
                witnesses.len()
            );
            return Err(problem(given, 0, what));
        }
        for (at, witness) in witnesses.iter().enumerate() {
            if witnesses.iter().skip(at + 1).any(|other| other == witness) {
                return Err(problem(
                    given,
                    0,
                    format!("{:?} is given twice", witness.name),
                ));
            }
        }
        report.quorum = quorum as u64;
        report.witnesses = witnesses
            .iter()
            .map(|witness| Witnessed {
                name: witness.name.clone(),
                key_id: witness.id.clone(),
                ..Witnessed::default()
            })
            .collect();
        let path = dir.join("cosigned");
        Ok(Self {
            notes: path.exists().then(|| Notes::open(&path)).transpose()?,
            next: None,
            witnesses,
            quorum,
        })
    }

    /// Reads the next one that is not of entries before `first`, which were removed.
    pub(crate) fn advance(
        &mut self,
        keys: &Keys,
        first: u64,
        report: &mut Report,
    ) -> Result<(), Problem> {
        let before = self.next.take().map_or(0, |next| next.head.size);
        let Some(notes) = &mut self.notes else {
            return Ok(());
        };
        loop {
            let offset = notes.offset;
            let bad = |what: String| problem(Path::new("cosigned"), offset, what);
            let Some(note) = notes.next_note(SIGNATURES)? else {
                report.torn_cosigned_bytes = notes.torn;
                return Ok(());
            };
            let head = keys.open_cosigned(&note).map_err(bad)?;
            if head.size <= before {
                return Err(bad("cosigned checkpoints are out of order".to_owned()));
            }
            if head.size < first {
                continue;
            }
            let (text, lines) = split_all(&note).map_err(bad)?;
            let mut by = Vec::new();
            for line in lines {
                for (at, witness) in self.witnesses.iter().enumerate() {
                    if let Some(time) = witness.cosigned(text, line).map_err(bad)? {
                        by.push((at, time));
                    }
                }
            }
            by.dedup_by_key(|(at, _)| *at);
            self.next = Some(Next { head, offset, by });
            return Ok(());
        }
    }

    /// Compares the cosigned checkpoint of this size, if there is one, with the tree.
    pub(crate) fn reach(
        &mut self,
        size: u64,
        root: impl FnOnce() -> Digest,
        keys: &Keys,
        report: &mut Report,
    ) -> Result<(), Problem> {
        let Some(next) = self.next.as_ref().filter(|next| next.head.size == size) else {
            return Ok(());
        };
        if next.head.root != root() {
            let what = format!(
                "the log's first {size} entries are not those that witnesses have seen and cosigned"
            );
            return Err(Problem {
                entry: size.checked_sub(1),
                ..problem(Path::new("cosigned"), next.offset, what)
            });
        }
        report.cosigned_checkpoints += 1;
        for (at, time) in &next.by {
            if let Some(witnessed) = report.witnesses.get_mut(*at) {
                witnessed.entries = size;
                witnessed.time = Some(utc(*time));
                witnessed.checkpoints += 1;
            }
        }
        if self.quorum > 0 && next.by.len() >= self.quorum {
            report.witnessed_entries = size;
        }
        self.advance(keys, size, report)
    }

    /// At the end: nothing that was cosigned is missing, and the quorum has seen something.
    pub(crate) fn finish(&self, size: u64, report: &Report) -> Result<(), Problem> {
        let file = Path::new("cosigned");
        if let Some(next) = &self.next {
            let what = format!(
                "the log ends with {size} entries, and witnesses have cosigned {}",
                next.head.size
            );
            return Err(Problem {
                entry: Some(size),
                ..problem(file, next.offset, what)
            });
        }
        if self.quorum > 0 && report.witnessed_entries == 0 {
            let what = format!(
                "no checkpoint is cosigned by {} of the given witnesses",
                self.quorum
            );
            return Err(problem(file, 0, what));
        }
        Ok(())
    }
}

/// Checks that `quorum` of these witnesses (all of them without one) have cosigned `note`, a
/// checkpoint whose log's signature was checked. Gives the names of those that have, with the times.
///
/// # Errors
/// If too few have, or one of the cosignatures is wrong.
pub fn check_cosignatures(
    note: &str,
    witnesses: &[Witness],
    quorum: Option<usize>,
) -> Result<Vec<(String, String)>, String> {
    let (text, lines) = split_all(note)?;
    let mut by = Vec::new();
    for witness in witnesses {
        for line in &lines {
            if let Some(time) = witness.cosigned(text, line)? {
                by.push((witness.name.clone(), utc(time)));
                break;
            }
        }
    }
    let needed = quorum.unwrap_or(witnesses.len());
    if by.len() < needed {
        return Err(format!(
            "{} of the given witnesses have cosigned the checkpoint, {needed} must",
            by.len()
        ));
    }
    Ok(by)
}

/// The last checkpoint of the log in `dir` that witnesses have cosigned, with all signatures; that of
/// the log is checked, those of the witnesses are not.
///
/// # Errors
/// If there is none, or it is not the log's.
pub fn latest_cosigned(dir: &Path, public_key: Option<&str>) -> Result<String, Problem> {
    let (keys, _) = crate::rotations::load_keys(dir, public_key)?;
    let path = dir.join("cosigned");
    if !path.exists() {
        let what = "no witness has cosigned a checkpoint of this log; see `evidence.witnesses` in the configuration";
        return Err(problem(&path, 0, what));
    }
    let mut notes = Notes::open(&path)?;
    let mut last = None;
    while let Some(note) = notes.next_note(SIGNATURES)? {
        last = Some(note);
    }
    let note = last.ok_or_else(|| problem(&path, 0, "it holds no checkpoint"))?;
    keys.open_cosigned(&note)
        .map_err(|what| problem(&path, notes.offset, what))?;
    Ok(note)
}

/// Seconds since 1970 as RFC 3339, in UTC.
fn utc(seconds: u64) -> String {
    // Days are counted from 1 March of year 0, so that the leap day is a year's last.
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    format!(
        "{:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z",
        year + era * 400 + u64::from(month <= 2),
        day - (153 * shifted + 2) / 5 + 1,
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(utc(1_679_315_147), "2023-03-20T12:25:47Z");
    }
}
