//! Checks proofs: RFC 9162 §2.1.3.2 and §2.1.4.2, written from there.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    notes::{Head, given_key},
    tree::{Digest, hash, leaf, node},
};

/// What a proof has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// The entry has this index in the log.
    Entry {
        /// Its index.
        index: u64,
        /// Entries of the log whose checkpoint is in the proof.
        size: u64,
    },
    /// The log has grown, and its beginning is what it was.
    Growth {
        /// Entries of the older checkpoint.
        old: u64,
        /// Entries of the checkpoint in the proof.
        size: u64,
    },
}

/// What is needed besides the proof.
#[derive(Clone, Copy, Debug)]
pub enum Claim<'a> {
    /// These are the bytes of an entry.
    Entry(&'a [u8]),
    /// This is an older checkpoint of the same log, a signed note.
    Since(&'a str),
}

/// Checks a proof that `cordon evidence prove` or another tool has made, with the log's public
/// key. Needs nothing of the log.
///
/// # Errors
/// What is wrong with it.
pub fn check_proof(proof: &str, claim: Claim<'_>, public_key: &str) -> Result<Proven, String> {
    let key = given_key(public_key).map_err(|e| e.to_string())?;
    let (head, note) = proof
        .split_once("\n\n")
        .ok_or("the proof has no checkpoint")?;
    let new = key.open(note)?;
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let digests = |lines: std::str::Lines<'_>| -> Result<Vec<Digest>, String> {
        lines
            .map(|line| {
                let bytes = STANDARD.decode(line).ok();
                bytes
                    .and_then(|bytes| bytes.try_into().ok())
                    .ok_or_else(|| format!("{line:?} is no hash"))
            })
            .collect()
    };
    match claim {
        Claim::Entry(entry) => {
            if first != "c2sp.org/tlog-proof@v1" {
                return Err("it is no proof that an entry is in a log".to_owned());
            }
            let mut line = lines.next();
            if line.is_some_and(|line| line.starts_with("extra ")) {
                line = lines.next();
            }
            let index = line
                .and_then(|line| line.strip_prefix("index "))
                .and_then(|index| index.parse().ok())
                .ok_or("the proof names no entry")?;
            inclusion(index, entry, &new, &digests(lines)?)?;
            Ok(Proven::Entry {
                index,
                size: new.size,
            })
        }
        Claim::Since(note) => {
            let old = key.open(&format!("{}\n", note.trim_end()))?;
            let from: u64 = first
                .strip_prefix("old ")
                .and_then(|size| size.parse().ok())
                .ok_or("it is no proof that a log has grown")?;
            if from != old.size {
                return Err(format!(
                    "the proof begins at {from} entries, the older checkpoint has {}",
                    old.size
                ));
            }
            consistency(&old, &new, &digests(lines)?)?;
            Ok(Proven::Growth {
                old: old.size,
                size: new.size,
            })
        }
    }
}

fn inclusion(index: u64, entry: &[u8], head: &Head, path: &[Digest]) -> Result<(), String> {
    if index >= head.size {
        return Err(format!(
            "the checkpoint has {} entries, and the proof is of entry {index}",
            head.size
        ));
    }
    let (mut fnode, mut snode) = (index, head.size - 1);
    let mut root = leaf(entry);
    for sibling in path {
        if snode == 0 {
            return Err("the proof has too many hashes".to_owned());
        }
        if fnode & 1 == 1 || fnode == snode {
            root = node(sibling, &root);
            while fnode & 1 == 0 && fnode != 0 {
                fnode >>= 1;
                snode >>= 1;
            }
        } else {
            root = node(&root, sibling);
        }
        fnode >>= 1;
        snode >>= 1;
    }
    if snode != 0 {
        return Err("the proof has too few hashes".to_owned());
    }
    if root != head.root {
        return Err("the entry is not in the log of this checkpoint".to_owned());
    }
    Ok(())
}

fn consistency(old: &Head, new: &Head, proof: &[Digest]) -> Result<(), String> {
    let differs = || "the older checkpoint's log is not the beginning of this one".to_owned();
    if old.size > new.size {
        return Err("the older checkpoint has more entries".to_owned());
    }
    if old.size == 0 || old.size == new.size {
        let same = if old.size == 0 {
            old.root == hash(&[])
        } else {
            old.root == new.root
        };
        return if same && proof.is_empty() {
            Ok(())
        } else {
            Err(differs())
        };
    }
    let mut hashes = proof.iter();
    let (mut fnode, mut snode) = (old.size - 1, new.size - 1);
    while fnode & 1 == 1 {
        fnode >>= 1;
        snode >>= 1;
    }
    // The first hash stands in the proof unless the old tree is complete.
    let seed = if fnode == 0 {
        &old.root
    } else {
        hashes.next().ok_or("the proof has too few hashes")?
    };
    let (mut before, mut after) = (*seed, *seed);
    for sibling in hashes {
        if snode == 0 {
            return Err("the proof has too many hashes".to_owned());
        }
        if fnode & 1 == 1 || fnode == snode {
            before = node(sibling, &before);
            after = node(sibling, &after);
            while fnode & 1 == 0 && fnode != 0 {
                fnode >>= 1;
                snode >>= 1;
            }
        } else {
            after = node(&after, sibling);
        }
        fnode >>= 1;
        snode >>= 1;
    }
    if snode == 0 && before == old.root && after == new.root {
        Ok(())
    } else {
        Err(differs())
    }
}
