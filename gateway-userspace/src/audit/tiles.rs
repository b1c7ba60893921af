//! The log as C2SP tlog-tiles: files that any tool for transparency logs reads.
//!
//! ```text
//! checkpoint                    the signed checkpoint
//! tile/<level>/<n>[.p/<width>]  256 hashes of a level, or the first of them
//! tile/entries/<n>[.p/<width>]  256 entries, each behind its length as u16
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    error::ReadError,
    layout::{Layout, write_whole},
    place::Place,
    tree::{Hash, Tree, leaf_hash},
};

/// Hashes of a full tile.
const WIDTH: usize = 256;
/// Levels of a tree between those of two tiles.
const HEIGHT: u32 = 8;

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TilesWritten {
    /// Entries that the checkpoint is of.
    pub entries: u64,
    /// The first of them that stands in a bundle: those before were removed, or share a bundle with
    /// such. The hash tiles of theirs that no proof for later entries needs are left out, too.
    pub first: u64,
    /// Files, the checkpoint included.
    pub files: u64,
}

/// Writes the first `size` entries of the log in `dir`, which `note` is the signed checkpoint of,
/// as tiles below `to`. What is there already is overwritten. Of a log whose beginning was removed,
/// it is what the specification calls pruned.
///
/// # Errors
/// If the log cannot be read, has fewer entries, or a file cannot be written; or if its beginning was
/// removed by a version that kept nothing of it.
pub fn export_tiles(
    dir: &Path,
    size: u64,
    note: &str,
    to: &Path,
    mut progress: impl FnMut(u64),
) -> Result<TilesWritten, ReadError> {
    let mut levels = removed(dir)?;
    let mut place = Place::first(dir)?;
    let first = place.size().next_multiple_of(WIDTH as u64);
    let mut files = 0;
    let mut bundle = Bundle::default();
    place.advance(dir, size, |index, entry| {
        if index >= first {
            bundle.push(entry);
        }
        if bundle.count == WIDTH {
            let full = std::mem::take(&mut bundle);
            file(to, "entries", index / WIDTH as u64, WIDTH, &full.bytes)?;
            files += 1;
            progress(index + 1);
        }
        levels.push(0, leaf_hash(entry), &mut |level, n, hashes| {
            files += 1;
            file(to, &level.to_string(), n, WIDTH, &hashes.concat())
        })
    })?;
    if bundle.count > 0 {
        let n = size / WIDTH as u64;
        file(to, "entries", n, bundle.count, &bundle.bytes)?;
        files += 1;
    }
    for (level, tiles) in levels.0.iter().enumerate() {
        if !tiles.hashes.is_empty() {
            let bytes = tiles.hashes.concat();
            file(
                to,
                &level.to_string(),
                tiles.full,
                tiles.hashes.len(),
                &bytes,
            )?;
            files += 1;
        }
    }
    write(&to.join("checkpoint"), note.as_bytes())?;
    Ok(TilesWritten {
        entries: size,
        first: first.min(size),
        files: files + 1,
    })
}

/// What tiles need of the entries before the log's first one, which were removed: some of their
/// hashes, of each level those of the tile that is not full.
fn removed(dir: &Path) -> Result<Levels, ReadError> {
    let first = Place::first(dir)?;
    let path = Layout::new(dir).removed_tiles(first.size());
    let levels: Levels = match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json).map_err(|error| ReadError::Malformed {
            path: path.clone(),
            offset: 0,
            problem: error.to_string(),
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Levels::default(),
        Err(error) => return Err(ReadError::io(path)(error)),
    };
    if levels.tree() == *first.tree() {
        Ok(levels)
    } else {
        // It was removed by a version that kept nothing, or is changed.
        Err(ReadError::Removed {
            index: 0,
            first: first.size(),
        })
    }
}

