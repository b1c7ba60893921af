//! Proofs that an entry is in the log, and that an older checkpoint's log is the beginning of a
//! newer one's: RFC 6962 §2.1.1 and §2.1.2. The log is read once, in memory that does not grow
//! with it.

use std::{fmt::Write as _, ops::Range, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    error::ReadError,
    layout::Layout,
    segment::{Frame, open_segment, read_frame},
    tree::{Hash, Tree, leaf_hash},
};

/// First line of a proof of inclusion.
const PROOF: &str = "c2sp.org/tlog-proof@v1";

/// Calls `visit` with the bytes of each of the first `size` entries of the log in `dir`. Returns
/// how many there were.
pub(super) fn read_leaves(
    dir: &Path,
    size: u64,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), ReadError>,
) -> Result<u64, ReadError> {
    let layout = Layout::new(dir);
    let segments = layout
        .list_segments()
        .map_err(ReadError::io(layout.segments()))?;
    let mut entry = Vec::new();
    let mut index = 0;
    for first in segments {
        let path = layout.segment(first);
        let (mut input, _, _) = open_segment(&path).map_err(ReadError::io(&path))?;
        while index < size
            && let Frame::Entry =
                read_frame(&mut input, &mut entry).map_err(ReadError::io(&path))?
        {
            visit(index, &entry)?;
            index += 1;
        }
    }
    Ok(index)
}

/// The roots of the trees over these ranges of leaves, which lie within the first `size` and do
/// not overlap; and the entry `wanted`.
fn roots(
    dir: &Path,
    size: u64,
    ranges: &[Range<u64>],
    wanted: Option<u64>,
) -> Result<(Vec<Hash>, Vec<u8>), ReadError> {
    let mut trees: Vec<Tree> = ranges.iter().map(|_| Tree::default()).collect();
    let mut found = Vec::new();
    let count = read_leaves(dir, size, |index, entry| {
        let place = ranges.iter().position(|range| range.contains(&index));
        if let Some(tree) = place.and_then(|place| trees.get_mut(place)) {
            tree.push(leaf_hash(entry));
        }
        if wanted == Some(index) {
            entry.clone_into(&mut found);
        }
        Ok(())
    })?;
    enough(dir, count, size)?;
    Ok((trees.iter().map(Tree::root).collect(), found))
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
    let (hashes, entry) = roots(dir, size, &audit_path(index, 0..size), Some(index))?;
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
    let ranges = if old == 0 {
        Vec::new()
    } else {
        growth(old, 0..size, true)
    };
    let (hashes, _) = roots(dir, size, &ranges, None)?;
    let mut proof = format!("old {old}\n");
    for hash in hashes {
        let _ = writeln!(proof, "{}", STANDARD.encode(hash));
    }
    let _ = write!(proof, "\n{note}");
    Ok(proof)
}

/// Writes the bodies of entries `from` to `size` of the log in `dir`, a line each.
///
/// # Errors
/// If the log cannot be read, has fewer entries, or `out` takes nothing.
pub fn export_entries(
    dir: &Path,
    size: u64,
    from: u64,
    out: &mut impl std::io::Write,
) -> Result<(), ReadError> {
    let count = read_leaves(dir, size, |index, entry| {
        if index < from {
            return Ok(());
        }
        // Behind the hash of the entry before. JSON without line ends.
        let body = entry.get(32..).unwrap_or_default();
        out.write_all(body)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(ReadError::io(Path::new("the output")))
    })?;
    enough(dir, count, size)
}

pub(super) fn enough(dir: &Path, count: u64, size: u64) -> Result<(), ReadError> {
    if count == size {
        return Ok(());
    }
    Err(ReadError::Malformed {
        path: dir.to_owned(),
        offset: 0,
        problem: format!("it holds {count} entries, its checkpoint says {size}"),
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
