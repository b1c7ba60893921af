//! The masks, one per file. Each says for a type and format what it puts in a value's place.

mod bucket;
mod digits;
mod email;
mod last4;
mod partial;
mod redact;
mod token;

use std::{borrow::Cow, sync::Arc};

use bytes::BytesMut;

use super::{
    Format, JsonPath, MaskKind,
    detect::Scanner,
    key::MaskKey,
    nested::{self, JsonRules, Part},
    types::WireType,
};

/// What came of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Written {
    /// It stays as it is; nothing was appended.
    Same,
    /// It is to be NULL; nothing was appended.
    Null,
    /// What stands for it was appended.
    Replaced,
}

/// A mask bound to one column's type and format.
#[derive(Clone, Debug)]
pub(super) enum CellMask {
    /// Nothing is hidden: a part of a value that as a whole has something to hide.
    Keep,
    /// NULL.
    Null,
    /// The same bytes for every value.
    Fixed(Cow<'static, [u8]>),
    /// Computed from a text.
    Text(TextMask),
    /// Computed from a text without the spaces at its end.
    Padded(TextMask),
    /// Computed from a number, date or time.
    Bucket(bucket::Rounding),
    /// Another number.
    Integer(digits::Integer),
    /// Another uuid.
    Uuid(MaskKey, Format),
    /// Parts of a JSON document.
    Json(Arc<JsonRules>),
    /// Each element of an array.
    Array(Box<Self>, Format),
    /// Each field of a composite.
    Composite(Box<[Self]>, Format),
    /// A composite whose fields' types are in its values.
    Record(Arc<Scanner>, Format),
    /// Each key and value of an hstore.
    Hstore(Part, Format),
    /// What detectors find in a text.
    Scan(Arc<Scanner>),
}

/// A mask that makes a text of a text.
#[derive(Clone, Debug)]
pub(super) enum TextMask {
    /// `[redacted]`
    Redact,
    /// The first character and an address's domain.
    Partial,
    /// The last four characters.
    Last4,
    /// A keyed pseudonym.
    Token(MaskKey),
    /// Other digits.
    Digits(MaskKey, u8),
}

impl TextMask {
    /// The mask of a kind for texts; `None`: it makes no text.
    pub(super) fn of(kind: MaskKind, key: &MaskKey) -> Option<Self> {
        Some(match kind {
            MaskKind::Redact => Self::Redact,
            // A text that is no address comes out of `email` as `partial` shows it.
            MaskKind::Partial | MaskKind::Email => Self::Partial,
            MaskKind::Last4 => Self::Last4,
            MaskKind::Token => Self::Token(key.clone()),
            MaskKind::Digits { keep } => Self::Digits(key.clone(), keep),
            MaskKind::Null | MaskKind::Bucket(_) => return None,
        })
    }

    /// Appends what stands for `value`.
    pub(super) fn write(&self, value: &[u8], out: &mut BytesMut) {
        match self {
            Self::Redact => out.extend_from_slice(REDACTED),
            Self::Partial => partial::write(value, out),
            Self::Last4 => last4::write(value, out),
            Self::Token(key) => token::write(key, value, out),
            Self::Digits(key, keep) => digits::write(key, *keep, value, out),
        }
    }
}

impl CellMask {
    /// Binds a mask. What a mask cannot do for a type becomes NULL.
    pub(super) fn bind(kind: MaskKind, of: &WireType, format: Format, key: &MaskKey) -> Self {
        if kind == MaskKind::Null {
            return Self::Null;
        }
        match of {
            WireType::Text => TextMask::of(kind, key).map_or(Self::Null, Self::Text),
            WireType::Bpchar => TextMask::of(kind, key).map_or(Self::Null, Self::Padded),
            // What the others make may not be XML.
            WireType::Xml => match kind {
                MaskKind::Redact | MaskKind::Token => {
                    TextMask::of(kind, key).map_or(Self::Null, Self::Text)
                }
                MaskKind::Null
                | MaskKind::Partial
                | MaskKind::Email
                | MaskKind::Last4
                | MaskKind::Bucket(_)
                | MaskKind::Digits { .. } => Self::Null,
            },
            WireType::Array(element, of) => {
                if kind == MaskKind::Redact {
                    return redact::empty_array(*element, format);
                }
                match Self::bind(kind, of, format, key) {
                    Self::Null => Self::Null,
                    mask => Self::Array(Box::new(mask), format),
                }
            }
            WireType::Composite(fields) => {
                let bind = |(_, of): &(u32, WireType)| Self::bind(kind, of, format, key);
                Self::Composite(fields.iter().map(bind).collect(), format)
            }
            WireType::Hstore if kind != MaskKind::Redact => TextMask::of(kind, key)
                .map_or(Self::Null, |mask| Self::Hstore(Part::Mask(mask), format)),
            _ => match kind {
                MaskKind::Redact => redact::bind(of, format),
                MaskKind::Bucket(bucket) => {
                    bucket::Rounding::bind(bucket, of, format).map_or(Self::Null, Self::Bucket)
                }
                MaskKind::Token if *of == WireType::Uuid => Self::Uuid(key.clone(), format),
                MaskKind::Token => {
                    digits::Integer::token(of, format, key).map_or(Self::Null, Self::Integer)
                }
                MaskKind::Digits { keep } => {
                    digits::Integer::digits(of, format, key, keep).map_or(Self::Null, Self::Integer)
                }
                MaskKind::Null | MaskKind::Partial | MaskKind::Email | MaskKind::Last4 => {
                    Self::Null
                }
            },
        }
    }

