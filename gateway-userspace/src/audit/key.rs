//! The log's signing key and the C2SP signed-note form of what it signs.

use std::{fs, io, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, UnparsedPublicKey};

use super::{
    error::OpenError,
    hex,
    layout::{Layout, write_whole},
    log_keys::{KeySlot, LogKeys},
    rotation,
    tree::sha256,
};

/// Ed25519, in signed notes.
const ALGORITHM: u8 = 1;

/// A key of the log's, and the name it signs under: the log's origin.
#[derive(Clone)]
pub(super) struct SigningKey {
    keys: Arc<dyn LogKeys>,
    slot: KeySlot,
    public: Vec<u8>,
    name: String,
    id: [u8; 4],
    /// Ids and public keys that signed this log before.
    before: Vec<([u8; 4], Vec<u8>)>,
}

impl SigningKey {
    /// Loads the key, or makes one if the log is `new`.
    pub(super) fn open(
        layout: &Layout,
        keys: &Arc<dyn LogKeys>,
        name: &str,
        new: bool,
    ) -> Result<Self, OpenError> {
        let key_error = |source| OpenError::Key {
            path: layout.private_key(),
            source,
        };
        let found = keys.public(KeySlot::Current).map_err(key_error)?;
        let made = match found {
            Some(public) => public,
            None if new => keys.make(KeySlot::Current).map_err(key_error)?,
            None => {
                return Err(key_error(io::Error::new(
                    io::ErrorKind::NotFound,
                    "it is missing",
                )));
            }
        };
        let key = Self::new(Arc::clone(keys), KeySlot::Current, made, name);
        let public = layout.public_key();
        let line = format!("{}\n", key.verifier());
        match fs::read(&public) {
            Ok(found) if found == line.as_bytes() => {}
            Ok(_) if !new => {
                return Err(OpenError::Key {
                    path: public,
                    source: io::Error::new(
                        io::ErrorKind::InvalidData,
                        "it is another key's, or this host has been renamed since",
                    ),
                });
            }
            Ok(_) | Err(_) => {
                write_whole(&public, line.as_bytes()).map_err(OpenError::io("write", &public))?;
            }
        }
        let before = rotation::predecessors(layout);
        let before = before.map_err(OpenError::io("read", layout.rotations()))?;
        Ok(key.preceded_by(&before))
    }

    /// The key in a slot, which signs under this name.
    pub(super) fn new(keys: Arc<dyn LogKeys>, slot: KeySlot, public: Vec<u8>, name: &str) -> Self {
        Self {
            keys,
            slot,
            id: key_id(name, &public),
            public,
            name: name.to_owned(),
            before: Vec::new(),
        }
    }

    /// The same key in another slot.
    pub(super) fn in_slot(self, slot: KeySlot) -> Self {
        Self { slot, ..self }
    }

    /// Who signs.
    pub(super) fn keys(&self) -> &Arc<dyn LogKeys> {
        &self.keys
    }

    /// With the keys that signed before it: what they have signed is good, too.
    pub(super) fn preceded_by(mut self, verifiers: &[String]) -> Self {
        self.before = verifiers
            .iter()
            .filter_map(|verifier| {
                let typed = STANDARD.decode(verifier.splitn(3, '+').nth(2)?).ok()?;
                let (ALGORITHM, key) = typed.split_first().map(|(kind, key)| (*kind, key))? else {
                    return None;
                };
                Some((key_id(&self.name, key), key.to_vec()))
            })
            .collect();
        self
    }

    /// The verifier keys of those that signed before it; oldest first.
    pub(super) fn verifiers_before(&self) -> Vec<String> {
        self.before
            .iter()
            .map(|(_, key)| verifier(&self.name, key))
            .collect()
    }

    /// Key id, hex.
    pub(super) fn id(&self) -> String {
        hex::encode(&self.id)
    }

    /// The name it signs under.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The public key as C2SP writes it: `name+id+base64(algorithm || key)`.
    pub(super) fn verifier(&self) -> String {
        verifier(&self.name, &self.public)
    }

    /// The signature line for a note's text, newline included.
    pub(super) fn sign(&self, text: &str) -> io::Result<String> {
        let mut signature = self.id.to_vec();
        signature.extend_from_slice(&self.keys.sign(self.slot, text.as_bytes())?);
        Ok(format!(
            "\u{2014} {} {}\n",
            self.name,
            STANDARD.encode(signature)
        ))
    }

    /// True if `line` (without its newline) is this key's signature of `text`, or that of one
    /// before it.
    pub(super) fn signed(&self, text: &str, line: &str) -> bool {
        let Some(encoded) = line
            .strip_prefix("\u{2014} ")
            .and_then(|l| l.strip_prefix(self.name.as_str())?.strip_prefix(' '))
        else {
            return false;
        };
        let Ok(bytes) = STANDARD.decode(encoded) else {
            return false;
        };
        let Some((id, signature)) = bytes.split_first_chunk::<4>() else {
            return false;
        };
        let good = |key: &[u8]| {
            UnparsedPublicKey::new(&ED25519, key)
                .verify(text.as_bytes(), signature)
                .is_ok()
        };
        (*id == self.id && good(&self.public))
            || self.before.iter().any(|(old, key)| old == id && good(key))
    }
}

fn verifier(name: &str, public: &[u8]) -> String {
    let id = hex::encode(&key_id(name, public));
    let typed = [&[ALGORITHM], public].concat();
    format!("{name}+{id}+{}", STANDARD.encode(typed))
}

/// The first four bytes of SHA-256(name || LF || algorithm || key).
fn key_id(name: &str, public: &[u8]) -> [u8; 4] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[ALGORITHM], public].concat());
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

/// The origin of a host's log. A key name has no spaces and no plus signs.
pub(super) fn origin(host: &str) -> String {
    let clean: String = host
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!(
        "{}/cordon-evidence",
        if clean.is_empty() { "host" } else { &clean }
    )
}
