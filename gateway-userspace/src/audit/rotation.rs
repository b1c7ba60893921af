//! Another signing key takes over: both keys sign a statement that says so.

use std::{fs, io, sync::Arc};

use super::{
    checkpoint,
    committer::Committer,
    encode::encode,
    error::OpenError,
    event::{Event, KeyRotated},
    key::SigningKey,
    layout::{Layout, sync_dir, write_whole},
    log::Shared,
    log_keys::{KeySlot, LogKeys},
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
pub(super) fn settle(
    layout: &Layout,
    keys: &Arc<dyn LogKeys>,
    name: &str,
) -> Result<(), OpenError> {
    let error = |source| OpenError::Key {
        path: layout.next_key(),
        source,
    };
    let next = match keys.public(KeySlot::Next) {
        Ok(None) => return Ok(()),
        Ok(Some(public)) => SigningKey::new(Arc::clone(keys), KeySlot::Next, public, name),
        // It was cut off when it was made, so it never signed.
        Err(unreadable) if unreadable.kind() == io::ErrorKind::InvalidData => {
            return keys.discard_next().map_err(error);
        }
        Err(unreadable) => return Err(error(unreadable)),
    };
    if is_stated(layout, &next) {
        install(layout, &next)
    } else {
        keys.discard_next()
    }
    .map_err(error)
}

/// True if the statement that the key takes over is written.
fn is_stated(layout: &Layout, key: &SigningKey) -> bool {
    fs::read_to_string(layout.rotations())
        .is_ok_and(|text| text.lines().any(|line| line == key.verifier()))
}

/// The new key is the log's key from now on.
fn install(layout: &Layout, key: &SigningKey) -> io::Result<()> {
    let public = layout.public_key();
    write_whole(&public, format!("{}\n", key.verifier()).as_bytes())?;
    key.keys().install_next()?;
    sync_dir(public.parent().unwrap_or(&public))
}

impl Committer {
    /// Makes a key that signs from now on, and gives its public half. Appends wait meanwhile: the old
    /// key's last checkpoint and the statement are of the same size.
    pub(super) fn rotate_key(&mut self, shared: &Shared) -> io::Result<String> {
        let layout = &shared.layout;
        let name = self.key.name().to_owned();
        let keys = Arc::clone(self.key.keys());
        let public = keys.make(KeySlot::Next)?;
        let new = SigningKey::new(keys, KeySlot::Next, public, &name);
        let encoded = encode(Event::KeyRotated(KeyRotated {
            old: self.key.verifier(),
            new: new.verifier(),
        }))
        .map_err(io::Error::other)?;
        let mut state = shared.lock();
        if state.closed {
            return Err(io::Error::other("the log is closed"));
        }
        state.append(&encoded).map_err(io::Error::other)?;
        self.settle(shared, &mut state)?;
        let tree = state.chain.tree.clone();
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
        for part in [&text, "\n", &self.key.sign(&text)?, &new.sign(&text)?, "\n"] {
            rotations.push_str(part);
        }
        let stated = write_whole(&layout.rotations(), rotations.as_bytes());
        if let Err(error) = stated
            // The statement may be there though its sync failed: then the new key signs.
            && !is_stated(layout, &new)
        {
            return Err(error);
        }
        let installed = install(layout, &new);
        let mut before = self.key.verifiers_before();
        before.push(self.key.verifier());
        let slot = if installed.is_ok() {
            KeySlot::Current
        } else {
            KeySlot::Next
        };
        self.key = new.in_slot(slot).preceded_by(&before);
        drop(state);
        // From here on the new key signs, whatever else fails: the next opening settles it.
        installed?;
        // It vouches for all there is, too.
        self.checkpoints
            .append(&checkpoint::sign(&self.key, &tree)?)?;
        Ok(self.key.verifier())
    }
}
