//! COPY's CSV format.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::{Fields, Piece, format::CsvFormat};
use crate::masking::{MalformedRow, RowMasker};

/// A newline ends a row unless it stands inside quotes. An escape that is not the quote itself
/// stands before a quote or another escape.
pub(super) fn end(format: &CsvFormat, data: &[u8]) -> Piece {
    let mut quoted = false;
    let mut bytes = data.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if quoted && *byte == format.escape && format.escape != format.quote {
            bytes.next();
        } else if *byte == format.quote {
            quoted = !quoted;
        } else if *byte == b'\n' && !quoted {
            return Piece::Whole(at + 1);
        }
    }
    Piece::Partial
}

pub(super) fn mask(
    masker: &RowMasker,
    format: &CsvFormat,
    row: &[u8],
    out: &mut BytesMut,
) -> Result<u32, MalformedRow> {
    let line = row.strip_suffix(b"\n").ok_or(MalformedRow::Truncated)?;
    let mut fields = Fields::new(masker, out);
    let single = masker.columns() == 1;
    let mut rest = Some(line).filter(|line| !line.is_empty() || masker.columns() > 0);
    while let Some(line) = rest {
        let end = field_end(format, line);
        let raw = line.get(..end).unwrap_or_default();
        let is_quoted = raw.first() == Some(&format.quote);
        let value = || {
            if is_quoted {
                Some(unquote(format, raw))
            } else {
                (raw != format.null).then_some(Cow::Borrowed(raw))
            }
        };
        fields.field(raw, value, &format.null, |text, out| {
            if is_quoted || needs_quotes(format, text, single) {
                put_quoted(format, text, out);
            } else {
                out.extend_from_slice(text);
            }
        });
        rest = line.get(end + 1..);
        if rest.is_some() {
            fields.out.put_u8(format.delimiter);
        }
    }
    fields.out.put_u8(b'\n');
    fields.finish()
}

fn field_end(format: &CsvFormat, line: &[u8]) -> usize {
    let mut quoted = false;
    let mut bytes = line.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if quoted && *byte == format.escape && format.escape != format.quote {
            bytes.next();
        } else if *byte == format.quote {
            quoted = !quoted;
        } else if *byte == format.delimiter && !quoted {
            return at;
        }
    }
    line.len()
}

fn unquote<'r>(format: &CsvFormat, raw: &'r [u8]) -> Cow<'r, [u8]> {
    let inside = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(format.escape, inside).is_none() {
        return Cow::Borrowed(inside);
    }
    let mut text = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        if *byte == format.escape {
            text.extend(bytes.next());
        } else {
            text.push(*byte);
        }
    }
    Cow::Owned(text)
}

/// As the server decides it.
fn needs_quotes(format: &CsvFormat, text: &[u8], single: bool) -> bool {
    text == format.null
        || (single && text == b"\\.")
        || text.iter().any(|byte| {
            *byte == format.delimiter || *byte == format.quote || matches!(byte, b'\n' | b'\r')
        })
}

fn put_quoted(format: &CsvFormat, text: &[u8], out: &mut BytesMut) {
    out.put_u8(format.quote);
    for byte in text {
        if *byte == format.quote || *byte == format.escape {
            out.put_u8(format.escape);
        }
        out.put_u8(*byte);
    }
    out.put_u8(format.quote);
}
