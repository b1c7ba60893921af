//! The keys that have signed the log, one after the other: each vouches for the next.

use std::{fs, io, path::Path};

use crate::{
    notes::{Head, Verifier, given_key, read_head, signed_by_one, split, split_all},
    report::{Problem, problem},
};

const FIRST_LINE: &str = "cordon key rotation v1";

/// A key, and the sizes of the log that it may sign.
struct Reign {
    key: Verifier,
    from: u64,
    to: u64,
}

/// All keys of a log, oldest first. There is at least one.
pub(crate) struct Keys {
    current: Verifier,
    reigns: Vec<Reign>,
}

impl Keys {
    /// The key that signs now.
    pub(crate) fn current(&self) -> &Verifier {
        &self.current
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.reigns
            .iter()
            .map(|reign| reign.key.id.clone())
            .collect()
    }

    /// True if the key signs a log of this size.
    pub(crate) fn signs(&self, id: &str, size: u64) -> bool {
        self.at(size).any(|key| key.id == id)
    }

    fn at(&self, size: u64) -> impl Iterator<Item = &Verifier> {
        self.reigns
            .iter()
            .filter(move |reign| (reign.from..=reign.to).contains(&size))
            .map(|reign| &reign.key)
    }

    /// Checks a checkpoint, which must be signed by the key of its size, and reads it.
    pub(crate) fn open(&self, note: &str) -> Result<Head, String> {
        let (text, line) = split(note)?;
        self.check(text, vec![line])
    }

    /// The same for a checkpoint that others may have signed besides.
    pub(crate) fn open_cosigned(&self, note: &str) -> Result<Head, String> {
        let (text, lines) = split_all(note)?;
        self.check(text, lines)
    }

    fn check(&self, text: &str, lines: Vec<&str>) -> Result<Head, String> {
        let head = read_head(text, &self.current.name)?;
        signed_by_one(lines, |line| {
            let mut wrong = format!("no key of this log signs {} entries", head.size);
            for key in self.at(head.size) {
                match key.signed(text, line) {
                    Ok(()) => return Ok(()),
                    Err(what) => wrong = what,
                }
            }
            Err(wrong)
        })?;
        Ok(head)
    }
}

/// One statement of `keys/rotations`, which both keys have signed.
struct Rotation {
    size: u64,
    old: Verifier,
    new: Verifier,
}

/// Reads the given key, or the one beside the log (then the second value is true), and the keys
/// before and after it. Whoever trusts one of them trusts all: each statement has both signatures.
pub(crate) fn load_keys(dir: &Path, given: Option<&str>) -> Result<(Keys, bool), Problem> {
    let trusted = match given {
        Some(text) => given_key(text)?,
        None => beside(dir)?,
    };
    let path = dir.join("keys/rotations");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(problem(&path, 0, error.to_string())),
    };
    let bad = |what: String| problem(&path, 0, what);
    let rotations = parse(&text, &trusted.name).map_err(bad)?;
    let mut reigns = Vec::new();
    let mut from = 0;
    for rotation in &rotations {
        if rotation.size < from {
            return Err(bad("rotations are out of order".to_owned()));
        }
        reigns.push(Reign {
            key: rotation.old.clone(),
            from,
            to: rotation.size,
        });
        from = rotation.size;
    }
    let current = rotations
        .last()
        .map_or_else(|| trusted.clone(), |rotation| rotation.new.clone());
    reigns.push(Reign {
        key: current.clone(),
        from,
        to: u64::MAX,
    });
    let linked = rotations
        .windows(2)
        .all(|pair| matches!(pair, [before, after] if before.new == after.old));
    if !linked {
        return Err(bad(
            "a key is followed by one that it does not name".to_owned()
        ));
    }
    if !reigns.iter().any(|reign| reign.key == trusted) {
        return Err(bad(format!(
            "the log is signed by other keys than {}",
            trusted.id
        )));
    }
    Ok((Keys { current, reigns }, given.is_none()))
}

fn beside(dir: &Path) -> Result<Verifier, Problem> {
    let path = dir.join("keys/log.pub");
    let text = fs::read_to_string(&path).map_err(|error| problem(&path, 0, error.to_string()))?;
    text.strip_suffix('\n')
        .and_then(Verifier::parse)
        .ok_or_else(|| problem(&path, 0, "it is not of the form name+id+base64"))
}

/// Statements of five lines, an empty one, two signature lines, an empty one.
fn parse(text: &str, origin: &str) -> Result<Vec<Rotation>, String> {
    let mut rotations = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (body, signatures) = rest
            .split_once("\n\n")
            .ok_or("a rotation has no signatures")?;
        let (signatures, behind) = signatures
            .split_once("\n\n")
            .ok_or("a rotation is cut off")?;
        rest = behind;
        let body = format!("{body}\n");
        let lines: Vec<&str> = body.lines().collect();
        let [first, of, size, old, new] = lines.as_slice() else {
            return Err("a rotation has another number of lines".to_owned());
        };
        if *first != FIRST_LINE || *of != origin {
            return Err("it holds something else than rotations of this log".to_owned());
        }
        let key = |text: &str| {
            Verifier::parse(text)
                .filter(|key| key.name == origin)
                .ok_or("a rotation's key is bad")
        };
        let rotation = Rotation {
            size: size
                .parse()
                .map_err(|_number| "a rotation's size is no number")?,
            old: key(old)?,
            new: key(new)?,
        };
        let lines: Vec<&str> = signatures.lines().collect();
        let [by_old, by_new] = lines.as_slice() else {
            return Err("a rotation needs two signatures".to_owned());
        };
        for (key, line) in [(&rotation.old, by_old), (&rotation.new, by_new)] {
            key.signed(&body, line)
                .map_err(|what| format!("a rotation is bad: {what}"))?;
        }
        rotations.push(rotation);
    }
    Ok(rotations)
}
