//! One item of a session as a JSON object: what exports and replays for programs are made of.

use serde::Serialize;

use crate::{
    audit::{Direction, Event, Item, Withheld},
    protocol::postgres::{self, Shown},
};

/// A line of an export: an entry of the log, or a message.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Line<'a> {
    /// An entry.
    Entry {
        /// RFC 3339.
        time: &'a str,
        /// Nanoseconds since boot.
        mono_ns: u64,
        /// Its index in the log.
        entry: u64,
        /// What happened.
        event: &'a Option<Event>,
    },
    /// A message.
    Message {
        /// RFC 3339.
        time: &'a str,
        /// Nanoseconds since boot.
        mono_ns: u64,
        /// Who sent it.
        from: &'static str,
        /// The protocol's tag.
        tag: char,
        /// What it says.
        #[serde(flatten)]
        shown: Option<Shown>,
        /// Personal data in it is blotted out.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        blotted: bool,
        /// What of it is kept.
        #[serde(skip_serializing_if = "Option::is_none")]
        withheld: Option<Withheld>,
    },
}

impl<'a> Line<'a> {
    /// The line of an item.
    pub fn of(item: &'a Item) -> Self {
        match item {
            Item::Entry(entry) => Self::Entry {
                time: &entry.time,
                mono_ns: entry.mono_ns,
                entry: entry.index,
                event: &entry.event,
            },
            Item::Message(message) => Self::Message {
                time: &message.time,
                mono_ns: message.mono_ns,
                from: sender(message.direction),
                tag: char::from(message.tag),
                shown: message
                    .withheld
                    .is_none()
                    .then(|| postgres::shown(message.direction, message.tag, &message.body)),
                blotted: message.blotted,
                withheld: message.withheld,
            },
        }
    }
}

/// The sender in a word.
pub fn sender(direction: Direction) -> &'static str {
    match direction {
        Direction::Frontend => "client",
        Direction::Backend => "server",
    }
}
