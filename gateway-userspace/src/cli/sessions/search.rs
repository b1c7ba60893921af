//! `cordon sessions search`: where a text stands in what sessions asked and saw.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use memchr::memmem::Finder;
use serde::Serialize;

use super::{
    super::style::{Output, Style},
    line::sender,
};
use crate::{
    approval::visible_line,
    audit::{Content, Event, RecordingReader, read_entries, rfc3339},
    protocol::postgres,
};

/// Characters shown on each side of a hit.
const AROUND: usize = 60;

/// A place where the text stands.
#[derive(Debug, Serialize)]
struct Hit<'a> {
    session: &'a str,
    time: String,
    /// `statement` or `parameter` of the log, or a message and who sent it.
    place: String,
    /// What stands around it.
    text: String,
}

struct Search<'o, W> {
    output: &'o mut Output<W>,
    finder: Finder<'static>,
    lower: Vec<u8>,
    found: u64,
    most: u64,
    failed: Option<io::Error>,
}

/// Prints where `text` stands; gives the number of places.
pub fn search<W: Write>(
    output: &mut Output<W>,
    dir: &Path,
    text: &str,
    session: Option<&str>,
    most: u64,
) -> anyhow::Result<u64> {
    anyhow::ensure!(!text.is_empty(), "say what to look for");
    let mut search = Search {
        output,
        finder: Finder::new(&text.to_ascii_lowercase()).into_owned(),
        lower: Vec::new(),
        found: 0,
        most,
        failed: None,
    };
    let wanted = |id: &str| session.is_none_or(|prefix| id.starts_with(prefix));
    let mut recorded: BTreeMap<String, u64> = BTreeMap::new();
    read_entries(dir, |entry| {
        match &entry.event {
            Some(Event::StatementDecided(decided)) if wanted(&decided.session) => {
                search.content(&decided.session, &entry.time, "statement", &decided.text);
                for parameter in decided.parameters.iter().flatten() {
                    search.content(&decided.session, &entry.time, "parameter", parameter);
                }
            }
            Some(Event::SessionRecorded(part)) if wanted(&part.session) => {
                recorded.insert(part.session.clone(), part.offset + part.bytes);
            }
            Some(_) | None => {}
        }
        !search.is_done()
    })?;
    for (session, bytes) in &recorded {
        let Some(mut recording) = RecordingReader::open(dir, session, *bytes)? else {
            continue;
        };
        while !search.is_done() {
            let Some(message) = recording.read()? else {
                break;
            };
            // The log has these.
            let decided = matches!(message.tag, b'Q' | b'P' | b'B');
            if decided && sender(message.direction) == "client" {
                continue;
            }
            if search.find(&message.body).is_none() {
                continue;
            }
            let (direction, tag, time_us) = (message.direction, message.tag, message.time_us);
            let shown = postgres::shown(direction, tag, &message.body);
            let place = format!("{} of the {}", shown.message, sender(direction));
            let body = message.body.into_owned();
            let time = rfc3339(recording.unix_us().saturating_add(time_us));
            search.tell(session, &time, &place, &body);
        }
    }
    match search.failed {
        Some(error) => Err(error.into()),
        None => Ok(search.found),
    }
}

impl<W: Write> Search<'_, W> {
    fn is_done(&self) -> bool {
        self.found >= self.most || self.failed.is_some()
    }

    fn content(&mut self, session: &str, time: &str, place: &str, content: &Content) {
        let (text, _) = content.shown();
        if !self.is_done() && self.find(text.as_bytes()).is_some() {
            self.tell(session, time, place, text.as_bytes());
        }
    }

    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        self.lower.clear();
        self.lower.extend(bytes.iter().map(u8::to_ascii_lowercase));
        self.finder.find(&self.lower)
    }

    fn tell(&mut self, session: &str, time: &str, place: &str, bytes: &[u8]) {
        let Some(at) = self.find(bytes) else { return };
        let end = at + self.finder.needle().len() + AROUND;
        let around = bytes.get(at.saturating_sub(AROUND)..end.min(bytes.len()));
        let hit = Hit {
            session,
            time: time.to_owned(),
            place: place.to_owned(),
            text: String::from_utf8_lossy(around.unwrap_or_default()).into_owned(),
        };
        self.found += 1;
        if let Err(error) = self.print(&hit) {
            self.failed = Some(error);
        }
    }

    fn print(&mut self, hit: &Hit<'_>) -> io::Result<()> {
        if self.output.is_json() {
            return self.output.json(hit);
        }
        let head = self.output.paint(
            Style::Faint,
            &format!("{}  {}  {}", hit.session, hit.time, hit.place),
        );
        self.output.line(&head)?;
        let text = self.output.marked(&visible_line(&hit.text));
        self.output.line(&format!("    {text}"))
    }
}
