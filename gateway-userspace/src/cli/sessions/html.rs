//! A session as one HTML page without scripts or anything from elsewhere. Every text in it comes
//! from an agent, a database or a log: all of it is escaped.

use std::io::{self, Write};

use super::{outcome, replay::why, verdict};
use crate::{
    approval::{visible, visible_line},
    audit::{Direction, Event, Item, RecordedMessage, StatementDecided, Transcript},
    protocol::postgres::{self, Content},
};

const HEAD: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
<meta name=\"color-scheme\" content=\"light dark\">\n";

const STYLE: &str = "<style>
:root { color-scheme: light dark; --line: #8884; --faint: #888; --good: #18794e; --bad: #c62a2f; --warn: #ad5700 }
@media (prefers-color-scheme: dark) { :root { --good: #4cc38a; --bad: #ff6369; --warn: #ffb224 } }
body { font: 14px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem } dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem }
dt { color: var(--faint) } dd { margin: 0; overflow-wrap: anywhere }
section { border-top: 1px solid var(--line); padding: .6rem 0 } section > p { margin: .2rem 0 }
time { color: var(--faint); font-variant-numeric: tabular-nums; margin-right: .6rem }
pre { font: 13px/1.4 ui-monospace, monospace; margin: .3rem 0; white-space: pre-wrap; overflow-wrap: anywhere }
table { border-collapse: collapse; font: 13px/1.4 ui-monospace, monospace; margin: .3rem 0; display: block; overflow-x: auto }
th, td { border: 1px solid var(--line); padding: .1rem .5rem; text-align: left; white-space: pre-wrap }
.good { color: var(--good) } .bad { color: var(--bad) } .warn { color: var(--warn) } .faint { color: var(--faint) }
</style>
";

/// Writes the page, item by item.
pub fn write(transcript: &mut Transcript, out: &mut impl Write) -> anyhow::Result<()> {
    let mut page = Page {
        out,
        open: Open::Nothing,
    };
    let title = escaped(&format!("Session {}", transcript.session()));
    write!(
        page.out,
        "{HEAD}<title>{title}</title>\n{STYLE}</head><body>\n<h1>{title}</h1>\n"
    )?;
    while let Some(item) = transcript.read()? {
        match &item {
            Item::Entry(entry) => {
                if let Some(event) = &entry.event {
                    page.entry(&entry.time, event)?;
                }
            }
            Item::Message(message) => page.message(message)?,
        }
    }
    page.close()?;
    if transcript.is_missing() {
        writeln!(
            page.out,
            "<p class=\"warn\">Its messages were recorded, and the recording is not there any more.</p>"
        )?;
    }
    writeln!(page.out, "</body></html>")?;
    Ok(())
}

/// Which element is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Section,
    Table,
}

struct Page<W> {
    out: W,
    open: Open,
}

impl<W: Write> Page<W> {
    fn close_table(&mut self) -> io::Result<()> {
        if self.open == Open::Table {
            writeln!(self.out, "</table>")?;
            self.open = Open::Section;
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.close_table()?;
        if self.open == Open::Section {
            writeln!(self.out, "</section>")?;
            self.open = Open::Nothing;
        }
        Ok(())
    }

    fn section(&mut self) -> io::Result<()> {
        self.close()?;
        writeln!(self.out, "<section>")?;
        self.open = Open::Section;
        Ok(())
    }

    fn paragraph(&mut self, class: &str, text: &str) -> io::Result<()> {
        self.close_table()?;
        writeln!(
            self.out,
            "<p class=\"{class}\">{}</p>",
            escaped(&visible_line(text))
        )
    }

    fn table(&mut self) -> io::Result<()> {
        if self.open != Open::Table {
            if self.open == Open::Nothing {
                self.section()?;
            }
            writeln!(self.out, "<table>")?;
            self.open = Open::Table;
        }
        Ok(())
    }

    fn entry(&mut self, time: &str, event: &Event) -> io::Result<()> {
        match event {
            Event::SessionOpened(opened) => {
                self.close()?;
                write!(self.out, "<dl>")?;
                let process = &opened.process;
                let name = process.executable.as_deref().unwrap_or(&process.comm);
                for (key, value) in [
                    ("opened", time.to_owned()),
                    ("job", opened.job.clone()),
                    (
                        "database",
                        format!("{} as {}", opened.database, opened.login),
                    ),
                    ("dialled", opened.original.clone()),
                    (
                        "process",
                        format!("{name}, pid {}, uid {}", process.pid, process.uid),
                    ),
                    ("command", process.command_line.clone().unwrap_or_default()),
                ] {
                    let value = escaped(&visible_line(&value.replace('\0', " ")));
                    write!(self.out, "<dt>{key}</dt><dd>{value}</dd>")?;
                }
                writeln!(self.out, "</dl>")
            }
            Event::StatementDecided(decided) => self.decided(time, decided),
            Event::StatementCompleted(done) => {
                let (word, _) = outcome(&done.outcome);
                let text = format!(
                    "{word}: {} rows, {} bytes, {} cells masked, {} \u{b5}s",
                    done.rows, done.bytes, done.cells_masked, done.duration_us
                );
                self.paragraph("faint", &text)
            }
            Event::ApprovalRequested(requested) => {
                self.paragraph("warn", &format!("held as {}", requested.approval))
            }
            Event::ApprovalDecided(answer) => {
                let (word, class) = if answer.approve {
                    ("approved", "good")
                } else {
                    ("denied", "bad")
                };
                let reason = answer.reason.as_deref().unwrap_or("no reason given");
                self.paragraph(class, &format!("{word} by {}: {reason}", answer.by))
            }
            Event::SessionClosed(closed) => {
                self.section()?;
                let text = format!(
                    "closed {time}: {}; {} statements, {} rows, {} cells masked",
                    closed.reason, closed.statements, closed.rows, closed.cells_masked
                );
                self.paragraph("faint", &text)
            }
            _ => Ok(()),
        }
    }

    fn decided(&mut self, time: &str, decided: &StatementDecided) -> io::Result<()> {
        self.section()?;
        let (word, _) = verdict(&decided.decision);
        let class = match word {
            "allow" => "good",
            "deny" => "bad",
            _ => "warn",
        };
        writeln!(
            self.out,
            "<p><time>{}</time>#{} {} <b class=\"{class}\">{word}</b> {}</p>",
            escaped(time),
            decided.statement,
            decided.phase.word(),
            escaped(&visible_line(&why(&decided.decision))),
        )?;
        writeln!(
            self.out,
            "<pre>{}</pre>",
            escaped(&visible(&decided.text.shown().0))
        )?;
        for (number, parameter) in decided.parameters.iter().enumerate() {
            let value = parameter.as_ref().map_or_else(
                || "NULL".to_owned(),
                |content| format!("'{}'", content.shown().0),
            );
            self.paragraph("faint", &format!("${} = {value}", number + 1))?;
        }
        if !decided.masked.is_empty() {
            self.paragraph("warn", &format!("masked: {}", decided.masked.join(", ")))?;
        }
        Ok(())
    }

    fn message(&mut self, message: &RecordedMessage) -> io::Result<()> {
        // What the client asked is in the decisions.
        if message.direction == Direction::Frontend {
            return Ok(());
        }
        if let Some(withheld) = message.withheld {
            if !matches!(message.tag, b'D' | b'd') {
                return Ok(());
            }
            let text = format!(
                "{} messages with rows, {} bytes, not kept",
                withheld.messages, withheld.bytes
            );
            return self.paragraph("faint", &text);
        }
        match postgres::shown(message.direction, message.tag, &message.body).content {
            Content::Columns { columns } => {
                self.close_table()?;
                self.table()?;
                self.row("th", columns.iter().map(|name| Some(name.as_str())))
            }
            Content::Values { values } => {
                self.table()?;
                self.row("td", values.iter().map(Option::as_deref))
            }
            Content::Text { text } if message.tag == b'd' => {
                self.table()?;
                self.row("td", std::iter::once(Some(text.trim_end_matches('\n'))))
            }
            Content::Text { text } if matches!(message.tag, b'C' | b'A') => {
                self.paragraph("faint", &text)
            }
            Content::Report {
                severity,
                code,
                text,
                detail,
                hint,
            } => {
                let class = if message.tag == b'E' { "bad" } else { "faint" };
                self.paragraph(class, &format!("{severity} {code}: {text}"))?;
                for (name, text) in [("DETAIL", detail), ("HINT", hint)] {
                    if let Some(text) = text {
                        self.paragraph("faint", &format!("{name}: {text}"))?;
                    }
                }
                Ok(())
            }
            Content::Text { .. } | Content::Nothing {} | Content::Hex { .. } => Ok(()),
        }
    }

    fn row<'v>(
        &mut self,
        cell: &str,
        values: impl Iterator<Item = Option<&'v str>>,
    ) -> io::Result<()> {
        write!(self.out, "<tr>")?;
        for value in values {
            match value {
                Some(value) => {
                    let value = escaped(&visible_line(value));
                    write!(self.out, "<{cell}>{value}</{cell}>")?;
                }
                None => write!(self.out, "<{cell} class=\"faint\">NULL</{cell}>")?,
            }
        }
        writeln!(self.out, "</tr>")
    }
}

/// Text for an element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
