//! `cordon sessions replay`: a session on the terminal, at its own pace or another.

use std::{
    io::{self, Write},
    str::FromStr,
    time::Duration,
};

use super::{
    super::style::{Output, Style},
    line::Line,
    outcome, verdict,
};
use crate::{
    approval::{visible, visible_line},
    audit::{
        ApprovalDecided, ApprovalRequested, Content, Decision, Direction, Event, Item, ReadError,
        RecordedMessage, SessionClosed, SessionOpened, StatementCompleted, StatementDecided,
        Transcript,
    },
    protocol::postgres,
};

/// Longer pauses are shortened.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How fast a session is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was.
    Times(f64),
    /// Without pauses.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times: Option<f64> = text.strip_suffix('x').unwrap_or(text).parse().ok();
        times
            .filter(|times| times.is_finite() && *times > 0.0)
            .map(Self::Times)
            .ok_or_else(|| "write how many times as fast, for example 4x, or max".to_owned())
    }
}

/// Where the items of a session come from.
pub trait Items {
    /// The next one.
    fn next(&mut self) -> Result<Option<Item>, ReadError>;
    /// Messages were recorded, and are gone.
    fn is_missing(&self) -> bool;
}

impl Items for Transcript {
    fn next(&mut self) -> Result<Option<Item>, ReadError> {
        Transcript::read(self)
    }

    fn is_missing(&self) -> bool {
        Transcript::is_missing(self)
    }
}

/// Prints the session; for programs, as JSON lines.
pub fn replay<W: Write>(
    output: &mut Output<W>,
    items: &mut impl Items,
    speed: Speed,
    rows: u64,
    mut pause: impl FnMut(Duration),
) -> anyhow::Result<()> {
    if output.is_json() {
        while let Some(item) = items.next()? {
            output.json(&Line::of(&item))?;
        }
        return Ok(());
    }
    let mut began = None;
    let mut now = 0;
    let mut result = ResultRows {
        most: rows,
        shown: 0,
    };
    while let Some(item) = items.next()? {
        let at = item.mono_ns();
        let start = *began.get_or_insert(at);
        if now > 0 {
            wait(
                Duration::from_nanos(at.saturating_sub(now)),
                speed,
                &mut pause,
            );
        }
        now = now.max(at);
        let since = Duration::from_nanos(at.saturating_sub(start));
        match &item {
            Item::Entry(entry) => {
                result.end(output)?;
                if let Some(event) = &entry.event {
                    self::event(output, &entry.time, event, since)?;
                }
            }
            Item::Message(message) => self::message(output, message, &mut result)?,
        }
        output.flush()?;
    }
    if items.is_missing() {
        output.line("")?;
        let missing = output.paint(
            Style::Warning,
            "its messages were recorded, and the recording is not there any more",
        );
        output.line(&missing)?;
    }
    Ok(())
}

fn wait(gap: Duration, speed: Speed, pause: &mut impl FnMut(Duration)) {
    let Speed::Times(times) = speed else { return };
    let seconds = gap.min(MAX_PAUSE).as_secs_f64() / times;
    if let Ok(gap) = Duration::try_from_secs_f64(seconds)
        && !gap.is_zero()
    {
        pause(gap);
    }
}

/// How many rows of the result were shown.
struct ResultRows {
    most: u64,
    shown: u64,
}

impl ResultRows {
    /// True if one more is to be shown.
    fn one_more(&mut self) -> bool {
        self.shown += 1;
        self.most == 0 || self.shown <= self.most
    }

    /// Says how many were left out.
    fn end<W: Write>(&mut self, output: &mut Output<W>) -> io::Result<()> {
        let left_out = self.shown.saturating_sub(self.most);
        if self.most > 0 && left_out > 0 {
            let more = output.paint(Style::Faint, &format!("    | ... {left_out} rows more"));
            output.line(&more)?;
        }
        self.shown = 0;
        Ok(())
    }
}

fn message<W: Write>(
    output: &mut Output<W>,
    message: &RecordedMessage,
    result: &mut ResultRows,
) -> io::Result<()> {
    // What the client asked is in the decisions.
    if message.direction == Direction::Frontend {
        return Ok(());
    }
    if let Some(withheld) = message.withheld {
        if !matches!(message.tag, b'D' | b'd') {
            return Ok(());
        }
        result.end(output)?;
        let line = format!(
            "    | {} messages with rows, {} bytes, not kept",
            withheld.messages, withheld.bytes
        );
        let line = output.paint(Style::Faint, &line);
        return output.line(&line);
    }
    let shown = postgres::shown(message.direction, message.tag, &message.body);
    match shown.content {
        postgres::Content::Columns { columns } => {
            result.end(output)?;
            let columns: Vec<String> = columns.iter().map(|name| visible_line(name)).collect();
            let heading = output.paint(Style::Strong, &columns.join(" | "));
            output.line(&format!("    | {heading}"))
        }
        postgres::Content::Values { values } => {
            if !result.one_more() {
                return Ok(());
            }
            let cells: Vec<String> = values
                .iter()
                .map(|value| match value {
                    None => output.paint(Style::Faint, "NULL"),
                    Some(value) => output.marked(&visible_line(value)),
                })
                .collect();
            output.line(&format!("    | {}", cells.join(" | ")))
        }
        postgres::Content::Report {
            severity,
            code,
            text,
            detail,
            hint,
        } => {
            result.end(output)?;
            let style = if message.tag == b'E' {
                Style::Bad
            } else {
                Style::Faint
            };
            let head = output.paint(style, &visible_line(&format!("{severity} {code}")));
            output.line(&format!("    | {head}: {}", visible_line(&text)))?;
            for (name, text) in [("DETAIL", detail), ("HINT", hint)] {
                if let Some(text) = text {
                    output.line(&format!("    |   {name}: {}", visible_line(&text)))?;
                }
            }
            Ok(())
        }
        postgres::Content::Text { text } if message.tag == b'd' => {
            if !result.one_more() {
                return Ok(());
            }
            let text = visible_line(text.strip_suffix('\n').unwrap_or(&text));
            output.line(&format!("    | {}", output.marked(&text)))
        }
        postgres::Content::Text { text } if matches!(message.tag, b'C' | b'A') => {
            result.end(output)?;
            output.line(&format!("    | {}", visible_line(&text)))
        }
        postgres::Content::Text { .. }
        | postgres::Content::Nothing {}
        | postgres::Content::Hex { .. } => Ok(()),
    }
}

