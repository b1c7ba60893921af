//! Identity numbers of several countries. Those whose check digits and form are strong count by
//! themselves; the others only behind a word that names them.

use super::{
    card::luhn,
    context, free_after, free_before,
    number::{Run, Separator, Word},
};

/// The end of the number with letters that a word is.
pub(super) fn with_letters(word: &Word<'_>) -> Option<usize> {
    let fits = match word.text.len() {
        9 => spanish(word.text),
        16 => italian(word.text),
        18 => chinese(word.text),
        11 => finnish(word.text),
        15 => french(word.text),
        _ => false,
    };
    fits.then_some(word.end)
}

/// Whether digits are a number of some country.
type Check = fn(&[u8]) -> bool;

/// The end of the number of digits that a run begins with.
pub(super) fn at(text: &[u8], start: usize, run: &Run) -> Option<usize> {
    use Separator::{Dash, Dot, None as First, Space};
    if let Some((digits, end)) = run.single() {
        let named = |words: &[&str]| context::says(text, start, words);
        let fits = match digits.len() {
            9 => dutch(digits) && named(&["bsn", "burgerservicenummer", "sofi"]),
            11 => {
                polish(digits) && named(&["pesel"])
                    || german(digits)
                        && named(&[
                            "idnr",
                            "steuer-id",
                            "steuerid",
                            "steuer-idnr",
                            "tax id",
                            "tin",
                        ])
                    || brazilian(digits) && named(&["cpf"])
                    || belgian(digits) && named(&["rijksregisternummer", "nrn", "niss", "insz"])
            }
            12 => indian(digits) && named(&["aadhaar", "aadhar", "uid", "uidai"]),
            13 => swiss(digits),
            15 => french_digits(digits),
            18 => chinese_digits(digits),
            _ => false,
        };
        if fits {
            return Some(end);
        }
    }
    let shaped: [(&[(Separator, usize)], Check); 7] = [
        (&[(First, 3), (Dot, 3), (Dot, 3), (Dash, 2)], brazilian),
        (
            &[(First, 2), (Dot, 2), (Dot, 2), (Dash, 3), (Dot, 2)],
            belgian,
        ),
        (&[(First, 3), (Dot, 4), (Dot, 4), (Dot, 2)], swiss),
        (&[(First, 6), (Dash, 4)], swedish),
        (&[(First, 8), (Dash, 4)], |digits| {
            matches!(digits, [1, 9, ..] | [2, 0, ..]) && digits.get(2..).is_some_and(swedish)
        }),
        (&[(First, 4), (Space, 4), (Space, 4)], indian),
        (
            &[
                (First, 1),
                (Space, 2),
                (Space, 2),
                (Space, 2),
                (Space, 3),
                (Space, 3),
                (Space, 2),
            ],
            french_digits,
        ),
    ];
    shaped.iter().find_map(|(shape, valid)| {
        run.shape(shape)
            .filter(|(digits, _)| valid(digits))
            .map(|(_, end)| end)
    })
}

/// The end of `12345678-Z` and `010190-123A`: letters behind the dash.
pub(super) fn behind_dash(text: &[u8], start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let without_dash = |text: &[u8]| {
        let [digits @ .., b'-', letter] = text else {
            return false;
        };
        let plain: Vec<u8> = digits.iter().chain([letter]).copied().collect();
        spanish(&plain)
    };
    let end = if rest.get(..10).is_some_and(without_dash) {
        start + 10
    } else if rest.get(..11).is_some_and(finnish) {
        start + 11
    } else {
        return None;
    };
    (free_before(text, start) && free_after(text, end)).then_some(end)
}

/// US social security numbers: `123-45-6789`, the plain digits only behind a word.
pub(super) fn us_ssn(text: &[u8], start: usize, run: &Run) -> Option<usize> {
    use Separator::{Dash, None as First, Space};
    let named = || context::says(text, start, &["ssn", "social security", "soc sec", "ss#"]);
    let (digits, end) = run
        .shape(&[(First, 3), (Dash, 2), (Dash, 4)])
        .or_else(|| {
            run.shape(&[(First, 3), (Space, 2), (Space, 4)])
                .filter(|_| named())
        })
        .or_else(|| {
            run.single()
                .filter(|(digits, _)| digits.len() == 9 && named())
        })?;
    let number = |from: usize, to: usize| value(digits.get(from..to).unwrap_or_default());
    let (area, group, serial) = (number(0, 3), number(3, 5), number(5, 9));
    (area != 0 && area != 666 && area < 900 && group != 0 && serial != 0).then_some(end)
}

