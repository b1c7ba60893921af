//! What a command printed.

use std::process;

use anyhow::{Context, Result, ensure};

/// A finished command.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<process::Output> for Output {
    fn from(output: process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Output {
    /// Both streams, for messages and for looking for leaks.
    pub fn all(&self) -> String {
        format!(
            "exit {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }

    /// Fails unless it exited with 0.
    pub fn success(self) -> Result<Self> {
        ensure!(self.code == Some(0), "the command failed: {}", self.all());
        Ok(self)
    }

    /// The SQLSTATEs of the errors that psql reported (with `VERBOSITY` at `verbose` or
    /// `sqlstate`), in order.
    pub fn sqlstates(&self) -> Vec<String> {
        sqlstates(&self.stderr)
    }

    /// Fails unless psql reported exactly this error first.
    pub fn refused_with(self, sqlstate: &str) -> Result<Self> {
        let seen = self.sqlstates();
        ensure!(
            seen.first().is_some_and(|first| first == sqlstate),
            "expected an error {sqlstate}: {}",
            self.all()
        );
        Ok(self)
    }

    /// The standard output as one JSON document.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(self.stdout.trim())
            .with_context(|| format!("not JSON: {}", self.all()))
    }

    /// The lines of standard output.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// The SQLSTATEs in psql's messages.
pub fn sqlstates(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let (_, rest) = line
                .split_once("ERROR:  ")
                .or_else(|| line.split_once("FATAL:  "))?;
            let code = rest.get(..5)?;
            let shaped = code
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
            (shaped && matches!(rest.get(5..6), None | Some(":"))).then(|| code.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn sqlstates_are_read_from_verbose_messages_only() {
        let text = "psql:<stdin>:1: ERROR:  42501: no\nDETAIL:  x\nERROR:  plain words\nFATAL:  28000: who";
        assert_eq!(super::sqlstates(text), ["42501", "28000"]);
    }
}
