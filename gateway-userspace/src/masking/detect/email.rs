//! E-mail addresses.

use super::{Detector, Finding};

/// A local part may have 64 characters; what is longer is hidden all the same.
const MOST_LOCAL: usize = 256;

/// The address around the `@` at a place.
pub(super) fn around(text: &[u8], at: usize) -> Option<Finding> {
    let before = text.get(..at)?;
    let local = before
        .iter()
        .rev()
        .take(MOST_LOCAL)
        .take_while(|byte| is_local(**byte))
        .count();
    let mut start = at - local;
    // A sentence's punctuation is none of the address.
    while start < at && matches!(text.get(start)?, b'.' | b'\'' | b'-' | b'%') {
        start += 1;
    }
    let local = text.get(start..at)?;
    let length = text
        .get(at + 1..)?
        .iter()
        .take(254)
        .take_while(|byte| is_domain(**byte))
        .count();
    let mut end = at + 1 + length;
    while end > at + 1 && matches!(text.get(end - 1)?, b'.' | b'-') {
        end -= 1;
    }
    let domain = text.get(at + 1..end)?;
    let last = domain.rsplit(|byte| *byte == b'.').next()?;
    let plausible = !local.is_empty()
        && domain.contains(&b'.')
        && domain
            .split(|byte| *byte == b'.')
            .all(|label| !label.is_empty() && label.first() != Some(&b'-'))
        && last.len() >= 2
        && last
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte >= 0x80)
        && last.first().is_some_and(|byte| !byte.is_ascii_digit());
    // `git@host:path` names a repository.
    let repository = local == b"git" && text.get(end) == Some(&b':');
    (plausible && !repository).then_some(Finding {
        start,
        end,
        detector: Detector::Email,
    })
}

fn is_local(byte: u8) -> bool {
    // Of what RFC 5322 permits, what addresses have: others separate them from what is before.
    byte.is_ascii_alphanumeric() || b".%'+-_".contains(&byte) || byte >= 0x80
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-' || byte >= 0x80
}
