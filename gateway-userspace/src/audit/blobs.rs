//! Side files: contents too long for an entry, named by their digest.

use std::{collections::HashSet, io, path::PathBuf, sync::Mutex};

use super::{content::Spilled, layout::write_whole};

/// Digests remembered as written; forgotten all at once when there are more.
const REMEMBERED: usize = 65_536;

/// The folder of side files.
#[derive(Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
    /// Written and synced by this process. A file that is merely there may be torn.
    written: Mutex<HashSet<String>>,
}

impl Blobs {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            written: Mutex::default(),
        }
    }

    /// Writes and syncs a side file, once per process.
    pub(super) fn put(&self, blob: &Spilled) -> io::Result<()> {
        let known = self
            .written
            .lock()
            .is_ok_and(|written| written.contains(&blob.name));
        if known {
            return Ok(());
        }
        write_whole(&self.dir.join(&blob.name), &blob.bytes)?;
        if let Ok(mut written) = self.written.lock() {
            if written.len() >= REMEMBERED {
                written.clear();
            }
            written.insert(blob.name.clone());
        }
        Ok(())
    }
}
