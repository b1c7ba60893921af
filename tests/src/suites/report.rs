//! What passes directly and not through Cordon.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::record::{Ending, Results};

/// One suite, both ways.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The suite's name.
    pub suite: &'static str,
    /// The driver's version.
    pub version: String,
    /// Directly.
    pub directly: Results,
    /// Through Cordon.
    pub through: Results,
    /// Time it took directly, in seconds.
    pub direct_seconds: f64,
    /// Time it took through Cordon, in seconds.
    pub through_seconds: f64,
}

/// Tests that are known to fail through Cordon, and why.
#[derive(Clone, Debug, Deserialize)]
struct Explained {
    suite: String,
    /// Names of tests; one that ends with `*` is a beginning.
    tests: Vec<String>,
    reason: String,
}

impl Explained {
    fn covers(&self, suite: &str, test: &str) -> bool {
        let named = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => test.starts_with(beginning),
            None => test == pattern,
        };
        self.suite == suite && self.tests.iter().any(named)
    }
}

fn explained() -> Result<Vec<Explained>> {
    serde_json::from_str(include_str!("explained.json")).context("explained.json")
}

/// A test that passes directly and not through Cordon.
#[derive(Clone, Debug)]
pub struct Difference<'r> {
    /// The test.
    pub test: &'r str,
    /// What it said through Cordon.
    pub said: &'r str,
    /// Why it is so, if that is known.
    pub reason: Option<String>,
}

impl Outcome {
    /// Tests that pass directly and not through Cordon.
    pub fn differences(&self) -> Result<Vec<Difference<'_>>> {
        let known = explained()?;
        let mut found = Vec::new();
        for (test, ending) in &self.directly.tests {
            let through = self.through.tests.get(test);
            if *ending != Ending::Passed || through == Some(&Ending::Passed) {
                continue;
            }
            found.push(Difference {
                test,
                said: match through {
                    Some(Ending::Failed(said)) => said,
                    Some(_) => "was left out",
                    None => "did not run",
                },
                reason: known
                    .iter()
                    .find(|known| known.covers(self.suite, test))
                    .map(|known| known.reason.clone()),
            });
        }
        Ok(found)
    }

    /// How many of those that pass directly pass through Cordon as well.
    pub fn passed_both_ways(&self) -> usize {
        let passed =
            |results: &Results, test: &str| results.tests.get(test) == Some(&Ending::Passed);
        self.directly
            .tests
            .keys()
            .filter(|test| passed(&self.directly, test) && passed(&self.through, test))
            .count()
    }

    /// A line for the terminal.
    pub fn line(&self) -> String {
        format!(
            "{:<24} {:<10} {:>5} passed directly ({:.0} s), {:>5} of them through Cordon ({:.0} s)",
            self.suite,
            self.version,
            self.directly.passed(),
            self.direct_seconds,
            self.passed_both_ways(),
            self.through_seconds
        )
    }
}

/// All suites.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order they ran.
    pub outcomes: Vec<Outcome>,
    /// Suites that could not run, and why.
    pub broken: Vec<String>,
}

impl Report {
    /// The table for the README.
    pub fn table(&self) -> String {
        let mut table = "| driver | version | passed directly | of these through Cordon |\n| --- | --- | ---: | ---: |\n".to_owned();
        for outcome in &self.outcomes {
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} |",
                outcome.suite,
                outcome.version,
                outcome.directly.passed(),
                outcome.passed_both_ways()
            );
        }
        table
    }

    /// What differs, with what each test said where that is not explained.
    pub fn differences(&self) -> Result<String> {
        let mut text = String::new();
        for outcome in &self.outcomes {
            for difference in outcome.differences()? {
                let _ = writeln!(text, "{}: {}", outcome.suite, difference.test);
                match &difference.reason {
                    Some(reason) => writeln!(text, "    {reason}"),
                    None => writeln!(
                        text,
                        "    NOT EXPLAINED: {}",
                        difference.said.replace('\n', "\n      ")
                    ),
                }?;
            }
        }
        Ok(text)
    }

    /// How many differences are not explained.
    pub fn unexplained(&self) -> Result<usize> {
        let mut count = 0;
        for outcome in &self.outcomes {
            count += outcome
                .differences()?
                .iter()
                .filter(|difference| difference.reason.is_none())
                .count();
        }
        Ok(count)
    }

    /// For machines.
    pub fn json(&self) -> Result<Value> {
        let suites = self.outcomes.iter().map(|outcome| {
            Ok(json!({
                "suite": outcome.suite,
                "version": outcome.version,
                "passed": { "directly": outcome.directly.passed(), "through": outcome.passed_both_ways() },
                "seconds": { "directly": outcome.direct_seconds, "through": outcome.through_seconds },
                "differences": outcome.differences()?.iter().map(|difference| json!({
                    "test": difference.test, "said": difference.said, "reason": difference.reason,
                })).collect::<Vec<_>>(),
            }))
        });
        Ok(Value::Array(suites.collect::<Result<_>>()?))
    }
}
