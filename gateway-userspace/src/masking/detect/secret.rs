//! Keys, tokens and passwords: by their prefixes, their names, or their place in an address.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::{Detector, Finding, byte_before};

/// What follows a prefix.
#[derive(Clone, Copy, Debug)]
enum Tail {
    /// Upper-case letters and digits, exactly as many.
    Upper(usize),
    /// Letters, digits, `_` and `-`, at least as many.
    Word(usize),
    /// As `Word`, and dots.
    Dotted(usize),
    /// Three parts with dots between them: header, claims, signature.
    Jwt,
    /// Up to the end of the key.
    Pem,
}

const PREFIXES: &[(&str, Tail)] = &[
    // AWS
    ("AKIA", Tail::Upper(16)),
    ("ASIA", Tail::Upper(16)),
    // Google
    ("AIza", Tail::Word(35)),
    ("ya29.", Tail::Word(20)),
    ("GOCSPX-", Tail::Word(20)),
    // GitHub, GitLab
    ("ghp_", Tail::Word(36)),
    ("gho_", Tail::Word(36)),
    ("ghu_", Tail::Word(36)),
    ("ghs_", Tail::Word(36)),
    ("ghr_", Tail::Word(36)),
    ("github_pat_", Tail::Word(22)),
    ("glpat-", Tail::Word(20)),
    ("glrt-", Tail::Word(20)),
    ("gldt-", Tail::Word(20)),
    // Slack
    ("xoxb-", Tail::Word(10)),
    ("xoxp-", Tail::Word(10)),
    ("xoxa-", Tail::Word(10)),
    ("xoxr-", Tail::Word(10)),
    ("xoxs-", Tail::Word(10)),
    ("xapp-", Tail::Word(10)),
    // Stripe
    ("sk_live_", Tail::Word(16)),
    ("rk_live_", Tail::Word(16)),
    ("sk_test_", Tail::Word(16)),
    ("rk_test_", Tail::Word(16)),
    ("whsec_", Tail::Word(24)),
    // Others
    ("sk-ant-", Tail::Word(20)),
    ("sk-proj-", Tail::Word(20)),
    ("SG.", Tail::Dotted(40)),
    ("npm_", Tail::Word(36)),
    ("pypi-AgEI", Tail::Word(40)),
    ("dop_v1_", Tail::Word(64)),
    ("shpat_", Tail::Word(32)),
    ("hvs.", Tail::Word(24)),
    ("hf_", Tail::Word(34)),
    ("eyJ", Tail::Jwt),
    ("-----BEGIN ", Tail::Pem),
];

/// Names of settings whose value is a secret, as they end, in lower case.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "apikey",
    "api_key",
    "api-key",
    "accountkey",
    "sharedaccesskey",
    "access_key",
    "accesskey",
    "private_key",
    "access_token",
    "auth_token",
    "refresh_token",
    "client_secret",
    "secret_key",
];

/// Values that are none.
const PLACEHOLDERS: &[&str] = &[
    "null",
    "none",
    "true",
    "false",
    "required",
    "undefined",
    "nil",
];

static AUTOMATON: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(PREFIXES.iter().map(|(prefix, _)| prefix))
        .expect("a few short texts")
});

/// Adds keys and tokens, and with `equals` the values of `password=` and the like.
pub(super) fn find(text: &[u8], equals: bool, findings: &mut Vec<Finding>) {
    let mut from = 0;
    for found in AUTOMATON.find_iter(text) {
        let Some((_, tail)) = PREFIXES.get(found.pattern().as_usize()) else {
            continue;
        };
        if found.start() < from || !free(text, found.start(), *tail) {
            continue;
        }
        if let Some(end) = tail.end(text, found.end()) {
            findings.push(secret(found.start(), end));
            from = end;
        }
    }
    if equals {
        let mut from = 0;
        for at in memchr::memchr_iter(b'=', text) {
            if at >= from
                && let Some(found) = assigned(text, at)
            {
                from = found.end;
                findings.push(found);
            }
        }
    }
}

