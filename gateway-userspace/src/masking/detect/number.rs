//! Whatever has digits: goes from one word with a digit to the next, and asks what it begins.

use super::{Detector, Finding, byte_before, card, iban, national, net, phone};

/// Most groups of digits that belong to one number.
const MOST_GROUPS: usize = 12;
/// Most digits of one number.
const MOST_DIGITS: usize = 24;
/// Fewest digits of anything but an IPv4 address.
const SHORTEST_NUMBER: usize = 8;
/// Letters and digits in a row that are more than this are no number: hashes, encoded bytes.
const LONGEST_WORD: usize = 40;

/// A word with a digit: letters and digits alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'t> {
    pub text: &'t [u8],
    pub start: usize,
    pub end: usize,
}

/// Groups of digits with separators between them.
#[derive(Clone, Debug)]
pub(super) struct Run {
    digits: [u8; MOST_DIGITS],
    groups: [Group; MOST_GROUPS],
    count: usize,
    /// A digit or letter follows the last group behind a dot or dash: it is cut out of something.
    pub cut: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    length: usize,
    /// Where it ends in the text.
    end: usize,
    /// Digits up to its end.
    digits: usize,
    separator: Separator,
}

/// What stands before a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Separator {
    /// Nothing: the first group.
    #[default]
    None,
    Space,
    Dash,
    Dot,
    Slash,
    /// A closing parenthesis, perhaps with a space or dash.
    Parenthesis,
}

/// Adds what is found in numbers, in order.
pub(super) fn find(text: &[u8], wants: &dyn Fn(Detector) -> bool, findings: &mut Vec<Finding>) {
    let mut at = 0;
    while let Some(found) = text
        .get(at..)
        .and_then(|rest| rest.iter().position(u8::is_ascii_digit))
    {
        let digit = at + found;
        let word = word(text, at, digit);
        let next = match at_word(text, &word, wants) {
            Some(finding) => {
                findings.push(finding);
                finding.end
            }
            None => word.end,
        };
        at = next.max(digit + 1);
    }
}

fn word(text: &[u8], from: usize, digit: usize) -> Word<'_> {
    let letters = text
        .get(from..digit)
        .unwrap_or_default()
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    let start = digit - letters;
    let rest = text.get(start..).unwrap_or_default();
    let length = rest
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    Word {
        text: rest.get(..length).unwrap_or_default(),
        start,
        end: start + length,
    }
}

fn at_word(text: &[u8], word: &Word<'_>, wants: &dyn Fn(Detector) -> bool) -> Option<Finding> {
    if word.text.len() > LONGEST_WORD || is_inside(text, word.start) {
        return None;
    }
    let finding = |detector, start, end| Finding {
        start,
        end,
        detector,
    };
    if !word.text.iter().all(u8::is_ascii_digit) {
        if wants(Detector::Iban)
            && let Some(end) = iban::at(text, word)
        {
            return Some(finding(Detector::Iban, word.start, end));
        }
        if wants(Detector::NationalId)
            && let Some(end) = national::with_letters(word)
        {
            return Some(finding(Detector::NationalId, word.start, end));
        }
        return None;
    }
    if wants(Detector::Ip)
        && let Some(end) = net::ipv4_at(text, word.start)
    {
        return Some(finding(Detector::Ip, word.start, end));
    }
    // The most common numbers by far: short, and alone.
    if word.text.len() < SHORTEST_NUMBER && separator_at(text, word.end).is_none() {
        return None;
    }
    if wants(Detector::NationalId)
        && let Some(end) = national::behind_dash(text, word.start)
    {
        return Some(finding(Detector::NationalId, word.start, end));
    }
    let run = Run::at(text, word.start).filter(|run| run.total() >= SHORTEST_NUMBER)?;
    if wants(Detector::CreditCard)
        && let Some(end) = card::at(&run)
    {
        return Some(finding(Detector::CreditCard, word.start, end));
    }
    if wants(Detector::NationalId)
        && let Some(end) = national::at(text, word.start, &run)
    {
        return Some(finding(Detector::NationalId, word.start, end));
    }
    if wants(Detector::UsSsn)
        && let Some(end) = national::us_ssn(text, word.start, &run)
    {
        return Some(finding(Detector::UsSsn, word.start, end));
    }
    if wants(Detector::Phone)
        && let Some((start, end)) = phone::at(text, word.start, &run)
    {
        return Some(finding(Detector::Phone, start, end));
    }
    None
}

/// True if what begins here goes on from something before: a part of a UUID, a decimal, a
/// version, a longer number with dashes.
fn is_inside(text: &[u8], start: usize) -> bool {
    matches!(byte_before(text, start), Some(b'-' | b'.'))
        && start
            .checked_sub(1)
            .and_then(|before| byte_before(text, before))
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
}

