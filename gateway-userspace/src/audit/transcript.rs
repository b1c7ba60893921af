//! One session as it happened: what the log says of it and its recorded messages, in order of
//! time, in memory that does not grow with it.

use std::{collections::BTreeSet, path::Path};

use super::{
    clock::rfc3339,
    entry::{Entries, Entry, load},
    error::ReadError,
    event::Event,
    recording::{Direction, RecordingReader, Withheld},
    sessions::begin_of,
};

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The log has an entry of it.
    Entry(Box<Entry>),
    /// A message was sent.
    Message(Recorded),
}

/// A recorded message, with what it takes to order it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Nanoseconds since boot.
    pub mono_ns: u64,
    /// RFC 3339.
    pub time: String,
    /// Who sent it.
    pub direction: Direction,
    /// The protocol's tag.
    pub tag: u8,
    /// Something in the body is blotted out.
    pub blotted: bool,
    /// The body; empty if it is withheld.
    pub body: Vec<u8>,
    /// Set if only number and size are kept.
    pub withheld: Option<Withheld>,
}

impl Item {
    /// When it happened, in nanoseconds since boot.
    pub fn mono_ns(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.mono_ns,
            Self::Message(message) => message.mono_ns,
        }
    }
}

/// Reads one session in order.
pub struct Transcript {
    dir: std::path::PathBuf,
    session: String,
    entries: Entries,
    recording: Option<RecordingReader>,
    approvals: BTreeSet<String>,
    next_entry: Option<Entry>,
    next_message: Option<Recorded>,
    /// The recording's file is gone.
    missing: bool,
}

impl Transcript {
    /// The session of this id, or whose id begins so.
    ///
    /// # Errors
    /// If there is none, there are several, or the evidence cannot be read.
    pub fn open(dir: &Path, prefix: &str) -> Result<Self, ReadError> {
        let (session, mut entries) = begin_of(dir, prefix)?;
        let mut bytes = 0_u64;
        while let Some(entry) = entries.next()? {
            if let Some(Event::SessionRecorded(part)) = entry.event
                && part.session == session
            {
                bytes = part.offset + part.bytes;
                // Nothing follows.
                if part.end {
                    break;
                }
            }
        }
        let recording = RecordingReader::open(dir, &session, bytes)?;
        let mut transcript = Self {
            dir: dir.to_owned(),
            entries: begin_of(dir, prefix)?.1,
            missing: bytes > 0 && recording.is_none(),
            session,
            recording,
            approvals: BTreeSet::new(),
            next_entry: None,
            next_message: None,
        };
        transcript.advance_entry()?;
        transcript.advance_message()?;
        Ok(transcript)
    }

    /// The session's id.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// True if messages were recorded, and their file is not there any more.
    pub fn is_missing(&self) -> bool {
        self.missing
    }

    /// What happened next; `None` at the end.
    ///
    /// # Errors
    /// If the evidence cannot be read.
    pub fn read(&mut self) -> Result<Option<Item>, ReadError> {
        let entry_first = match (&self.next_entry, &self.next_message) {
            (Some(entry), Some(message)) => entry.mono_ns <= message.mono_ns,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if entry_first {
            let entry = self.next_entry.take();
            self.advance_entry()?;
            return Ok(entry.map(|entry| Item::Entry(Box::new(entry))));
        }
        let message = self.next_message.take();
        self.advance_message()?;
        Ok(message.map(Item::Message))
    }

    fn advance_message(&mut self) -> Result<(), ReadError> {
        let Some(recording) = &mut self.recording else {
            return Ok(());
        };
        let Some(message) = recording.read()? else {
            return Ok(());
        };
        let (time_us, direction, tag) = (message.time_us, message.direction, message.tag);
        let (blotted, withheld) = (message.blotted, message.withheld);
        let body = message.body.into_owned();
        self.next_message = Some(Recorded {
            mono_ns: recording.mono_ns().saturating_add(time_us * 1_000),
            time: rfc3339(recording.unix_us().saturating_add(time_us)),
            direction,
            tag,
            blotted,
            body,
            withheld,
        });
        Ok(())
    }

    fn advance_entry(&mut self) -> Result<(), ReadError> {
        while let Some(mut entry) = self.entries.next()? {
            let belongs = match &mut entry.event {
                Some(Event::SessionOpened(opened)) => opened.session == self.session,
                Some(Event::StatementDecided(decided)) if decided.session == self.session => {
                    decided.text = load(&self.dir, &decided.text)?;
                    for parameter in decided.parameters.iter_mut().flatten() {
                        *parameter = load(&self.dir, parameter)?;
                    }
                    true
                }
                Some(Event::StatementCompleted(completed)) => completed.session == self.session,
                Some(Event::ApprovalRequested(requested)) => {
                    let belongs = requested.session == self.session;
                    if belongs {
                        self.approvals.insert(requested.approval.clone());
                    }
                    belongs
                }
                Some(Event::ApprovalDecided(answer)) => self.approvals.contains(&answer.approval),
                Some(Event::ApprovalExpired(end)) => self.approvals.contains(&end.approval),
                Some(Event::ApprovalWithdrawn(end)) => self.approvals.contains(&end.approval),
                Some(Event::ApprovalUsed(used)) => self.approvals.contains(&used.approval),
                Some(Event::MessageRefused(refused)) => refused.session == self.session,
                Some(Event::SessionClosed(closed)) => closed.session == self.session,
                Some(_) | None => false,
            };
            if belongs {
                self.next_entry = Some(entry);
                return Ok(());
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Transcript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcript")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
