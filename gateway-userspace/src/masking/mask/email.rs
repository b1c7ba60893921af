//! `email`: `a***@example.com`.

use bytes::BytesMut;

use super::STARS;

/// Writes the masked address if `value` is one. Anything odd is none: what follows the last `@`
/// of a text that only looks like an address may be what is to be hidden.
pub(super) fn write_address(value: &[u8], out: &mut BytesMut) -> bool {
    let Some((local, domain)) = std::str::from_utf8(value).ok().and_then(split) else {
        return false;
    };
    let mut chars = local.chars();
    if let (Some(first), Some(_)) = (chars.next(), chars.next()) {
        out.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.extend_from_slice(STARS);
    out.extend_from_slice(b"@");
    out.extend_from_slice(domain.as_bytes());
    true
}

fn split(text: &str) -> Option<(&str, &str)> {
    let (local, domain) = text.split_once('@')?;
    let local_fits = (1..=64).contains(&local.len())
        && local
            .chars()
            .all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c));
    let labels_fit = domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    let last_label = domain.rsplit('.').next().unwrap_or_default();
    let domain_fits = domain.len() <= 253
        && domain.contains('.')
        && labels_fit
        && last_label.starts_with(|c: char| c.is_ascii_alphabetic());
    (local_fits && domain_fits).then_some((local, domain))
}

#[cfg(test)]
mod tests {
    use crate::masking::mask::text;

    fn email(value: &str) -> String {
        text(super::super::partial::write, value)
    }

    #[test]
    fn the_first_character_and_the_domain_stay() {
        assert_eq!(email("alice@example.com"), "a***@example.com");
        assert_eq!(
            email("bob.smith+tag@mail.example.co.uk"),
            "b***@mail.example.co.uk"
        );
        assert_eq!(email("ölaf@example.org"), "ö***@example.org");
        assert_eq!(
            email("a@example.com"),
            "***@example.com",
            "one character is the whole local part"
        );
    }

    #[test]
    fn what_only_looks_like_an_address_keeps_one_character() {
        for value in [
            "Alice <alice@example.com>",
            "alice@example.com, bob@example.com",
            "alice@secret",
            "alice@",
            "alice@@example.com",
            "alice@1.2.3.4",
            "alice@exa mple.com",
            "alice@.com",
        ] {
            let shown = email(value);
            assert!(shown == "A***" || shown == "a***", "{value}: {shown}");
        }
        assert_eq!(email("@example.com"), "@***");
    }
}
