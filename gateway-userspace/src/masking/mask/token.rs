//! `token`: a keyed pseudonym, the same for the same value.

use bytes::BytesMut;

use super::Written;
use crate::masking::{Format, key::MaskKey};

/// RFC 4648 base32, lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 120 bits: 24 characters without padding, and no collisions in any table.
const TAKEN: usize = 15;

pub(super) fn write(key: &MaskKey, value: &[u8], out: &mut BytesMut) {
    let tag = key.sign(value);
    out.extend_from_slice(b"tok_");
    let mut bits: u16 = 0;
    let mut held = 0;
    for byte in tag.as_ref().iter().take(TAKEN) {
        bits = (bits << 8) | u16::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            let index = usize::from((bits >> held) & 0x1f);
            out.extend(ALPHABET.get(index));
        }
        bits &= (1 << held) - 1;
    }
}

/// A uuid of version 8 in place of another.
pub(super) fn write_uuid(
    key: &MaskKey,
    format: Format,
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    let mut plain = [0; 16];
    match format {
        Format::Binary if value.len() == 16 => plain.copy_from_slice(value),
        Format::Text => {
            let mut nibbles = value.iter().filter(|byte| **byte != b'-');
            for byte in &mut plain {
                let mut nibble = || char::from(*nibbles.next()?).to_digit(16);
                let (Some(high), Some(low)) = (nibble(), nibble()) else {
                    return Written::Null;
                };
                let Ok(both) = u8::try_from(high << 4 | low) else {
                    return Written::Null;
                };
                *byte = both;
            }
        }
        Format::Binary => return Written::Null,
    }
    let tag = key.sign(&plain);
    let mut token = [0; 16];
    for (byte, signed) in token.iter_mut().zip(tag.as_ref()) {
        *byte = *signed;
    }
    token[6] = token[6] & 0x0f | 0x80;
    token[8] = token[8] & 0x3f | 0x80;
    match format {
        Format::Binary => out.extend_from_slice(&token),
        Format::Text => {
            for (index, byte) in token.iter().enumerate() {
                if matches!(index, 4 | 6 | 8 | 10) {
                    out.extend_from_slice(b"-");
                }
                for nibble in [byte >> 4, byte & 15] {
                    out.extend(b"0123456789abcdef".get(usize::from(nibble)));
                }
            }
        }
    }
    Written::Replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::mask::text;

    fn token(secret: u8, value: &str) -> String {
        let key = MaskKey::new(&[secret; 32]);
        text(|value, out| write(&key, value, out), value)
    }

    #[test]
    fn the_same_value_has_the_same_token_under_the_same_key_only() {
        assert_eq!(token(1, "alice@example.com"), token(1, "alice@example.com"));
        assert_ne!(token(1, "alice@example.com"), token(1, "alice@example.con"));
        assert_ne!(token(1, "alice@example.com"), token(2, "alice@example.com"));
    }

    #[test]
    fn a_token_tells_nothing_of_the_length() {
        for value in ["", "a", "a much longer value than that"] {
            let token = token(1, value);
            assert_eq!(token.len(), 28, "{token}");
            assert!(token.starts_with("tok_"));
        }
    }

    #[test]
    fn a_token_is_the_base32_of_the_hmac() {
        // HMAC-SHA-256 of "Hi There" under 32 bytes of 0x0b, by Python's hmac and base64 modules.
        assert_eq!(token(0x0b, "Hi There"), "tok_dgfga7vujp54ngidudy46k55");
    }
}