impl Run {
    /// The groups from a place on; `None` if the first is too long for anything.
    pub(super) fn at(text: &[u8], start: usize) -> Option<Self> {
        let mut run = Self {
            digits: [0; MOST_DIGITS],
            groups: [Group::default(); MOST_GROUPS],
            count: 0,
            cut: false,
        };
        let mut at = start;
        let mut separator = Separator::None;
        let mut total = 0;
        while let Some(slot) = run.groups.get_mut(run.count) {
            let rest = text.get(at..).unwrap_or_default();
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if length == 0 {
                break;
            }
            let letter = rest.get(length).is_some_and(u8::is_ascii_alphabetic);
            if letter || total + length > MOST_DIGITS {
                // It belongs to something else; with a dash or dot before, so does the rest.
                run.cut = matches!(separator, Separator::Dash | Separator::Dot);
                break;
            }
            let into = run.digits.get_mut(total..total + length)?;
            for (digit, byte) in into.iter_mut().zip(rest) {
                *digit = byte - b'0';
            }
            total += length;
            at += length;
            *slot = Group {
                length,
                end: at,
                digits: total,
                separator,
            };
            run.count += 1;
            match separator_at(text, at) {
                Some((found, after)) => {
                    separator = found;
                    at = after;
                }
                None => break,
            }
        }
        let last = run.groups.get(run.count.checked_sub(1)?)?;
        run.cut |= matches!(text.get(last.end), Some(b'-' | b'.'))
            && text
                .get(last.end + 1)
                .is_some_and(u8::is_ascii_alphanumeric)
            && !text.get(last.end + 1).is_some_and(u8::is_ascii_digit);
        Some(run)
    }

    /// If the first groups have these lengths with this separator: their digits and their end.
    /// What follows must not belong to them.
    pub(super) fn groups(&self, lengths: &[usize], separator: Separator) -> Option<(&[u8], usize)> {
        let groups = self.groups.get(..self.count)?;
        let own = groups.get(..lengths.len())?;
        let fits = own
            .iter()
            .zip(lengths)
            .enumerate()
            .all(|(index, (group, length))| {
                group.length == *length && (index == 0 || group.separator == separator)
            });
        let last = own.last()?;
        (fits && self.ends_after(lengths.len()))
            .then_some((self.digits.get(..last.digits)?, last.end))
    }

    /// As [`Run::groups`], each group with a separator of its own.
    pub(super) fn shape(&self, shape: &[(Separator, usize)]) -> Option<(&[u8], usize)> {
        let own = self.groups.get(..self.count)?.get(..shape.len())?;
        let fits = own.iter().zip(shape).all(|(group, (separator, length))| {
            group.length == *length && group.separator == *separator
        });
        let last = own.last()?;
        (fits && self.ends_after(shape.len()))
            .then_some((self.digits.get(..last.digits)?, last.end))
    }

    fn ends_after(&self, count: usize) -> bool {
        match self
            .groups
            .get(..self.count)
            .and_then(|groups| groups.get(count))
        {
            None => !self.cut,
            Some(next) => matches!(next.separator, Separator::Space | Separator::Slash),
        }
    }

    /// The only group, or the first before a space: its digits and its end.
    pub(super) fn single(&self) -> Option<(&[u8], usize)> {
        let length = self.groups.first()?.length;
        self.groups(&[length], Separator::None)
    }

    /// Groups: separator before, digits so far, length, end.
    pub(super) fn each(&self) -> impl Iterator<Item = (Separator, usize, usize, usize)> {
        self.groups
            .iter()
            .take(self.count)
            .map(|group| (group.separator, group.digits, group.length, group.end))
    }

    /// How many digits the groups have together.
    fn total(&self) -> usize {
        self.each().last().map_or(0, |(_, digits, ..)| digits)
    }

    /// The first so many digits.
    pub(super) fn digits(&self, count: usize) -> &[u8] {
        self.digits.get(..count).unwrap_or_default()
    }
}

fn separator_at(text: &[u8], at: usize) -> Option<(Separator, usize)> {
    let byte = |index: usize| text.get(index).copied();
    let is_digit = |index: usize| byte(index).is_some_and(|byte| byte.is_ascii_digit());
    let (separator, after) = match byte(at)? {
        b' ' if byte(at + 1) == Some(b'(') => (Separator::Space, at + 2),
        b' ' => (Separator::Space, at + 1),
        b'-' => (Separator::Dash, at + 1),
        b'.' => (Separator::Dot, at + 1),
        b'/' => (Separator::Slash, at + 1),
        b')' if matches!(byte(at + 1), Some(b' ' | b'-')) => (Separator::Parenthesis, at + 2),
        b')' => (Separator::Parenthesis, at + 1),
        // A no-break space.
        0xc2 if byte(at + 1) == Some(0xa0) => (Separator::Space, at + 2),
        _ => return None,
    };
    is_digit(after).then_some((separator, after))
}
