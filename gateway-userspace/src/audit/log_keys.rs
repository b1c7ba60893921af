//! Where the log's private keys are, and who signs with them.
//!
//! The writer of the log only asks for signatures, so that the process that writes need not be one
//! that can read the keys.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::layout::{sync_dir, write_whole};

/// Which of the log's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeySlot {
    /// The one that signs.
    Current,
    /// One that is about to take over.
    Next,
}

/// Keeps the log's private keys, which are Ed25519, and signs with them.
pub trait LogKeys: fmt::Debug + Send + Sync {
    /// The public key, 32 bytes; `None` if there is no such key.
    ///
    /// # Errors
    /// If it cannot be read, or is no key.
    fn public(&self, slot: KeySlot) -> io::Result<Option<Vec<u8>>>;

    /// Makes a key, and gives its public half. One that is there is replaced.
    ///
    /// # Errors
    /// If it cannot be made or written.
    fn make(&self, slot: KeySlot) -> io::Result<Vec<u8>>;

    /// The signature of `text`, 64 bytes.
    ///
    /// # Errors
    /// If there is no such key.
    fn sign(&self, slot: KeySlot, text: &[u8]) -> io::Result<Vec<u8>>;

    /// The next key is the current one from now on; that one is gone.
    ///
    /// # Errors
    /// If there is none, or the files cannot be written.
    fn install_next(&self) -> io::Result<()>;

    /// Removes the next key.
    ///
    /// # Errors
    /// If there is none, or it cannot be removed.
    fn discard_next(&self) -> io::Result<()>;
}

/// Keys in files (`log.key` and `next.key`, PKCS#8) of a folder.
#[derive(Debug)]
pub struct FileLogKeys {
    dir: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    current: Option<Ed25519KeyPair>,
    next: Option<Ed25519KeyPair>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl FileLogKeys {
    /// Nothing is read yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            loaded: Mutex::default(),
        }
    }

    /// The keys of the log in this folder: a daemon keeps them out of it, in the folder `keys` beside.
    pub fn of(log: &Path) -> Self {
        let beside = log.with_file_name("keys");
        let is_daemons = beside.join("log.key").exists();
        Self::new(if is_daemons { beside } else { log.join("keys") })
    }

    fn path(&self, slot: KeySlot) -> PathBuf {
        self.dir.join(match slot {
            KeySlot::Current => "log.key",
            KeySlot::Next => "next.key",
        })
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, slot: KeySlot) -> io::Result<Option<Ed25519KeyPair>> {
        let path = self.path(slot);
        let bytes = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ed25519KeyPair::from_pkcs8(&bytes)
            .map(Some)
            .map_err(|_rejected| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{} is not an Ed25519 key in PKCS#8", path.display()),
                )
            })
    }
}

impl Loaded {
    fn slot(&mut self, slot: KeySlot) -> &mut Option<Ed25519KeyPair> {
        match slot {
            KeySlot::Current => &mut self.current,
            KeySlot::Next => &mut self.next,
        }
    }
}

impl LogKeys for FileLogKeys {
    fn public(&self, slot: KeySlot) -> io::Result<Option<Vec<u8>>> {
        let pair = self.read(slot)?;
        let public = pair
            .as_ref()
            .map(|pair| pair.public_key().as_ref().to_vec());
        *self.loaded().slot(slot) = pair;
        Ok(public)
    }

    fn make(&self, slot: KeySlot) -> io::Result<Vec<u8>> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_unspecified| io::Error::other("the system has no randomness"))?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref())
            .map_err(|_rejected| io::Error::other("a new key cannot be read"))?;
        let bytes = Zeroizing::new(pkcs8.as_ref().to_vec());
        write_whole(&self.path(slot), &bytes)?;
        let public = pair.public_key().as_ref().to_vec();
        *self.loaded().slot(slot) = Some(pair);
        Ok(public)
    }

    fn sign(&self, slot: KeySlot, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut loaded = self.loaded();
        let pair = loaded.slot(slot);
        if pair.is_none() {
            *pair = self.read(slot)?;
        }
        let pair = pair
            .as_ref()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the log has no such key"))?;
        Ok(pair.sign(text).as_ref().to_vec())
    }

    fn install_next(&self) -> io::Result<()> {
        let mut loaded = self.loaded();
        fs::rename(self.path(KeySlot::Next), self.path(KeySlot::Current))?;
        // Read again when it is needed.
        *loaded = Loaded::default();
        sync_dir(&self.dir)
    }

    fn discard_next(&self) -> io::Result<()> {
        let mut loaded = self.loaded();
        loaded.next = None;
        fs::remove_file(self.path(KeySlot::Next))
    }
}
