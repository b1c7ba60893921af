//! Proofs that an entry is in the log, and that an older checkpoint's log is the beginning of a
//! newer one's: RFC 6962 §2.1.1 and §2.1.2. The log is read once, from the segment of the entry on, in
//! memory that does not grow with it. What stands in the segment's header is all that is needed of
//! what was before, so that a log whose beginning was removed proves what is left.

use std::{fmt::Write as _, ops::Range, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    error::ReadError,
    place::Place,
    tree::{Hash, Tree, leaf_hash},
};

/// First line of a proof of inclusion.
const PROOF: &str = "c2sp.org/tlog-proof@v1";

/// The roots of the trees over these ranges of leaves, which do not overlap and lie within the first
/// `size`; `visit` sees the entries that are read. The place moves on to `size`.
///
/// What lies before the place must be what whole subtrees of its tree cover: so it is for the ranges
/// of a proof that begins at the place or behind it.
fn roots(
    place: &mut Place,
    dir: &Path,
    size: u64,
    ranges: &[Range<u64>],
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<Vec<Hash>, ReadError> {
    let before = place.size();
    let mut trees = Vec::with_capacity(ranges.len());
    for range in ranges {
        let tree = if range.start >= before {
            Some(Tree::default())
        } else {
            // Those that end before the place are subtrees of its tree.
            place.tree().within(range.start, range.end.min(before))
        };
        trees.push(tree.ok_or(ReadError::Removed {
            index: range.start,
            first: before,
        })?);
    }
    place.advance(dir, size, |index, entry| {
        let at = ranges.iter().position(|range| range.contains(&index));
        if let Some(tree) = at.and_then(|at| trees.get_mut(at)) {
            tree.push(leaf_hash(entry));
        }
        visit(index, entry);
        Ok(())
    })?;
    Ok(trees.iter().map(Tree::root).collect())
}

/// A proof that entry `index` is in the log of `note`, a signed checkpoint of `size` entries, in
/// the form of C2SP tlog-proof; and the entry's bytes.
///
/// # Errors
/// If the log in `dir` cannot be read, or has fewer entries.
pub fn prove_entry(
    dir: &Path,
    index: u64,
    size: u64,
    note: &str,
) -> Result<(String, Vec<u8>), ReadError> {
    let mut place = Place::before(dir, index)?;
    let mut entry = Vec::new();
    let path = audit_path(index, 0..size);
    let hashes = roots(&mut place, dir, size, &path, |at, bytes| {
        if at == index {
            bytes.clone_into(&mut entry);
        }
    })?;
    let mut proof = format!("{PROOF}\nindex {index}\n");
    for hash in hashes {
        let _ = writeln!(proof, "{}", STANDARD.encode(hash));
    }
    let _ = write!(proof, "\n{note}");
    Ok((proof, entry))
}

/// A proof that the log of `note`, a signed checkpoint of `size` entries, begins with the first
/// `old` of them, in the form of the request to a C2SP tlog-witness.
///
/// # Errors
/// If the log in `dir` cannot be read, or has fewer entries.
pub fn prove_growth(dir: &Path, old: u64, size: u64, note: &str) -> Result<String, ReadError> {
    let hashes = if old == 0 {
        Vec::new()
    } else {
        growth_from(&mut Place::before(dir, old)?, dir, old, size)?
    };
    let mut proof = format!("old {old}\n");
    for hash in hashes {
        let _ = writeln!(proof, "{}", STANDARD.encode(hash));
    }
    let _ = write!(proof, "\n{note}");
    Ok(proof)
}

/// The hashes of the proof that the first `size` entries begin with the first `old`, which are at
/// least one; read from a place that is not behind `old`, which moves on to `size`.
pub(super) fn growth_from(
    place: &mut Place,
    dir: &Path,
    old: u64,
    size: u64,
) -> Result<Vec<Hash>, ReadError> {
    roots(place, dir, size, &growth(old, 0..size, true), |_, _| {})
}

/// Writes the bodies of entries `from` to `size` of the log in `dir`, a line each; from the first one
/// that is there, if those before it were removed.
///
/// # Errors
/// If the log cannot be read, has fewer entries, or `out` takes nothing.
pub fn export_entries(
    dir: &Path,
    size: u64,
    from: u64,
    out: &mut impl std::io::Write,
) -> Result<(), ReadError> {
    let mut place = match Place::before(dir, from) {
        Err(ReadError::Removed { .. }) => Place::first(dir),
        place => place,
    }?;
    place.advance(dir, size, |index, entry| {
        if index < from {
            return Ok(());
        }
        // Behind the hash of the entry before. JSON without line ends.
        let body = entry.get(32..).unwrap_or_default();
        out.write_all(body)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(ReadError::io(Path::new("the output")))
    })
}

/// The largest power of two below `count`, which is more than 1.
fn split(count: u64) -> u64 {
    count.next_power_of_two() / 2
}

/// The leaves below each node of `PATH(m, D[n])`, in its order.
fn audit_path(leaf: u64, within: Range<u64>) -> Vec<Range<u64>> {
    let Range { start, end } = within;
    if end - start <= 1 {
        return Vec::new();
    }
    let middle = start + split(end - start);
    let (mut path, sibling) = if leaf < middle {
        (audit_path(leaf, start..middle), middle..end)
    } else {
        (audit_path(leaf, middle..end), start..middle)
    };
    path.push(sibling);
    path
}

/// The leaves below each node of `SUBPROOF(m, D[n], b)`, in its order.
fn growth(old: u64, within: Range<u64>, whole: bool) -> Vec<Range<u64>> {
    let Range { start, end } = within;
    if old == end {
        return std::iter::once(start..end).filter(|_| !whole).collect();
    }
    let middle = start + split(end - start);
    let (mut proof, sibling) = if old <= middle {
        (growth(old, start..middle, whole), middle..end)
    } else {
        (growth(old, middle..end, false), start..middle)
    };
    proof.push(sibling);
    proof
}
