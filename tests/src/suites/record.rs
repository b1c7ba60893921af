//! What became of each test.

use std::{collections::BTreeMap, fmt::Write};

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It passed.
    Passed,
    /// It failed, with the last of what it said.
    Failed(String),
    /// The suite left it out.
    Skipped,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// By the test's name.
    pub tests: BTreeMap<String, Ending>,
    /// All that was printed.
    pub printed: String,
}

impl Results {
    /// Notes a test; a failure outweighs what is there.
    pub fn note(&mut self, name: String, ending: Ending) {
        match self.tests.get(&name) {
            Some(Ending::Failed(_)) => {}
            Some(_) if ending == Ending::Passed => {}
            _ => {
                self.tests.insert(name, ending);
            }
        }
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.tests
            .values()
            .filter(|ending| **ending == Ending::Passed)
            .count()
    }

    /// One line for each test.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for (name, ending) in &self.tests {
            let word = match ending {
                Ending::Passed => "passed",
                Ending::Failed(_) => "FAILED",
                Ending::Skipped => "skipped",
            };
            let _ = writeln!(text, "{word} {name}");
        }
        text
    }

    /// What the tests of a Rust program printed: `test NAME ... ok`.
    pub fn note_libtest(&mut self, program: &str, printed: &str) {
        for line in printed.lines() {
            let Some((name, ending)) = line
                .strip_prefix("test ")
                .and_then(|rest| rest.rsplit_once(" ... "))
            else {
                continue;
            };
            let name = name.strip_suffix(" - should panic").unwrap_or(name);
            let ending = match ending.split(',').next().unwrap_or(ending) {
                "ok" => Ending::Passed,
                "FAILED" => Ending::Failed(section(printed, name)),
                _ => Ending::Skipped,
            };
            self.note(format!("{program}::{name}"), ending);
        }
        self.printed.push_str(printed);
    }
}

/// What a Rust test wrote before it failed.
fn section(printed: &str, name: &str) -> String {
    printed
        .split(&format!("---- {name} stdout ----"))
        .nth(1)
        .and_then(|rest| rest.split("\n---- ").next())
        .unwrap_or_default()
        .trim()
        .chars()
        .take(800)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Ending, Results};

    #[test]
    fn a_failure_outweighs_and_skips_do_not_count() {
        let mut results = Results::default();
        results.note_libtest(
            "p",
            "test a ... ok\ntest b ... FAILED\ntest c ... ignored, why\n\nfailures:\n\n---- b stdout ----\nassertion\n\nfailures:\n",
        );
        assert_eq!(results.passed(), 1);
        assert!(
            matches!(results.tests.get("p::b"), Some(Ending::Failed(text)) if text.starts_with("assertion"))
        );
        assert_eq!(results.tests.get("p::c"), Some(&Ending::Skipped));
        results.note("p::a".to_owned(), Ending::Failed("teardown".to_owned()));
        results.note("p::a".to_owned(), Ending::Passed);
        assert_eq!(results.passed(), 0);
    }
}
