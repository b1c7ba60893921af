//! Reads a script as psql does: statements up to their semicolon, backslash commands, variables,
//! and the data that follows a COPY. Follows `psqlscan.l`.

use std::collections::HashMap;

/// psql's variables.
pub type Variables = HashMap<String, String>;

/// What comes next in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text to send.
    Sql(String),
    /// A backslash command, its arguments with quotes and variables resolved. What was read of
    /// a statement so far stays: see [`Script::take_buffer`].
    Command {
        /// Name, without the backslash.
        name: String,
        /// Arguments.
        args: Vec<String>,
        /// The line as it is, from behind the name.
        line: String,
    },
}

/// A script and how far it is read.
#[derive(Debug)]
pub struct Script {
    text: String,
    at: usize,
    buffer: String,
    parens: usize,
    begins: usize,
    /// First letters of the leading key words that tell a function's definition.
    leading: String,
    identifiers: usize,
}

impl Script {
    /// A script from its start.
    pub fn new(text: String) -> Self {
        Self {
            text,
            at: 0,
            buffer: String::new(),
            parens: 0,
            begins: 0,
            leading: String::new(),
            identifiers: 0,
        }
    }

    /// What was read of a statement that has no end yet. It starts anew.
    pub fn take_buffer(&mut self) -> String {
        self.parens = 0;
        self.begins = 0;
        self.leading.clear();
        self.identifiers = 0;
        std::mem::take(&mut self.buffer).trim().to_owned()
    }

    /// The lines after the current one, up to `\.`; they are taken out of the script.
    pub fn take_data(&mut self) -> Vec<u8> {
        let rest = self.rest();
        let start = self.at + rest.find('\n').map_or(rest.len(), |line| line + 1);
        let mut end = start;
        let mut after = self.text.len();
        for line in self.text[start..].split_inclusive('\n') {
            if line.trim_end_matches(['\n', '\r']) == "\\." {
                after = end + line.len();
                break;
            }
            end += line.len();
        }
        let data = self.text.as_bytes()[start..end].to_vec();
        self.text.replace_range(start..after, "");
        data
    }

    /// The next statement or command. `standard`: the server's `standard_conforming_strings`.
    pub fn next(&mut self, variables: &Variables, standard: bool) -> Option<Event> {
        loop {
            let rest = self.rest();
            let Some(first) = rest.bytes().next() else {
                let last = self.take_buffer();
                return (!last.is_empty()).then_some(Event::Sql(last));
            };
            match first {
                b'-' if rest.starts_with("--") => {
                    let length = rest.find('\n').unwrap_or(rest.len());
                    self.keep(length);
                }
                b'/' if rest.starts_with("/*") => self.keep(comment(rest)),
                b'\'' => self.keep(quoted(rest, '\'', !standard)),
                b'"' => self.keep(quoted(rest, '"', false)),
                b'$' => {
                    let length = dollar_quoted(rest).unwrap_or(1);
                    self.keep(length);
                }
                b'(' => {
                    self.parens += 1;
                    self.keep(1);
                }
                b')' => {
                    self.parens = self.parens.saturating_sub(1);
                    self.keep(1);
                }
                b';' if self.parens == 0 && self.begins == 0 => {
                    self.at += 1;
                    let text = self.take_buffer();
                    if !text.is_empty() {
                        return Some(Event::Sql(text));
                    }
                }
                b':' => self.variable(variables),
                b'\\' => {
                    if rest.starts_with("\\;") || rest.starts_with("\\:") {
                        self.at += 1;
                        self.keep(1);
                        continue;
                    }
                    return Some(self.command(variables));
                }
                byte if is_name_start(byte) => self.word(standard),
                _ => {
                    let length = rest.chars().next().map_or(1, char::len_utf8);
                    self.keep(length);
                }
            }
        }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn keep(&mut self, length: usize) {
        let end = self.at + length;
        self.buffer.push_str(&self.text[self.at..end]);
        self.at = end;
    }

    /// An identifier or key word; a string whose prefix it is goes with it.
    fn word(&mut self, standard: bool) {
        let rest = self.rest();
        let length = rest
            .bytes()
            .position(|byte| !is_name_start(byte) && !byte.is_ascii_digit() && byte != b'$')
            .unwrap_or(rest.len());
        let word = rest[..length].to_ascii_lowercase();
        if rest[length..].starts_with('\'') && word.len() == 1 {
            let escapes = word == "e" || (!standard && !matches!(word.as_str(), "b" | "x"));
            let string = quoted(&rest[length..], '\'', escapes);
            return self.keep(length + string);
        }
        self.keep(length);
        if self.identifiers < 4 {
            let known = matches!(
                word.as_str(),
                "create" | "function" | "procedure" | "or" | "replace"
            );
            self.leading.push(if known {
                word.as_bytes()[0].into()
            } else {
                '-'
            });
        }
        self.identifiers += 1;
        let defines = ["cf", "cp", "corf", "corp"]
            .iter()
            .any(|leading| self.leading.starts_with(leading));
        if defines && self.parens == 0 {
            match word.as_str() {
                "begin" => self.begins += 1,
                "case" if self.begins > 0 => self.begins += 1,
                "end" => self.begins = self.begins.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn variable(&mut self, variables: &Variables) {
        let rest = self.rest();
        if rest.starts_with("::") || rest.starts_with(":=") {
            return self.keep(2);
        }
        match variable(rest, variables) {
            Some((length, value)) => {
                self.buffer.push_str(&value);
                self.at += length;
            }
            None => self.keep(1),
        }
    }

    fn command(&mut self, variables: &Variables) -> Event {
        let rest = self.rest();
        let line = rest.split('\n').next().unwrap_or_default();
        let tail = &line[1..];
        let length = tail
            .find(|letter: char| letter.is_whitespace() || letter == '\\')
            .unwrap_or(tail.len());
        let (name, tail) = tail.split_at(length);
        let whole = matches!(name, "copy" | "!" | "sf" | "sv" | "ef" | "ev");
        let (args, read) = if whole {
            (vec![tail.trim().to_owned()], tail.len())
        } else {
            arguments(tail, variables)
        };
        let event = Event::Command {
            name: name.to_owned(),
            args,
            line: tail.trim().to_owned(),
        };
        self.at += 1 + length + read;
        event
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// Length of a comment with those nested in it.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            Some(_) | None => at += 1,
        }
    }
    text.len()
}

/// Length of a string in quotes; a doubled quote is read as two strings.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote {
            return at + 1;
        }
    }
    text.len()
}

