//! `redact`: `[redacted]` for texts, a zero of the type for others, NULL where a type has none.

use std::borrow::Cow;

use super::{CellMask, REDACTED};
use crate::masking::{Format, types::WireType};

pub(super) fn bind(of: &WireType, format: Format) -> CellMask {
    match fixed(of) {
        Some((text, binary)) => CellMask::Fixed(Cow::Borrowed(match format {
            Format::Text => text,
            Format::Binary => binary,
        })),
        None => CellMask::Null,
    }
}

/// An array without elements.
pub(super) fn empty_array(element: u32, format: Format) -> CellMask {
    CellMask::Fixed(match format {
        Format::Text => Cow::Borrowed(b"{}"),
        Format::Binary => {
            // No dimensions, no NULLs, the element type.
            let mut bytes = vec![0; 8];
            bytes.extend(element.to_be_bytes());
            Cow::Owned(bytes)
        }
    })
}

/// The value in text and in binary format.
fn fixed(of: &WireType) -> Option<(&'static [u8], &'static [u8])> {
    Some(match of {
        WireType::Text | WireType::Bpchar | WireType::Xml => (REDACTED, REDACTED),
        WireType::Int2 => (b"0", &[0; 2]),
        WireType::Int4 | WireType::Float4 => (b"0", &[0; 4]),
        // numeric: no digits, weight 0, positive, scale 0.
        WireType::Int8 | WireType::Float8 | WireType::Numeric => (b"0", &[0; 8]),
        WireType::Bool => (b"f", &[0]),
        // Days and microseconds from 2000-01-01.
        WireType::Date => (b"1970-01-01", &EPOCH_DAY),
        WireType::Time => (b"00:00:00", &[0; 8]),
        WireType::Timetz => (b"00:00:00+00", &[0; 12]),
        WireType::Timestamp => (b"1970-01-01 00:00:00", &EPOCH),
        WireType::Timestamptz => (b"1970-01-01 00:00:00+00", &EPOCH),
        WireType::Interval => (b"00:00:00", &[0; 16]),
        WireType::Uuid => (b"00000000-0000-0000-0000-000000000000", &[0; 16]),
        WireType::Json => (b"\"[redacted]\"", b"\"[redacted]\""),
        // Version 1 before the text.
        WireType::Jsonb => (b"\"[redacted]\"", b"\x01\"[redacted]\""),
        WireType::Bytea => (b"\\x", b""),
        // Family IPv4, prefix length, is it a cidr, four bytes of address.
        WireType::Inet => (b"0.0.0.0", &[2, 32, 0, 4, 0, 0, 0, 0]),
        WireType::Cidr => (b"0.0.0.0/32", &[2, 32, 1, 4, 0, 0, 0, 0]),
        WireType::Macaddr => (b"00:00:00:00:00:00", &[0; 6]),
        WireType::Macaddr8 => (b"00:00:00:00:00:00:00:00", &[0; 8]),
        // No pairs; the flag of an empty range; no ranges.
        WireType::Hstore => (b"", &[0; 4]),
        WireType::Range => (b"empty", &[1]),
        WireType::Multirange => (b"{}", &[0; 4]),
        WireType::Array(..) | WireType::Composite(_) | WireType::Record | WireType::Unknown => {
            return None;
        }
    })
}

/// 1970-01-01 in days from 2000-01-01.
const EPOCH_DAY: [u8; 4] = (-10_957_i32).to_be_bytes();
/// 1970-01-01 00:00:00 in microseconds from 2000-01-01.
const EPOCH: [u8; 8] = (-946_684_800_000_000_i64).to_be_bytes();