/// Keeps what tiles need of the entries before each of these segments, which are about to become the
/// log's first.
pub(super) fn keep_before(dir: &Path, segments: &[u64]) -> Result<(), ReadError> {
    let layout = Layout::new(dir);
    let mut levels = removed(dir)?;
    let mut place = Place::first(dir)?;
    fs::create_dir_all(layout.tiles()).map_err(ReadError::io(layout.tiles()))?;
    for first in segments {
        place.advance(dir, *first, |_, entry| {
            levels.push(0, leaf_hash(entry), &mut |_, _, _| Ok(()))
        })?;
        let path = layout.removed_tiles(*first);
        serde_json::to_vec(&levels)
            .map_err(io::Error::other)
            .and_then(|json| write_whole(&path, &json))
            .map_err(ReadError::io(&path))?;
    }
    Ok(())
}

/// Forgets what was kept for segments before `first`.
pub(super) fn forget_before(dir: &Path, first: u64) -> io::Result<()> {
    let layout = Layout::new(dir);
    for item in fs::read_dir(layout.tiles())? {
        let path = item?.path();
        let of = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        if of.is_some_and(|of: u64| of < first) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Entries, each behind its length.
#[derive(Default)]
struct Bundle {
    count: usize,
    bytes: Vec<u8>,
}

impl Bundle {
    fn push(&mut self, entry: &[u8]) {
        // An entry has at most 65,535 bytes.
        let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(entry);
        self.count += 1;
    }
}

/// A level of the tree of tiles: the tile that is being filled.
#[derive(Default, Serialize, Deserialize)]
struct Level {
    full: u64,
    hashes: Vec<Hash>,
}

/// Takes a full tile: its level, its number, its hashes.
type Sink<'s> = dyn FnMut(usize, u64, &[Hash]) -> Result<(), ReadError> + 's;

/// The tiles that are not full, from the leaves upwards.
#[derive(Default, Serialize, Deserialize)]
struct Levels(Vec<Level>);

impl Levels {
    /// Adds a hash to a level, and gives each tile that is full to `full`. The root of such a tile is
    /// a hash of the next level.
    fn push(&mut self, level: usize, hash: Hash, full: &mut Sink<'_>) -> Result<(), ReadError> {
        if self.0.len() <= level {
            self.0.push(Level::default());
        }
        let Some(tiles) = self.0.get_mut(level) else {
            return Ok(());
        };
        tiles.hashes.push(hash);
        if tiles.hashes.len() < WIDTH {
            return Ok(());
        }
        let hashes = std::mem::take(&mut tiles.hashes);
        let n = tiles.full;
        tiles.full += 1;
        full(level, n, &hashes)?;
        let mut tree = Tree::default();
        for hash in hashes {
            tree.push(hash);
        }
        self.push(level + 1, tree.root(), full)
    }

    /// The tree over all leaves.
    fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        for (level, tiles) in self.0.iter().enumerate().rev() {
            let height = HEIGHT * u32::try_from(level).unwrap_or(u32::MAX / HEIGHT);
            for hash in &tiles.hashes {
                tree.push_subtree(height, *hash);
            }
        }
        tree
    }
}

fn file(to: &Path, kind: &str, n: u64, width: usize, bytes: &[u8]) -> Result<(), ReadError> {
    let mut path = to.join("tile").join(kind).join(number(n));
    if width < WIDTH {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".p");
        path.set_file_name(name);
        path.push(width.to_string());
    }
    write(&path, bytes)
}

/// A tile's number as a path: groups of three digits, all but the last after an `x`.
fn number(n: u64) -> PathBuf {
    let mut groups = vec![format!("{:03}", n % 1000)];
    let mut rest = n / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.iter().rev().collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ReadError> {
    let made = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)
    };
    made().map_err(ReadError::io(path))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_paths_of_three_digits() {
        for (n, path) in [
            (0, "000"),
            (999, "999"),
            (1_000, "x001/000"),
            (1_234_067, "x001/x234/067"),
        ] {
            assert_eq!(number(n).to_str(), Some(path));
        }
    }
}
