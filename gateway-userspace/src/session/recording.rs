//! What is kept of a session's messages.

use std::sync::Arc;

use super::{Gate, Session};
pub use crate::{
    audit::{Batch, Direction, Recording, Withheld},
    masking::Blotter,
};
use crate::{
    audit::{Recorder, Shipper, WitnessStates, Witnesses},
    identity::Host,
    policy::{Reason, ReasonCode},
};

/// How much of what results and COPY carry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    contents: usize,
}

impl Retention {
    /// So many bytes of each statement's; 0: number, size and digest alone.
    pub fn contents_up_to(bytes: usize) -> Self {
        Self { contents: bytes }
    }

    /// What is kept where the policy may withhold it.
    #[must_use]
    pub fn for_session(self, withheld: bool) -> Self {
        if withheld { Self { contents: 0 } } else { self }
    }

    /// Bytes of one statement's contents.
    pub fn contents(self) -> usize {
        self.contents
    }
}

/// How the sessions of a gate are recorded.
pub(super) struct Recordings {
    recorder: Arc<Recorder>,
    retention: Retention,
}

impl Gate {
    /// Records the messages of all sessions that open from now on. Once.
    pub fn record_sessions(&self, recorder: Arc<Recorder>, retention: Retention) {
        let recordings = Recordings {
            recorder,
            retention,
        };
        if self.recordings.set(recordings).is_err() {
            tracing::error!("sessions are recorded already");
        }
    }

    /// How shipping goes; `None`: nothing is shipped off the host.
    pub fn shipping(&self) -> Option<crate::audit::ShipState> {
        self.shipper.get().map(|shipper| shipper.state())
    }

    /// How it goes with the witnesses of the evidence; `None`: there are none.
    pub fn witnesses(&self) -> Option<WitnessStates> {
        self.witnesses.get().map(|witnesses| witnesses.state())
    }

    /// Shows these witnesses' state to whoever asks. Once.
    pub fn witnessed_by(&self, witnesses: Arc<Witnesses>) {
        if self.witnesses.set(witnesses).is_err() {
            tracing::error!("the evidence has witnesses already");
        }
    }

    /// Has processes looked at by `host`. Once.
    pub fn sees_processes_with(&self, host: Arc<dyn Host>) {
        // Set once, at the start.
        let _twice = self.host.set(host);
    }

    /// Refuses new sessions while too much evidence is not shipped. Once.
    pub fn stop_with(&self, shipper: Arc<Shipper>) {
        if self.shipper.set(shipper).is_err() {
            tracing::error!("evidence is shipped already");
        }
    }

    /// Why no session may open at the moment, if so.
    pub(super) fn admission_fault(&self) -> Option<Reason> {
        self.recording_fault().or_else(|| {
            let fault = self.shipper.get()?.fault()?;
            Some(Reason {
                code: ReasonCode::Fault,
                message: format!("evidence cannot be shipped, so no session may open: {fault}"),
                rule: "what cannot be recorded is refused".to_owned(),
                hint: "mend the store of `evidence.ship`, or the way to it".to_owned(),
            })
        })
    }

    /// Why nothing can be recorded at the moment, if so.
    pub(super) fn recording_fault(&self) -> Option<Reason> {
        let fault = self.recordings.get()?.recorder.fault()?;
        Some(Reason {
            code: ReasonCode::Fault,
            message: format!("sessions cannot be recorded, so nothing may run: {fault}"),
            rule: "what cannot be recorded is refused".to_owned(),
            hint: "free space or mend the disk of the evidence folder; it goes on by itself then"
                .to_owned(),
        })
    }
}

impl Session {
    /// The recording of this session, if sessions are recorded.
    pub fn start_recording(&self) -> Option<(Recording, Retention)> {
        let recordings = self.gate.recordings.get()?;
        let recording = recordings.recorder.record(&self.id);
        Some((recording, recordings.retention))
    }

    /// True if the policy keeps results out of the recording.
    pub fn withholds_results(&self) -> bool {
        self.admission.withholds_results()
    }
}
