//! What a runner has put into the environment of a job's first process.
//!
//! It is read from `/proc` before a step of the job has run. Whoever controls the runner can write
//! there what they like; so it is compared with what a token says, and stands alone only where the
//! configuration accepts the runner's word.

use std::collections::BTreeMap;

use super::Host;

/// Longest value that is of use, in bytes.
const MAX_VALUE: usize = 4096;

/// The variables of a process when it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads that of a running process; empty if it cannot be read.
    pub fn of(host: &dyn Host, pid: u32) -> Self {
        host.environment(pid)
            .map(|bytes| Self::parse(&bytes))
            .unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut variables = BTreeMap::new();
        for variable in bytes.split(|byte| *byte == 0) {
            let Ok(variable) = std::str::from_utf8(variable) else {
                continue;
            };
            if let Some((name, value)) = variable.split_once('=')
                && value.len() <= MAX_VALUE
            {
                // As getenv() does, the first of a name counts.
                variables
                    .entry(name.to_owned())
                    .or_insert_with(|| value.to_owned());
            }
        }
        Self(variables)
    }

    /// One made of the bytes of such a file.
    #[cfg(test)]
    pub(super) fn parsed(bytes: &[u8]) -> Self {
        Self::parse(bytes)
    }

    /// The value of a variable; `None` if it is not set or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_and_the_first_of_a_name_counts() {
        let read = Environment::parse(b"A=1\0B=x=y\0A=2\0EMPTY=\0no\0\xff=1\0");
        assert_eq!(read.get("A"), Some("1"));
        assert_eq!(read.get("B"), Some("x=y"));
        assert_eq!((read.get("EMPTY"), read.get("no")), (None, None));
    }
}