fn value(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0, |value, digit| value * 10 + u64::from(*digit))
}

fn weighted(digits: &[u8], weights: &[u64]) -> u64 {
    digits
        .iter()
        .zip(weights)
        .map(|(digit, weight)| u64::from(*digit) * weight)
        .sum()
}

/// The digits of a text that has nothing else.
fn digits_of<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut digits = [0; N];
    if text.len() != N {
        return None;
    }
    for (digit, byte) in digits.iter_mut().zip(text) {
        *digit = byte.is_ascii_digit().then(|| byte - b'0')?;
    }
    Some(digits)
}

fn is_date(month: u64, day: u64) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// DNI and NIE: eight digits, or X, Y or Z and seven, and a letter modulo 23.
fn spanish(text: &[u8]) -> bool {
    let [first, middle @ .., letter] = text else {
        return false;
    };
    let first = match first {
        b'X' => 0,
        b'Y' => 1,
        b'Z' => 2,
        digit if digit.is_ascii_digit() => u64::from(digit - b'0'),
        _ => return false,
    };
    let Some(rest) = digits_of::<7>(middle) else {
        return false;
    };
    let remainder = (first * 10_000_000 + value(&rest)) % 23;
    usize::try_from(remainder)
        .ok()
        .and_then(|index| b"TRWAGMYFPDXBNJZSQVHLCKE".get(index))
        == Some(letter)
}

/// Codice fiscale, with letters for digits where two people would have the same.
fn italian(text: &[u8]) -> bool {
    const ODD: &[u8] = b"\x01\x00\x05\x07\x09\x0d\x0f\x11\x13\x15\x02\x04\x12\x14\x0b\x03\x06\x08\x0c\x0e\x10\x0a\x16\x19\x18\x17";
    let shaped = text.iter().enumerate().all(|(index, byte)| match index {
        0..=5 | 8 | 11 | 15 => byte.is_ascii_uppercase(),
        _ => byte.is_ascii_digit() || b"LMNPQRSTUV".contains(byte),
    });
    let month = text
        .get(8)
        .is_some_and(|byte| b"ABCDEHLMPRST".contains(byte));
    let Some((check, rest)) = text.split_last() else {
        return false;
    };
    let sum: u32 = rest
        .iter()
        .enumerate()
        .map(|(index, byte)| {
            let place = match byte {
                b'0'..=b'9' => byte - b'0',
                _ => byte.wrapping_sub(b'A'),
            };
            if index % 2 == 0 {
                u32::from(ODD.get(usize::from(place)).copied().unwrap_or(0))
            } else {
                u32::from(place)
            }
        })
        .sum();
    shaped && month && u32::from(check.wrapping_sub(b'A')) == sum % 26
}

/// NIR of Corsica: 2A or 2B for the department.
fn french(text: &[u8]) -> bool {
    let mut plain = [0; 15];
    if text.len() != plain.len() {
        return false;
    }
    plain.copy_from_slice(text);
    let less = match (text.get(5), text.get(6)) {
        (Some(b'2'), Some(b'A')) => 1_000_000,
        (Some(b'2'), Some(b'B')) => 2_000_000,
        _ => return false,
    };
    plain[6] = b'0';
    digits_of::<15>(&plain).is_some_and(|digits| french_key(&digits, less))
}

fn french_digits(digits: &[u8]) -> bool {
    <&[u8; 15]>::try_from(digits).is_ok_and(|digits| french_key(digits, 0))
}

fn french_key(digits: &[u8; 15], less: u64) -> bool {
    let (number, key) = digits.split_at(13);
    let month = value(&[digits[3], digits[4]]);
    matches!(digits[0], 1 | 2)
        && (matches!(month, 1..=12 | 20..=42 | 50..=99))
        && 97 - (value(number) - less) % 97 == value(key)
}

/// BSN: the sum of digits by 9 to 2 and -1 divides by 11.
fn dutch(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2]);
    let last = digits.last().copied().map_or(0, u64::from);
    sum > 0 && (sum + 11 - last).is_multiple_of(11)
}

