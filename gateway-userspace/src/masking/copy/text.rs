//! COPY's text format.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::{Fields, Piece, format::TextFormat};
use crate::masking::{MalformedRow, RowMasker};

/// Newlines in values are written as `\n`, so that each one ends a row.
pub(super) fn end(data: &[u8]) -> Piece {
    memchr::memchr(b'\n', data).map_or(Piece::Partial, |at| Piece::Whole(at + 1))
}

pub(super) fn mask(
    masker: &RowMasker,
    format: &TextFormat,
    row: &[u8],
    out: &mut BytesMut,
) -> Result<u32, MalformedRow> {
    let line = row.strip_suffix(b"\n").ok_or(MalformedRow::Truncated)?;
    let mut fields = Fields::new(masker, out);
    let mut rest = Some(line).filter(|line| !line.is_empty() || masker.columns() > 0);
    while let Some(line) = rest {
        let end = field_end(line, format.delimiter);
        let raw = line.get(..end).unwrap_or_default();
        let value = || (raw != format.null).then(|| unescape(raw));
        fields.field(raw, value, &format.null, |text, out| {
            escape(text, format.delimiter, out);
        });
        rest = line.get(end + 1..);
        if rest.is_some() {
            fields.out.put_u8(format.delimiter);
        }
    }
    fields.out.put_u8(b'\n');
    fields.finish()
}

/// A delimiter inside a value has a backslash before it.
fn field_end(line: &[u8], delimiter: u8) -> usize {
    let mut at = 0;
    while let Some(found) = line
        .get(at..)
        .and_then(|rest| memchr::memchr2(delimiter, b'\\', rest))
    {
        at += found;
        if line.get(at) == Some(&delimiter) {
            return at;
        }
        at += 2;
    }
    line.len()
}

fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            text.push(*byte);
            continue;
        }
        // The server writes no other escapes than these.
        text.push(match bytes.next() {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 11,
            Some(other) => *other,
            None => b'\\',
        });
    }
    Cow::Owned(text)
}

fn escape(text: &[u8], delimiter: u8, out: &mut BytesMut) {
    for byte in text {
        let letter = match byte {
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            byte if *byte == b'\\' || *byte == delimiter => *byte,
            byte => {
                out.put_u8(*byte);
                continue;
            }
        };
        out.put_slice(&[b'\\', letter]);
    }
}
