//! The recording of a session's messages: what arrives from the client, and what leaves for it.
//!
//! Bytes are looked at where they enter and leave the client's buffers, so that no message can be
//! left out, and a message is recorded before any of it is sent.

use super::wire::HEADER;
use crate::session::{Batch, Blotter, Direction, Recording, Retention, Withheld};

/// A session's recording, and where in each direction's messages it is.
#[derive(Debug)]
pub(super) struct Tap {
    recording: Recording,
    retention: Retention,
    frontend: Side,
    backend: Side,
    /// Bytes of the client's unsent buffer that are recorded.
    seen: usize,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    /// A message whose end has not been seen, header included.
    partial: Vec<u8>,
    /// Bytes still to come of a message that is not kept.
    skip: usize,
    /// Bytes of contents since the last statement ended.
    contents: usize,
    /// A run of messages that are not kept, and their tag.
    withheld: Withheld,
    withheld_tag: u8,
}

impl Tap {
    pub(super) fn new(recording: Recording, retention: Retention) -> Self {
        Self {
            recording,
            retention,
            frontend: Side::default(),
            backend: Side::default(),
            seen: 0,
        }
    }

    /// Records what has arrived from the client.
    pub(super) fn arrived(&mut self, bytes: &[u8], withholds: bool) {
        let retention = self.retention.for_session(withholds);
        let time = self.recording.now();
        let side = &mut self.frontend;
        self.recording.add(|batch| {
            side.take(bytes, Direction::Frontend, time, retention, batch);
        });
    }

    /// Records what is about to be sent: `unsent` is the client's whole buffer.
    pub(super) fn leaves(&mut self, unsent: &[u8], withholds: bool) {
        let Some(bytes) = unsent.get(self.seen..).filter(|new| !new.is_empty()) else {
            return;
        };
        self.seen = unsent.len();
        let retention = self.retention.for_session(withholds);
        let time = self.recording.now();
        let (side, frontend) = (&mut self.backend, &mut self.frontend);
        self.recording.add(|batch| {
            if side.take(bytes, Direction::Backend, time, retention, batch) {
                frontend.contents = 0;
            }
        });
    }

    /// So much is left of the client's buffer now; all of it is recorded.
    pub(super) fn sent(&mut self, unsent: usize) {
        self.seen = unsent;
    }

    /// The recording, to be asked for room.
    pub(super) fn recording(&mut self) -> &mut Recording {
        &mut self.recording
    }
}

impl Side {
    /// Records whole messages; true if one of them ended a statement.
    fn take(
        &mut self,
        mut bytes: &[u8],
        direction: Direction,
        time: u64,
        retention: Retention,
        batch: &mut Batch<'_>,
    ) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let now = self.skip.min(bytes.len());
                self.skip -= now;
                bytes = bytes.get(now..).unwrap_or_default();
                continue;
            }
            if self.partial.len() < HEADER {
                let missing = HEADER - self.partial.len();
                if !self.partial.is_empty() || bytes.len() < HEADER {
                    let (now, rest) = bytes.split_at(missing.min(bytes.len()));
                    self.partial.extend_from_slice(now);
                    bytes = rest;
                    if self.partial.len() < HEADER {
                        break;
                    }
                }
            }
            let whole = self.partial.is_empty();
            let head = if whole { bytes } else { &self.partial };
            let Some((tag, length)) = header(head) else {
                // The connection ends with it.
                self.partial.clear();
                break;
            };
            // Past what of the body is gathered already.
            let gathered = if whole {
                0
            } else {
                self.partial.len() - HEADER
            };
            let rest = if whole {
                bytes.get(HEADER..).unwrap_or_default()
            } else {
                bytes
            };
            let missing = length.saturating_sub(gathered);
            if gathered == 0 && !self.keeps(direction, tag, length, retention) {
                self.partial = Vec::new();
                self.withhold(direction, tag, length, time, batch);
                let now = missing.min(rest.len());
                self.skip = missing - now;
                bytes = rest.get(now..).unwrap_or_default();
                continue;
            }
            let now = missing.min(rest.len());
            let (part, behind) = rest.split_at(now);
            if now < missing {
                if whole {
                    self.partial.extend_from_slice(bytes);
                } else {
                    self.partial.extend_from_slice(part);
                }
                break;
            }
            self.end_run(direction, time, batch);
            if whole {
                batch.message(direction, tag, time, part);
            } else {
                self.partial.extend_from_slice(part);
                batch.message(
                    direction,
                    tag,
                    time,
                    self.partial.get(HEADER..).unwrap_or_default(),
                );
                self.partial = Vec::new();
            }
            bytes = behind;
            if ends_statement(direction, tag) {
                self.contents = 0;
                ended = true;
            } else if carries_contents(direction, tag) {
                self.contents = self.contents.saturating_add(length);
            }
        }
        ended
    }

    /// True if a message's body is kept.
    fn keeps(&self, direction: Direction, tag: u8, length: usize, retention: Retention) -> bool {
        let secret = match direction {
            // A key with which statements can be cancelled.
            Direction::Backend => tag == b'K',
            Direction::Frontend => tag == b'p',
        };
        let fits = !carries_contents(direction, tag)
            || self.contents.saturating_add(length) <= retention.contents();
        !secret && fits && length <= Batch::LONGEST
    }

    fn withhold(
        &mut self,
        direction: Direction,
        tag: u8,
        length: usize,
        time: u64,
        batch: &mut Batch<'_>,
    ) {
        if self.withheld_tag != tag {
            self.end_run(direction, time, batch);
            self.withheld_tag = tag;
        }
        self.withheld.messages += 1;
        self.withheld.bytes += length as u64;
        if carries_contents(direction, tag) {
            // Once some of a result is left out, so is the rest of it.
            self.contents = usize::MAX;
        }
    }

    fn end_run(&mut self, direction: Direction, time: u64, batch: &mut Batch<'_>) {
        if self.withheld.messages > 0 {
            batch.withheld(direction, self.withheld_tag, time, self.withheld);
            self.withheld = Withheld::default();
        }
    }
}

