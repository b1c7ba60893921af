//! A text or value in an event, of any length.

use serde::{Deserialize, Serialize};

use super::{hex, tree::sha256};

/// Longer values move to a side file.
pub(super) const INLINE_BYTES: usize = 16 * 1024;
/// Longer binary values are recorded by digest alone.
const BINARY_BYTES: usize = 1024 * 1024;
/// How much of a value that is not inline is kept in the entry, to recognise it by.
const HEAD_CHARS: usize = 256;

/// A text or value of any length. Short ones stand in the entry, long ones in a side file named
/// by their digest, which is written and synced before the entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// UTF-8 text.
    Text(String),
    /// Bytes that are no text.
    Hex {
        /// The bytes, as hex.
        #[serde(with = "hex::serde_bytes")]
        hex: Vec<u8>,
    },
    /// In the side file `blobs/<blob>`.
    Blob {
        /// SHA-256 of the bytes, hex.
        blob: String,
        /// Their number.
        bytes: u64,
        /// How they begin.
        head: String,
    },
    /// Too large to keep: known by digest alone.
    Digest {
        /// SHA-256 of the bytes, hex.
        sha256: String,
        /// Their number.
        bytes: u64,
        /// How they begin.
        head: String,
    },
}

impl Content {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Bytes: as text if they are UTF-8, else as hex; binary values of more than 1 MiB by digest.
    pub fn bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) if bytes.len() > BINARY_BYTES => Self::Digest {
                sha256: hex::encode(&sha256(bytes)),
                bytes: bytes.len() as u64,
                head: head(bytes),
            },
            Err(_) => Self::Hex {
                hex: bytes.to_vec(),
            },
        }
    }

    /// What of it is in the entry itself, for display; the second value says whether that is all.
    pub fn shown(&self) -> (String, bool) {
        match self {
            Self::Text(text) => (text.clone(), true),
            Self::Hex { hex } => (format!("\\x{}", hex::encode(hex)), true),
            Self::Blob { head, .. } | Self::Digest { head, .. } => (head.clone(), false),
        }
    }

    /// The bytes, if they stand in the entry.
    pub(super) fn inline(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text.as_bytes()),
            Self::Hex { hex } => Some(hex),
            Self::Blob { .. } | Self::Digest { .. } => None,
        }
    }

    /// Replaces an inline value by a reference to the side file that `bytes` go to.
    pub(super) fn spill(&mut self) -> Option<Spilled> {
        let bytes = self.inline()?.to_vec();
        let spilled = Spilled::new(bytes);
        *self = Self::Blob {
            blob: spilled.name.clone(),
            bytes: spilled.bytes.len() as u64,
            head: head(&spilled.bytes),
        };
        Some(spilled)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// The contents of a side file.
#[derive(Debug)]
pub(super) struct Spilled {
    /// SHA-256, hex.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

impl Spilled {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            name: hex::encode(&sha256(&bytes)),
            bytes,
        }
    }
}

fn head(bytes: &[u8]) -> String {
    let part = bytes.get(..HEAD_CHARS * 4).unwrap_or(bytes);
    match std::str::from_utf8(part) {
        Ok(text) => text.chars().take(HEAD_CHARS).collect(),
        // A character cut in two by the limit.
        Err(error) if error.error_len().is_none() => {
            let whole = part.get(..error.valid_up_to()).unwrap_or_default();
            String::from_utf8_lossy(whole)
                .chars()
                .take(HEAD_CHARS)
                .collect()
        }
        Err(_) => format!(
            "\\x{}",
            hex::encode(part.get(..HEAD_CHARS / 2).unwrap_or(part))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_are_text_and_hex_where_not() {
        assert_eq!(Content::bytes("naïve".as_bytes()), Content::text("naïve"));
        assert_eq!(
            serde_json::to_string(&Content::bytes(&[0xff, 0]))
                .ok()
                .as_deref(),
            Some(r#"{"hex":"ff00"}"#)
        );
        let large = vec![0xff; BINARY_BYTES + 1];
        assert!(
            matches!(Content::bytes(&large), Content::Digest { bytes, .. } if bytes == large.len() as u64)
        );
    }

    #[test]
    fn every_shape_reads_back_as_itself() {
        let mut spilled = Content::text("ä".repeat(20_000));
        assert!(spilled.spill().is_some());
        for content in [
            Content::text("x"),
            Content::bytes(&[0xfe]),
            spilled,
            Content::bytes(&vec![0x80; BINARY_BYTES + 1]),
        ] {
            let json = serde_json::to_string(&content).unwrap();
            assert_eq!(serde_json::from_str::<Content>(&json).unwrap(), content);
        }
    }
}
