//! How commands print: tables and colours for people on a terminal, JSON for programs.

use std::io::{self, IsTerminal as _, StdoutLock, Write};

use serde::Serialize;

use super::table::Table;

/// What a piece of text means; the terminal's theme decides what that looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading or a key.
    Strong,
    /// Less important.
    Faint,
    /// Allowed, verified, done.
    Good,
    /// Needs a look: held, masked, not verified yet.
    Warning,
    /// Denied, failed, changed.
    Bad,
    /// A character that is not what it looks like.
    Marked,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\u{1b}[1m",
            Self::Faint => "\u{1b}[2m",
            Self::Good => "\u{1b}[32m",
            Self::Warning => "\u{1b}[33m",
            Self::Bad => "\u{1b}[31m",
            Self::Marked => "\u{1b}[7m",
        }
    }
}

/// Where and how a command prints.
#[derive(Debug)]
pub struct Output<W> {
    out: W,
    json: bool,
    colour: bool,
    width: usize,
}

/// Used where the terminal does not tell.
const WIDTH: usize = 100;

impl Output<StdoutLock<'static>> {
    /// Standard output: JSON if asked for or if it is no terminal; colours unless `NO_COLOR` is
    /// set or the terminal is dumb. `CLICOLOR_FORCE` makes anything count as a terminal.
    pub fn stdout(json: bool) -> Self {
        let out = io::stdout().lock();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = out.is_terminal() || set("CLICOLOR_FORCE");
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let width =
            rustix::termios::tcgetwinsize(&out).map_or(WIDTH, |size| usize::from(size.ws_col));
        Self {
            json: json || !terminal,
            colour: terminal && !set("NO_COLOR") && !dumb,
            width: if width < 20 { WIDTH } else { width },
            out,
        }
    }
}

impl<W: Write> Output<W> {
    /// Output of a fixed kind.
    #[cfg(test)]
    pub fn new(out: W, json: bool, colour: bool, width: usize) -> Self {
        Self {
            out,
            json,
            colour,
            width,
        }
    }

    /// True if a program reads this.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a value as one line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Prints a line.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// Prints a table, fitted to the terminal's width.
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        for line in table.lines(self.width, |style, text| paint(self.colour, style, text)) {
            self.out.write_all(line.as_bytes())?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// The text in a style.
    pub fn paint(&self, style: Style, text: &str) -> String {
        paint(self.colour, style, text)
    }

    /// A text as [`crate::approval::visible`] makes it, with what it marked standing out.
    pub fn marked(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("<U+") {
            let (before, mark) = rest.split_at(start);
            let Some(end) = mark.find('>') else { break };
            let (mark, behind) = mark.split_at(end + 1);
            out.push_str(before);
            out.push_str(&self.paint(Style::Marked, mark));
            rest = behind;
        }
        out + rest
    }

    /// What was written.
    #[cfg(test)]
    pub fn into_inner(self) -> W {
        self.out
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn paint(colour: bool, style: Style, text: &str) -> String {
    if colour && style != Style::Plain {
        format!("{}{text}\u{1b}[0m", style.code())
    } else {
        text.to_owned()
    }
}
