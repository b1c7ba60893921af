//! Runs of operator characters, which the grammar's lexer takes quadratic time over.
//!
//! Only those count that the lexer reads as operators: not those in comments, literals and quoted
//! names. Where these begin and end is told as the lexer tells it, with
//! `standard_conforming_strings` on.

/// The longest run of operator characters that the lexer reads as such; no more than enough of it
/// to be over `limit`.
pub(super) fn longest_run(text: &str, limit: usize) -> usize {
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
        limit,
    };
    let mut longest = 0;
    while longest <= limit
        && let Some(byte) = scanner.peek(0)
    {
        longest = longest.max(scanner.token(byte));
    }
    longest
}

struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
    limit: usize,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn starts_with(&self, word: &[u8]) -> bool {
        self.bytes
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word))
    }

    /// Goes on while `wanted` holds.
    fn skip(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
        self.at - start
    }

    /// Reads one token; the length of the run if it is one of operators.
    fn token(&mut self, first: u8) -> usize {
        match first {
            _ if self.starts_with(b"--") => {
                self.skip(|byte| !matches!(byte, b'\n' | b'\r'));
                0
            }
            _ if self.starts_with(b"/*") => self.comment(),
            b'\'' => self.quoted(b'\'', false),
            b'"' => self.quoted(b'"', false),
            b'e' | b'E' if self.peek(1) == Some(b'\'') => {
                self.at += 1;
                self.quoted(b'\'', true)
            }
            b'$' => self.dollar(),
            _ if is_name_start(first) => {
                self.skip(is_name);
                0
            }
            // A number ends where a name could begin; the lexer refuses one that runs on.
            b'0'..=b'9' => {
                self.skip(|byte| byte.is_ascii_digit());
                0
            }
            _ if is_operator(first) => self.run(),
            _ => {
                self.at += 1;
                0
            }
        }
    }

    /// Operators, up to where a comment begins in them.
    fn run(&mut self) -> usize {
        let start = self.at;
        while self.peek(0).is_some_and(is_operator)
            && !self.starts_with(b"--")
            && !self.starts_with(b"/*")
        {
            self.at += 1;
        }
        // The lexer reads on to the end of all of it before it turns back to the comment.
        self.at - start + self.operators_ahead()
    }

    /// How many operator characters follow, as far as it matters.
    fn operators_ahead(&self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let run = rest.iter().take(self.limit + 1);
        run.take_while(|byte| is_operator(**byte)).count()
    }

    /// A comment, with those in it. Where one begins inside another, the lexer reads on to the
    /// end of the run and turns back, so these count.
    fn comment(&mut self) -> usize {
        let mut depth = 1_usize;
        let mut longest = 0;
        self.at += 2;
        while depth > 0 && longest <= self.limit && self.at < self.bytes.len() {
            if self.starts_with(b"/*") {
                longest = longest.max(self.operators_ahead());
                depth += 1;
                self.at += 2;
            } else if self.starts_with(b"*/") {
                depth -= 1;
                self.at += 2;
            } else {
                self.at += 1;
            }
        }
        longest
    }

    /// A literal or a quoted name. A doubled quote ends one and begins another: no difference.
    fn quoted(&mut self, quote: u8, escapes: bool) -> usize {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            if byte == quote {
                if !escapes || self.peek(0) != Some(quote) {
                    break;
                }
                // Inside of an E'' literal what follows still has escapes.
                self.at += 1;
            } else if escapes && byte == b'\\' {
                self.at += 1;
            }
        }
        0
    }

    /// `$tag$ ... $tag$`, or a parameter.
    fn dollar(&mut self) -> usize {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_some_and(is_name_start) {
            self.skip(|byte| is_name(byte) && byte != b'$');
        }
        if self.peek(0) != Some(b'$') {
            return 0;
        }
        self.at += 1;
        let tag = self.bytes.get(start..self.at).unwrap_or_default().to_vec();
        while self.at < self.bytes.len() && !self.starts_with(&tag) {
            self.at += 1;
        }
        self.at += tag.len();
        0
    }
}

fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-'
            | b'*'
            | b'/'
            | b'<'
            | b'>'
            | b'='
            | b'~'
            | b'!'
            | b'@'
            | b'#'
            | b'%'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
    )
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_name(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

#[cfg(test)]
mod tests {
    use pg_query::protobuf::Token;

    use super::*;

    #[test]
    fn only_what_the_lexer_reads_as_operators_counts() {
        let run = "-+".repeat(50);
        for (text, expected) in [
            (format!("select 1 {run} 2"), 100),
            (format!("-- {run}\nselect 1 + 2"), 1),
            (format!("{}\nselect 1", "-".repeat(100)), 0),
            (format!("/* {run} */ select 1"), 0),
            (format!("/*{}*/ select 1", "*".repeat(100)), 0),
            (format!("select '{run}', \"{run}\""), 0),
            (format!("select 'a''{run}'"), 0),
            (format!("select e'\\'{run}', E'{run}'"), 0),
            (format!("select 'a\\' {run} '"), 100),
            (format!("select $${run}$$, $a1${run}$$ $b$ $a1$"), 0),
            (format!("select a$x${run}$x$"), 100),
            (format!("select $1{run}2"), 100),
            (format!("select \u{e9}e'\\' {run} '"), 100),
            // A comment that begins in a run ends it, after the lexer has read all of it.
            (format!("select 1 +--{run}\n2"), 103),
            ("/*".repeat(60), 118),
        ] {
            assert_eq!(longest_run(&text, 1000), expected, "{text}");
        }
    }

    /// Whatever the lexer reads as an operator is in a run that is as long at least.
    #[test]
    fn no_operator_of_the_lexers_is_missed() {
        let pieces = [
            "'", "\"", "$", "$$", "$a$", "e'", "E'", "U&'", "b'", "x", "a", "\\", "-", "--", "/",
            "*", "/*", "*/", "+", "<", "=", "#", "\n", "\r", " ", "1", "1e", "\u{e9}", ";", "''",
        ];
        let mut state = 7_u64;
        let mut seen = 0;
        for _ in 0..60_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let index = usize::try_from(state >> 33).unwrap_or(0) % pieces.len();
                text.push_str(pieces.get(index).copied().unwrap_or_default());
            }
            let Ok(scanned) = pg_query::scan(&text) else {
                continue;
            };
            let run = longest_run(&text, 1000);
            for token in &scanned.tokens {
                let (start, end) = (token.start.unsigned_abs(), token.end.unsigned_abs());
                let piece = text
                    .as_bytes()
                    .get(start as usize..end as usize)
                    .unwrap_or_default();
                let comment = matches!(
                    Token::try_from(token.token),
                    Ok(Token::SqlComment | Token::CComment)
                );
                if !comment && !piece.is_empty() && piece.iter().all(|byte| is_operator(*byte)) {
                    seen += 1;
                    assert!(run >= piece.len(), "{text:?}: {piece:?}, {run}");
                }
            }
        }
        assert!(seen > 10_000, "only {seen} operators were compared");
    }
}
