//! What is wrong with a policy folder, and where.

use std::{fmt, path::PathBuf};

use unicode_width::UnicodeWidthStr;

/// Columns of a line that are shown around its problem.
const BEFORE: usize = 70;
const AFTER: usize = 40;

/// Everything that is wrong with a folder of policy files; nothing of it is in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    problems: Vec<Problem>,
}

impl PolicyError {
    /// Sorts the problems by their places; files stay in the order in which they were read.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        let mut files: Vec<PathBuf> = Vec::new();
        for problem in &problems {
            if !files.contains(&problem.file) {
                files.push(problem.file.clone());
            }
        }
        problems.sort_by_key(|problem| {
            (
                files.iter().position(|file| *file == problem.file),
                problem.position,
            )
        });
        Self { problems }
    }

    /// The problems, in order of files and lines; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// One problem. Prints as `file:line:column: message`, with the line below.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The file, or the folder.
    pub file: PathBuf,
    /// Line and column, from 1, if the problem has a place in the file.
    pub position: Option<(u64, u64)>,
    /// What is wrong and what to write.
    pub message: String,
    /// The line, if there is one.
    pub excerpt: Option<Excerpt>,
}

/// The line of a problem, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Excerpt {
    /// Its number, from 1.
    pub line: u64,
    /// Its text; long lines are cut around the problem.
    pub text: String,
    /// Width of what stands before the problem in `text`.
    pub indent: usize,
}

impl Excerpt {
    /// The line at a place of a file.
    pub(super) fn of(source: &str, (line, column): (u64, u64)) -> Option<Self> {
        let index = usize::try_from(line.checked_sub(1)?).ok()?;
        let column = usize::try_from(column.checked_sub(1)?).ok()?;
        let whole: Vec<char> = source
            .lines()
            .nth(index)?
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let column = column.min(whole.len());
        let start = column.saturating_sub(BEFORE);
        let end = whole.len().min(column + AFTER);
        let before: String = whole.get(start..column)?.iter().collect();
        let after: String = whole.get(column..end)?.iter().collect();
        let cut_before = if start > 0 { "..." } else { "" };
        let cut_after = if end < whole.len() { "..." } else { "" };
        Some(Self {
            line,
            indent: before.width() + cut_before.width(),
            text: format!("{cut_before}{before}{after}{cut_after}"),
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            let number = excerpt.line.to_string();
            let gutter = number.len();
            write!(
                f,
                "\n  {number} | {}\n  {:gutter$} | {:indent$}^",
                excerpt.text,
                "",
                "",
                indent = excerpt.indent,
            )?;
        }
        Ok(())
    }
}
