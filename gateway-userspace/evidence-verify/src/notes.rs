//! The public key, and the checkpoints it must have signed.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    digest::{Context, SHA256},
    signature::{ED25519, UnparsedPublicKey},
};

use crate::{
    report::{Problem, problem},
    tree::{Digest, hex},
};

/// A checkpoint's content.
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Digest,
}

/// Algorithm byte of an Ed25519 key that signs notes.
const ED25519_NOTE: u8 = 1;

/// A key that the log must be signed with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    pub(crate) name: String,
    pub(crate) id: String,
    key: Vec<u8>,
}

impl Verifier {
    /// Reads `name+id+base64(0x01 || key)`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, id, key) = parse_key(text, ED25519_NOTE)?;
        Some(Self { name, id, key })
    }

    /// Checks one signature line, without its newline, over `text`.
    pub(crate) fn signed(&self, text: &str, line: &str) -> Result<(), String> {
        let (name, encoded) = line
            .strip_prefix("\u{2014} ")
            .and_then(|line| line.rsplit_once(' '))
            .ok_or("a signature line is malformed")?;
        if name != self.name {
            return Err(format!("it is signed by {name:?}, not by {:?}", self.name));
        }
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|error| format!("a signature is no base64: {error}"))?;
        let Some((id, signature)) = bytes.split_first_chunk::<4>() else {
            return Err("a signature is too short".to_owned());
        };
        if hex(id) != self.id {
            return Err(format!("it is signed with another key, {}", hex(id)));
        }
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(text.as_bytes(), signature)
            .map_err(|ring::error::Unspecified| {
                "a signature is wrong: it is changed, or made without the key".to_owned()
            })
    }

    /// Checks a checkpoint, which others may have signed besides, and reads it.
    pub(crate) fn open(&self, note: &str) -> Result<Head, String> {
        let (text, lines) = split_all(note)?;
        signed_by_one(lines, |line| self.signed(text, line))?;
        read_head(text, &self.name)
    }
}

/// Reads `name+id+base64(kind || key)` of an Ed25519 key; `None` for anything else.
pub(crate) fn parse_key(text: &str, kind: u8) -> Option<(String, String, Vec<u8>)> {
    let mut parts = text.splitn(3, '+');
    let (name, id, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let typed = STANDARD.decode(encoded).ok()?;
    let (of, key) = typed.split_first()?;
    let mut context = Context::new(&SHA256);
    context.update(name.as_bytes());
    context.update(b"\n");
    context.update(&typed);
    let digest = context.finish();
    let good = *of == kind
        && key.len() == 32
        && digest.as_ref().get(..4).map(hex)? == id
        && !name.is_empty()
        && !name.contains(char::is_whitespace);
    good.then(|| (name.to_owned(), id.to_owned(), key.to_owned()))
}

/// One of the lines must be a good signature; if none is, what is wrong with the last of them.
pub(crate) fn signed_by_one(
    lines: Vec<&str>,
    signed: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let mut wrong = "it has no signature".to_owned();
    for line in lines {
        match signed(line) {
            Ok(()) => return Ok(()),
            Err(what) => wrong = what,
        }
    }
    Err(format!("a checkpoint is bad: {wrong}"))
}

/// A note of one signature: its text, and the signature line without its newline.
pub(crate) fn split(note: &str) -> Result<(&str, &str), String> {
    match split_all(note)? {
        (text, lines) if lines.len() == 1 => Ok((text, lines.first().copied().unwrap_or_default())),
        _ => Err("a checkpoint's signature line is malformed".to_owned()),
    }
}

/// A note's text, and its signature lines without their newlines.
pub(crate) fn split_all(note: &str) -> Result<(&str, Vec<&str>), String> {
    let (text, signatures) =
        note.split_at(note.find("\n\n").ok_or("a checkpoint has no signature")? + 1);
    let lines = signatures
        .strip_prefix('\n')
        .and_then(|lines| lines.strip_suffix('\n'))
        .ok_or("a checkpoint's signature line is malformed")?;
    Ok((text, lines.split('\n').collect()))
}

/// The content of a checkpoint whose signature is good.
pub(crate) fn read_head(text: &str, name: &str) -> Result<Head, String> {
    let mut lines = text.lines();
    let (origin, size, root) = (lines.next(), lines.next(), lines.next());
    if origin != Some(name) {
        return Err("a checkpoint is of another log".to_owned());
    }
    let size = size
        .and_then(|size| size.parse().ok())
        .ok_or("a checkpoint's size is no number")?;
    let root = root
        .and_then(|root| STANDARD.decode(root).ok())
        .and_then(|root| root.try_into().ok());
    Ok(Head {
        size,
        root: root.ok_or("a checkpoint's root is no digest")?,
    })
}

/// A key given by whoever asks.
pub(crate) fn given_key(text: &str) -> Result<Verifier, Problem> {
    let given = Path::new("the given public key");
    Verifier::parse(text.trim())
        .ok_or_else(|| problem(given, 0, "it is not of the form name+id+base64"))
}

/// The notes of the file of checkpoints, up to where it ended when it was opened.
pub(crate) struct Notes {
    pub(crate) path: PathBuf,
    input: io::Take<BufReader<File>>,
    pub(crate) offset: u64,
    /// Bytes at the end that are no whole note.
    pub(crate) torn: u64,
}

impl Notes {
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        let open = || -> io::Result<_> {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok(BufReader::new(file).take(length))
        };
        let input = open().map_err(|error| problem(path, 0, error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            input,
            offset: 0,
            torn: 0,
        })
    }

    /// Three lines, an empty one, a signature line, an empty line.
    pub(crate) fn next_unchecked(&mut self) -> Result<Option<String>, Problem> {
        self.next_note(1)
    }

    /// The same with up to `most` signature lines.
    pub(crate) fn next_note(&mut self, most: usize) -> Result<Option<String>, Problem> {
        let mut note = Vec::new();
        for line in 0.. {
            let start = note.len();
            (&mut self.input)
                .take(2_048)
                .read_until(b'\n', &mut note)
                .map_err(|error| problem(&self.path, self.offset, error.to_string()))?;
            let text = note.get(start..).unwrap_or_default();
            if text.last() != Some(&b'\n') {
                if text.len() >= 2_048 {
                    return Err(problem(
                        &self.path,
                        self.offset,
                        "a line is too long for a checkpoint's",
                    ));
                }
                self.torn = note.len() as u64;
                return Ok(None);
            }
            let is_empty = text.len() == 1;
            let fits = match line {
                0..=2 | 4 => !is_empty,
                3 => is_empty,
                _ => is_empty || line < 4 + most,
            };
            if !fits {
                return Err(problem(
                    &self.path,
                    self.offset,
                    "a checkpoint is malformed",
                ));
            }
            if line > 4 && is_empty {
                break;
            }
        }
        self.offset += note.len() as u64;
        note.pop();
        String::from_utf8(note)
            .map(Some)
            .map_err(|_utf8: std::string::FromUtf8Error| {
                problem(&self.path, self.offset, "a checkpoint is no text")
            })
    }
}
