//! Payment cards.

use super::number::{Run, Separator};

/// Ranges of first digits (as many as the bounds have), and the lengths of numbers in them.
const ISSUERS: &[(u32, u32, &[usize])] = &[
    // Visa. Its numbers of 13 digits are long gone, and too many ids look like them.
    (4, 4, &[16, 19]),
    // Mastercard
    (51, 55, &[16]),
    (2221, 2720, &[16]),
    // American Express
    (34, 34, &[15]),
    (37, 37, &[15]),
    // Diners Club
    (300, 305, &[14]),
    (3095, 3095, &[14]),
    (36, 36, &[14]),
    (38, 39, &[14]),
    // JCB
    (3528, 3589, &[16]),
    // Discover
    (6011, 6011, &[16, 19]),
    (644, 649, &[16, 19]),
    (65, 65, &[16, 19]),
    // UnionPay
    (62, 62, &[16, 17, 18, 19]),
    // Maestro
    (50, 50, &[16]),
    (56, 58, &[16]),
    (6304, 6304, &[16]),
    (6759, 6763, &[16]),
    // Mir
    (2200, 2204, &[16]),
];

/// How the digits are grouped on cards.
const GROUPS: &[&[usize]] = &[&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 4, 3]];

/// The end of the card number that a run begins with.
pub(super) fn at(run: &Run) -> Option<usize> {
    if let Some((digits, end)) = run.single()
        && is_card(digits)
    {
        return Some(end);
    }
    GROUPS.iter().find_map(|groups| {
        [Separator::Space, Separator::Dash, Separator::Dot]
            .into_iter()
            .find_map(|separator| run.groups(groups, separator))
            .filter(|(digits, _)| is_card(digits))
            .map(|(_, end)| end)
    })
}

fn is_card(digits: &[u8]) -> bool {
    if !(14..=19).contains(&digits.len()) {
        return false;
    }
    let issued = ISSUERS.iter().any(|(first, last, lengths)| {
        let prefix = digits
            .iter()
            .take(first.ilog10() as usize + 1)
            .fold(0, |number, digit| number * 10 + u32::from(*digit));
        (*first..=*last).contains(&prefix) && lengths.contains(&digits.len())
    });
    issued && luhn(digits)
}

/// ISO/IEC 7812-1.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(*digit);
            match (index % 2, digit) {
                (0, digit) => digit,
                (_, digit @ 0..=4) => digit * 2,
                (_, digit) => digit * 2 - 9,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}
