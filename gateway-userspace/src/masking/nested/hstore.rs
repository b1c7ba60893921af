//! hstore.

use bytes::{BufMut, BytesMut};

use super::{Part, put_quoted, quoted, rewrite, sized, word};
use crate::masking::mask::Written;

pub(in crate::masking) fn binary_hstore(part: &Part, value: &[u8], out: &mut BytesMut) -> Written {
    rewrite(value, out, |rewrite| {
        let (count, mut at) = word(value, 0)?;
        for _ in 0..count {
            for is_key in [true, false] {
                (at, _) = sized(rewrite, at, |text, out| write(part, is_key, text, out))?;
            }
        }
        (at == value.len()).then_some(())
    })
}

pub(in crate::masking) fn text_hstore(part: &Part, value: &[u8], out: &mut BytesMut) -> Written {
    rewrite(value, out, |rewrite| {
        let mut at = 0;
        let mut masked = BytesMut::new();
        // Keys and values stand between quotes, but for the value NULL.
        while let Some(found) = memchr::memchr(b'"', value.get(at..)?) {
            let from = at + found;
            let (text, end) = quoted(value, from + 1)?;
            let is_key = value.get(end..)?.starts_with(b"=>");
            masked.clear();
            match write(part, is_key, &text, &mut masked) {
                Written::Same => {}
                Written::Null => rewrite.replace(from, end)?.put_slice(b"NULL"),
                Written::Replaced => put_quoted(&masked, rewrite.replace(from, end)?),
            }
            at = end;
        }
        Some(())
    })
}

/// Masks are for values; keys are names, in which detectors look all the same.
fn write(part: &Part, is_key: bool, text: &[u8], out: &mut BytesMut) -> Written {
    match part {
        Part::Mask(_) if is_key => Written::Same,
        Part::Mask(_) | Part::Scan(_) => part.write(text, out),
    }
}
