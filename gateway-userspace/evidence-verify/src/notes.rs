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
        let mut parts = text.splitn(3, '+');
        let (name, id, encoded) = (parts.next()?, parts.next()?, parts.next()?);
        let typed = STANDARD.decode(encoded).ok()?;
        let (1, key) = typed.split_first().map(|(kind, key)| (*kind, key))? else {
            return None;
        };
        let mut context = Context::new(&SHA256);
        context.update(name.as_bytes());
        context.update(b"\n");
        context.update(&typed);
        let digest = context.finish();
        (key.len() == 32 && digest.as_ref().get(..4).map(hex)? == id && !name.is_empty()).then(
            || Self {
                name: name.to_owned(),
                id: id.to_owned(),
                key: key.to_owned(),
            },
        )
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

    /// Checks a checkpoint and reads it.
    pub(crate) fn open(&self, note: &str) -> Result<Head, String> {
        let (text, line) = split(note)?;
        self.signed(text, line)
            .map_err(|what| format!("a checkpoint is bad: {what}"))?;
        read_head(text, &self.name)
    }
}

/// A note of one signature: its text, and the signature line without its newline.
pub(crate) fn split(note: &str) -> Result<(&str, &str), String> {
    let (text, signature) =
        note.split_at(note.find("\n\n").ok_or("a checkpoint has no signature")? + 1);
    let line = signature
        .strip_prefix('\n')
        .and_then(|line| line.strip_suffix('\n'))
        .filter(|line| !line.contains('\n'))
        .ok_or("a checkpoint's signature line is malformed")?;
    Ok((text, line))
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
        let mut note = Vec::new();
        for line in 0..6 {
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
            let must_be_empty = line == 3 || line == 5;
            if must_be_empty != (text.len() == 1) {
                return Err(problem(
                    &self.path,
                    self.offset,
                    "a checkpoint is malformed",
                ));
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
