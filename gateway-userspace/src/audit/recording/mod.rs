//! The recording of a session: the messages that client and server exchanged, as the client saw
//! them, beside the log.
//!
//! A session writes its messages into a buffer of its own ([`Recording`]). One thread
//! ([`Recorder`]) takes the buffers, blots out what looks like personal data, compresses, appends
//! to `recordings/<session>.rec`, and puts the digest of what it appended on record. The format is
//! in `docs/evidence-format.md`.

mod message;
mod read;
mod slot;
#[cfg(test)]
mod tests;
mod writer;

pub use message::{Direction, Message, Withheld};
pub use read::{RecordingError, RecordingReader};
pub use slot::{Batch, Recording};
pub use writer::{Blot, Recorder, RecorderConfig};
