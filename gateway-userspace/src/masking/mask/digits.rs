//! `digits`: other digits in the same places (FF1), and `token` for integers: other integers.

use bytes::BytesMut;

use super::Written;
use crate::masking::{Format, key::MaskKey, types::WireType};

/// What stands between the digits of numbers as people write them.
const SEPARATORS: &[u8] = b" -./()+,:";

/// The digits under FF1 but for the last `keep`; separators stay, all else becomes `x`. Fewer than
/// six digits are too few to hide by others: they become 0.
pub(super) fn write(key: &MaskKey, keep: u8, value: &[u8], out: &mut BytesMut) {
    let text = String::from_utf8_lossy(value);
    let mut digits: Vec<u8> = text
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|digit| digit - b'0')
        .collect();
    hide(key, keep, &mut digits);
    let mut digits = digits.into_iter();
    for c in text.chars() {
        let shown = match u8::try_from(c) {
            Ok(byte) if byte.is_ascii_digit() => digits.next().unwrap_or(0) + b'0',
            Ok(byte) if SEPARATORS.contains(&byte) => byte,
            Ok(_) | Err(_) => b'x',
        };
        out.extend_from_slice(&[shown]);
    }
}

fn hide(key: &MaskKey, keep: u8, digits: &mut [u8]) {
    // Of short numbers the last digits are too much of the whole.
    let keep = if digits.len() >= usize::from(keep) * 2 {
        usize::from(keep)
    } else {
        0
    };
    let (hidden, kept) = digits.split_at_mut(digits.len() - keep);
    match key.permute_digits(hidden, kept) {
        Some(other) => hidden.copy_from_slice(&other),
        None => hidden.fill(0),
    }
}

/// Another integer in place of an integer, one to one.
#[derive(Clone, Debug)]
pub(in crate::masking) struct Integer {
    key: MaskKey,
    width: Width,
    format: Format,
    /// `digits`, with how many to keep; `None`: `token`.
    digits: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Four,
    Eight,
}

impl Integer {
    /// `token`. A smallint has too few values to hide among, and no room for others.
    pub(super) fn token(of: &WireType, format: Format, key: &MaskKey) -> Option<Self> {
        Some(Self {
            key: key.clone(),
            width: Width::of(of)?,
            format,
            digits: None,
        })
    }

    /// `digits`.
    pub(super) fn digits(of: &WireType, format: Format, key: &MaskKey, keep: u8) -> Option<Self> {
        Some(Self {
            key: key.clone(),
            width: Width::of(of)?,
            format,
            digits: Some(keep),
        })
    }

    pub(super) fn write(&self, value: &[u8], out: &mut BytesMut) -> Written {
        let plain: Option<i64> = match (self.format, self.width) {
            (Format::Text, _) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok()),
            (Format::Binary, Width::Four) => <[u8; 4]>::try_from(value)
                .ok()
                .map(|v| i32::from_be_bytes(v).into()),
            (Format::Binary, Width::Eight) => {
                <[u8; 8]>::try_from(value).ok().map(i64::from_be_bytes)
            }
        };
        let masked = plain.and_then(|plain| match self.digits {
            None => self.permuted(plain),
            Some(keep) => self.redigited(plain, keep),
        });
        let Some(masked) = masked else {
            return Written::Null;
        };
        match (self.format, self.width) {
            (Format::Text, _) => out.extend_from_slice(masked.to_string().as_bytes()),
            (Format::Binary, Width::Four) => match i32::try_from(masked) {
                Ok(masked) => out.extend_from_slice(&masked.to_be_bytes()),
                Err(_) => return Written::Null,
            },
            (Format::Binary, Width::Eight) => out.extend_from_slice(&masked.to_be_bytes()),
        }
        Written::Replaced
    }

    /// A number that fits an integer gives the same in a bigint column, so that both can be
    /// joined. Others stay outside of that range: one to one all the same.
    fn permuted(&self, plain: i64) -> Option<i64> {
        if let Ok(small) = i32::try_from(plain) {
            let bytes = self.key.permute_bytes(&small.to_le_bytes())?;
            return Some(i32::from_le_bytes(bytes.try_into().ok()?).into());
        }
        let mut masked = plain;
        loop {
            let bytes = self.key.permute_bytes(&masked.to_le_bytes())?;
            masked = i64::from_le_bytes(bytes.try_into().ok()?);
            if i32::try_from(masked).is_err() {
                return Some(masked);
            }
        }
    }

    /// As many digits. What begins with 0 or does not fit is permuted again, until it does: at
    /// the latest the number itself does.
    fn redigited(&self, plain: i64, keep: u8) -> Option<i64> {
        let text = plain.unsigned_abs().to_string();
        let mut digits: Vec<u8> = text.bytes().map(|digit| digit - b'0').collect();
        if digits.len() < 6 + usize::from(keep) {
            return Some(0);
        }
        loop {
            hide(&self.key, keep, &mut digits);
            if digits.first() == Some(&0) {
                continue;
            }
            let number = digits.iter().try_fold(0_i64, |number, digit| {
                number.checked_mul(10)?.checked_add(i64::from(*digit))
            });
            if let Some(number) = number
                && (self.width == Width::Eight || i32::try_from(number).is_ok())
            {
                return Some(number * plain.signum());
            }
        }
    }
}

