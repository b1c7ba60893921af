//! Segment files, frames and the part of an entry's body that a check looks at.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    report::{Problem, problem},
    tree::Digest,
};

/// What of an entry's body the check looks at.
#[derive(Deserialize)]
pub(crate) struct Body {
    pub(crate) v: u32,
    pub(crate) index: u64,
    pub(crate) time: String,
    #[serde(default)]
    pub(crate) blobs: Vec<Blob>,
    pub(crate) event: Summary,
}

#[derive(Deserialize)]
pub(crate) struct Blob {
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

#[derive(Deserialize)]
pub(crate) struct Summary {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) key_id: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) cut_bytes: Option<u64>,
    pub(crate) lost_events: Option<u64>,
    pub(crate) session: Option<String>,
    pub(crate) offset: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) sha256: Option<String>,
    #[serde(default)]
    pub(crate) end: bool,
    pub(crate) first: Option<u64>,
}

pub(crate) enum Framed {
    Entry,
    End,
    Torn,
}

pub(crate) fn frame(input: &mut impl Read, entry: &mut Vec<u8>) -> io::Result<Framed> {
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

/// What a segment begins with.
pub(crate) struct Header {
    pub(crate) size: u64,
    pub(crate) previous: Digest,
    pub(crate) edge: Vec<Digest>,
    pub(crate) note: String,
    /// Its own length in bytes.
    pub(crate) length: u64,
}

impl Header {
    pub(crate) fn read(input: &mut impl Read) -> Result<Self, String> {
        let short = |error: io::Error| error.to_string();
        if &take::<16>(input).map_err(short)? != b"cordon evidence\n" {
            return Err("this is no evidence segment".to_owned());
        }
        let version = u32::from_be_bytes(take(input).map_err(short)?);
        if version != 1 {
            return Err(format!(
                "format version {version} is not known to this program"
            ));
        }
        let size = u64::from_be_bytes(take(input).map_err(short)?);
        let previous = take::<32>(input).map_err(short)?;
        let count = u32::from_be_bytes(take(input).map_err(short)?);
        if count != size.count_ones() {
            return Err("its tree has another size".to_owned());
        }
        let edge = (0..count)
            .map(|_| take::<32>(input).map_err(short))
            .collect::<Result<Vec<_>, _>>()?;
        let length = u32::from_be_bytes(take(input).map_err(short)?);
        if length > 4_096 {
            return Err("its checkpoint is too long".to_owned());
        }
        let mut note = vec![0; length as usize];
        input.read_exact(&mut note).map_err(short)?;
        let note = String::from_utf8(note)
            .map_err(|_utf8: std::string::FromUtf8Error| "its checkpoint is no text".to_owned())?;
        Ok(Self {
            size,
            previous,
            edge,
            note,
            length: 16 + 4 + 8 + 32 + 4 + 32 * u64::from(count) + 4 + u64::from(length),
        })
    }
}

pub(crate) fn list_segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Problem> {
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

fn take<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}
