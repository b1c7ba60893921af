//! Bound parameters, as the evidence and the approver see them.

use super::hex;
use crate::{approval::BoundParameter, audit::Content, masking::Blotter};

/// A bound parameter, for the evidence and the approver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The type that it was declared with; 0: none.
    type_oid: u32,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// NULL.
    Null,
    /// Text, or the text of a value in text format.
    Text(String),
    /// A value in binary format.
    Binary(Vec<u8>),
    /// A value too large to be kept.
    Large {
        /// SHA-256.
        sha256: [u8; 32],
        /// Its length in bytes.
        bytes: u64,
        /// How it begins.
        head: String,
    },
}

impl Parameter {
    /// A value as it came in a Bind; longer ones than `max` bytes are kept by digest. Binary values
    /// of common types are shown as people write them.
    pub fn new(value: &[u8], binary: bool, type_oid: u32, max: usize) -> Self {
        if value.len() > max {
            let mut sha256 = [0; 32];
            sha256.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, value).as_ref());
            let head = value.get(..64).unwrap_or(value);
            let value = Value::Large {
                sha256,
                bytes: value.len() as u64,
                head: String::from_utf8_lossy(head).into_owned(),
            };
            return Self { type_oid, value };
        }
        let value = match std::str::from_utf8(value) {
            Ok(text) if !binary => Value::Text(text.to_owned()),
            Ok(_) | Err(_) => match readable(value, type_oid) {
                Some(text) if binary => Value::Text(text),
                Some(_) | None => Value::Binary(value.to_vec()),
            },
        };
        Self { type_oid, value }
    }

    /// NULL, of a type.
    pub fn null(type_oid: u32) -> Self {
        Self {
            type_oid,
            value: Value::Null,
        }
    }

    /// The type that it was declared with; 0: the server chooses.
    pub(super) fn type_oid(&self) -> u32 {
        self.type_oid
    }

    /// The type that it was declared with, as people call it; `None`: the server chooses.
    pub(super) fn type_name(&self) -> Option<String> {
        let name = match self.type_oid {
            0 => return None,
            16 => "boolean",
            17 => "bytea",
            20 => "bigint",
            21 => "smallint",
            23 => "integer",
            25 => "text",
            114 => "json",
            700 => "real",
            701 => "double precision",
            1042 => "character",
            1043 => "character varying",
            1082 => "date",
            1083 => "time",
            1114 => "timestamp",
            1184 => "timestamp with time zone",
            1186 => "interval",
            1700 => "numeric",
            2950 => "uuid",
            3802 => "jsonb",
            other => return Some(format!("type {other}")),
        };
        Some(name.to_owned())
    }

    /// True if a literal of what is [shown](Self::shown) could stand in its place.
    pub(super) fn is_text(&self) -> bool {
        match &self.value {
            Value::Null | Value::Text(_) => true,
            Value::Binary(_) | Value::Large { .. } => false,
        }
    }

    /// True if a search path of this value leaves `pg_catalog` where it is: first. Its type may
    /// shorten the value, so that where it stands in it tells nothing.
    pub(super) fn is_plain_path(&self) -> bool {
        let text = match &self.value {
            Value::Null => return true,
            Value::Text(text) => text.as_str(),
            Value::Binary(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => text,
                Err(_) => return false,
            },
            Value::Large { .. } => return false,
        };
        !text.to_ascii_lowercase().contains("pg_catalog")
    }

    /// As the evidence has it: what looks like personal data is blotted out.
    pub(super) fn content(&self, blotter: &Blotter) -> Option<Content> {
        match &self.value {
            Value::Null => None,
            Value::Text(text) => Some(Content::text(
                blotter.blotted(text).unwrap_or_else(|| text.clone()),
            )),
            Value::Binary(bytes) => {
                let mut hex = bytes.clone();
                blotter.blot(&mut hex);
                Some(Content::Hex { hex })
            }
            Value::Large {
                sha256,
                bytes,
                head,
            } => Some(Content::Digest {
                sha256: hex(sha256),
                bytes: *bytes,
                head: blotter.blotted(head).unwrap_or_else(|| head.clone()),
            }),
        }
    }

    /// What an approval fixes of it.
    pub(super) fn bound(&self) -> BoundParameter<'_> {
        let (binary, value) = match &self.value {
            Value::Null => (false, None),
            Value::Text(text) => (false, Some(text.as_bytes())),
            Value::Binary(bytes) => (true, Some(bytes.as_slice())),
            Value::Large { sha256, .. } => (true, Some(sha256.as_slice())),
        };
        BoundParameter {
            type_oid: self.type_oid,
            binary,
            value,
        }
    }

    pub(super) fn shown(&self) -> Option<String> {
        match &self.value {
            Value::Null => None,
            Value::Text(text) => Some(text.clone()),
            Value::Binary(bytes) => Some(format!("\\x{}", hex(bytes))),
            Value::Large {
                sha256,
                bytes,
                head,
            } => Some(format!("{head}... ({bytes} bytes, sha256 {})", hex(sha256))),
        }
    }
}

/// A value in binary format as text, for the types that are plain to read.
fn readable(value: &[u8], type_oid: u32) -> Option<String> {
    match type_oid {
        16 => Some(if value == [0] { "false" } else { "true" }.to_owned()),
        20 => Some(i64::from_be_bytes(value.try_into().ok()?).to_string()),
        21 => Some(i16::from_be_bytes(value.try_into().ok()?).to_string()),
        23 => Some(i32::from_be_bytes(value.try_into().ok()?).to_string()),
        26 => Some(u32::from_be_bytes(value.try_into().ok()?).to_string()),
        700 => Some(f32::from_be_bytes(value.try_into().ok()?).to_string()),
        701 => Some(f64::from_be_bytes(value.try_into().ok()?).to_string()),
        18 | 19 | 25 | 114 | 1042 | 1043 => std::str::from_utf8(value).ok().map(str::to_owned),
        _ => None,
    }
}