fn dollar_quoted(text: &str) -> Option<usize> {
    let end = text[1..].find('$')? + 1;
    let tag = &text[1..end];
    let fits = tag
        .bytes()
        .all(|byte| is_name_start(byte) || byte.is_ascii_digit())
        && !tag.starts_with(|letter: char| letter.is_ascii_digit());
    if !fits {
        return None;
    }
    let mark = &text[..=end];
    let close = text[end + 1..]
        .find(mark)
        .map_or(text.len(), |at| end + 1 + at + mark.len());
    Some(close)
}

/// `:name`, `:'name'`, `:"name"`, `:{?name}`: its length and value, if the variable is set.
fn variable(text: &str, variables: &Variables) -> Option<(usize, String)> {
    let name_of = |text: &str| -> String {
        text.chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    let tail = text.get(1..)?;
    if let Some(tail) = tail.strip_prefix("{?") {
        let name = name_of(tail);
        tail[name.len()..].strip_prefix('}')?;
        let set = variables.contains_key(&name);
        return Some((
            name.len() + 4,
            if set { "TRUE" } else { "FALSE" }.to_owned(),
        ));
    }
    let quote = tail
        .chars()
        .next()
        .filter(|letter| matches!(letter, '\'' | '"'));
    let Some(quote) = quote else {
        let name = name_of(tail);
        return Some((1 + name.len(), variables.get(&name)?.clone()));
    };
    let name = name_of(&tail[1..]);
    tail[1 + name.len()..].strip_prefix(quote)?;
    let value = variables.get(&name)?;
    let doubled = value.replace(quote, &format!("{quote}{quote}"));
    Some((name.len() + 3, format!("{quote}{doubled}{quote}")))
}

/// The arguments of a command, and how much of the line they take: a backslash ends them.
fn arguments(line: &str, variables: &Variables) -> (Vec<String>, usize) {
    let mut args = Vec::new();
    let mut arg: Option<String> = None;
    let mut at = 0;
    while let Some(letter) = line[at..].chars().next() {
        match letter {
            '\\' => {
                // `\\` only separates.
                let separator = line[at..].starts_with("\\\\");
                args.extend(arg);
                return (args, at + if separator { 2 } else { 0 });
            }
            letter if letter.is_whitespace() => {
                args.extend(arg.take());
                at += letter.len_utf8();
            }
            '\'' => {
                let length = quoted(&line[at..], '\'', true);
                let inner = line.get(at + 1..at + length - 1).unwrap_or_default();
                arg.get_or_insert_default().push_str(
                    &inner
                        .replace("\\n", "\n")
                        .replace("\\t", "\t")
                        .replace("\\'", "'")
                        .replace("\\\\", "\\"),
                );
                at += length;
            }
            '"' => {
                let length = quoted(&line[at..], '"', false);
                arg.get_or_insert_default().push_str(&line[at..at + length]);
                at += length;
            }
            ':' => {
                let found = variable(&line[at..], variables);
                let (length, value) = found.unwrap_or_else(|| (1, ":".to_owned()));
                arg.get_or_insert_default().push_str(&value);
                at += length;
            }
            letter => {
                arg.get_or_insert_default().push(letter);
                at += letter.len_utf8();
            }
        }
    }
    args.extend(arg);
    (args, line.len())
}

#[cfg(test)]
mod tests {
    use super::{Event, Script, Variables};

    fn events(text: &str, variables: &[(&str, &str)]) -> Vec<Event> {
        let variables: Variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut script = Script::new(text.to_owned());
        std::iter::from_fn(|| script.next(&variables, true)).collect()
    }

    fn sql(text: &str) -> Vec<String> {
        let texts = events(text, &[]).into_iter().map(|event| match event {
            Event::Sql(text) => text,
            Event::Command { name, .. } => format!("\\{name}"),
        });
        texts.collect()
    }

    #[test]
    fn a_semicolon_ends_a_statement_only_outside_of_quotes_comments_parens_and_bodies() {
        assert_eq!(
            sql("select ';' -- ;\n; select $x$ ; $$ $x$; /* ; /* ; */ ; */ select (1;2); select 1"),
            [
                "select ';' -- ;",
                "select $x$ ; $$ $x$",
                "/* ; /* ; */ ; */ select (1;2)",
                "select 1"
            ]
        );
        let body = "create or replace function f() returns int begin atomic select case when true then 1 end; select 2; end";
        assert_eq!(
            sql(&format!("{body}; select E'\\';'; select 'a''b;';")),
            [body, "select E'\\';'", "select 'a''b;'"]
        );
    }

    #[test]
    fn a_statement_may_hold_several_separated_by_escaped_semicolons() {
        assert_eq!(
            sql("select 1\\; select 2; select 3"),
            ["select 1; select 2", "select 3"]
        );
    }

    #[test]
    fn variables_are_put_in_and_what_is_none_stays() {
        assert_eq!(
            events(
                "select :a, :'a', :\"a\", x::int, y[1:2], :b;",
                &[("a", "o'x")]
            ),
            [Event::Sql(
                "select o'x, 'o''x', \"o'x\", x::int, y[1:2], :b".to_owned()
            )]
        );
    }

    #[test]
    fn a_command_ends_at_the_line_or_the_next_backslash() {
        assert_eq!(
            events(
                "\\set f :d '/x y'\nselect 1 \\gset p_ \\echo hi\n",
                &[("d", "/tmp")]
            ),
            [
                Event::Command {
                    name: "set".to_owned(),
                    args: vec!["f".to_owned(), "/tmp".to_owned(), "/x y".to_owned()],
                    line: "f :d '/x y'".to_owned(),
                },
                Event::Command {
                    name: "gset".to_owned(),
                    args: vec!["p_".to_owned()],
                    line: "p_ \\echo hi".to_owned(),
                },
                Event::Command {
                    name: "echo".to_owned(),
                    args: vec!["hi".to_owned()],
                    line: "hi".to_owned(),
                },
                Event::Sql("select 1".to_owned()),
            ]
        );
    }

    #[test]
    fn the_data_of_a_copy_is_taken_out_of_the_script() {
        let mut script =
            Script::new("copy t from stdin; select 1;\n1\t2\n\\.\nselect 2;".to_owned());
        let none = Variables::new();
        assert_eq!(
            script.next(&none, true),
            Some(Event::Sql("copy t from stdin".to_owned()))
        );
        assert_eq!(script.take_data(), b"1\t2\n");
        assert_eq!(
            script.next(&none, true),
            Some(Event::Sql("select 1".to_owned()))
        );
        assert_eq!(
            script.next(&none, true),
            Some(Event::Sql("select 2".to_owned()))
        );
        assert_eq!(script.next(&none, true), None);
    }
}
