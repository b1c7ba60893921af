//! What a scan writes, and what it costs.

use bytes::BytesMut;

use super::{Characters, Detections, Detector, Scanner, characters, sample::everything};
use crate::masking::{MaskKey, MaskKind, mask::Written};

fn scanner(rules: &[(Detector, &str)]) -> Scanner {
    let mut detections = Detections::default();
    for (detector, mask) in rules {
        detections.add(*detector, MaskKind::parse(mask).unwrap());
    }
    Scanner::new(&detections, &MaskKey::new(&[7; 32]))
}

fn shown(scanner: &Scanner, text: &str) -> String {
    let mut out = BytesMut::new();
    match scanner.write(text.as_bytes(), &mut out) {
        Written::Same => {
            assert!(out.is_empty());
            text.to_owned()
        }
        Written::Replaced => String::from_utf8(out.to_vec()).unwrap(),
        Written::Null => panic!("a scan never makes NULL"),
    }
}

#[test]
fn only_what_is_found_is_replaced_by_the_detectors_mask() {
    let scanner = scanner(&[
        (Detector::Email, "partial"),
        (Detector::CreditCard, "last4"),
        (Detector::UsSsn, "redact"),
    ]);
    assert_eq!(
        shown(
            &scanner,
            "Ask alice@example.com (219-09-9999) about 4111 1111 1111 1111, please."
        ),
        "Ask a***@example.com ([redacted]) about ****1111, please."
    );
    // Detectors that are not asked for do not look.
    assert_eq!(
        shown(&scanner, "10.0.0.1 +442079460991"),
        "10.0.0.1 +442079460991"
    );
}

#[test]
fn the_same_value_has_the_same_token_wherever_it_stands() {
    let scanner = scanner(&[(Detector::Email, "token")]);
    let first = shown(&scanner, "alice@example.com");
    assert!(first.starts_with("tok_") && first.len() == 28);
    assert_eq!(
        shown(&scanner, "to <alice@example.com>!"),
        format!("to <{first}>!")
    );
}

#[test]
fn findings_that_overlap_are_hidden_as_one() {
    let scanner = everything();
    assert_eq!(
        shown(&scanner, "https://alice:pa55word@example.com/x"),
        "https://alice:[redacted]@example.com/x"
    );
    let text = "postgres://app:hunter2hunter2@10.0.0.1/db?password=hunter2hunter2";
    assert!(!shown(&scanner, text).contains("hunter2"));
}

#[test]
fn a_finding_at_either_end_and_at_every_offset_is_hidden() {
    let scanner = everything();
    for value in [
        "x@example.com",
        "4111111111111111",
        "AKIAIOSFODNN7EXAMPLE",
        "2001:db8::1",
        "219-09-9999",
    ] {
        for before in 0..140 {
            let text = format!("{} {value}", "z".repeat(before));
            let shown = shown(&scanner, &text);
            assert!(!shown.contains(value), "{text}");
        }
    }
}

#[test]
fn characters_are_seen_wherever_they_stand() {
    for length in [1, 63, 64, 65, 130] {
        for at in 0..length {
            let mut text = vec![b'x'; length];
            assert_eq!(characters(&text), Characters::default());
            for (byte, expected) in [
                (
                    b'7',
                    Characters {
                        digit: true,
                        ..Characters::default()
                    },
                ),
                (
                    b'@',
                    Characters {
                        at: true,
                        ..Characters::default()
                    },
                ),
                (
                    b':',
                    Characters {
                        colon: true,
                        ..Characters::default()
                    },
                ),
                (
                    b'-',
                    Characters {
                        dash: true,
                        ..Characters::default()
                    },
                ),
                (
                    b'=',
                    Characters {
                        equals: true,
                        ..Characters::default()
                    },
                ),
            ] {
                text[at] = byte;
                assert_eq!(characters(&text), expected);
            }
        }
    }
}

/// Whatever the bytes: no panic, and what is found lies in order within the text.
#[test]
fn any_bytes_can_be_scanned() {
    let scanner = everything();
    let alphabet = b"0123456789012345-. :@/+()=aAxXeyJghp_AKIA\xc3\xa4\xff\0\"\\";
    let mut state = 0x5eed_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    for _ in 0..20_000 {
        let length = next() % 80;
        let text: Vec<u8> = (0..length)
            .map(|_| alphabet[next() % alphabet.len()])
            .collect();
        let mut end = 0;
        for finding in scanner.find(&text) {
            assert!(
                finding.start >= end && finding.end > finding.start && finding.end <= text.len()
            );
            end = finding.end;
        }
    }
}

/// Texts that make a detector begin again and again: this ends soon only if none of them makes it
/// look at the whole rest each time.
#[test]
fn long_texts_that_almost_match_are_scanned_in_one_go() {
    let scanner = everything();
    for unit in [
        "1-",
        "1 ",
        "a@",
        "1.",
        "ab:",
        "0-",
        "://:@",
        "eyJa.",
        "-----BEGIN ",
    ] {
        let text = unit.repeat(500_000 / unit.len());
        assert_eq!(scanner.find(text.as_bytes()), [], "{unit}");
    }
    let text = "password=".repeat(50_000);
    assert_eq!(scanner.find(text.as_bytes()).len(), 1);
}
