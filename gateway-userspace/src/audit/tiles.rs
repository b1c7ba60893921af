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

use super::{
    error::ReadError,
    proof::{enough, read_leaves},
    tree::{Hash, Tree, leaf_hash},
};

/// Hashes of a full tile.
const WIDTH: usize = 256;

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TilesWritten {
    /// Entries.
    pub entries: u64,
    /// Files, the checkpoint included.
    pub files: u64,
}

/// Writes the first `size` entries of the log in `dir`, which `note` is the signed checkpoint of,
/// as tiles below `to`. What is there already is overwritten.
///
/// # Errors
/// If the log cannot be read, has fewer entries, or a file cannot be written.
pub fn export_tiles(
    dir: &Path,
    size: u64,
    note: &str,
    to: &Path,
    mut progress: impl FnMut(u64),
) -> Result<TilesWritten, ReadError> {
    let mut written = Written {
        to,
        files: 0,
        levels: Vec::new(),
    };
    let mut bundle = Bundle::default();
    let count = read_leaves(dir, size, |index, entry| {
        bundle.push(entry);
        if bundle.count == WIDTH {
            let full = std::mem::take(&mut bundle);
            written.file("entries", index / WIDTH as u64, WIDTH, &full.bytes)?;
            progress(index + 1);
        }
        written.push(0, leaf_hash(entry))
    })?;
    enough(dir, count, size)?;
    if bundle.count > 0 {
        let n = size / WIDTH as u64;
        written.file("entries", n, bundle.count, &bundle.bytes)?;
    }
    written.partial()?;
    let path = to.join("checkpoint");
    write(&path, note.as_bytes())?;
    Ok(TilesWritten {
        entries: count,
        files: written.files + 1,
    })
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
#[derive(Default)]
struct Level {
    full: u64,
    hashes: Vec<Hash>,
}

struct Written<'t> {
    to: &'t Path,
    files: u64,
    levels: Vec<Level>,
}

impl Written<'_> {
    /// Adds a hash to a level. The root of a tile that is full is a hash of the next one.
    fn push(&mut self, level: usize, hash: Hash) -> Result<(), ReadError> {
        if self.levels.len() <= level {
            self.levels.push(Level::default());
        }
        let Some(tiles) = self.levels.get_mut(level) else {
            return Ok(());
        };
        tiles.hashes.push(hash);
        if tiles.hashes.len() < WIDTH {
            return Ok(());
        }
        let hashes = std::mem::take(&mut tiles.hashes);
        let n = tiles.full;
        tiles.full += 1;
        self.file(&level.to_string(), n, WIDTH, &hashes.concat())?;
        let mut tree = Tree::default();
        for hash in hashes {
            tree.push(hash);
        }
        self.push(level + 1, tree.root())
    }

    /// Writes the tiles that are not full.
    fn partial(&mut self) -> Result<(), ReadError> {
        for (level, tiles) in std::mem::take(&mut self.levels).into_iter().enumerate() {
            if !tiles.hashes.is_empty() {
                let bytes = tiles.hashes.concat();
                self.file(&level.to_string(), tiles.full, tiles.hashes.len(), &bytes)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, kind: &str, n: u64, width: usize, bytes: &[u8]) -> Result<(), ReadError> {
        let mut path = self.to.join("tile").join(kind).join(number(n));
        if width < WIDTH {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".p");
            path.set_file_name(name);
            path.push(width.to_string());
        }
        self.files += 1;
        write(&path, bytes)
    }
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
