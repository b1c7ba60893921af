//! IBANs.

use super::{free_after, number::Word};

/// Countries with the lengths of their IBANs: SWIFT's registry, release 99.
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// The end of the IBAN that begins with a word: in one piece, or with a separator after every
/// fourth character.
pub(super) fn at(text: &[u8], word: &Word<'_>) -> Option<usize> {
    let [a, b, c, d, ..] = word.text else {
        return None;
    };
    let begins = a.is_ascii_alphabetic() && b.is_ascii_alphabetic();
    if !begins || !c.is_ascii_digit() || !d.is_ascii_digit() {
        return None;
    }
    let country = [a.to_ascii_uppercase(), b.to_ascii_uppercase()];
    let (_, length) = LENGTHS.iter().find(|(code, _)| **code == country)?;
    let mut characters = [0; 34];
    let mut at = word.start;
    for (index, slot) in characters.iter_mut().take(*length).enumerate() {
        if index > 0 && index % 4 == 0 && matches!(text.get(at), Some(b' ' | b'-')) {
            at += 1;
        }
        *slot = text
            .get(at)
            .filter(|byte| byte.is_ascii_alphanumeric())?
            .to_ascii_uppercase();
        at += 1;
    }
    (free_after(text, at) && is_valid(characters.get(..*length)?)).then_some(at)
}

/// ISO 13616: the first four characters moved to the end, letters as numbers from 10, modulo 97.
fn is_valid(characters: &[u8]) -> bool {
    let Some((head, rest)) = characters.split_at_checked(4) else {
        return false;
    };
    let remainder = rest.iter().chain(head).fold(0_u32, |remainder, byte| {
        match char::from(*byte).to_digit(36) {
            Some(digit @ 0..=9) => (remainder * 10 + digit) % 97,
            Some(letter) => (remainder * 100 + letter) % 97,
            None => remainder,
        }
    });
    remainder == 1
}
