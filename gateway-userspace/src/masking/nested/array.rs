//! Arrays.

use bytes::{BufMut, BytesMut};

use super::{put_quoted, quoted, rewrite, sized, word};
use crate::masking::mask::{CellMask, Written};

/// More dimensions than the server has.
const MOST_DIMENSIONS: i32 = 6;

pub(in crate::masking) fn binary_array(
    element: &CellMask,
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    let start = out.len();
    let mut nulls = false;
    let written = rewrite(value, out, |rewrite| {
        let (dimensions, _) = word(value, 0)?;
        if !(0..=MOST_DIMENSIONS).contains(&dimensions) {
            return None;
        }
        let mut at = 12;
        let mut elements = i32::from(dimensions > 0);
        for _ in 0..dimensions {
            elements = elements.checked_mul(word(value, at)?.0)?;
            at += 8;
        }
        for _ in 0..elements {
            let (next, null) = sized(rewrite, at, |part, out| element.write(part, out))?;
            nulls |= null;
            at = next;
        }
        (at == value.len()).then_some(())
    });
    if nulls
        && written == Written::Replaced
        && let Some(flags) = out.get_mut(start + 4..start + 8)
    {
        flags.copy_from_slice(&1_i32.to_be_bytes());
    }
    written
}

pub(in crate::masking) fn text_array(
    element: &CellMask,
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    rewrite(value, out, |rewrite| {
        // `[2:3]={a,b}` tells where the elements begin.
        let mut at = memchr::memchr(b'{', value)?;
        let mut depth = 0_usize;
        let mut masked = BytesMut::new();
        loop {
            match value.get(at)? {
                b'{' => {
                    depth += 1;
                    at += 1;
                }
                b'}' => {
                    depth = depth.checked_sub(1)?;
                    at += 1;
                    if depth == 0 {
                        return (at == value.len()).then_some(());
                    }
                }
                b',' => at += 1,
                first => {
                    let is_quoted = *first == b'"';
                    let (text, end) = if is_quoted {
                        quoted(value, at + 1)?
                    } else {
                        let length = memchr::memchr2(b',', b'}', value.get(at..)?)?;
                        (value.get(at..at + length)?.into(), at + length)
                    };
                    if is_quoted || !text.eq_ignore_ascii_case(b"NULL") {
                        masked.clear();
                        match element.write(&text, &mut masked) {
                            Written::Same => {}
                            Written::Null => rewrite.replace(at, end)?.put_slice(b"NULL"),
                            Written::Replaced => put_quoted(&masked, rewrite.replace(at, end)?),
                        }
                    }
                    at = end;
                }
            }
        }
    })
}