/// CPF: two check digits modulo 11.
fn brazilian(digits: &[u8]) -> bool {
    let check = |count: u64| {
        let sum: u64 = digits
            .iter()
            .zip((2..=count + 1).rev())
            .map(|(digit, weight)| u64::from(*digit) * weight)
            .sum();
        sum * 10 % 11 % 10
    };
    let [.., tenth, eleventh] = digits else {
        return false;
    };
    digits.len() == 11
        && !digits.iter().all(|digit| digit == tenth)
        && check(9) == u64::from(*tenth)
        && check(10) == u64::from(*eleventh)
}

/// PESEL: date and check digit.
fn polish(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]);
    let number = |from: usize| value(digits.get(from..from + 2).unwrap_or_default());
    digits.len() == 11 && sum.is_multiple_of(10) && is_date(number(2) % 20, number(4))
}

/// The tax id of persons: ISO 7064 modulo 11, 10.
fn german(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else {
        return false;
    };
    let product = rest.iter().fold(10, |product, digit| {
        let sum = match (u64::from(*digit) + product) % 10 {
            0 => 10,
            sum => sum,
        };
        sum * 2 % 11
    });
    digits.len() == 11 && digits.first() != Some(&0) && (11 - product) % 10 == u64::from(*check)
}

/// National register number: modulo 97, with a 2 before it for those born since 2000.
fn belgian(digits: &[u8]) -> bool {
    let (Some(number), Some(check)) = (digits.get(..9), digits.get(9..11)) else {
        return false;
    };
    let (number, check) = (value(number), value(check));
    let month = number / 100_000 % 100;
    let day = number / 1000 % 100;
    is_date(month % 20, day)
        && (97 - number % 97 == check || 97 - (2_000_000_000 + number) % 97 == check)
}

/// AHV number: the EAN of a number that begins with 756.
fn swiss(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]);
    digits.len() == 13 && digits.starts_with(&[7, 5, 6]) && sum.is_multiple_of(10)
}

/// Personnummer: date and Luhn.
fn swedish(digits: &[u8]) -> bool {
    let number = |from: usize| value(digits.get(from..from + 2).unwrap_or_default());
    // Coordination numbers have 60 added to the day.
    let day = number(4) % 60;
    digits.len() == 10 && is_date(number(2), day) && luhn(digits)
}

/// Henkilötunnus: date, a sign for the century, and a letter modulo 31.
fn finnish(text: &[u8]) -> bool {
    let (Some(date), Some(sign), Some(serial), Some(check)) =
        (text.get(..6), text.get(6), text.get(7..10), text.get(10))
    else {
        return false;
    };
    let (Some(date), Some(serial)) = (digits_of::<6>(date), digits_of::<3>(serial)) else {
        return false;
    };
    let remainder = (value(&date) * 1000 + value(&serial)) % 31;
    let expected = usize::try_from(remainder)
        .ok()
        .and_then(|index| b"0123456789ABCDEFHJKLMNPRSTUVWXY".get(index));
    let number = value(&date);
    text.len() == 11
        && is_date(number / 100 % 100, number / 10_000)
        && b"+-ABCDEFUVWXY".contains(sign)
        && expected == Some(check)
}

/// Aadhaar: Verhoeff.
fn indian(digits: &[u8]) -> bool {
    const PRODUCT: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const PERMUTATION: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let at = |table: &[[u8; 10]], row: usize, column: u8| {
        table
            .get(row)
            .and_then(|row| row.get(usize::from(column)))
            .copied()
            .unwrap_or(0)
    };
    let check = digits
        .iter()
        .rev()
        .enumerate()
        .fold(0, |check, (index, digit)| {
            at(
                &PRODUCT,
                usize::from(check),
                at(&PERMUTATION, index % 8, *digit),
            )
        });
    digits.len() == 12 && matches!(digits.first(), Some(2..=9)) && check == 0
}

/// Resident identity card: a date, and a check character modulo 11 that may be X.
fn chinese(text: &[u8]) -> bool {
    let [rest @ .., b'X' | b'x'] = text else {
        return false;
    };
    digits_of::<17>(rest).is_some_and(|digits| chinese_check(&digits, 10))
}

fn chinese_digits(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else {
        return false;
    };
    <&[u8; 17]>::try_from(rest).is_ok_and(|rest| chinese_check(rest, u64::from(*check)))
}

fn chinese_check(digits: &[u8; 17], check: u64) -> bool {
    let sum = weighted(
        digits,
        &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2],
    );
    let number = |from: usize, to: usize| value(digits.get(from..to).unwrap_or_default());
    (1900..2100).contains(&number(6, 10))
        && is_date(number(10, 12), number(12, 14))
        && (12 - sum % 11) % 11 == check
}
