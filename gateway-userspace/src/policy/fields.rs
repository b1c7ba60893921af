//! Reads values out of the tree of a policy file, and notes everything that is wrong with them.

use std::path::Path;

use super::{
    error::{Excerpt, Problem},
    suggest::nearest,
    yaml::{Key, Node, Place, Value},
};

/// Notes the problems of one file. A `None` result always leaves one behind.
pub(super) struct Checks<'a> {
    file: &'a Path,
    source: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(file: &'a Path, source: &'a str, problems: &'a mut Vec<Problem>) -> Self {
        Self {
            file,
            source,
            problems,
        }
    }

    pub(super) fn problem(&mut self, at: Place, message: String) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            position: at,
            message,
            excerpt: at.and_then(|at| Excerpt::of(self.source, at)),
        });
    }

    /// Problems so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    /// A mapping with these keys and no other.
    pub(super) fn map(&mut self, node: Node, what: &str, known: &[&str]) -> Option<Fields> {
        let Value::Map(entries) = node.value else {
            self.problem(
                node.at,
                format!("{what} is a mapping; its keys: {}", known.join(", ")),
            );
            return None;
        };
        let before = self.count();
        let mut fields = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if known.contains(&key.name.as_str()) {
                fields.push((key, value));
            } else {
                self.unknown_key(&key, known);
            }
        }
        Some(Fields {
            at: node.at,
            entries: fields,
            complete: self.count() == before,
        })
    }

    fn unknown_key(&mut self, key: &Key, known: &[&str]) {
        let list = known.join(", ");
        let name = &key.name;
        let message = match nearest(name, known.iter().copied()) {
            Some(word) => {
                format!("unknown key `{name}`; did you mean `{word}`? Known here: {list}")
            }
            None => format!("unknown key `{name}`; known here: {list}"),
        };
        self.problem(key.at, message);
    }

    /// A value that must be there.
    pub(super) fn required(&mut self, fields: &mut Fields, key: &str) -> Option<Node> {
        let found = fields.take(key);
        // A misspelt key has been reported; it may well be this one.
        if found.is_none() && fields.complete {
            self.problem(fields.at, format!("the key `{key}` is missing"));
        }
        found
    }

    /// A text.
    pub(super) fn text(&mut self, node: Node, key: &str) -> Option<(Place, String)> {
        match node.value {
            Value::Text {
                text,
                ambiguous: false,
            } => Some((node.at, text)),
            Value::Text { text, .. } => {
                self.problem(
                    node.at,
                    format!("`{key}: {text}` can be read in several ways; put it in quotes"),
                );
                None
            }
            Value::Null => {
                self.problem(node.at, format!("`{key}` is empty; write a text"));
                None
            }
            Value::List(_) | Value::Map(_) => {
                self.problem(node.at, format!("`{key}` is one text"));
                None
            }
        }
    }

    /// One text or a list of texts.
    pub(super) fn texts(&mut self, node: Node, key: &str) -> Option<Vec<(Place, String)>> {
        let Value::List(items) = node.value else {
            return self.text(node, key).map(|text| vec![text]);
        };
        let before = self.count();
        let texts = items
            .into_iter()
            .filter_map(|item| self.text(item, key))
            .collect();
        (self.count() == before).then_some(texts)
    }

    /// A list; its items are read one by one.
    pub(super) fn list(&mut self, node: Option<Node>, key: &str) -> Vec<Node> {
        match node.map(|node| (node.at, node.value)) {
            None => Vec::new(),
            Some((_, Value::List(items))) => items,
            Some((at, Value::Null)) => {
                self.problem(
                    at,
                    format!("`{key}` is empty; list something or remove the key"),
                );
                Vec::new()
            }
            Some((at, Value::Text { .. } | Value::Map(_))) => {
                self.problem(at, format!("`{key}` is a list; start each item with `- `"));
                Vec::new()
            }
        }
    }

    /// One word of a closed set.
    pub(super) fn word<T: Copy>(
        &mut self,
        at: Place,
        word: &str,
        key: &str,
        words: &[(T, &'static str)],
    ) -> Option<T> {
        if let Some((value, _)) = words.iter().find(|(_, known)| *known == word) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(_, known)| *known).collect();
        let list = known.join(", ");
        let message = match nearest(word, known) {
            Some(near) => {
                format!("`{key}: {word}` is not known; did you mean `{near}`? Known: {list}")
            }
            None => format!("`{key}: {word}` is not known; known: {list}"),
        };
        self.problem(at, message);
        None
    }

    /// A quantity, read by `parse` and within bounds.
    pub(super) fn quantity<T: PartialOrd + Copy>(
        &mut self,
        node: Node,
        key: &str,
        kind: &Quantity<T>,
    ) -> Option<T> {
        let at = node.at;
        let Value::Text { text, .. } = node.value else {
            self.problem(at, format!("`{key}` is {}", kind.what));
            return None;
        };
        match (kind.parse)(&text) {
            None => {
                self.problem(at, format!("`{key}: {text}` is not {}", kind.what));
                None
            }
            Some(value) if value < kind.least.0 || value > kind.most.0 => {
                self.problem(
                    at,
                    format!("`{key}` is between {} and {}", kind.least.1, kind.most.1),
                );
                None
            }
            Some(value) => Some(value),
        }
    }
}

/// How a quantity is written, and its bounds as values and as people write them.
pub(super) struct Quantity<T> {
    pub what: &'static str,
    pub parse: fn(&str) -> Option<T>,
    pub least: (T, &'static str),
    pub most: (T, &'static str),
}

/// The values of a mapping that are still to be read.
pub(super) struct Fields {
    pub at: Place,
    /// False if there are keys that mean nothing.
    pub complete: bool,
    entries: Vec<(Key, Node)>,
}

impl Fields {
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let index = self
            .entries
            .iter()
            .position(|(known, _)| known.name == key)?;
        Some(self.entries.remove(index).1)
    }

    /// The entries that nobody took.
    pub(super) fn rest(self) -> Vec<(Key, Node)> {
        self.entries
    }
}
