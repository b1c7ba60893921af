//! `last4`: the last four characters.

use bytes::BytesMut;

/// Of shorter texts four characters would be half or more.
const LEAST_CHARS: usize = 8;
const STARS: &[u8] = b"****";

pub(super) fn write(value: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(STARS);
    let text = std::str::from_utf8(value).unwrap_or_default();
    // Spaces at the end are not what people mean by the last characters.
    let text = text.trim_end_matches(' ');
    if text.chars().nth(LEAST_CHARS - 1).is_none() {
        return;
    }
    if let Some((at, _)) = text.char_indices().nth_back(3) {
        out.extend_from_slice(text.get(at..).unwrap_or_default().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use crate::masking::mask::text;

    fn last4(value: &str) -> String {
        text(super::write, value)
    }

    #[test]
    fn the_last_four_characters_stay_and_the_length_does_not() {
        assert_eq!(last4("4111111111111234"), "****1234");
        assert_eq!(last4("123-45-6789"), "****6789");
        assert_eq!(last4("12345678"), "****5678");
        assert_eq!(last4("abcdefgäöü€"), "****äöü€");
        assert_eq!(last4("4111111111111234    "), "****1234");
    }

    #[test]
    fn short_and_empty_and_undecodable_texts_show_nothing() {
        for value in ["", "1", "1234", "1234567", "äöüäöü", "   1234     "] {
            assert_eq!(last4(value), "****", "{value}");
        }
        let mut out = bytes::BytesMut::new();
        super::write(b"\xff2345678", &mut out);
        assert_eq!(&out[..], b"****");
    }
}
