//! `token`: a keyed pseudonym, the same for the same value.

use bytes::BytesMut;

use crate::masking::key::MaskKey;

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
