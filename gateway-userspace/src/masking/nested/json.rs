//! JSON documents: masks by path, detectors in every string.

use std::{borrow::Cow, sync::Arc};

use bytes::{BufMut, BytesMut};

use super::{Rewrite, rewrite};
use crate::masking::{
    Bucket, Format, JsonPath, MaskKind,
    detect::Scanner,
    key::MaskKey,
    mask::{CellMask, TextMask, Written},
    path::Position,
    types::WireType,
};

/// What is hidden in the documents of a column.
#[derive(Debug)]
pub(in crate::masking) struct JsonRules {
    rules: Box<[Rule]>,
    scanner: Option<Arc<Scanner>>,
    /// A version stands before the text.
    versioned: bool,
}

#[derive(Debug)]
struct Rule {
    path: JsonPath,
    kind: MaskKind,
    text: Option<TextMask>,
    date: Option<CellMask>,
    number: Option<CellMask>,
}

impl JsonRules {
    pub(in crate::masking) fn new(
        paths: Vec<(JsonPath, MaskKind)>,
        scanner: Option<Arc<Scanner>>,
        versioned: bool,
        key: &MaskKey,
    ) -> Self {
        let bucket = |kind: MaskKind, of: WireType| match kind {
            MaskKind::Bucket(Bucket::Step(_)) if of == WireType::Date => None,
            MaskKind::Bucket(Bucket::Month | Bucket::Year) if of == WireType::Numeric => None,
            MaskKind::Bucket(_) => Some(CellMask::bind(kind, &of, Format::Text, key)),
            _ => None,
        };
        let rules = paths.into_iter().map(|(path, kind)| Rule {
            path,
            kind,
            text: TextMask::of(kind, key),
            date: bucket(kind, WireType::Date),
            number: bucket(kind, WireType::Numeric),
        });
        Self {
            rules: rules.collect(),
            scanner,
            versioned,
        }
    }

    /// Detectors alone.
    pub(in crate::masking) fn scan(scanner: Arc<Scanner>, versioned: bool) -> Self {
        Self {
            rules: Box::default(),
            scanner: Some(scanner),
            versioned,
        }
    }
}

pub(in crate::masking) fn json(rules: &JsonRules, value: &[u8], out: &mut BytesMut) -> Written {
    rewrite(value, out, |rewrite| {
        let from = usize::from(rules.versioned);
        if rules.versioned && value.first() != Some(&1) {
            return None;
        }
        if rules.rules.is_empty() {
            return strings(rules, rewrite, from);
        }
        Walk {
            rules,
            levels: Vec::new(),
            places: Vec::new(),
            here: rules.rules.iter().map(|rule| rule.path.start()).collect(),
        }
        .document(rewrite, from)
    })
}

/// Looks at the strings alone, wherever they stand.
fn strings(rules: &JsonRules, rewrite: &mut Rewrite<'_, '_>, mut at: usize) -> Option<()> {
    let value = rewrite.value;
    while let Some(found) = memchr::memchr(b'"', value.get(at..)?) {
        let from = at + found;
        let (raw, end) = string(value, from)?;
        scan(rules, rewrite, raw, from, end)?;
        at = end;
    }
    Some(())
}

fn scan(
    rules: &JsonRules,
    rewrite: &mut Rewrite<'_, '_>,
    raw: &[u8],
    from: usize,
    end: usize,
) -> Option<()> {
    let Some(scanner) = &rules.scanner else {
        return Some(());
    };
    let text = unescaped(raw)?;
    let mut masked = BytesMut::new();
    match scanner.write(&text, &mut masked) {
        Written::Same => {}
        Written::Null => rewrite.replace(from, end)?.put_slice(b"null"),
        Written::Replaced => put_string(&masked, rewrite.replace(from, end)?),
    }
    Some(())
}

/// A walk along paths. It keeps its own stack: documents may be deeper than a thread's.
struct Walk<'r> {
    rules: &'r JsonRules,
    levels: Vec<Level>,
    /// How far each path has come at each level, one after another.
    places: Vec<Position>,
    /// How far each path has come at the value to be read.
    here: Vec<Position>,
}

