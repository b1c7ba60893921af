//! The masks, one per file. Each says for a type and format what it puts in a value's place.

mod email;
mod last4;
mod null;
mod partial;
mod redact;
mod token;

use bytes::BytesMut;

use super::{Format, MaskKind, key::MaskKey, types::WireType};

/// A mask bound to one column's type and format. Every variant puts something in the value's
/// place that does not depend on the value's length.
#[derive(Clone, Debug)]
pub(super) enum CellMask {
    /// NULL.
    Null,
    /// The same bytes for every value.
    Fixed(&'static [u8]),
    /// Computed from a text.
    Partial,
    /// Computed from a text.
    Email,
    /// Computed from a text.
    Last4,
    /// Computed from a text.
    Token(MaskKey),
}

impl CellMask {
    /// Binds a mask. What a mask cannot do for a type becomes NULL.
    pub(super) fn bind(kind: MaskKind, wire_type: WireType, format: Format, key: &MaskKey) -> Self {
        match kind {
            MaskKind::Redact => redact::bind(wire_type, format),
            MaskKind::Null => null::bind(),
            MaskKind::Partial => text_only(wire_type, Self::Partial),
            MaskKind::Email => text_only(wire_type, Self::Email),
            MaskKind::Last4 => text_only(wire_type, Self::Last4),
            MaskKind::Token => text_only(wire_type, Self::Token(key.clone())),
        }
    }

    /// Appends what stands for `value`; false if that is NULL.
    pub(super) fn write(&self, value: &[u8], out: &mut BytesMut) -> bool {
        match self {
            Self::Null => return false,
            Self::Fixed(bytes) => out.extend_from_slice(bytes),
            Self::Partial => partial::write(value, out),
            Self::Email => email::write(value, out),
            Self::Last4 => last4::write(value, out),
            Self::Token(key) => token::write(key, value, out),
        }
        true
    }
}

/// The characters in place of hidden ones: always as many, so that the length tells nothing.
const STARS: &[u8] = b"***";

fn text_only(wire_type: WireType, mask: CellMask) -> CellMask {
    match wire_type {
        WireType::Text => mask,
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
        | WireType::Json
        | WireType::Jsonb
        | WireType::Bytea
        | WireType::Inet
        | WireType::Cidr
        | WireType::Macaddr
        | WireType::Macaddr8
        | WireType::TextArray(_)
        | WireType::Unknown => null::bind(),
    }
}

#[cfg(test)]
pub(super) fn text(write: impl Fn(&[u8], &mut BytesMut), value: &str) -> String {
    let mut out = BytesMut::new();
    write(value.as_bytes(), &mut out);
    String::from_utf8(out.to_vec()).unwrap_or_default()
}
