//! Segment files, frames and the part of an entry's body that a check looks at.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::report::{Problem, problem};

/// What of an entry's body the check looks at.
#[derive(Deserialize)]
pub(super) struct Body {
    pub(super) v: u32,
    pub(super) index: u64,
    pub(super) time: String,
    #[serde(default)]
    pub(super) blobs: Vec<Blob>,
    pub(super) event: Summary,
}

#[derive(Deserialize)]
pub(super) struct Blob {
    pub(super) sha256: String,
    pub(super) bytes: u64,
}

#[derive(Deserialize)]
pub(super) struct Summary {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) key_id: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) cut_bytes: Option<u64>,
    pub(super) lost_events: Option<u64>,
}

pub(super) enum Framed {
    Entry,
    End,
    Torn,
}

pub(super) fn frame(input: &mut impl Read, entry: &mut Vec<u8>) -> io::Result<Framed> {
    entry.clear();
    input.take(4).read_to_end(entry)?;
    let Ok(length) = <[u8; 4]>::try_from(entry.as_slice()) else {
        return Ok(if entry.is_empty() {
            Framed::End
        } else {
            Framed::Torn
        });
    };
    let length = u64::from(u32::from_be_bytes(length));
    if length <= 32 || length > 65_535 {
        return Ok(Framed::Torn);
    }
    entry.clear();
    input.take(length).read_to_end(entry)?;
    Ok(if entry.len() as u64 == length {
        Framed::Entry
    } else {
        Framed::Torn
    })
}

pub(super) fn list_segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Problem> {
    let mut segments = Vec::new();
    for item in fs::read_dir(dir).map_err(|error| problem(dir, 0, error.to_string()))? {
        let path = item
            .map_err(|error| problem(dir, 0, error.to_string()))?
            .path();
        let stem = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".log"));
        if let Some(first) = stem
            .filter(|stem| stem.len() == 20)
            .and_then(|stem| stem.parse().ok())
        {
            segments.push((first, path));
        }
    }
    segments.sort();
    Ok(segments)
}

pub(super) fn take<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}