/// An object or array that has begun.
struct Level {
    object: bool,
    /// Index of the rule that masks everything within.
    mask: Option<usize>,
}

impl Walk<'_> {
    fn document(mut self, rewrite: &mut Rewrite<'_, '_>, from: usize) -> Option<()> {
        let value = rewrite.value;
        let mut at = skip_space(value, from);
        'value: loop {
            let (end, opened) = self.value(rewrite, at)?;
            at = skip_space(value, end);
            if opened && !matches!(value.get(at)?, b'}' | b']') {
                at = self.member(rewrite, at)?;
                continue;
            }
            loop {
                let Some(level) = self.levels.last() else {
                    return (at == value.len()).then_some(());
                };
                match (value.get(at)?, level.object) {
                    (b'}', true) | (b']', false) => {
                        self.levels.pop();
                        let rest = self.places.len().checked_sub(self.here.len())?;
                        self.places.truncate(rest);
                        at = skip_space(value, at + 1);
                    }
                    (b',', _) => {
                        at = self.member(rewrite, skip_space(value, at + 1))?;
                        continue 'value;
                    }
                    _ => return None,
                }
            }
        }
    }

    /// Goes to the value of an object's member, past its key, or to an array's element.
    fn member(&mut self, rewrite: &mut Rewrite<'_, '_>, from: usize) -> Option<usize> {
        let own = self.places.len().checked_sub(self.here.len())?;
        let places = self.places.get(own..)?;
        if !self.levels.last()?.object {
            self.here.copy_from_slice(places);
            return Some(from);
        }
        let value = rewrite.value;
        let (raw, end) = string(value, from)?;
        let key = unescaped(raw)?;
        let rules = self.rules.rules.iter();
        for ((here, place), rule) in self.here.iter_mut().zip(places).zip(rules) {
            *here = rule.path.enter(*place, &key);
        }
        scan(self.rules, rewrite, raw, from, end)?;
        let colon = skip_space(value, end);
        (value.get(colon) == Some(&b':')).then(|| skip_space(value, colon + 1))
    }

    /// Reads one value, or the beginning of an object or array, which it tells.
    fn value(&mut self, rewrite: &mut Rewrite<'_, '_>, from: usize) -> Option<(usize, bool)> {
        let value = rewrite.value;
        let mask = self.mask();
        let rule = mask.and_then(|index| self.rules.rules.get(index));
        match *value.get(from)? {
            first @ (b'{' | b'[') => {
                if let Some(rule) = rule
                    && matches!(rule.kind, MaskKind::Redact | MaskKind::Null)
                {
                    let end = container_end(value, from)?;
                    let out = rewrite.replace(from, end)?;
                    if rule.kind == MaskKind::Null {
                        out.put_slice(b"null");
                    } else {
                        put_string(b"[redacted]", out);
                    }
                    return Some((end, false));
                }
                let object = first == b'{';
                self.levels.push(Level { object, mask });
                self.places.extend_from_slice(&self.here);
                Some((from + 1, true))
            }
            b'"' => {
                let (raw, end) = string(value, from)?;
                match rule {
                    None => scan(self.rules, rewrite, raw, from, end)?,
                    Some(rule) => {
                        let text = unescaped(raw)?;
                        rule.string(&text, rewrite.replace(from, end)?);
                    }
                }
                Some((end, false))
            }
            _ => {
                let scalar = value
                    .get(from..)?
                    .iter()
                    .take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
                let end = from + scalar.count();
                let scalar = value.get(from..end).filter(|scalar| !scalar.is_empty())?;
                if let Some(rule) = rule
                    && scalar != b"null"
                {
                    rule.scalar(scalar, rewrite.replace(from, end)?);
                }
                Some((end, false))
            }
        }
    }

    /// The strictest rule that ends at this value or at what it is within.
    fn mask(&self) -> Option<usize> {
        let rules = &self.rules.rules;
        let mut mask = self.levels.last().and_then(|level| level.mask);
        for (index, (rule, place)) in rules.iter().zip(&self.here).enumerate() {
            let before = mask.and_then(|before| rules.get(before));
            if rule.path.hits(*place)
                && before.is_none_or(|before| rule.kind.strictness() > before.kind.strictness())
            {
                mask = Some(index);
            }
        }
        mask
    }
}

