//! What differs.

use std::{collections::BTreeMap, fmt::Write, fs, process::Command};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::host::Scratch;

/// One script, both ways.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The script.
    pub script: String,
    /// Lines that psql printed directly.
    pub lines: usize,
    /// Lines that one of both has and the other has not.
    pub differing: usize,
    /// Lines with an error of Cordon's own, through Cordon.
    pub refusals: Vec<String>,
    /// Unified difference.
    pub diff: String,
    /// Time it took directly, in seconds.
    pub directly: f64,
    /// Time it took through Cordon, in seconds.
    pub through: f64,
}

impl Outcome {
    /// Compares what psql printed.
    pub fn compare(
        script: &str,
        directly: &[u8],
        through: &[u8],
        direct_seconds: f64,
        through_seconds: f64,
    ) -> Result<Self> {
        let scratch = Scratch::new("diff")?;
        fs::write(scratch.path().join("directly"), directly)?;
        fs::write(scratch.path().join("through"), through)?;
        let output = Command::new("diff")
            .args([
                "--text",
                "--unified=3",
                "--label",
                "directly",
                "--label",
                "through",
                "directly",
                "through",
            ])
            .current_dir(scratch.path())
            .output()?;
        ensure!(
            output.status.code().is_some_and(|code| code < 2),
            "diff failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let diff = String::from_utf8_lossy(&output.stdout).into_owned();
        let changed = |line: &&str| {
            (line.starts_with('+') && !line.starts_with("+++ "))
                || (line.starts_with('-') && !line.starts_with("--- "))
        };
        Ok(Self {
            script: script.to_owned(),
            lines: directly.split(|byte| *byte == b'\n').count(),
            differing: diff.lines().filter(changed).count(),
            refusals: diff
                .lines()
                .filter_map(|line| line.strip_prefix('+'))
                .filter(|line| line.contains("cordon: "))
                .map(str::to_owned)
                .collect(),
            diff,
            directly: direct_seconds,
            through: through_seconds,
        })
    }
}

/// A difference that is known, and why it is there.
#[derive(Clone, Debug, Deserialize)]
struct Explained {
    script: String,
    /// Lines that differ, at most.
    differing: usize,
    reason: String,
}

fn explained() -> Result<Vec<Explained>> {
    serde_json::from_str(include_str!("explained.json")).context("explained.json")
}

/// All scripts.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order they ran.
    pub outcomes: Vec<Outcome>,
    /// Time for all of it, in seconds.
    pub seconds: f64,
}

impl Report {
    /// Scripts whose output differs.
    pub fn differing(&self) -> Vec<&Outcome> {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.differing > 0)
            .collect()
    }

    /// Scripts that differ in more lines than are explained.
    pub fn unexplained(&self) -> Result<Vec<&Outcome>> {
        let known = explained()?;
        let all = self.differing().into_iter();
        let more = all.filter(|outcome| {
            !known
                .iter()
                .any(|known| known.script == outcome.script && outcome.differing <= known.differing)
        });
        Ok(more.collect())
    }

    /// A table of what differs, and why.
    pub fn table(&self) -> Result<String> {
        let known = explained()?;
        let mut table = format!(
            "{:<20} {:>7} {:>7}  {}\n",
            "script", "lines", "differ", "why"
        );
        for outcome in self.differing() {
            let _ = writeln!(
                table,
                "{:<20} {:>7} {:>7}  {}",
                outcome.script,
                outcome.lines,
                outcome.differing,
                known
                    .iter()
                    .find(|known| known.script == outcome.script)
                    .map_or("NOT EXPLAINED", |known| known.reason.as_str())
            );
        }
        let same = self.outcomes.len() - self.differing().len();
        let sum = |of: fn(&Outcome) -> f64| self.outcomes.iter().map(of).sum::<f64>();
        let _ = writeln!(
            table,
            "{same} of {} scripts print the same, {:.0} s ({:.0} s directly, {:.0} s through Cordon)",
            self.outcomes.len(),
            self.seconds,
            sum(|outcome| outcome.directly),
            sum(|outcome| outcome.through),
        );
        Ok(table)
    }

    /// Cordon's refusals, the most frequent first.
    pub fn refusals(&self) -> Vec<(usize, String)> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for line in self.outcomes.iter().flat_map(|outcome| &outcome.refusals) {
            let text = line.split(" (ref ").next().unwrap_or(line);
            *counts.entry(text.to_owned()).or_default() += 1;
        }
        let mut all: Vec<_> = counts
            .into_iter()
            .map(|(text, count)| (count, text))
            .collect();
        all.sort_by(|a, b| b.cmp(a));
        all
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "scripts": self.outcomes.iter().map(|outcome| json!({
                "script": outcome.script,
                "lines": outcome.lines,
                "differing": outcome.differing,
                "refusals": outcome.refusals,
                "seconds": { "directly": outcome.directly, "through": outcome.through },
            })).collect::<Vec<_>>(),
        })
    }
}
