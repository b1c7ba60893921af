//! `redact`: `[redacted]` for texts, a zero of the type for others, NULL where a type has none.

use super::{CellMask, null};
use crate::masking::{Format, types::WireType};

pub(super) fn bind(wire_type: WireType, format: Format) -> CellMask {
    match fixed(wire_type) {
        Some((text, binary)) => CellMask::Fixed(match format {
            Format::Text => text,
            Format::Binary => binary,
        }),
        None => null::bind(),
    }
}

/// The value in text and in binary format.
fn fixed(wire_type: WireType) -> Option<(&'static [u8], &'static [u8])> {
    Some(match wire_type {
        WireType::Text => (b"[redacted]", b"[redacted]"),
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
        // No dimensions, no NULLs, the element type.
        WireType::TextArray(19) => (b"{}", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 19]),
        WireType::TextArray(25) => (b"{}", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25]),
        WireType::TextArray(1042) => (b"{}", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 18]),
        WireType::TextArray(1043) => (b"{}", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 19]),
        WireType::TextArray(_) | WireType::Unknown => return None,
    })
}

/// 1970-01-01 in days from 2000-01-01.
const EPOCH_DAY: [u8; 4] = (-10_957_i32).to_be_bytes();
/// 1970-01-01 00:00:00 in microseconds from 2000-01-01.
const EPOCH: [u8; 8] = (-946_684_800_000_000_i64).to_be_bytes();
