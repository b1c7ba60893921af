//! Values within values: arrays, composites, hstore, JSON. Each takes a value apart, has its parts
//! masked, and puts it together again; parts that stay are copied as they are. A value that is not
//! what its type says becomes NULL.

mod array;
mod hstore;
mod json;
mod record;
#[cfg(test)]
mod tests;

pub(super) use array::{binary_array, text_array};
pub(super) use hstore::{binary_hstore, text_hstore};
pub(super) use json::{JsonRules, json};
pub(super) use record::{binary_any_record, binary_record, text_any_record, text_record};

use std::{borrow::Cow, sync::Arc};

use bytes::{BufMut, BytesMut};

use super::{
    detect::Scanner,
    mask::{TextMask, Written},
};

/// What happens to a text inside a value.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// It is hidden.
    Mask(TextMask),
    /// What detectors find in it is hidden.
    Scan(Arc<Scanner>),
}

impl Part {
    fn write(&self, value: &[u8], out: &mut BytesMut) -> Written {
        match self {
            Self::Mask(mask) => {
                mask.write(value, out);
                Written::Replaced
            }
            Self::Scan(scanner) => scanner.write(value, out),
        }
    }
}

/// Copies a value with some of its parts replaced.
struct Rewrite<'v, 'o> {
    value: &'v [u8],
    /// The value is copied up to here.
    copied: usize,
    out: &'o mut BytesMut,
    changed: bool,
}

impl<'v, 'o> Rewrite<'v, 'o> {
    fn new(value: &'v [u8], out: &'o mut BytesMut) -> Self {
        Self {
            value,
            copied: 0,
            out,
            changed: false,
        }
    }

    /// Copies what is before a part and leaves it out; what stands for it is to be appended.
    fn replace(&mut self, from: usize, to: usize) -> Option<&mut BytesMut> {
        self.out
            .extend_from_slice(self.value.get(self.copied..from)?);
        self.copied = to;
        self.changed = true;
        Some(self.out)
    }

    fn finish(self) -> Option<Written> {
        if !self.changed {
            return Some(Written::Same);
        }
        self.out.extend_from_slice(self.value.get(self.copied..)?);
        Some(Written::Replaced)
    }
}

/// Runs a rewrite; what cannot be read becomes NULL.
fn rewrite(
    value: &[u8],
    out: &mut BytesMut,
    run: impl FnOnce(&mut Rewrite<'_, '_>) -> Option<()>,
) -> Written {
    let start = out.len();
    let mut rewrite = Rewrite::new(value, out);
    let read = run(&mut rewrite);
    if let Some(written) = read.and_then(|()| rewrite.finish()) {
        return written;
    }
    out.truncate(start);
    Written::Null
}

/// The four bytes at a place, and the place after them.
fn word(value: &[u8], at: usize) -> Option<(i32, usize)> {
    let bytes = value.get(at..)?.first_chunk()?;
    Some((i32::from_be_bytes(*bytes), at + 4))
}

/// Masks a value that follows its length word at `at`. `Some((end, null))`.
fn sized(
    rewrite: &mut Rewrite<'_, '_>,
    at: usize,
    write: impl FnOnce(&[u8], &mut BytesMut) -> Written,
) -> Option<(usize, bool)> {
    let (length, from) = word(rewrite.value, at)?;
    if length == -1 {
        return Some((from, false));
    }
    let to = from.checked_add(usize::try_from(length).ok()?)?;
    let part = rewrite.value.get(from..to)?;
    // What stands for the part is made in place, behind a length that is not known yet.
    let out_start = rewrite.out.len();
    let (copied, changed) = (rewrite.copied, rewrite.changed);
    let out = rewrite.replace(at, to)?;
    let length_at = out.len();
    out.put_i32(-1);
    match write(part, out) {
        Written::Same => {
            out.truncate(out_start);
            rewrite.copied = copied;
            rewrite.changed = changed;
            Some((to, false))
        }
        Written::Null => Some((to, true)),
        Written::Replaced => {
            let length = i32::try_from(out.len() - length_at - 4).ok()?;
            out.get_mut(length_at..length_at + 4)?
                .copy_from_slice(&length.to_be_bytes());
            Some((to, false))
        }
    }
}

/// The text between double quotes from `from` on, its backslashes taken out, and the place after
/// the closing quote.
fn quoted(value: &[u8], from: usize) -> Option<(Cow<'_, [u8]>, usize)> {
    let mut at = from;
    let mut unescaped: Option<Vec<u8>> = None;
    loop {
        let rest = value.get(at..)?;
        let stop = at + memchr::memchr2(b'"', b'\\', rest)?;
        let run = value.get(at..stop)?;
        if value.get(stop) == Some(&b'"') {
            let text = match unescaped {
                None => Cow::Borrowed(run),
                Some(mut text) => {
                    text.extend_from_slice(run);
                    Cow::Owned(text)
                }
            };
            return Some((text, stop + 1));
        }
        let text = unescaped.get_or_insert_default();
        text.extend_from_slice(run);
        text.push(*value.get(stop + 1)?);
        at = stop + 2;
    }
}

/// Puts a text between double quotes, with backslashes.
fn put_quoted(text: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}
