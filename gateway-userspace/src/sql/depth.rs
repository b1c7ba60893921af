//! How deeply a serialized tree is nested, before it is decoded.
//!
//! Decoding, walking and dropping a tree recurse over it, so a tree that is too deep must be
//! refused while it is still bytes. The wire format does not tell a message from a string: every
//! field with a length is entered as if it were a message, and left at its end if it cannot be
//! one. So the result is never less than the true depth; ASCII text adds at most a few dozen
//! levels, because lengths over 127 need bytes above ASCII. Each byte is visited once.

/// True if the messages in `bytes` are nested deeper than `limit` nodes.
pub(super) fn exceeds(bytes: &[u8], limit: usize) -> bool {
    // A node is a message in a message.
    deeper_than(bytes, limit.saturating_mul(2))
}

fn deeper_than(bytes: &[u8], limit: usize) -> bool {
    let mut ends = vec![bytes.len()];
    let mut at = 0;
    while let Some(&end) = ends.last() {
        if at >= end {
            ends.pop();
            continue;
        }
        match field(bytes, at, end) {
            Some(Field::Plain { next }) => at = next,
            Some(Field::Message { start, next }) => {
                if ends.len() > limit {
                    return true;
                }
                ends.push(next);
                at = start;
            }
            // No message after all: go on behind it.
            None => {
                at = end;
                ends.pop();
            }
        }
    }
    false
}

enum Field {
    Plain { next: usize },
    Message { start: usize, next: usize },
}

/// The field at `at`, if there can be one that ends by `end`.
fn field(bytes: &[u8], at: usize, end: usize) -> Option<Field> {
    let (tag, at) = varint(bytes, at, end)?;
    if tag >> 3 == 0 {
        return None;
    }
    let next = match tag & 7 {
        0 => varint(bytes, at, end)?.1,
        1 => at.checked_add(8)?,
        2 => {
            let (length, start) = varint(bytes, at, end)?;
            let next = start.checked_add(usize::try_from(length).ok()?)?;
            return (next <= end).then_some(Field::Message { start, next });
        }
        5 => at.checked_add(4)?,
        _ => return None,
    };
    (next <= end).then_some(Field::Plain { next })
}

fn varint(bytes: &[u8], mut at: usize, end: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        if at >= end {
            return None;
        }
        let byte = *bytes.get(at)?;
        at += 1;
        // Bits beyond the 64th are dropped, as the decoder drops them.
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some((value, at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A string in `levels` messages.
    fn nested(levels: usize, text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..levels {
            let mut outer = vec![0x0a];
            let mut length = bytes.len();
            while length >= 0x80 {
                outer.push(u8::try_from(length & 0x7f).expect("small") | 0x80);
                length >>= 7;
            }
            outer.push(u8::try_from(length).expect("small"));
            outer.append(&mut bytes);
            bytes = outer;
        }
        bytes
    }

    #[test]
    fn depth_is_never_taken_for_less_than_it_is() {
        assert!(!deeper_than(&nested(50, ""), 60));
        assert!(deeper_than(&nested(100, ""), 60));
        assert!(deeper_than(&nested(100, "xyz"), 60));
        // After something that only looks like a message, what follows is still entered.
        let mut bytes = vec![0x0a, 3, 0x0a, 0x7f, 0x01];
        bytes.extend(nested(100, ""));
        assert!(deeper_than(&bytes, 60));
    }

    #[test]
    fn text_is_not_taken_for_depth() {
        for text in ["z".repeat(10_000), "\n".repeat(10_000), "*2".repeat(10_000)] {
            assert!(
                !deeper_than(&nested(1, &text), 100),
                "{}",
                text.get(..4).unwrap_or_default()
            );
        }
    }
}
