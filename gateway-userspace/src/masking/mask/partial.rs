//! `partial`: the first character, and the domain of an e-mail address.

use bytes::BytesMut;

use super::{STARS, email};

/// Shorter texts would be shown as good as whole.
const LEAST_CHARS: usize = 3;

pub(super) fn write(value: &[u8], out: &mut BytesMut) {
    if email::write_address(value, out) {
        return;
    }
    let text = std::str::from_utf8(value).unwrap_or_default();
    if let Some(first) = text
        .chars()
        .next()
        .filter(|_| text.chars().nth(LEAST_CHARS - 1).is_some())
    {
        out.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.extend_from_slice(STARS);
}

#[cfg(test)]
mod tests {
    use crate::masking::mask::text;

    fn partial(value: &str) -> String {
        text(super::write, value)
    }

    #[test]
    fn the_first_character_stays_and_the_length_does_not() {
        assert_eq!(partial("Alice Miller"), "A***");
        assert_eq!(partial("Bob"), "B***");
        assert_eq!(partial("Ärger"), "Ä***");
        assert_eq!(partial("🦀 and more"), "🦀***");
    }

    #[test]
    fn of_an_address_the_domain_stays_too() {
        assert_eq!(partial("alice@example.com"), "a***@example.com");
    }

    #[test]
    fn short_and_empty_and_undecodable_texts_show_nothing() {
        for value in ["", "a", "ab", "é"] {
            assert_eq!(partial(value), "***", "{value}");
        }
        let mut out = bytes::BytesMut::new();
        super::write(b"\xff\xfe\xfd\xfc", &mut out);
        assert_eq!(&out[..], b"***");
    }
}