impl Width {
    fn of(of: &WireType) -> Option<Self> {
        match of {
            WireType::Int4 => Some(Self::Four),
            WireType::Int8 => Some(Self::Eight),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::masking::mask::text;

    fn key() -> MaskKey {
        MaskKey::new(&[7; 32])
    }

    fn digits(keep: u8, value: &str) -> String {
        text(|value, out| write(&key(), keep, value, out), value)
    }

    #[test]
    fn length_separators_and_the_last_digits_stay() {
        let shown = digits(4, "4111-1111-1111-1234");
        assert!(shown.ends_with("-1234"), "{shown}");
        assert_eq!(shown.len(), 19);
        assert_ne!(&shown[..14], "4111-1111-1111");
        assert!(shown.bytes().enumerate().all(|(at, byte)| {
            if matches!(at, 4 | 9 | 14) {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        }));
        assert_eq!(shown, digits(4, "4111-1111-1111-1234"));
        assert_eq!(shown.replace('-', ""), digits(4, "4111111111111234"));
    }

    #[test]
    fn letters_and_short_numbers_do_not_show() {
        assert_eq!(digits(0, "Alice Müller 12"), "xxxxx xxxxxx 00");
        assert_eq!(digits(4, "12345"), "00000");
        assert_eq!(digits(4, "123456789"), "000006789");
        assert_eq!(digits(0, ""), "");
    }

    fn integer(of: &WireType, digits: Option<u8>, value: i64) -> i64 {
        let mask = match digits {
            None => Integer::token(of, Format::Text, &key()),
            Some(keep) => Integer::digits(of, Format::Text, &key(), keep),
        };
        let shown = text(
            |value, out| {
                assert_eq!(
                    mask.as_ref().map(|m| m.write(value, out)),
                    Some(Written::Replaced)
                );
            },
            &value.to_string(),
        );
        shown.parse().unwrap()
    }

    #[test]
    fn an_integers_token_is_another_integer_the_same_in_both_widths() {
        let mut seen = HashSet::new();
        for value in (-500..500).chain([i64::from(i32::MAX), i64::from(i32::MIN)]) {
            let token = integer(&WireType::Int4, None, value);
            assert_eq!(token, integer(&WireType::Int8, None, value));
            assert!(seen.insert(token));
        }
        for value in [i64::MAX, i64::MIN, 1 << 40] {
            assert!(i32::try_from(integer(&WireType::Int8, None, value)).is_err());
        }
    }

    #[test]
    fn an_integers_digits_are_as_many_and_fit() {
        for value in [123_456, 1_999_999_999, -2_147_483_648] {
            let shown = integer(&WireType::Int4, Some(0), value);
            assert_eq!(shown.to_string().len(), value.to_string().len());
            assert!(i32::try_from(shown).is_ok());
            assert_ne!(shown, value);
        }
        assert_eq!(
            integer(&WireType::Int8, Some(4), 4_111_111_111_111_234) % 10_000,
            1234
        );
        assert_eq!(integer(&WireType::Int4, Some(0), 99_999), 0);
    }

    #[test]
    fn both_formats_give_the_same_integer() {
        for digits in [None, Some(0)] {
            let make = |format| Integer {
                key: key(),
                width: Width::Eight,
                format,
                digits,
            };
            let mut binary = BytesMut::new();
            let written = make(Format::Binary).write(&7_654_321_i64.to_be_bytes(), &mut binary);
            assert_eq!(written, Written::Replaced);
            let shown = i64::from_be_bytes(binary[..].try_into().unwrap());
            let mut text = BytesMut::new();
            let written = make(Format::Text).write(b"7654321", &mut text);
            assert_eq!(written, Written::Replaced);
            assert_eq!(&text[..], shown.to_string().as_bytes());
            assert_eq!(make(Format::Binary).write(b"123", &mut text), Written::Null);
            assert_eq!(make(Format::Text).write(b"x", &mut text), Written::Null);
        }
    }
}
