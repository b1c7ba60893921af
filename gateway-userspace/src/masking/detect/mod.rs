//! The second net: finds personal data and secrets in texts by what they look like, and hides
//! what it finds.
//!
//! A cheap look at which characters occur decides which detectors have to look at all; a detector
//! then looks around the characters that none of its values is without. Whatever has a checksum or
//! a rule is validated.

mod blot;
mod card;
mod context;
mod email;
mod iban;
mod name;
mod national;
mod net;
mod number;
mod phone;
#[cfg(test)]
mod sample;
mod secret;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::BytesMut;

use super::{
    MaskKind,
    key::MaskKey,
    mask::{TextMask, Written},
};

pub use blot::Blotter;
pub use name::is_birth_date;

/// What detectors look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detector {
    /// E-mail addresses.
    Email,
    /// Payment card numbers: issuer, length, Luhn.
    CreditCard,
    /// IBANs: country, length, mod 97.
    Iban,
    /// US social security numbers.
    UsSsn,
    /// Phone numbers in international and, with separators, in national forms.
    Phone,
    /// IPv4 and IPv6 addresses.
    Ip,
    /// MAC addresses.
    Mac,
    /// Identity numbers of several countries, by their check digits.
    NationalId,
    /// Keys, tokens, passwords in connection strings, private keys.
    Secret,
    /// Columns whose name says that they hold dates of birth.
    BirthDate,
}

impl Detector {
    /// The words of policies.
    pub const WORDS: [(Self, &'static str); 10] = [
        (Self::Email, "email"),
        (Self::CreditCard, "credit_card"),
        (Self::Iban, "iban"),
        (Self::UsSsn, "us_ssn"),
        (Self::Phone, "phone"),
        (Self::Ip, "ip"),
        (Self::Mac, "mac"),
        (Self::NationalId, "national_id"),
        (Self::Secret, "secret"),
        (Self::BirthDate, "birth_date"),
    ];

    /// The word of policies.
    pub fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(detector, _)| *detector == self)
            .map_or("", |(_, word)| word)
    }
}

/// Which detectors look at the values that no mask hides, and what stands for what they find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detections([Option<MaskKind>; Detector::WORDS.len()]);

impl Detections {
    /// Adds a detector. If it is there already, the stricter mask holds.
    pub fn add(&mut self, detector: Detector, mask: MaskKind) {
        if let Some(slot) = self.0.get_mut(detector as usize) {
            *slot = Some(slot.map_or(mask, |before| before.stricter(mask)));
        }
    }

    /// True if nothing looks.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The mask for what a detector finds.
    pub fn mask(&self, detector: Detector) -> Option<MaskKind> {
        self.0.get(detector as usize).copied().flatten()
    }

    /// The detectors that look, with their masks.
    pub fn iter(&self) -> impl Iterator<Item = (Detector, MaskKind)> {
        Detector::WORDS
            .iter()
            .filter_map(|(detector, _)| Some((*detector, self.mask(*detector)?)))
    }
}

/// A text with what detectors find in it replaced, for what is no value of a column.
pub fn screened<'t>(detections: &Detections, key: &MaskKey, text: &'t [u8]) -> Cow<'t, [u8]> {
    let mut out = BytesMut::new();
    match Scanner::new(detections, key).write(text, &mut out) {
        Written::Same | Written::Null => Cow::Borrowed(text),
        Written::Replaced => Cow::Owned(out.to_vec()),
    }
}

/// A part of a text that a detector found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Finding {
    start: usize,
    end: usize,
    detector: Detector,
}

/// Detections bound to the mask key.
#[derive(Debug)]
pub(super) struct Scanner {
    masks: [Option<TextMask>; Detector::WORDS.len()],
}

/// Characters that occur in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Characters {
    digit: bool,
    at: bool,
    colon: bool,
    dash: bool,
    equals: bool,
}

/// The shortest text in which anything could be found.
const SHORTEST: usize = 5;

impl Scanner {
    pub(super) fn new(detections: &Detections, key: &MaskKey) -> Self {
        Self {
            masks: detections
                .0
                .map(|kind| kind.and_then(|kind| TextMask::of(kind, key))),
        }
    }

