//! The public key, and the checkpoints it must have signed.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    digest::{Context, SHA256},
    signature::{ED25519, UnparsedPublicKey},
};

use super::{
    report::{Problem, problem},
    tree::{Digest, hex},
};

/// A checkpoint's content.
pub(super) struct Head {
    pub(super) size: u64,
    pub(super) root: Digest,
}

/// The key that the log must be signed with.
pub(super) struct Verifier {
    pub(super) name: String,
    pub(super) id: String,
    key: Vec<u8>,
}

impl Verifier {
    /// Reads `name+id+base64(0x01 || key)`.
    fn parse(text: &str) -> Option<Self> {
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

    /// Checks a note (three lines, a blank one, one signature line) and reads it.
    pub(super) fn open(&self, note: &str) -> Result<Head, String> {
        let (text, signature) =
            note.split_at(note.find("\n\n").ok_or("a checkpoint has no signature")? + 1);
        let line = signature
            .strip_prefix('\n')
            .and_then(|line| line.strip_prefix("\u{2014} "))
            .and_then(|line| line.strip_suffix('\n'))
            .ok_or("a checkpoint's signature line is malformed")?;
        let (name, encoded) = line
            .rsplit_once(' ')
            .ok_or("a checkpoint's signature line is malformed")?;
        if name != self.name {
            return Err(format!(
                "a checkpoint is signed by {name:?}, not by {:?}",
                self.name
            ));
        }
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|error| format!("a checkpoint's signature is no base64: {error}"))?;
        let Some((id, signature)) = bytes.split_first_chunk::<4>() else {
            return Err("a checkpoint's signature is too short".to_owned());
        };
        if hex(id) != self.id {
            return Err(format!(
                "a checkpoint is signed with another key, {}",
                hex(id)
            ));
        }
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(text.as_bytes(), signature)
            .map_err(|ring::error::Unspecified| {
                "a checkpoint's signature is wrong: it is changed, or made without the key"
                    .to_owned()
            })?;
        let mut lines = text.lines();
        let (origin, size, root) = (lines.next(), lines.next(), lines.next());
        if origin != Some(self.name.as_str()) {
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
}

pub(super) fn load_key(dir: &Path, given: Option<&str>) -> Result<(Verifier, bool), Problem> {
    if let Some(text) = given {
        let given = Path::new("the given public key");
        let key = Verifier::parse(text.trim())
            .ok_or_else(|| problem(given, 0, "it is not of the form name+id+base64"))?;
        return Ok((key, false));
    }
    let path = dir.join("keys/log.pub");
    let text = fs::read_to_string(&path).map_err(|error| problem(&path, 0, error.to_string()))?;
    let key = text.strip_suffix('\n').and_then(Verifier::parse);
    key.map(|key| (key, true))
        .ok_or_else(|| problem(&path, 0, "it is not of the form name+id+base64"))
}

/// The notes of the file of checkpoints, up to where it ended when it was opened.
pub(super) struct Notes {
    pub(super) path: PathBuf,
    input: io::Take<BufReader<File>>,
    pub(super) offset: u64,
    /// Bytes at the end that are no whole note.
    pub(super) torn: u64,
}

impl Notes {
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
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
    pub(super) fn next_unchecked(&mut self) -> Result<Option<String>, Problem> {
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
