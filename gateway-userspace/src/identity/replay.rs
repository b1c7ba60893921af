//! Tokens that have been used: each may start one job.
//!
//! Kept on disk too, so that a restart of the daemon does not make used tokens new.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Signed tokens only get here, so nobody can fill this but an issuer; then starts are refused.
const MAX_REMEMBERED: usize = 100_000;
/// Tokens in the file, expired ones included, before it is written anew.
const REWRITE_AFTER: usize = 10_000;

/// Remembers used tokens until they expire.
#[derive(Debug)]
pub(super) struct UsedTokens {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    used: HashMap<[u8; 32], u64>,
    journal: Journal,
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
}

/// Why a token cannot be used.
#[derive(Debug)]
pub(super) enum UseError {
    /// It was used before.
    Replayed,
    /// Too many are remembered.
    Full,
    /// It cannot be remembered.
    Journal(io::Error),
}

impl UsedTokens {
    /// Continues the journal at `path`.
    pub(super) fn open(path: &Path, now: SystemTime) -> io::Result<Self> {
        let mut used = HashMap::new();
        match std::fs::read_to_string(path) {
            Ok(text) => used.extend(text.lines().filter_map(parse_line)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let now = seconds(now);
        used.retain(|_, expires| *expires > now);
        let journal = Journal::rewrite(path, &used)?;
        Ok(Self {
            inner: Mutex::new(Inner { used, journal }),
        })
    }

    /// Marks a token as used, for good.
    pub(super) fn consume(
        &self,
        once: [u8; 32],
        expires: SystemTime,
        now: SystemTime,
    ) -> Result<(), UseError> {
        let mut guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { used, journal } = &mut *guard;
        if used.contains_key(&once) {
            return Err(UseError::Replayed);
        }
        if used.len() >= MAX_REMEMBERED || journal.lines >= REWRITE_AFTER.max(used.len() * 2) {
            let now = seconds(now);
            used.retain(|_, expires| *expires > now);
            *journal = Journal::rewrite(&journal.path, used).map_err(UseError::Journal)?;
        }
        if used.len() >= MAX_REMEMBERED {
            return Err(UseError::Full);
        }
        // One second later than it expires: the time is cut to seconds.
        let expires = seconds(expires).saturating_add(1);
        journal.append(&once, expires).map_err(UseError::Journal)?;
        used.insert(once, expires);
        Ok(())
    }
}

impl Journal {
    fn rewrite(path: &Path, used: &HashMap<[u8; 32], u64>) -> io::Result<Self> {
        let next = path.with_extension("next");
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)?;
        let text: String = used
            .iter()
            .map(|(once, expires)| line(once, *expires))
            .collect();
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let lines = used.len();
        Ok(Self {
            path: path.to_owned(),
            file: OpenOptions::new().append(true).open(path)?,
            lines,
        })
    }

    fn append(&mut self, once: &[u8; 32], expires: u64) -> io::Result<()> {
        self.file.write_all(line(once, expires).as_bytes())?;
        self.file.sync_data()?;
        self.lines += 1;
        Ok(())
    }
}

/// A line break at both ends, so that a line cut off by a crash spoils no other.
fn line(once: &[u8; 32], expires: u64) -> String {
    let mut line = String::with_capacity(90);
    line.push('\n');
    for byte in once {
        // Writing to a string cannot fail.
        let _ = write!(line, "{byte:02x}");
    }
    let _ = writeln!(line, " {expires}");
    line
}

fn parse_line(line: &str) -> Option<([u8; 32], u64)> {
    let (hex, expires) = line.split_once(' ')?;
    let mut once = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in once.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some((once, expires.parse().ok()?))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_used_once_even_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used-tokens");
        let used = UsedTokens::open(&path, at(100)).unwrap();
        used.consume([1; 32], at(200), at(100)).unwrap();
        used.consume([2; 32], at(150), at(100)).unwrap();
        assert!(matches!(
            used.consume([1; 32], at(200), at(101)),
            Err(UseError::Replayed)
        ));
        let again = UsedTokens::open(&path, at(180)).unwrap();
        assert!(matches!(
            again.consume([1; 32], at(200), at(180)),
            Err(UseError::Replayed)
        ));
        assert_eq!(
            again.inner.lock().unwrap().used.len(),
            1,
            "expired tokens are forgotten"
        );
    }

    #[test]
    fn a_line_cut_off_by_a_crash_loses_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used-tokens");
        UsedTokens::open(&path, at(100))
            .unwrap()
            .consume([1; 32], at(200), at(100))
            .unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("\n0202");
        text.push_str(&line(&[3; 32], 300));
        std::fs::write(&path, text).unwrap();
        let used = UsedTokens::open(&path, at(100)).unwrap();
        assert!(matches!(
            used.consume([1; 32], at(200), at(100)),
            Err(UseError::Replayed)
        ));
        assert!(matches!(
            used.consume([3; 32], at(200), at(100)),
            Err(UseError::Replayed)
        ));
        used.consume([2; 32], at(200), at(100)).unwrap();
    }

    #[test]
    fn a_token_that_cannot_be_remembered_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let used = UsedTokens::open(&folder.path().join("used-tokens"), at(100)).unwrap();
        used.inner.lock().unwrap().journal.file = File::open("/dev/null").unwrap();
        assert!(matches!(
            used.consume([1; 32], at(200), at(100)),
            Err(UseError::Journal(_))
        ));
    }
}
