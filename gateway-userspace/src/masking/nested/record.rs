//! Composites and records.

use std::{borrow::Cow, sync::Arc};

use bytes::{BufMut, BytesMut};

use super::{Rewrite, rewrite, sized, word};
use crate::masking::{
    Format,
    detect::Scanner,
    mask::{CellMask, Written},
    types::WireType,
};

pub(in crate::masking) fn binary_record(
    fields: &[CellMask],
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    rewrite(value, out, |rewrite| {
        let (count, mut at) = word(value, 0)?;
        if usize::try_from(count) != Ok(fields.len()) {
            return None;
        }
        for field in fields {
            // The oid of the field's type stands before its length.
            (at, _) = sized(rewrite, at + 4, |part, out| field.write(part, out))?;
        }
        (at == value.len()).then_some(())
    })
}

pub(in crate::masking) fn binary_any_record(
    scanner: &Arc<Scanner>,
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    rewrite(value, out, |rewrite| {
        let (count, mut at) = word(value, 0)?;
        for _ in 0..count {
            let (oid, _) = word(value, at)?;
            let of = u32::try_from(oid).ok().and_then(WireType::built_in);
            let field = of
                .and_then(|of| CellMask::bind_scan(scanner, &of, Format::Binary))
                .unwrap_or(CellMask::Keep);
            (at, _) = sized(rewrite, at + 4, |part, out| field.write(part, out))?;
        }
        (at == value.len()).then_some(())
    })
}

pub(in crate::masking) fn text_record(
    fields: &[CellMask],
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    rewrite(value, out, |rewrite| {
        let mut fields = fields.iter();
        each_field(rewrite, |part, out| Some(fields.next()?.write(part, out)))?;
        // A composite without fields is `()`, which reads like one with one field that is NULL.
        fields.next().is_none().then_some(())
    })
}

pub(in crate::masking) fn text_any_record(
    scanner: &Arc<Scanner>,
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    rewrite(value, out, |rewrite| {
        each_field(rewrite, |part, out| Some(scanner.write(part, out)))
    })
}

/// Masks each field of `(a,"b c",)`. NULL, which is nothing, is asked for too, but stays.
fn each_field(
    rewrite: &mut Rewrite<'_, '_>,
    mut write: impl FnMut(&[u8], &mut BytesMut) -> Option<Written>,
) -> Option<()> {
    let value = rewrite.value;
    let inner = value.strip_prefix(b"(")?.strip_suffix(b")")?;
    if inner.is_empty() {
        let _null = write(b"", &mut BytesMut::new());
        return Some(());
    }
    let end = value.len() - 1;
    let mut at = 1;
    let mut masked = BytesMut::new();
    loop {
        let (text, next) = field(value, at, end)?;
        masked.clear();
        let written = write(&text, &mut masked)?;
        if next > at {
            match written {
                Written::Same => {}
                Written::Null => {
                    rewrite.replace(at, next)?;
                }
                Written::Replaced => put_field(&masked, rewrite.replace(at, next)?),
            }
        }
        if next == end {
            return Some(());
        }
        if value.get(next) != Some(&b',') {
            return None;
        }
        at = next + 1;
    }
}

/// The field at a place, unquoted, and where it ends.
fn field(value: &[u8], from: usize, end: usize) -> Option<(Cow<'_, [u8]>, usize)> {
    if value.get(from) != Some(&b'"') {
        let rest = value.get(from..end)?;
        let length = memchr::memchr(b',', rest).unwrap_or(rest.len());
        return Some((rest.get(..length)?.into(), from + length));
    }
    let mut at = from + 1;
    let mut unescaped: Option<Vec<u8>> = None;
    loop {
        let rest = value.get(at..end)?;
        let stop = at + memchr::memchr2(b'"', b'\\', rest)?;
        let run = value.get(at..stop)?;
        let doubled = value.get(stop + 1) == Some(&b'"');
        let byte = match value.get(stop)? {
            b'"' if !doubled => {
                let text = match unescaped {
                    None => Cow::Borrowed(run),
                    Some(mut text) => {
                        text.extend_from_slice(run);
                        Cow::Owned(text)
                    }
                };
                return Some((text, stop + 1));
            }
            _ => *value.get(stop + 1)?,
        };
        let text = unescaped.get_or_insert_default();
        text.extend_from_slice(run);
        text.push(byte);
        at = stop + 2;
    }
}

fn put_field(text: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(*byte);
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}