    /// Binds masks to parts of JSON documents; what detectors find in the rest is hidden too. NULL
    /// for other types.
    pub(super) fn bind_paths(
        paths: Vec<(JsonPath, MaskKind)>,
        of: &WireType,
        format: Format,
        scanner: Option<&Arc<Scanner>>,
        key: &MaskKey,
    ) -> Self {
        match of {
            WireType::Json | WireType::Jsonb => Self::Json(Arc::new(JsonRules::new(
                paths,
                scanner.cloned(),
                versioned(of, format),
                key,
            ))),
            // A path holds for every element.
            WireType::Array(_, of) if matches!(**of, WireType::Json | WireType::Jsonb) => {
                let element = Self::bind_paths(paths, of, format, scanner, key);
                Self::Array(Box::new(element), format)
            }
            _ => Self::Null,
        }
    }

    /// Binds detectors; `None` if values of this type are no text and hold none.
    pub(super) fn bind_scan(scanner: &Arc<Scanner>, of: &WireType, format: Format) -> Option<Self> {
        match of {
            WireType::Text | WireType::Bpchar | WireType::Xml => Some(Self::Scan(scanner.clone())),
            WireType::Json | WireType::Jsonb => {
                let rules = JsonRules::scan(scanner.clone(), versioned(of, format));
                Some(Self::Json(Arc::new(rules)))
            }
            WireType::Hstore => Some(Self::Hstore(Part::Scan(scanner.clone()), format)),
            WireType::Record => Some(Self::Record(scanner.clone(), format)),
            WireType::Array(_, of) => Self::bind_scan(scanner, of, format)
                .map(|element| Self::Array(Box::new(element), format)),
            WireType::Composite(fields) => {
                let mut any = false;
                let fields = fields
                    .iter()
                    .map(|(_, of)| {
                        let field = Self::bind_scan(scanner, of, format);
                        any |= field.is_some();
                        field.unwrap_or(Self::Keep)
                    })
                    .collect();
                any.then_some(Self::Composite(fields, format))
            }
            WireType::Int2
            | WireType::Int4
            | WireType::Int8
            | WireType::Float4
            | WireType::Float8
            | WireType::Numeric
            | WireType::Bool
            | WireType::Date
            | WireType::Time
            | WireType::Timetz
            | WireType::Timestamp
            | WireType::Timestamptz
            | WireType::Interval
            | WireType::Uuid
            | WireType::Bytea
            | WireType::Inet
            | WireType::Cidr
            | WireType::Macaddr
            | WireType::Macaddr8
            | WireType::Range
            | WireType::Multirange
            | WireType::Unknown => None,
        }
    }

    /// Appends what stands for `value`.
    pub(super) fn write(&self, value: &[u8], out: &mut BytesMut) -> Written {
        match self {
            Self::Keep => Written::Same,
            Self::Null => Written::Null,
            Self::Fixed(bytes) => {
                out.extend_from_slice(bytes);
                Written::Replaced
            }
            Self::Text(mask) => {
                mask.write(value, out);
                Written::Replaced
            }
            Self::Padded(mask) => {
                let padding = value.iter().rev().take_while(|byte| **byte == b' ');
                let end = value.len() - padding.count();
                mask.write(value.get(..end).unwrap_or_default(), out);
                Written::Replaced
            }
            Self::Bucket(rounding) => rounding.write(value, out),
            Self::Integer(integer) => integer.write(value, out),
            Self::Uuid(key, format) => token::write_uuid(key, *format, value, out),
            Self::Json(rules) => nested::json(rules, value, out),
            Self::Array(element, Format::Text) => nested::text_array(element, value, out),
            Self::Array(element, Format::Binary) => nested::binary_array(element, value, out),
            Self::Composite(fields, Format::Text) => nested::text_record(fields, value, out),
            Self::Composite(fields, Format::Binary) => nested::binary_record(fields, value, out),
            Self::Record(scanner, Format::Text) => nested::text_any_record(scanner, value, out),
            Self::Record(scanner, Format::Binary) => nested::binary_any_record(scanner, value, out),
            Self::Hstore(part, Format::Text) => nested::text_hstore(part, value, out),
            Self::Hstore(part, Format::Binary) => nested::binary_hstore(part, value, out),
            Self::Scan(scanner) => scanner.write(value, out),
        }
    }
}

/// jsonb in binary format has a version before its text.
fn versioned(of: &WireType, format: Format) -> bool {
    *of == WireType::Jsonb && format == Format::Binary
}

/// The characters in place of hidden ones: always as many, so that the length tells nothing.
const STARS: &[u8] = b"***";
/// What stands for a text.
const REDACTED: &[u8] = b"[redacted]";

#[cfg(test)]
pub(super) fn text(write: impl Fn(&[u8], &mut BytesMut), value: &str) -> String {
    let mut out = BytesMut::new();
    write(value.as_bytes(), &mut out);
    String::from_utf8(out.to_vec()).unwrap_or_default()
}