fn event<W: Write>(
    output: &mut Output<W>,
    time: &str,
    event: &Event,
    since: Duration,
) -> io::Result<()> {
    match event {
        Event::SessionOpened(opened) => self::opened(output, time, opened),
        Event::StatementDecided(decided) => decision(output, decided, since),
        Event::StatementCompleted(done) => completion(output, done),
        Event::ApprovalRequested(requested) => self::requested(output, requested),
        Event::ApprovalDecided(answer) => self::answer(output, answer),
        Event::MessageRefused(refused) => {
            let why = format!("refused: {} ({})", refused.reason, refused.sqlstate);
            output.line("")?;
            output.line(&visible_line(&why))
        }
        Event::SessionClosed(closed) => self::closed(output, closed),
        _ => Ok(()),
    }
}

fn opened<W: Write>(output: &mut Output<W>, time: &str, opened: &SessionOpened) -> io::Result<()> {
    let table = super::head(time, opened);
    output.table(&table)
}

fn decision<W: Write>(
    output: &mut Output<W>,
    decided: &StatementDecided,
    since: Duration,
) -> io::Result<()> {
    let (verdict, style) = verdict(&decided.decision);
    output.line("")?;
    let line = format!(
        "{}  #{} {}  {}  {}",
        output.paint(Style::Faint, &format!("+{:.3}s", since.as_secs_f64())),
        decided.statement,
        decided.phase.word(),
        output.paint(style, verdict),
        visible_line(&why(&decided.decision)),
    );
    output.line(&line)?;
    let (text, whole) = decided.text.shown();
    for text_line in visible(&text).lines() {
        let text_line = output.marked(text_line);
        output.line(&format!("    {text_line}"))?;
    }
    if !whole {
        output.line("    (only its beginning is kept in the entry)")?;
    }
    for (number, parameter) in decided.parameters.iter().enumerate() {
        let value = parameter.as_ref().map_or("NULL".to_owned(), literal);
        let value = output.marked(&value);
        output.line(&format!("    ${} = {value}", number + 1))?;
    }
    if !decided.masked.is_empty() {
        let masked = output.paint(Style::Warning, &visible_line(&decided.masked.join(", ")));
        output.line(&format!("    masked: {masked}"))?;
    }
    Ok(())
}

fn requested<W: Write>(output: &mut Output<W>, requested: &ApprovalRequested) -> io::Result<()> {
    let needs: Vec<String> = requested
        .needs
        .iter()
        .map(|need| {
            let group = need.group.as_deref().unwrap_or("the approvers");
            format!("{} of {}", need.count, visible_line(group))
        })
        .collect();
    output.line(&format!(
        "    held as {}, for {}",
        requested.approval,
        needs.join(" and ")
    ))
}

fn answer<W: Write>(output: &mut Output<W>, answer: &ApprovalDecided) -> io::Result<()> {
    let (word, style) = if answer.approve {
        ("approved", Style::Good)
    } else {
        ("denied", Style::Bad)
    };
    let word = output.paint(style, word);
    let reason = answer.reason.as_ref().map_or(String::new(), |reason| {
        format!(": {}", visible_line(reason))
    });
    output.line(&format!(
        "    {word} by {}{reason}",
        visible_line(&answer.by)
    ))
}

fn completion<W: Write>(output: &mut Output<W>, done: &StatementCompleted) -> io::Result<()> {
    let (word, style) = outcome(&done.outcome);
    let word = output.paint(style, &word);
    output.line(&format!(
        "    {word}: {} rows, {} bytes, {} cells masked, {:.3} ms",
        done.rows,
        done.bytes,
        done.cells_masked,
        Duration::from_micros(done.duration_us).as_secs_f64() * 1_000.0
    ))
}

fn closed<W: Write>(output: &mut Output<W>, closed: &SessionClosed) -> io::Result<()> {
    let end = format!(
        "closed: {}; {} statements, {} rows, {} cells masked",
        visible_line(&closed.reason),
        closed.statements,
        closed.rows,
        closed.cells_masked
    );
    output.line("")?;
    let end = output.paint(Style::Faint, &end);
    output.line(&end)
}

/// Why it was decided so.
pub fn why(decision: &Decision) -> String {
    match decision {
        Decision::Allow { grants } => grants.join(", "),
        Decision::Observe {
            would,
            rule,
            reason,
            ..
        } => format!("would {would}: {reason} ({rule})"),
        Decision::Approve { rule, reason, .. } => format!("{reason} ({rule})"),
        Decision::Deny {
            rule, reason, code, ..
        } => format!("{reason} ({rule}, {code})"),
    }
}

/// A value as SQL would write it, so that its end can be seen.
fn literal(content: &Content) -> String {
    let (text, whole) = content.shown();
    let text = format!("'{}'", visible_line(&text).replace('\'', "''"));
    if whole { text } else { format!("{text}...") }
}
