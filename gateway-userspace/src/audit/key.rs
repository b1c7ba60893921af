//! The log's signing key and the C2SP signed-note form of what it signs.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use zeroize::Zeroizing;

use super::{
    error::OpenError,
    hex,
    layout::{Layout, write_whole},
    rotation,
    tree::sha256,
};

/// Ed25519, in signed notes.
const ALGORITHM: u8 = 1;

/// The key pair, and the name it signs under: the log's origin.
pub(super) struct SigningKey {
    pair: Ed25519KeyPair,
    name: String,
    id: [u8; 4],
    /// Ids and public keys that signed this log before.
    before: Vec<([u8; 4], Vec<u8>)>,
}

impl SigningKey {
    /// Loads the key, or makes one if the log is `new`.
    pub(super) fn open(layout: &Layout, name: &str, new: bool) -> Result<Self, OpenError> {
        let path = layout.private_key();
        let key_error = |problem| OpenError::Key {
            path: path.clone(),
            problem,
        };
        if !path.exists() {
            if !new {
                return Err(key_error("is missing"));
            }
            let made =
                Self::generate().ok_or_else(|| key_error("cannot be generated: no randomness"))?;
            write_whole(&path, &made).map_err(OpenError::io("write", &path))?;
        }
        let bytes = Zeroizing::new(fs::read(&path).map_err(OpenError::io("read", &path))?);
        let key = Self::from_pkcs8(&bytes, name)
            .ok_or_else(|| key_error("is not an Ed25519 key in PKCS#8"))?;
        let public = layout.public_key();
        let line = format!("{}\n", key.verifier());
        match fs::read(&public) {
            Ok(found) if found == line.as_bytes() => {}
            Ok(_) if !new => {
                return Err(OpenError::Key {
                    path: public,
                    problem: "is another key's, or this host has been renamed since",
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

    /// A new private key, PKCS#8; `None` without randomness.
    pub(super) fn generate() -> Option<Zeroizing<Vec<u8>>> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Some(Zeroizing::new(made.as_ref().to_vec()))
    }

    /// A key from PKCS#8, which signs under this name.
    pub(super) fn from_pkcs8(bytes: &[u8], name: &str) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes).ok()?;
        Some(Self {
            id: key_id(name, pair.public_key().as_ref()),
            pair,
            name: name.to_owned(),
            before: Vec::new(),
        })
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
        verifier(&self.name, self.pair.public_key().as_ref())
    }

    /// The signature line for a note's text, newline included.
    pub(super) fn sign(&self, text: &str) -> String {
        let mut signature = self.id.to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("\u{2014} {} {}\n", self.name, STANDARD.encode(signature))
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
        (*id == self.id && good(self.pair.public_key().as_ref()))
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
