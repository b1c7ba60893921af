//! Another signing key takes over: both keys sign a statement that says so.

use std::{fs, io};

use zeroize::Zeroizing;

use super::{
    checkpoint,
    committer::Committer,
    error::OpenError,
    event::{Event, KeyRotated},
    key::SigningKey,
    layout::{Layout, sync_dir, write_whole},
    log::Shared,
};

const FIRST_LINE: &str = "cordon key rotation v1";

/// The public keys that signed this log before the current one, as verifier keys; oldest first.
pub(super) fn predecessors(layout: &Layout) -> io::Result<Vec<String>> {
    let text = match fs::read_to_string(layout.rotations()) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut keys = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        // Origin and size stand between.
        if line == FIRST_LINE
            && let Some(old) = lines.nth(2)
        {
            keys.push(old.to_owned());
        }
    }
    Ok(keys)
}

/// Ends a rotation that a crash cut short: the statement is there, so the new key signs; or it is
/// not, so the new key never did.
pub(super) fn settle(layout: &Layout, name: &str) -> Result<(), OpenError> {
    let next = layout.next_key();
    let bytes = match fs::read(&next) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io("read", next)(error)),
    };
    let stated = match SigningKey::from_pkcs8(&bytes, name) {
        Some(key) => fs::read_to_string(layout.rotations())
            .is_ok_and(|text| text.lines().any(|line| line == key.verifier())),
        None => false,
    };
    let done = if stated {
        SigningKey::from_pkcs8(&bytes, name).map_or(Ok(()), |key| install(layout, &key))
    } else {
        fs::remove_file(&next)
    };
    done.map_err(OpenError::io("settle", layout.next_key()))
}

/// The new key is the log's key from now on.
fn install(layout: &Layout, key: &SigningKey) -> io::Result<()> {
    let public = layout.public_key();
    write_whole(&public, format!("{}\n", key.verifier()).as_bytes())?;
    fs::rename(layout.next_key(), layout.private_key())?;
    sync_dir(public.parent().unwrap_or(&public))
}

impl Committer {
    /// Makes a key that signs from now on. The log must be synced and signed.
    pub(super) fn rotate_key(&mut self, shared: &Shared) -> io::Result<()> {
        let layout = &shared.layout;
        let name = self.key.name().to_owned();
        let pkcs8 = SigningKey::generate()
            .ok_or_else(|| io::Error::other("the system has no randomness"))?;
        let new = SigningKey::from_pkcs8(&pkcs8, &name)
            .ok_or_else(|| io::Error::other("a new key cannot be read"))?;
        write_whole(&layout.next_key(), &pkcs8)?;
        shared
            .append_blocking(Event::KeyRotated(KeyRotated {
                old: self.key.verifier(),
                new: new.verifier(),
            }))
            .map_err(io::Error::other)?;
        self.commit(shared, true)?;
        let tree = shared.lock().chain.tree.clone();
        let text = format!(
            "{FIRST_LINE}\n{name}\n{}\n{}\n{}\n",
            tree.size(),
            self.key.verifier(),
            new.verifier()
        );
        let mut rotations = fs::read_to_string(layout.rotations()).or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Ok(String::new())
            } else {
                Err(error)
            }
        })?;
        for part in [&text, "\n", &self.key.sign(&text), &new.sign(&text), "\n"] {
            rotations.push_str(part);
        }
        write_whole(&layout.rotations(), rotations.as_bytes())?;
        install(layout, &new)?;
        self.key = new.preceded_by(&predecessors(layout)?);
        // The new key vouches for all there is, too.
        self.checkpoints.append(&checkpoint::sign(&self.key, &tree))
    }
}