/// The password of `scheme://user:password@host`, for the `@` at a place.
pub(super) fn in_url(text: &[u8], at: usize) -> Option<Finding> {
    const MOST: usize = 256;
    let from = at.saturating_sub(MOST);
    let before = text.get(from..at)?;
    let scheme = memchr::memmem::rfind(before, b"://")?;
    let user = before.get(scheme + 3..)?;
    if user
        .iter()
        .any(|byte| byte.is_ascii_whitespace() || b"/\"'<>".contains(byte))
    {
        return None;
    }
    let colon = memchr::memchr(b':', user)?;
    let start = from + scheme + 3 + colon + 1;
    (start < at).then(|| secret(start, at))
}

fn secret(start: usize, end: usize) -> Finding {
    Finding {
        start,
        end,
        detector: Detector::Secret,
    }
}

/// A prefix in the middle of a word is none.
fn free(text: &[u8], start: usize, tail: Tail) -> bool {
    match tail {
        Tail::Pem => true,
        Tail::Upper(_) | Tail::Word(_) | Tail::Dotted(_) | Tail::Jwt => {
            byte_before(text, start).is_none_or(|byte| !is_word(byte) || byte == b'-')
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

impl Tail {
    /// Where what follows a prefix ends, if it is right.
    fn end(self, text: &[u8], from: usize) -> Option<usize> {
        let rest = text.get(from..)?;
        let run = |fits: &dyn Fn(u8) -> bool| rest.iter().take_while(|byte| fits(**byte)).count();
        match self {
            Self::Upper(length) => {
                let found = run(&|byte| byte.is_ascii_alphanumeric());
                let upper = rest
                    .get(..length)?
                    .iter()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
                (found == length && upper).then_some(from + length)
            }
            Self::Word(least) => {
                let found = run(&is_word);
                (found >= least).then_some(from + found)
            }
            Self::Dotted(least) => {
                let found = run(&|byte| is_word(byte) || byte == b'.');
                (found >= least).then_some(from + found)
            }
            Self::Jwt => {
                const LEAST: usize = 8;
                let mut end = 0;
                for part in 0..3 {
                    if part > 0 {
                        end += usize::from(*rest.get(end)? == b'.');
                    }
                    let part = rest.get(end..)?;
                    let length = part.iter().take_while(|byte| is_word(**byte)).count();
                    end += Some(length).filter(|length| *length >= LEAST)?;
                }
                Some(from + end)
            }
            Self::Pem => {
                const LONGEST_LABEL: usize = 40;
                let label = rest.get(..rest.len().min(LONGEST_LABEL))?;
                let label = label.get(..memchr::memmem::find(label, b"-----")?)?;
                if !label.ends_with(b"PRIVATE KEY") && !label.ends_with(b"PRIVATE KEY BLOCK") {
                    return None;
                }
                // A key that is cut off is one all the same.
                let end = memchr::memmem::find(rest, b"-----END ").and_then(|end| {
                    let after = end + b"-----END ".len();
                    let dashes = memchr::memmem::find(rest.get(after..)?, b"-----")?;
                    Some(after + dashes + 5)
                });
                Some(from + end.unwrap_or(rest.len()))
            }
        }
    }
}

/// The value of `name=value`, if the name says that it is a secret.
fn assigned(text: &[u8], at: usize) -> Option<Finding> {
    const LEAST: usize = 4;
    let before = text.get(..at)?.trim_ascii_end();
    let named = NAMES.iter().any(|name| {
        before
            .len()
            .checked_sub(name.len())
            .and_then(|start| before.get(start..))
            .is_some_and(|end| end.eq_ignore_ascii_case(name.as_bytes()))
    });
    if !named {
        return None;
    }
    let rest = text.get(at + 1..)?;
    let space = rest.iter().take_while(|byte| **byte == b' ').count();
    let quote = rest
        .get(space)
        .copied()
        .filter(|byte| matches!(byte, b'"' | b'\''));
    let start = at + 1 + space + usize::from(quote.is_some());
    let value = text.get(start..)?;
    let length = value
        .iter()
        .take_while(|byte| match quote {
            Some(quote) => **byte != quote,
            None => !byte.is_ascii_whitespace() && !b"&;,\"')]}".contains(byte),
        })
        .count();
    let value = value.get(..length)?;
    let placeholder = PLACEHOLDERS
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
        || value.iter().all(|byte| matches!(byte, b'*' | b'.' | b'x'))
        || matches!(value.first(), Some(b'$' | b'<' | b'{' | b'%'))
        || value.first() == Some(&b'=');
    (length >= LEAST && !placeholder).then(|| secret(start, start + length))
}
