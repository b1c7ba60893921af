//! Addresses of networks and devices.

use std::net::Ipv6Addr;

use super::{Detector, Finding, context, free_after, free_before};

/// The end of the IPv4 address at a place.
pub(super) fn ipv4_at(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    for octet in 0..4 {
        if octet > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let rest = text.get(at..)?;
        let length = rest
            .iter()
            .take(4)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let digits = std::str::from_utf8(rest.get(..length)?).ok()?;
        // Nothing is written with zeros before it; and no host is in 0.0.0.0/8.
        let fits = digits
            .parse::<u8>()
            .is_ok_and(|value| octet > 0 || value > 0)
            && (length == 1 || !digits.starts_with('0'));
        if !fits {
            return None;
        }
        at += length;
    }
    let more = match text.get(at) {
        Some(b'.' | b'-') => text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric),
        Some(byte) => byte.is_ascii_alphanumeric() || *byte == b'_',
        None => false,
    };
    let version = || context::says(text, start, &["version", "ver", "release", "build"]);
    (!more && !version()).then_some(at)
}

/// Adds IPv6 addresses.
pub(super) fn find_ipv6(text: &[u8], findings: &mut Vec<Finding>) {
    let part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| memchr::memchr(b':', rest)) {
        let colon = from + found;
        let before = text.get(from..colon).unwrap_or_default();
        let hex = before
            .iter()
            .rev()
            .take(4)
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let start = colon - hex;
        let rest = text.get(start..).unwrap_or_default();
        let length = rest.iter().take(64).take_while(|byte| part(byte)).count();
        let mut candidate = rest.get(..length).unwrap_or_default();
        while let Some((b'.', shorter)) = candidate.split_last() {
            candidate = shorter;
        }
        // An address of its own, or with a sentence's colon behind.
        let address = [candidate, candidate.strip_suffix(b":").unwrap_or(candidate)]
            .into_iter()
            .find(|candidate| is_ipv6(candidate));
        if let Some(address) = address
            && free_before(text, start)
            && free_after(text, start + address.len())
        {
            findings.push(Finding {
                start,
                end: start + address.len(),
                detector: Detector::Ip,
            });
        }
        from = start + length.max(hex + 1);
    }
}

/// `a::b` is SQL or C++ as often as an address, and `12:34` a time.
fn is_ipv6(candidate: &[u8]) -> bool {
    let groups = || {
        candidate
            .split(|byte| *byte == b':')
            .filter(|group| !group.is_empty())
    };
    // Eight pairs are a longer MAC address, or a piece of a fingerprint.
    let whole = groups().count() == 8 && groups().any(|group| group.len() > 2);
    let short = candidate.windows(2).any(|pair| pair == b"::")
        && groups().count() >= 2
        && groups().next().is_some_and(|first| first.len() >= 3)
        && candidate.iter().any(u8::is_ascii_digit);
    (whole || short)
        && std::str::from_utf8(candidate).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Adds MAC addresses: six pairs of hexadecimal digits with colons or dashes between them.
pub(super) fn find_mac(text: &[u8], findings: &mut Vec<Finding>) {
    const LENGTH: usize = 17;
    let mut from = 0;
    for separator in memchr::memchr2_iter(b':', b'-', text) {
        let Some(start) = separator.checked_sub(2).filter(|start| *start >= from) else {
            continue;
        };
        let Some(candidate) = text.get(start..start + LENGTH) else {
            continue;
        };
        let between = text.get(separator);
        let shaped = candidate.iter().enumerate().all(|(index, byte)| {
            if index % 3 == 2 {
                Some(byte) == between
            } else {
                byte.is_ascii_hexdigit()
            }
        });
        let alone = |place: Option<&u8>| place.is_none_or(|byte| Some(byte) != between);
        let end = start + LENGTH;
        if shaped
            && free_before(text, start)
            && free_after(text, end)
            && alone(start.checked_sub(1).and_then(|before| text.get(before)))
            && alone(text.get(end))
        {
            findings.push(Finding {
                start,
                end,
                detector: Detector::Mac,
            });
            from = end;
        }
    }
}
