//! Paths into JSON documents: a subset of SQL/JSON paths in lax mode.

use std::fmt;

/// Where in a JSON document a mask applies. Arrays are stepped into wherever they stand, as in
/// SQL/JSON's lax mode, so that a path cannot be dodged by wrapping a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonPath {
    text: String,
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// `.name`
    Key(String),
    /// `.*`
    Any,
    /// `.**`
    Deep,
}

/// Which steps of a path have been taken at a place in a document: one bit per number of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(u32);

/// Most steps of a path.
const MOST_STEPS: usize = 16;

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a path: {why}")]
pub struct PathError {
    text: String,
    why: &'static str,
}

impl JsonPath {
    /// Reads `$`, then any number of `.name`, `."quoted name"`, `.*`, `.**` and `[*]`.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = |why| PathError {
            text: text.to_owned(),
            why,
        };
        let mut rest = text
            .strip_prefix('$')
            .ok_or_else(|| error("it starts with `$`, for example `$.address.street`"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[*]") {
                // Arrays are stepped into anyway.
                rest = after;
            } else if let Some(after) = rest.strip_prefix(".**") {
                steps.push(Step::Deep);
                rest = after;
            } else if let Some(after) = rest.strip_prefix(".*") {
                steps.push(Step::Any);
                rest = after;
            } else if let Some(after) = rest.strip_prefix(".\"") {
                let end = after
                    .find('"')
                    .filter(|end| !after.get(..*end).unwrap_or_default().contains('\\'))
                    .ok_or_else(|| error("a quoted name ends with `\"` and has no backslash"))?;
                steps.push(Step::Key(after.get(..end).unwrap_or_default().to_owned()));
                rest = after.get(end + 1..).unwrap_or_default();
            } else if let Some(after) = rest.strip_prefix('.') {
                let end = after
                    .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                if end == 0 {
                    return Err(error("a name is missing after `.`"));
                }
                steps.push(Step::Key(after.get(..end).unwrap_or_default().to_owned()));
                rest = after.get(end..).unwrap_or_default();
            } else {
                return Err(error(
                    "known are `.name`, `.\"name\"`, `.*`, `.**` and `[*]`",
                ));
            }
        }
        if steps.len() > MOST_STEPS {
            return Err(error("it has more than 16 steps"));
        }
        Ok(Self {
            text: text.to_owned(),
            steps: steps.into_boxed_slice(),
        })
    }

    /// The place of the whole document.
    pub(super) fn start(&self) -> Position {
        self.close(1)
    }

    /// The place of a member of an object.
    pub(super) fn enter(&self, at: Position, key: &[u8]) -> Position {
        let mut next = 0;
        for (index, step) in self.steps.iter().enumerate() {
            let here = 1 << index;
            if at.0 & here == 0 {
                continue;
            }
            match step {
                Step::Key(name) if name.as_bytes() == key => next |= here << 1,
                Step::Key(_) => {}
                Step::Any => next |= here << 1,
                Step::Deep => next |= here,
            }
        }
        self.close(next)
    }

    /// True if the path ends here.
    pub(super) fn hits(&self, at: Position) -> bool {
        at.0 & (1 << self.steps.len()) != 0
    }

    /// `.**` may take no step.
    fn close(&self, mut taken: u32) -> Position {
        for (index, step) in self.steps.iter().enumerate() {
            if *step == Step::Deep && taken & (1 << index) != 0 {
                taken |= 1 << (index + 1);
            }
        }
        Position(taken)
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(path: &str, keys: &[&str]) -> bool {
        let path = JsonPath::parse(path).unwrap();
        let mut at = path.start();
        for key in keys {
            at = path.enter(at, key.as_bytes());
        }
        path.hits(at)
    }

    #[test]
    fn names_wildcards_and_any_depth() {
        assert!(hits("$", &[]));
        assert!(!hits("$.a", &[]));
        assert!(hits("$.a.b", &["a", "b"]));
        assert!(hits("$.a[*].b", &["a", "b"]));
        assert!(!hits("$.a.b", &["a", "c"]));
        assert!(!hits("$.a.b", &["b"]));
        assert!(hits("$.\"a b\".*", &["a b", "x"]));
        assert!(!hits("$.*", &["a", "b"]));
        for keys in [&["ssn"][..], &["a", "ssn"], &["a", "b", "ssn"]] {
            assert!(hits("$.**.ssn", keys));
        }
        assert!(!hits("$.**.ssn", &["ssn", "x"]));
        assert!(hits("$.a.**", &["a"]));
        assert!(hits("$.a.**", &["a", "b", "c"]));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "a",
            "$a",
            "$.",
            "$..a",
            "$[0]",
            "$.a[0]",
            "$.\"a",
            "$.\"a\\u0062\"",
            "strict $.a",
            "$.a ? (@ > 1)",
            "$.a.size()",
        ] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
        assert!(JsonPath::parse(&format!("${}", ".a".repeat(17))).is_err());
    }
}
