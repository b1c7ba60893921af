//! From an event to the bytes of an entry.

use std::sync::Arc;

use serde::Serialize;

use super::{
    content::{Content, INLINE_BYTES, Spilled},
    error::AppendError,
    event::{Event, SpilledEvent},
    scrub::scrub_command_line,
    tree::Hash,
};

/// Version of the entry format; see `docs/evidence-format.md`.
pub(super) const VERSION: u32 = 1;
/// An entry (previous hash and body) is at most this long: what a tlog-tiles bundle can hold.
pub(super) const ENTRY_BYTES: usize = 65_535;
/// Room for the previous hash and the fields before `event`.
const ENVELOPE_BYTES: usize = 256;
/// A whole event longer than this moves to a side file.
const EVENT_BYTES: usize = ENTRY_BYTES - 6_000;

/// The part of an entry that does not depend on its place in the log, and the side files that
/// must be on disk before it is.
#[derive(Debug)]
pub(super) struct Encoded {
    tail: Vec<u8>,
    pub(super) blobs: Vec<Spilled>,
}

#[derive(Serialize)]
struct BlobRef<'a> {
    sha256: &'a str,
    bytes: usize,
}

/// Encodes an event; no lock is held.
pub(super) fn encode(mut event: Event) -> Result<Encoded, AppendError> {
    if let Some(line) = event
        .process_mut()
        .and_then(|process| process.command_line.as_mut())
    {
        *line = scrub_command_line(line).into_owned();
    }
    let is_long = |content: &Content| {
        content
            .inline()
            .is_some_and(|bytes| bytes.len() > INLINE_BYTES)
    };
    let whole = event
        .contents_mut()
        .iter()
        .any(|content| is_long(content))
        .then(|| event.clone());
    let mut blobs: Vec<Spilled> = event
        .contents_mut()
        .into_iter()
        .filter(|content| is_long(content))
        .filter_map(Content::spill)
        .collect();
    let mut json = to_json(&event)?;
    let mut named = blobs_json(&blobs)?;
    if json.len() + named.len() > EVENT_BYTES {
        // Too many parts: the event goes to one side file, its contents inline again.
        let mut content = Content::Text(
            String::from_utf8_lossy(&to_json(whole.as_ref().unwrap_or(&event))?).into_owned(),
        );
        blobs = content.spill().into_iter().collect();
        json = to_json(&Event::Spilled(SpilledEvent { event: content }))?;
        named = blobs_json(&blobs)?;
    }
    let mut tail = Vec::with_capacity(json.len() + named.len() + 16);
    tail.extend_from_slice(&named);
    tail.extend_from_slice(b"\"event\":");
    tail.append(&mut json);
    tail.push(b'}');
    if tail.len() + ENVELOPE_BYTES > ENTRY_BYTES {
        return Err(AppendError::TooLarge);
    }
    Ok(Encoded { tail, blobs })
}

impl Encoded {
    /// Appends the entry's frame to `out`: length, previous hash, body. The caller has the place.
    pub(super) fn frame(
        &self,
        out: &mut Vec<u8>,
        previous: &Hash,
        index: u64,
        wall: u64,
        mono_ns: u64,
    ) -> std::ops::Range<usize> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(previous);
        let time = super::clock::rfc3339(wall);
        out.extend_from_slice(
            format!(
                "{{\"v\":{VERSION},\"index\":{index},\"time\":\"{time}\",\"mono_ns\":{mono_ns},"
            )
            .as_bytes(),
        );
        out.extend_from_slice(&self.tail);
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        if let Some(field) = out.get_mut(start..start + 4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        start + 4..out.len()
    }
}

fn to_json(event: &Event) -> Result<Vec<u8>, AppendError> {
    serde_json::to_vec(event).map_err(|error| AppendError::Encode(Arc::from(error.to_string())))
}

/// `"blobs":[...],`, or nothing.
fn blobs_json(blobs: &[Spilled]) -> Result<Vec<u8>, AppendError> {
    if blobs.is_empty() {
        return Ok(Vec::new());
    }
    let refs: Vec<BlobRef<'_>> = blobs
        .iter()
        .map(|b| BlobRef {
            sha256: &b.name,
            bytes: b.bytes.len(),
        })
        .collect();
    let list = serde_json::to_vec(&refs)
        .map_err(|error| AppendError::Encode(Arc::from(error.to_string())))?;
    Ok([b"\"blobs\":".as_slice(), &list, b","].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::{Decision, Phase, StatementDecided};

    fn decided(text: &str, parameters: Vec<Option<Content>>) -> Event {
        Event::StatementDecided(StatementDecided {
            session: "s1".into(),
            statement: 1,
            phase: Phase::Simple,
            text: text.into(),
            parameters,
            relations: Vec::new(),
            effects: Vec::new(),
            decision: Decision::Allow {
                grants: vec!["g".into()],
            },
            policy: "p".into(),
            masked: Vec::new(),
            search_path: Vec::new(),
            approval: None,
        })
    }

    #[test]
    fn the_same_event_has_the_same_bytes() {
        let mut first = Vec::new();
        let mut second = Vec::new();
        for out in [&mut first, &mut second] {
            encode(decided("SELECT 1", vec![None, Some("x".into())]))
                .unwrap()
                .frame(out, &[7; 32], 3, 0, 9);
        }
        assert_eq!(first, second);
        let body = String::from_utf8_lossy(&first[36..]).into_owned();
        assert_eq!(
            body,
            r#"{"v":1,"index":3,"time":"1970-01-01T00:00:00.000000Z","mono_ns":9,"event":{"type":"statement-decided","session":"s1","statement":1,"phase":"simple","text":"SELECT 1","parameters":[null,"x"],"relations":[],"effects":[],"decision":{"is":"allow","grants":["g"]},"policy":"p","masked":[]}}"#
        );
        assert_eq!(
            first[..4],
            u32::try_from(first.len() - 4).unwrap().to_be_bytes()
        );
    }

    #[test]
    fn a_long_text_moves_to_a_side_file_and_the_entry_stays_small() {
        let encoded = encode(decided(
            &"x".repeat(1 << 20),
            vec![Some("y".repeat(20_000).into())],
        ))
        .unwrap();
        assert_eq!(encoded.blobs.len(), 2);
        assert!(encoded.tail.len() < 2_000);
    }

    #[test]
    fn an_event_of_many_short_parts_fits_an_entry_too() {
        let many = vec![Some(Content::text("\u{1}".repeat(16_000))); 40];
        let encoded = encode(decided("SELECT 1", many)).unwrap();
        assert_eq!(encoded.blobs.len(), 1);
        let mut out = Vec::new();
        assert!(
            encoded
                .frame(&mut out, &[0; 32], u64::MAX, u64::MAX / 2_000, u64::MAX)
                .len()
                <= ENTRY_BYTES
        );
    }

    #[test]
    fn thousands_of_side_files_of_one_event_do_not_lose_it() {
        let many = (0..2_000)
            .map(|i| Some(Content::text(format!("{i}{}", "z".repeat(INLINE_BYTES)))))
            .collect();
        let event = decided("SELECT 1", many);
        let encoded = encode(event.clone()).unwrap();
        assert_eq!(encoded.blobs.len(), 1);
        assert_eq!(
            serde_json::from_slice::<Event>(&encoded.blobs[0].bytes).unwrap(),
            event
        );
    }
}
