//! The record that a message becomes: sixteen bytes, then its body.

use std::borrow::Cow;

/// Length of a record's fixed part, in bytes.
pub(super) const RECORD_HEADER: usize = 16;
/// The body is not the message's, but two numbers: how many messages, and bytes of bodies.
pub(super) const WITHHELD: u8 = 1;
/// What looked like personal data is blotted out of the body.
pub(super) const BLOTTED: u8 = 2;
/// Longest body of a record, in bytes.
pub(super) const BODY_BYTES: usize = 1024 * 1024;
/// Direction of the record that a frame begins with.
pub(super) const HEAD: u8 = b'H';

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The client.
    Frontend,
    /// The server, or Cordon in its place.
    Backend,
}

impl Direction {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Frontend => b'F',
            Self::Backend => b'B',
        }
    }

    pub(super) fn of(code: u8) -> Option<Self> {
        match code {
            b'F' => Some(Self::Frontend),
            b'B' => Some(Self::Backend),
            _ => None,
        }
    }
}

/// Messages whose contents are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Withheld {
    /// How many.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// One recorded message, or a run of them of which only number and size are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who sent it.
    pub direction: Direction,
    /// The protocol's tag.
    pub tag: u8,
    /// Microseconds since the recording began.
    pub time_us: u64,
    /// Something in the body is blotted out.
    pub blotted: bool,
    /// The body without tag and length; empty if it is withheld.
    pub body: Cow<'a, [u8]>,
    /// Set if the body is withheld.
    pub withheld: Option<Withheld>,
}

/// Appends a record's fixed part.
pub(super) fn put_header(
    out: &mut Vec<u8>,
    code: u8,
    tag: u8,
    flags: u8,
    time_us: u64,
    length: usize,
) {
    out.extend_from_slice(&[code, tag, flags, 0]);
    out.extend_from_slice(&time_us.to_be_bytes());
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

/// A record's fixed part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) code: u8,
    pub(super) tag: u8,
    pub(super) flags: u8,
    pub(super) time_us: u64,
    pub(super) length: usize,
}

impl Header {
    /// `None` if the bytes are no record's beginning.
    pub(super) fn read(bytes: &[u8; RECORD_HEADER]) -> Option<Self> {
        let (&[code, tag, flags, 0], rest) = bytes.split_first_chunk::<4>()? else {
            return None;
        };
        let (time, length) = rest.split_first_chunk::<8>()?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        (length <= BODY_BYTES).then_some(Self {
            code,
            tag,
            flags,
            time_us: u64::from_be_bytes(*time),
            length,
        })
    }
}

pub(super) fn withheld_body(withheld: Withheld) -> [u8; 16] {
    let mut body = [0; 16];
    let (messages, bytes) = body.split_at_mut(8);
    messages.copy_from_slice(&withheld.messages.to_be_bytes());
    bytes.copy_from_slice(&withheld.bytes.to_be_bytes());
    body
}

pub(super) fn read_withheld(body: &[u8]) -> Option<Withheld> {
    let (messages, bytes) = body.split_first_chunk::<8>()?;
    Some(Withheld {
        messages: u64::from_be_bytes(*messages),
        bytes: u64::from_be_bytes(bytes.try_into().ok()?),
    })
}
