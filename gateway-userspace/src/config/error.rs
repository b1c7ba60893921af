//! What is wrong with a configuration, and where.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_saphyr::Location;

/// What is wrong with a configuration, where, and what was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    path: PathBuf,
    position: Option<(u64, u64)>,
    message: String,
    suggestion: Option<String>,
}

impl ConfigError {
    /// An error about the file as a whole.
    pub(super) fn whole(path: &Path, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            position: None,
            message: message.into(),
            suggestion: None,
        }
    }

    /// An error at a place in the file.
    pub(super) fn at(path: &Path, location: Location, message: impl Into<String>) -> Self {
        let position =
            (location != Location::UNKNOWN).then(|| (location.line(), location.column()));
        Self {
            path: path.to_owned(),
            position,
            message: message.into(),
            suggestion: None,
        }
    }

    /// Adds what was probably meant: a sentence without a full stop.
    pub(super) fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Line, from 1.
    pub fn line(&self) -> Option<u64> {
        self.position.map(|(line, _)| line)
    }

    /// Column, from 1.
    pub fn column(&self) -> Option<u64> {
        self.position.map(|(_, column)| column)
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; {suggestion}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The candidate that `written` is most likely a slip of, as `did you mean ..?`.
pub(super) fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let written = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&written, candidate), candidate))
        // A third of the letters may differ; beyond that a suggestion misleads.
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().div_ceil(3))
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, from) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let replaced = get(&last, j) + usize::from(from != *to);
            let mut best = replaced.min(get(&last, j + 1) + 1).min(get(&row, j) + 1);
            let swapped = j
                .checked_sub(1)
                .filter(|k| b.get(*k) == Some(&from) && previous == Some(*to));
            if let Some(k) = swapped {
                best = best.min(get(&before_last, k) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
        previous = Some(from);
    }
    last.last().copied().unwrap_or(0)
}