    fn wants(&self, detector: Detector) -> bool {
        self.masks
            .get(detector as usize)
            .is_some_and(Option::is_some)
    }

    /// Appends the text with what is found replaced; [`Written::Same`] if nothing is.
    pub(super) fn write(&self, text: &[u8], out: &mut BytesMut) -> Written {
        let findings = self.find(text);
        if findings.is_empty() {
            return Written::Same;
        }
        let mut copied = 0;
        for finding in findings {
            let mask = self
                .masks
                .get(finding.detector as usize)
                .and_then(Option::as_ref);
            let (Some(mask), Some(before), Some(found)) = (
                mask,
                text.get(copied..finding.start),
                text.get(finding.start..finding.end),
            ) else {
                continue;
            };
            out.extend_from_slice(before);
            mask.write(found, out);
            copied = finding.end;
        }
        out.extend_from_slice(text.get(copied..).unwrap_or_default());
        Written::Replaced
    }

    /// What is found, in order and without overlaps. Allocates only if something is.
    fn find(&self, text: &[u8]) -> Vec<Finding> {
        let mut findings = Vec::new();
        if text.len() < SHORTEST {
            return findings;
        }
        let has = characters(text);
        if has.at && (self.wants(Detector::Email) || self.wants(Detector::Secret)) {
            for at in memchr::memchr_iter(b'@', text) {
                let password = secret::in_url(text, at).filter(|_| self.wants(Detector::Secret));
                // What follows is then the host that it is for.
                let address = || email::around(text, at).filter(|_| self.wants(Detector::Email));
                findings.extend(password.or_else(address));
            }
        }
        if has.digit {
            number::find(text, &|detector| self.wants(detector), &mut findings);
        }
        if has.colon && self.wants(Detector::Ip) {
            net::find_ipv6(text, &mut findings);
        }
        if (has.colon || has.dash) && self.wants(Detector::Mac) {
            net::find_mac(text, &mut findings);
        }
        if self.wants(Detector::Secret) {
            secret::find(text, has.equals, &mut findings);
        }
        settle(&mut findings);
        findings
    }
}

/// Sorts findings and merges those that overlap: all that any of them covers is hidden, by the
/// mask of the first and longest.
fn settle(findings: &mut Vec<Finding>) {
    if findings.len() < 2 {
        return;
    }
    findings.sort_by_key(|finding| (finding.start, usize::MAX - finding.end));
    findings.dedup_by(|next, kept| {
        let overlaps = next.start < kept.end;
        if overlaps {
            kept.end = kept.end.max(next.end);
        }
        overlaps
    });
}

/// Looks at each character once. The loop over a chunk has no branches, so that the compiler
/// makes it one of vectors.
fn characters(text: &[u8]) -> Characters {
    const CHUNK: usize = 64;
    fn look(chunk: &[u8], seen: &mut [u8; 5]) {
        let mut here = [0_u8; 5];
        for byte in chunk {
            here[0] |= u8::from(byte.wrapping_sub(b'0') < 10);
            here[1] |= u8::from(*byte == b'@');
            here[2] |= u8::from(*byte == b':');
            here[3] |= u8::from(*byte == b'-');
            here[4] |= u8::from(*byte == b'=');
        }
        for (seen, here) in seen.iter_mut().zip(here) {
            *seen |= here;
        }
    }
    let mut seen = [0; 5];
    let (chunks, rest) = text.as_chunks::<CHUNK>();
    for chunk in chunks {
        look(chunk, &mut seen);
    }
    look(rest, &mut seen);
    let [digit, at, colon, dash, equals] = seen.map(|seen| seen != 0);
    Characters {
        digit,
        at,
        colon,
        dash,
        equals,
    }
}

/// True if no letter or digit stands at the place before `start`.
fn free_before(text: &[u8], start: usize) -> bool {
    byte_before(text, start).is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

/// True if no letter or digit stands at `end`.
fn free_after(text: &[u8], end: usize) -> bool {
    text.get(end)
        .is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

fn byte_before(text: &[u8], at: usize) -> Option<u8> {
    text.get(at.checked_sub(1)?).copied()
}
