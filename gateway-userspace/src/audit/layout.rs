//! The folder of a log: names, modes, and the syncs that make a new name last.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Where the parts of a log lie.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join("LOCK")
    }

    pub(super) fn private_key(&self) -> PathBuf {
        self.dir.join("keys/log.key")
    }

    pub(super) fn public_key(&self) -> PathBuf {
        self.dir.join("keys/log.pub")
    }

    /// Statements of keys that their successors sign.
    pub(super) fn rotations(&self) -> PathBuf {
        self.dir.join("keys/rotations")
    }

    /// A private key that is about to become the log's.
    pub(super) fn next_key(&self) -> PathBuf {
        self.dir.join("keys/next.key")
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// Checkpoints that witnesses have cosigned.
    pub(super) fn cosigned(&self) -> PathBuf {
        self.dir.join("cosigned")
    }

    /// What tiles need of entries that were removed.
    pub(super) fn tiles(&self) -> PathBuf {
        self.dir.join("tiles")
    }

    /// Of those before `first`.
    pub(super) fn removed_tiles(&self, first: u64) -> PathBuf {
        self.tiles().join(format!("{first:020}.json"))
    }

    /// An index of the sessions, made from the log.
    pub(super) fn session_index(&self) -> PathBuf {
        self.dir.join("sessions.db")
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Remembers a cut between the moment it is decided and the moment it is on record.
    pub(super) fn pending_gap(&self) -> PathBuf {
        self.dir.join("gap.pending")
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.dir.join("segments")
    }

    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.segments().join(format!("{first:020}.log"))
    }

    /// Of the sessions' messages.
    pub(super) fn recordings(&self) -> PathBuf {
        self.dir.join("recordings")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.dir.join("blobs")
    }

    /// Creates the folders, for the owner alone, and tightens those that exist.
    pub(super) fn create(&self) -> Result<(), (PathBuf, io::Error)> {
        for dir in [
            self.dir.clone(),
            self.dir.join("keys"),
            self.segments(),
            self.blobs(),
        ] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.and_then(|()| fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)))
                .and_then(|()| sync_dir(&dir))
                .map_err(|error| (dir, error))?;
        }
        sync_dir(&self.dir).map_err(|error| (self.dir.clone(), error))
    }

    /// First indexes of the segments, in order. Names that are no segment's are ignored.
    pub(super) fn list_segments(&self) -> io::Result<Vec<u64>> {
        let mut firsts = Vec::new();
        for item in fs::read_dir(self.segments())? {
            let name = item?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".log"));
            if let Some(digits) =
                digits.filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()))
            {
                firsts.extend(digits.parse::<u64>().ok());
            }
        }
        firsts.sort_unstable();
        Ok(firsts)
    }
}

/// Opens for reading and writing, creating it for the owner alone.
pub(super) fn open_rw(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Writes a file so that it is there in full or not at all, and synced.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", next_temporary()));
    let temporary = dir.join(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_dir(dir)
    })();
    if written.is_err() {
        // Best effort: the next opening of the log removes leftovers.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Makes names created in or removed from the folder last.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes what an interrupted [`write_whole`] left behind.
pub(super) fn remove_temporaries(dir: &Path) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Two sessions may write the same side file at once: each has its own temporary name.
fn next_temporary() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
