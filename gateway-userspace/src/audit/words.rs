//! The words that people read for what the log says.

use super::event::{Decision, Outcome, Phase};

impl Phase {
    /// At which step the statement was decided.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Execute => "execute",
            Self::Simple => "simple",
        }
    }
}

impl Decision {
    /// The verdict.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Observe { .. } => "observe",
            Self::Approve { .. } => "hold",
            Self::Deny { .. } => "deny",
        }
    }
}

impl Outcome {
    /// How the statement ended. What others named in it is as they wrote it.
    pub fn words(&self) -> String {
        match self {
            Self::Ok => "ok".to_owned(),
            Self::Error { sqlstate } => format!("error {sqlstate}"),
            Self::Cancelled => "cancelled".to_owned(),
            Self::Limited(reached) => format!("cut at {} ({})", reached.limit, reached.rule),
            Self::Abandoned => "abandoned".to_owned(),
        }
    }
}
