//! Names of database objects as policies write them: `schema.name (column, column)`.

use std::fmt;

use super::glob::Glob;

/// A pattern over a schema and the name of an object in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectPattern {
    /// The schema.
    pub schema: Glob,
    /// The object.
    pub name: Glob,
}

impl ObjectPattern {
    /// True if both parts match.
    pub fn matches(&self, schema: &str, name: &str) -> bool {
        self.schema.matches(schema) && self.name.matches(name)
    }

    /// True if it is `*.*`.
    pub fn is_everything(&self) -> bool {
        self.schema.is_any() && self.name.is_any()
    }
}

/// What a rule is about: objects, and for some verbs the columns it is narrowed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The objects.
    pub object: ObjectPattern,
    /// The columns; `None`: all.
    pub columns: Option<Vec<Glob>>,
}

impl Target {
    /// Parses `schema.name` or `schema.name (column, column)`. `*` matches any run of characters
    /// within a part; a part in double quotes is taken as it stands.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut scanner = Scanner::new(text);
        let parts = scanner.parts()?;
        let [schema, name] = exactly(parts, text)?;
        let columns = if scanner.eat('(') {
            Some(scanner.columns(text)?)
        } else {
            None
        };
        scanner.end(text)?;
        Ok(Self {
            object: ObjectPattern { schema, name },
            columns,
        })
    }

    /// True if the rule is about this column of an object that matches.
    pub fn covers_column(&self, column: &str) -> bool {
        match &self.columns {
            None => true,
            Some(columns) => columns.iter().any(|glob| glob.matches(column)),
        }
    }
}

/// A pattern over single columns: `schema.table.column`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ColumnPattern {
    /// The relations.
    pub object: ObjectPattern,
    /// The columns.
    pub column: Glob,
}

impl ColumnPattern {
    /// Parses `schema.table.column`, with the same rules as [`Target::parse`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut scanner = Scanner::new(text);
        let parts = scanner.parts()?;
        let found = parts.len();
        let Ok([schema, name, column]) = <[Glob; 3]>::try_from(parts) else {
            return Err(PatternError(format!(
                "`{text}` has {found} part(s); write schema.table.column, for example public.customers.email"
            )));
        };
        scanner.end(text)?;
        Ok(Self {
            object: ObjectPattern { schema, name },
            column,
        })
    }
}

/// Why a name is not a pattern; the message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

/// An identifier as a policy (and SQL) would write it: quoted only where it must be.
pub fn quoted(identifier: &str) -> String {
    let plain = !identifier.is_empty()
        && !identifier.starts_with(|c: char| c.is_ascii_digit())
        && identifier
            .chars()
            .all(|c| is_bare(c) && c != '*' && !c.is_ascii_uppercase());
    if plain {
        identifier.to_owned()
    } else {
        format!("\"{}\"", identifier.replace('"', "\"\""))
    }
}

/// `schema.name`, each part as [`quoted`] writes it.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

impl fmt::Display for ObjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", part(&self.schema), part(&self.name))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if let Some(columns) = &self.columns {
            let columns: Vec<String> = columns.iter().map(part).collect();
            write!(f, " ({})", columns.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for ColumnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.object, part(&self.column))
    }
}

fn part(glob: &Glob) -> String {
    match glob.as_literal() {
        Some(text) => quoted(text),
        None => glob.to_string(),
    }
}

fn exactly(parts: Vec<Glob>, text: &str) -> Result<[Glob; 2], PatternError> {
    let found = parts.len();
    <[Glob; 2]>::try_from(parts).map_err(|parts| {
        let advice = match (found, parts.first()) {
            (1, Some(only)) if only.is_any() => "write \"*.*\" for everything".to_owned(),
            (1, Some(only)) => format!("write schema.name, for example public.{}", part(only)),
            _ => {
                "write schema.name; columns stand in parentheses: schema.table (column)".to_owned()
            }
        };
        PatternError(format!("`{text}` has {found} part(s); {advice}"))
    })
}