impl Rule {
    fn string(&self, text: &[u8], out: &mut BytesMut) {
        let mut masked = BytesMut::new();
        let written = match (&self.text, &self.date) {
            (Some(mask), _) => {
                mask.write(text, &mut masked);
                Written::Replaced
            }
            (None, Some(date)) => date.write(text, &mut masked),
            (None, None) => Written::Null,
        };
        match written {
            Written::Replaced => put_string(&masked, out),
            Written::Same | Written::Null => out.put_slice(b"null"),
        }
    }

    /// A number, true or false.
    fn scalar(&self, text: &[u8], out: &mut BytesMut) {
        let number = text.first().is_some_and(|byte| !byte.is_ascii_alphabetic());
        match self.kind {
            MaskKind::Redact if number => out.put_u8(b'0'),
            MaskKind::Redact => out.put_slice(b"false"),
            // What they make of a number is a text.
            MaskKind::Token | MaskKind::Digits { .. } if number => self.string(text, out),
            MaskKind::Bucket(_) if number => {
                let at = out.len();
                let written = match &self.number {
                    Some(mask) => mask.write(text, out),
                    None => Written::Null,
                };
                if written != Written::Replaced {
                    out.truncate(at);
                    out.put_slice(b"null");
                }
            }
            MaskKind::Null
            | MaskKind::Partial
            | MaskKind::Email
            | MaskKind::Last4
            | MaskKind::Token
            | MaskKind::Bucket(_)
            | MaskKind::Digits { .. } => out.put_slice(b"null"),
        }
    }
}

fn skip_space(value: &[u8], from: usize) -> usize {
    let rest = value.get(from..).unwrap_or_default();
    from + rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        .count()
}

/// What stands between the quotes of the string at a place, as it is written, and where the
/// string ends.
fn string(value: &[u8], from: usize) -> Option<(&[u8], usize)> {
    if value.get(from) != Some(&b'"') {
        return None;
    }
    let mut at = from + 1;
    loop {
        let stop = at + memchr::memchr2(b'"', b'\\', value.get(at..)?)?;
        if value.get(stop) == Some(&b'"') {
            return Some((value.get(from + 1..stop)?, stop + 1));
        }
        at = stop + 2;
    }
}

fn container_end(value: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = from;
    loop {
        match value.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'"' => {
                at = string(value, at)?.1;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// A string's content without its escapes.
fn unescaped(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Some(Cow::Borrowed(raw));
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut bytes = raw;
    let mut high: Option<u32> = None;
    while let Some((byte, rest)) = bytes.split_first() {
        bytes = rest;
        if *byte != b'\\' {
            high = None;
            text.push(*byte);
            continue;
        }
        let (escape, rest) = bytes.split_first()?;
        bytes = rest;
        let plain = match escape {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (digits, rest) = bytes.split_first_chunk::<4>()?;
                bytes = rest;
                let digits = std::str::from_utf8(digits).ok()?;
                let code = u32::from_str_radix(digits, 16).ok()?;
                if (0xd800..0xdc00).contains(&code) {
                    high = Some(code);
                    continue;
                }
                let code = match high.take() {
                    Some(high) if (0xdc00..0xe000).contains(&code) => {
                        0x1_0000 + ((high - 0xd800) << 10) + (code - 0xdc00)
                    }
                    _ => code,
                };
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => *other,
        };
        high = None;
        text.push(plain);
    }
    Some(Cow::Owned(text))
}

fn put_string(text: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.put_slice(&[b'\\', *byte]),
            0..0x20 => {
                out.put_slice(b"\\u00");
                for nibble in [byte >> 4, byte & 15] {
                    out.extend(b"0123456789abcdef".get(usize::from(nibble)));
                }
            }
            _ => out.put_u8(*byte),
        }
    }
    out.put_u8(b'"');
}
