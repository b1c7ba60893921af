//! Text patterns: `*` matches any run of characters, nothing else is special.

use std::fmt;

/// One piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    /// These characters, exactly.
    Text(String),
    /// Any run of characters, the empty one included.
    Any,
}

/// A compiled pattern. Matching is linear in the text for each `*`, without recursion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(Vec<Piece>);

impl Glob {
    /// Compiles a pattern in which every `*` is a wildcard.
    pub fn new(pattern: &str) -> Self {
        let mut pieces = Vec::new();
        for (index, text) in pattern.split('*').enumerate() {
            if index > 0 && pieces.last() != Some(&Piece::Any) {
                pieces.push(Piece::Any);
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            }
        }
        Self(pieces)
    }

    /// A pattern that matches one text only.
    pub fn literal(text: &str) -> Self {
        Self(vec![Piece::Text(text.to_owned())])
    }

    /// True if it is `*` alone.
    pub fn is_any(&self) -> bool {
        matches!(self.0.as_slice(), [Piece::Any])
    }

    /// The text, if no wildcard is in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// True if the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text;
        let mut anchored = true;
        let mut pieces = self.0.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Any => anchored = false,
                Piece::Text(wanted) if anchored => match rest.strip_prefix(wanted.as_str()) {
                    Some(after) => rest = after,
                    None => return false,
                },
                // The last text must end the subject; earlier ones take their first place.
                Piece::Text(wanted) if pieces.peek().is_none() => {
                    return rest.ends_with(wanted.as_str());
                }
                Piece::Text(wanted) => match rest.find(wanted.as_str()) {
                    Some(at) => {
                        rest = rest.get(at + wanted.len()..).unwrap_or_default();
                        anchored = true;
                    }
                    None => return false,
                },
            }
        }
        !anchored || rest.is_empty()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Any => f.write_str("*")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).matches(text)
    }

    #[test]
    fn a_pattern_without_a_star_matches_itself_only() {
        assert!(matches("orders", "orders"));
        assert!(!matches("orders", "orders2"));
        assert!(!matches("orders", "my_orders"));
        assert!(!matches("orders", "Orders"));
        assert!(matches("", ""));
        assert!(!matches("", "x"));
    }

    #[test]
    fn a_star_matches_any_run_of_characters() {
        assert!(matches("*", ""));
        assert!(matches("*", "anything/at all"));
        assert!(matches("refs/heads/agent/*", "refs/heads/agent/fix/1"));
        assert!(!matches("refs/heads/agent/*", "refs/heads/agent"));
        assert!(matches("*_log", "audit_log"));
        assert!(matches("*_log", "_log_log"));
        assert!(!matches("*_log", "audit_logs"));
        assert!(matches("a*b*c", "abbc"));
        assert!(!matches("a*b*c", "acb"));
        assert!(matches("ab*ba", "abba"));
        assert!(!matches("ab*ba", "aba"), "the two ends may not overlap");
        assert!(matches("a**b", "ab"));
    }

    #[test]
    fn nothing_but_the_star_is_special() {
        assert!(!matches("a.c", "abc"));
        assert!(!matches("a?c", "abc"));
        assert!(!matches("[ab]", "a"));
        assert!(matches("ä*ö", "äxxö"));
    }

    #[test]
    fn many_stars_do_not_make_matching_slow() {
        let pattern = "a*".repeat(2_000) + "b";
        assert!(!Glob::new(&pattern).matches(&"a".repeat(20_000)));
    }
}
