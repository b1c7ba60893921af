//! A policy file as a tree of values with their places. Nothing is given a meaning here.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Error as YamlError, Location, Spanned};

/// Deeper nesting means nothing in a policy.
const MAX_DEPTH: usize = 24;

/// Line and column, from 1.
pub(super) type Place = Option<(u64, u64)>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: Place,
    pub value: Value,
}

/// The kinds of value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, as it is written.
    Text {
        text: String,
        /// A number that other programs write differently (`0x10`, `1.0`): only quotes tell
        /// which text is meant.
        ambiguous: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub at: Place,
    pub name: String,
}

/// Reads one document.
///
/// # Errors
/// Where the text is no YAML, and why.
pub(super) fn parse(text: &str) -> Result<Node, (Place, String)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        leading_zero_numbers_as_strings: true,
        strict_booleans: true,
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options)
        .map(|raw| node(raw, text))
        .map_err(|error| describe(&error))
}

/// What the deserializer gives, before it is compared with the text of the file.
enum Raw {
    Null,
    /// A text, or a number or boolean in the usual way of writing it.
    Scalar {
        text: String,
        typed: bool,
    },
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

fn place(at: Location) -> Place {
    Some((at.line(), at.column())).filter(|(line, _)| *line > 0)
}

fn node(raw: Spanned<Raw>, source: &str) -> Node {
    let at = place(raw.referenced);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Scalar { text, typed } => {
            let written = written(raw.defined, source).filter(|_| typed);
            match written {
                Some(written) if written != text => Value::Text {
                    text: written.to_owned(),
                    ambiguous: true,
                },
                Some(_) | None => Value::Text {
                    text,
                    ambiguous: false,
                },
            }
        }
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, source)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let key = Key {
                        at: place(key.referenced),
                        name: key.value,
                    };
                    (key, node(value, source))
                })
                .collect(),
        ),
    };
    Node { at, value }
}

/// The characters of the file that a plain scalar is.
fn written(at: Location, source: &str) -> Option<&str> {
    let span = at.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
    source.get(start..end).map(str::trim)
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

fn typed(value: &impl ToString) -> Raw {
    Raw::Scalar {
        text: value.to_string(),
        typed: true,
    }
}

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list or a mapping")
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar {
            text: value.to_owned(),
            typed: false,
        })
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Raw, E> {
        Ok(typed(&value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Raw, E> {
        Ok(typed(&value))
    }
    fn visit_u128<E: Error>(self, value: u128) -> Result<Raw, E> {
        Ok(typed(&value))
    }
    fn visit_i128<E: Error>(self, value: i128) -> Result<Raw, E> {
        Ok(typed(&value))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Raw, E> {
        Ok(typed(&value))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Raw, E> {
        Ok(typed(&value))
    }
    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_none<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Raw, S::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Raw, M::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

fn describe(error: &YamlError) -> (Place, String) {
    let at = error.location().and_then(place);
    let message = match error.without_snippet() {
        YamlError::DuplicateMappingKey { key, .. } => match key {
            Some(key) => format!("the key `{key}` stands here twice"),
            None => "a key stands here twice".to_owned(),
        },
        other => {
            let text = other.to_string();
            // The place is printed in front of every message.
            let cut = text.rfind(" at line ").unwrap_or(text.len());
            text.get(..cut).unwrap_or(&text).to_owned()
        }
    };
    (at, message)
}