/// Tag and length of the body.
fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let (&[tag, length @ ..], _) = bytes.split_first_chunk::<HEADER>()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    Some((tag, length.checked_sub(4)?))
}

/// Rows, results of functions, and data of a COPY.
fn carries_contents(direction: Direction, tag: u8) -> bool {
    match direction {
        Direction::Backend => matches!(tag, b'D' | b'V' | b'd'),
        Direction::Frontend => tag == b'd',
    }
}

fn ends_statement(direction: Direction, tag: u8) -> bool {
    match direction {
        Direction::Backend => matches!(tag, b'C' | b'E' | b'I' | b's' | b'Z'),
        Direction::Frontend => matches!(tag, b'c' | b'f'),
    }
}

/// Blots out personal data in a message's body, field by field: what stands between fields must
/// not hide where a value begins.
pub fn blot(blotter: &Blotter, direction: Direction, tag: u8, body: &mut [u8]) -> bool {
    match (direction, tag) {
        (Direction::Backend, b'D') => match body.split_at_mut_checked(2) {
            Some((_, fields)) => blot_fields(blotter, fields),
            None => false,
        },
        (Direction::Backend, b'V') => blot_fields(blotter, body),
        (Direction::Frontend, b'B') => blot_bind(blotter, body).unwrap_or(false),
        // A number stands before the formats.
        (Direction::Frontend, b'F') => blot_values(blotter, body, 4).unwrap_or(false),
        (_, b'd') => blotter.blot(body),
        // Field codes stand before the texts.
        (Direction::Backend, b'E' | b'N') => body
            .split_mut(|byte| *byte == 0)
            .filter_map(|field| field.split_first_mut())
            .fold(false, |found, (_, text)| blotter.blot(text) | found),
        // Names of columns, each with eighteen bytes of what it is.
        (Direction::Backend, b'T') => blot_names(blotter, body),
        // Numbers alone, or nothing.
        (
            Direction::Backend,
            b't' | b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'Z' | b'G' | b'H' | b'W',
        )
        | (Direction::Frontend, b'S' | b'H' | b'X' | b'c') => false,
        _ => body
            .split_mut(|byte| *byte == 0)
            .fold(false, |found, text| blotter.blot(text) | found),
    }
}

/// Values with a length before each.
fn blot_fields(blotter: &Blotter, mut fields: &mut [u8]) -> bool {
    let mut found = false;
    while let Some((length, rest)) = fields.split_first_chunk_mut::<4>() {
        // NULL has the length -1.
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let Some((value, rest)) = rest.split_at_mut_checked(length) else {
            break;
        };
        found |= blotter.blot(value);
        fields = rest;
    }
    found
}

/// Two names, formats, and the values.
fn blot_bind(blotter: &Blotter, body: &mut [u8]) -> Option<bool> {
    let portal = body.iter().position(|byte| *byte == 0)?;
    let statement = portal + 1 + body.get(portal + 1..)?.iter().position(|byte| *byte == 0)?;
    blot_values(blotter, body, statement + 1)
}

/// Formats from `at` on, and the values.
fn blot_values(blotter: &Blotter, body: &mut [u8], at: usize) -> Option<bool> {
    let count = body.get(at..at + 2)?;
    let formats = usize::from(u16::from_be_bytes(count.try_into().ok()?));
    let values = body.get_mut(at + 2 + 2 * formats + 2..)?;
    // Behind the values stand the results' formats, which are no longer than a length.
    Some(blot_fields(blotter, values))
}

fn blot_names(blotter: &Blotter, body: &mut [u8]) -> bool {
    let mut found = false;
    let mut rest = body.get_mut(2..).unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, behind) = rest.split_at_mut(end);
        found |= blotter.blot(name);
        rest = behind.get_mut(19..).unwrap_or_default();
    }
    found
}