/// Characters of a part that is not quoted.
fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '_' | '$' | '*')
        || (!c.is_ascii() && c.is_alphanumeric())
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.trim() }
    }

    fn eat(&mut self, wanted: char) -> bool {
        match self.rest.trim_start().strip_prefix(wanted) {
            Some(after) => {
                self.rest = after.trim_start();
                true
            }
            None => false,
        }
    }

    fn parts(&mut self) -> Result<Vec<Glob>, PatternError> {
        let mut parts = vec![self.part()?];
        while self.eat('.') {
            parts.push(self.part()?);
        }
        Ok(parts)
    }

    fn columns(&mut self, text: &str) -> Result<Vec<Glob>, PatternError> {
        let mut columns = vec![self.part()?];
        while self.eat(',') {
            columns.push(self.part()?);
        }
        if self.eat(')') {
            return Ok(columns);
        }
        if self.rest.is_empty() {
            return Err(PatternError(format!(
                "`{text}` has no closing parenthesis; inside [a, list] put quotes around it: [\"public.customers (id, email)\"]"
            )));
        }
        Err(PatternError(format!(
            "`{text}`: expected `,` or `)` before `{}`",
            self.rest
        )))
    }

    fn part(&mut self) -> Result<Glob, PatternError> {
        if let Some(inside) = self.rest.strip_prefix('"') {
            return self.quoted_part(inside);
        }
        let end = self.rest.find(|c| !is_bare(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            let found = match self.rest.chars().next() {
                Some(c) => format!("`{c}`"),
                None => "the end".to_owned(),
            };
            return Err(PatternError(format!(
                "expected a name, found {found}; a name with other characters than letters, digits, _ and $ stands in double quotes"
            )));
        }
        // The server folds an unquoted name to lower case; a policy that silently did the same,
        // or did not, would miss the table that its author meant.
        if name.contains(|c: char| c.is_ascii_uppercase()) {
            return Err(PatternError(format!(
                "`{name}` has upper-case letters: write {} for the table that SQL calls {name} without quotes, or \"{name}\" (in double quotes) for one that was created in quotes",
                name.to_ascii_lowercase()
            )));
        }
        self.rest = rest.trim_start();
        Ok(Glob::new(name))
    }

    fn quoted_part(&mut self, inside: &'a str) -> Result<Glob, PatternError> {
        let mut name = String::new();
        let mut chars = inside.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '"' {
                name.push(c);
            } else if chars.peek().is_some_and(|(_, next)| *next == '"') {
                name.push('"');
                chars.next();
            } else {
                self.rest = inside.get(at + 1..).unwrap_or_default().trim_start();
                if name.is_empty() {
                    return Err(PatternError("a name in double quotes is empty".to_owned()));
                }
                return Ok(Glob::literal(&name));
            }
        }
        Err(PatternError(format!(
            "`\"{inside}` has no closing double quote"
        )))
    }

    fn end(&self, text: &str) -> Result<(), PatternError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(PatternError(format!(
            "`{text}`: unexpected `{}`; a name with other characters than letters, digits, _ and $ stands in double quotes",
            self.rest
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn error(text: &str) -> String {
        Target::parse(text)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn names_quoted_names_and_column_lists_are_read() {
        let t = target("public.customers (id, e_*)");
        assert!(t.object.matches("public", "customers"));
        assert!(!t.object.matches("public", "customers2"));
        assert!(t.covers_column("id") && t.covers_column("e_mail") && !t.covers_column("email"));
        let t = target("\"Odd Name\".t");
        assert!(t.object.matches("Odd Name", "t") && !t.object.matches("odd name", "t"));
        let t = target(" \"a\"\"b\" . \"x.y (z)\"  ( \"Q\" , b ) ");
        assert!(t.object.matches("a\"b", "x.y (z)"));
        assert!(t.covers_column("Q") && t.covers_column("b") && !t.covers_column("q"));
        assert_eq!(t.to_string(), "\"a\"\"b\".\"x.y (z)\" (\"Q\", b)");
    }

    #[test]
    fn a_star_in_quotes_is_a_star_and_not_a_wildcard() {
        let t = target("public.\"a*\"");
        assert!(t.object.matches("public", "a*") && !t.object.matches("public", "ab"));
        assert_eq!(target(&t.to_string()), t);
    }

    #[test]
    fn everything_is_star_dot_star_only() {
        assert!(target("*.*").object.is_everything());
        assert!(!target("public.*").object.is_everything());
        assert!(!target("*.\"*\"").object.is_everything());
    }

    #[test]
    fn what_is_written_back_reads_the_same() {
        for text in ["public.t", "*.a*", "\"A\".\"1\" (x, \"y z\", *)", "p.größe"] {
            let t = target(text);
            assert_eq!(target(&t.to_string()), t, "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        assert!(error("orders").contains("public.orders"));
        assert!(error("*").contains("\"*.*\""));
        assert!(error("a.b.c").contains("3 part(s)"));
        assert!(error("public.customers (id").contains("put quotes around it"));
        assert!(error("public.Orders").contains("write orders"));
        assert!(error("public.order-items").contains("double quotes"));
        assert!(error("public.").contains("found the end"));
        assert!(error("").contains("found the end"));
        assert!(error("public.t ()").contains("found `)`"));
        assert!(error("public.t (a,)").contains("found `)`"));
        assert!(error("public.t (a b)").contains("expected `,` or `)`"));
        assert!(error("\"abc.t").contains("no closing double quote"));
        assert!(error("\"\".t").contains("empty"));
        assert!(error("public.t (a) x").contains("unexpected `x`"));
    }

    #[test]
    fn a_column_pattern_has_three_parts() {
        let pattern = ColumnPattern::parse("*.*.ssn").unwrap_or_else(|error| panic!("{error}"));
        assert!(pattern.object.matches("x", "y") && pattern.column.matches("ssn"));
        assert_eq!(pattern.to_string(), "*.*.ssn");
        let error = ColumnPattern::parse("public.customers")
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default();
        assert!(error.contains("schema.table.column"), "{error}");
    }
}
