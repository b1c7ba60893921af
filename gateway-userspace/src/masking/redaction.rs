//! What is to be hidden ([`Redaction`]) and the shape of the result it is bound to.

use std::fmt;

use super::JsonPath;

/// How a value is hidden. Written in policies and in the evidence as [`fmt::Display`] gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaskKind {
    /// A fixed text; type-true zero for other types where one is declared, else NULL.
    Redact,
    /// NULL.
    Null,
    /// First character and, for e-mail addresses, the domain; constant number of stars.
    Partial,
    /// `a***@example.com` shape; like `Partial` for what is not an e-mail address.
    Email,
    /// The last four characters; constant number of stars before.
    Last4,
    /// Keyed pseudonym, stable within the mask key.
    Token,
    /// Dates and numbers, rounded down.
    Bucket(Bucket),
    /// Other digits in the same places, keyed; letters become `x`.
    Digits {
        /// How many of the last digits stay.
        keep: u8,
    },
}

/// What [`MaskKind::Bucket`] rounds down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// The first day of the month.
    Month,
    /// The first day of the year.
    Year,
    /// A multiple of this number.
    Step(u32),
}

/// The first words of the masks, as policies write them.
pub const MASK_WORDS: [&str; 8] = [
    "redact", "null", "partial", "email", "last4", "token", "bucket", "digits",
];

const LEAST_STEP: u32 = 2;
const MOST_STEP: u32 = 1_000_000_000;
/// More would show most of a card number.
const MOST_KEPT: u8 = 4;

impl MaskKind {
    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// What would be right; [`UnknownMask::Word`] if the first word is none of [`MASK_WORDS`].
    pub fn parse(text: &str) -> Result<Self, UnknownMask> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let simple = match word {
            "redact" => Self::Redact,
            "null" => Self::Null,
            "partial" => Self::Partial,
            "email" => Self::Email,
            "last4" => Self::Last4,
            "token" => Self::Token,
            "bucket" => return Bucket::parse(rest).map(Self::Bucket),
            "digits" => return keep(rest).map(|keep| Self::Digits { keep }),
            _ => return Err(UnknownMask::Word),
        };
        if rest.is_empty() {
            Ok(simple)
        } else {
            Err(UnknownMask::Parameter(format!(
                "`{word}` takes no parameter"
            )))
        }
    }

    /// How little it shows; of two masks on one column the greater holds.
    pub fn strictness(self) -> impl Ord {
        let rank: (u8, u32) = match self {
            Self::Email => (0, 0),
            Self::Partial => (1, 0),
            Self::Bucket(Bucket::Step(step)) => (2, step),
            Self::Bucket(Bucket::Month) => (3, 0),
            Self::Bucket(Bucket::Year) => (3, 1),
            Self::Last4 => (4, 0),
            Self::Digits { keep } => (5, u32::from(MOST_KEPT.saturating_sub(keep))),
            Self::Token => (6, 0),
            Self::Redact => (7, 0),
            Self::Null => (8, 0),
        };
        rank
    }

    /// The stricter of two masks.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        if self.strictness() >= other.strictness() {
            self
        } else {
            other
        }
    }
}

impl Bucket {
    fn parse(text: &str) -> Result<Self, UnknownMask> {
        match text {
            "month" => return Ok(Self::Month),
            "year" => return Ok(Self::Year),
            _ => {}
        }
        text.parse()
            .ok()
            .filter(|step| (LEAST_STEP..=MOST_STEP).contains(step))
            .map(Self::Step)
            .ok_or_else(|| {
                UnknownMask::Parameter(format!(
                    "`bucket` takes `month`, `year` or a step from {LEAST_STEP} to {MOST_STEP}; write for example `bucket year` or `bucket 1000`"
                ))
            })
    }
}

fn keep(text: &str) -> Result<u8, UnknownMask> {
    if text.is_empty() {
        return Ok(0);
    }
    text.strip_prefix("keep ")
        .and_then(|number| number.parse().ok())
        .filter(|kept| (1..=MOST_KEPT).contains(kept))
        .ok_or_else(|| {
            UnknownMask::Parameter(format!(
                "`digits` takes nothing or `keep` and a number from 1 to {MOST_KEPT}; write for example `digits keep 4`"
            ))
        })
}

impl fmt::Display for MaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redact => f.write_str("redact"),
            Self::Null => f.write_str("null"),
            Self::Partial => f.write_str("partial"),
            Self::Email => f.write_str("email"),
            Self::Last4 => f.write_str("last4"),
            Self::Token => f.write_str("token"),
            Self::Bucket(Bucket::Month) => f.write_str("bucket month"),
            Self::Bucket(Bucket::Year) => f.write_str("bucket year"),
            Self::Bucket(Bucket::Step(step)) => write!(f, "bucket {step}"),
            Self::Digits { keep: 0 } => f.write_str("digits"),
            Self::Digits { keep } => write!(f, "digits keep {keep}"),
        }
    }
}

/// Why a text names no mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownMask {
    /// Its first word is none.
    #[error("there is no such mask")]
    Word,
    /// Its parameter is wrong.
    #[error("{0}")]
    Parameter(String),
}

/// One output column, or a part of it, to be masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// Index of the output column, from 0.
    pub column: usize,
    /// The mask.
    pub mask: MaskKind,
    /// The part of a JSON document; `None`: the whole value.
    pub path: Option<JsonPath>,
}

/// Wire format of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text.
    Text,
    /// Binary.
    Binary,
}

/// One column of a result as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnShape {
    /// Label.
    pub name: String,
    /// Table the column comes from, 0 if none.
    pub table_oid: u32,
    /// Attribute number in that table, 0 if none.
    pub attnum: i16,
    /// Type oid.
    pub type_oid: u32,
    /// Format of the values to come.
    pub format: Format,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_read_as_they_are_written() {
        for text in [
            "redact",
            "null",
            "partial",
            "email",
            "last4",
            "token",
            "bucket month",
            "bucket year",
            "bucket 1000",
            "digits",
            "digits keep 4",
        ] {
            assert_eq!(
                MaskKind::parse(text).map(|mask| mask.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["", "hash", "Redact", "redacted"] {
            assert_eq!(MaskKind::parse(text), Err(UnknownMask::Word), "{text}");
        }
        for text in [
            "redact 1",
            "bucket",
            "bucket 1",
            "bucket 0",
            "bucket day",
            "bucket -5",
            "digits 4",
            "digits keep 5",
            "digits keep 0",
            "digits keep",
        ] {
            assert!(
                matches!(MaskKind::parse(text), Err(UnknownMask::Parameter(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn the_stricter_mask_shows_less() {
        let order = [
            "email",
            "partial",
            "bucket 10",
            "bucket 100",
            "bucket month",
            "bucket year",
            "last4",
            "digits keep 4",
            "digits",
            "token",
            "redact",
            "null",
        ]
        .map(|text| MaskKind::parse(text).unwrap());
        for (index, one) in order.iter().enumerate() {
            for other in &order[index..] {
                assert_eq!(one.stricter(*other), *other);
                assert_eq!(other.stricter(*one), *other);
            }
        }
    }
}
