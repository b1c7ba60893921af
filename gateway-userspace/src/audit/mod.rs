//! Remembers: an append-only, hash-chained, signed log of everything Cordon decided and saw.
//!
//! One [`Log`] per host. Every entry carries the hash of the one before it, all entries are the
//! leaves of an RFC 6962 Merkle tree, and the tree's head is signed again and again
//! ([`Checkpoint`]). The bytes are specified in `docs/evidence-format.md`. [`verify()`] checks a
//! log offline; it is a crate of its own, which shares nothing with the writer but that
//! specification.

mod blobs;
mod blocking;
mod checkpoint;
mod clock;
mod committer;
mod content;
mod encode;
mod entry;
mod error;
mod event;
mod hex;
mod index;
mod key;
mod layout;
mod log;
mod log_keys;
mod ocsf;
mod place;
mod proof;
mod recording;
mod recover;
mod retention;
mod rotation;
mod scrub;
mod segment;
mod sessions;
mod ship;
mod state;
mod tiles;
mod transcript;
mod tree;
mod witness;
mod words;

#[cfg(test)]
mod tests;

pub use checkpoint::Checkpoint;
pub(crate) use clock::{rfc3339, wall_micros};
pub use content::Content;
pub use cordon_verify::{
    Claim, DeclaredGap, Problem, Progress, Proven, Report, VerifyOptions, Witness,
    check_cosignatures, check_proof, latest_checkpoint, latest_cosigned, note_size, verify,
};
pub use entry::{Entry, read_entries};
pub use error::{AppendError, OpenError, ReadError};
pub use event::*;
pub(crate) use hex::encode as to_hex;
pub use index::{IndexError, SessionIndex};
pub use log::{Durability, Fsync, Log, LogConfig, Receipt, Tuning};
pub use log_keys::{FileLogKeys, KeySlot, LogKeys};
pub use ocsf::ocsf_events;
pub use proof::{export_entries, prove_entry, prove_growth};
pub use recording::{
    Batch, Blot, Direction, Message, Recorder, RecorderConfig, Recording, RecordingError,
    RecordingReader, Withheld,
};
pub use recover::{Cut, Recovery};
pub use retention::{PruneError, Removed};
pub use scrub::scrub_command_line;
pub use sessions::{
    Recorded, SessionRecord, SessionSummary, StatementRecord, list_sessions, newest_sessions,
    read_session, read_sessions,
};
pub use ship::{
    Fetched, ShipConfig, ShipError, ShipState, Shipper, Store, StoreConfig, StoreError, fetch,
};
pub use tiles::{TilesWritten, export_tiles};
pub use transcript::{Item, Recorded as RecordedMessage, Transcript};
pub use witness::{WitnessAddress, WitnessConfig, WitnessState, WitnessStates, Witnesses};
