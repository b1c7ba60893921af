//! Phone numbers: international with a plus or two zeros, national with separators. A row of
//! digits alone is none.

use super::{
    byte_before, context,
    number::{Run, Separator},
};

/// Words before a number that say that it is one.
const WORDS: &[&str] = &[
    "tel",
    "phone",
    "telephone",
    "mobile",
    "cell",
    "call",
    "fax",
    "telefon",
    "mobil",
    "handy",
    "whatsapp",
    "sms",
];

/// Where the number that a run begins starts and ends.
pub(super) fn at(text: &[u8], start: usize, run: &Run) -> Option<(usize, usize)> {
    let before = byte_before(text, start);
    if before == Some(b'+') {
        let free = byte_before(text, start - 1).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let (_, end) = extent(run, 8, 15)?;
        return (free && run.digits(1) != [0]).then_some((start - 1, end));
    }
    let (from, open) = match before {
        Some(b'(') => (start - 1, true),
        _ => (start, false),
    };
    if let [0, 0, 1..=9] = run.digits(3) {
        let (count, end) = extent(run, 10, 17)?;
        return (count > 1).then_some((from, end));
    }
    if let [0, 1..=9] = run.digits(2) {
        return national(run).map(|end| (from, end));
    }
    north_american(text, start, run, open).map(|end| (from, end))
}

/// As many groups as have no more than `most` digits together, if these are at least `least`: how
/// many, and where they end.
fn extent(run: &Run, least: usize, most: usize) -> Option<(usize, usize)> {
    let groups = run.each().take_while(|(_, digits, ..)| *digits <= most);
    let (index, (_, digits, _, end)) = groups.enumerate().last()?;
    (digits >= least).then_some((index + 1, end))
}

/// A number with its area's 0 before it.
fn national(run: &Run) -> Option<usize> {
    let mut groups = run.each();
    let (_, _, first, _) = groups.next()?;
    let (separator, _, second, _) = groups.next()?;
    // 05.06.2024 and 05-06-2024 12:30 are dates.
    let third = groups.next();
    if first == 2
        && second == 2
        && third.is_some_and(|(_, _, length, _)| length == 4)
        && separator != Separator::Space
    {
        return None;
    }
    if !(2..=6).contains(&first)
        || (separator == Separator::Dot && third.is_none())
        || run.each().any(|(_, _, length, _)| length < 2)
        || run
            .each()
            .skip(2)
            .any(|(other, ..)| (other == Separator::Dot) != (separator == Separator::Dot))
        || run.cut
    {
        return None;
    }
    extent(run, 9, 12)
        .filter(|(count, _)| *count > 1)
        .map(|(_, end)| end)
}

/// `(212) 555-0123`, `212-555-0123`, `212.555.0123`, with or without a 1 before; with spaces
/// alone only where a word says so.
fn north_american(text: &[u8], start: usize, run: &Run, open: bool) -> Option<usize> {
    use Separator::{Dash, Dot, None as First, Parenthesis, Space};
    let shapes: [&[(Separator, usize)]; 7] = [
        &[(First, 3), (Dash, 3), (Dash, 4)],
        &[(First, 3), (Dot, 3), (Dot, 4)],
        &[(First, 1), (Dash, 3), (Dash, 3), (Dash, 4)],
        &[(First, 1), (Space, 3), (Parenthesis, 3), (Dash, 4)],
        &[(First, 3), (Parenthesis, 3), (Dash, 4)],
        &[(First, 3), (Parenthesis, 3), (Space, 4)],
        &[(First, 3), (Space, 3), (Space, 4)],
    ];
    let (digits, end) = shapes.iter().enumerate().find_map(|(index, shape)| {
        run.shape(shape).filter(|_| match index {
            4 | 5 => open,
            6 => context::says(text, start, WORDS),
            _ => true,
        })
    })?;
    let digits = digits
        .strip_prefix(&[1])
        .filter(|rest| rest.len() == 10)
        .unwrap_or(digits);
    matches!(digits, [2..=9, _, _, 2..=9, ..] if digits.len() == 10).then_some(end)
}
