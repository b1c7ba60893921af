//! The answer of the policy, and why.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::masking::{Detections, Redaction};

/// The answer. Evaluation failure is `Deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// May run; the obligations hold.
    Allow(Obligations),
    /// May run once humans agree.
    RequireApproval {
        /// What holds once it is approved.
        obligations: Obligations,
        /// Who must agree.
        requirement: ApprovalRequirement,
        /// Why it is held.
        reason: Reason,
    },
    /// May not run.
    Deny(Reason),
}

/// What must happen to an allowed statement's results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obligations {
    /// Names of the grants that allowed it.
    pub grants: Vec<String>,
    /// Output columns to mask.
    pub redactions: Vec<Redaction>,
    /// What is looked for in all other columns.
    pub detections: Detections,
    /// What a grant in observe mode let pass.
    pub observed: Option<Observed>,
}

/// What would have been refused or held, had the grants been enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// True if it would have been held for approval, false if refused.
    pub held: bool,
    /// Why.
    pub reason: Reason,
}

/// Who must approve, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRequirement {
    /// Policy rule that asks for it, for example `agent-orders: approve[0]`.
    pub rule: String,
    /// All of which must agree; at least one, of different groups.
    pub quorums: Vec<Quorum>,
    /// How long the statement is held.
    pub hold: Duration,
    /// How long it is held while a transaction keeps its locks; at most `hold`.
    pub hold_in_transaction: Duration,
    /// What its client is told meanwhile.
    pub on_hold: OnHold,
}

/// What becomes of a statement that needs approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnHold {
    /// It waits on its connection.
    #[default]
    Wait,
    /// It is refused at once; the same statement may be sent once more when it is approved.
    Refuse,
}

/// The words of `on_hold`.
pub(super) const ON_HOLD_WORDS: [(OnHold, &str); 2] =
    [(OnHold::Wait, "wait"), (OnHold::Refuse, "refuse")];

impl OnHold {
    /// The word in policy files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Refuse => "refuse",
        }
    }
}

impl ApprovalRequirement {
    /// Who must agree, in words: `2 of group dba and 1 of group security`.
    pub fn whom(&self) -> String {
        whom(&self.quorums)
    }
}

/// How many different people of a group must agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// Approvers' group; `None`: any approver.
    pub group: Option<String>,
    /// How many.
    pub count: u32,
}

impl Quorum {
    /// True if so many of the people who have approved are enough. `groups`: each one's.
    pub fn is_met<'a>(&self, groups: impl Iterator<Item = &'a [String]>) -> bool {
        self.met(groups) >= self.count
    }

    /// How many of the people who have approved count for it.
    pub fn met<'a>(&self, groups: impl Iterator<Item = &'a [String]>) -> u32 {
        let count = groups.filter(|groups| self.admits(groups)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// True if a member of these groups counts for it.
    pub fn admits(&self, groups: &[String]) -> bool {
        match &self.group {
            Some(group) => groups.contains(group),
            None => !groups.is_empty(),
        }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, count } = self;
        match group {
            Some(group) => write!(f, "{count} of group {group}"),
            None if *count == 1 => write!(f, "1 approver"),
            None => write!(f, "{count} approvers"),
        }
    }
}

/// Quorums in words: `2 of group dba and 1 of group security`.
pub fn whom(quorums: &[Quorum]) -> String {
    let words: Vec<String> = quorums.iter().map(ToString::to_string).collect();
    words.join(" and ")
}

/// Why a statement is denied or held, in words for the person who reads the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Kind of refusal; decides the SQLSTATE.
    pub code: ReasonCode,
    /// One sentence, lower case, no full stop: `reading public.users is not granted`.
    pub message: String,
    /// The rule that decided, for the DETAIL field: grant name and rule, or `default deny`.
    pub rule: String,
    /// What would allow it, for the HINT field.
    pub hint: String,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReasonCode {
    /// Not granted, or denied: 42501.
    NotPermitted,
    /// Not understood: 0A000.
    NotUnderstood,
    /// The grammar does not accept it: 42601.
    Syntax,
    /// No approval: denied by a human, expired or withdrawn: 57014.
    NotApproved,
    /// The job, its token or its credential is not valid (any more): 28000.
    NotAttributed,
    /// A protected value cannot be masked there: 42501.
    NotMaskable,
    /// It returned more than a limit allows: 54000.
    TooMuch,
    /// Statements come faster than a limit allows: 53400.
    TooOften,
    /// It ran longer than a limit allows: 57014.
    TooLong,
    /// The session lasted as long as a limit allows: 57P01.
    SessionOver,
    /// Definitions that it relies on have changed meanwhile: 40001.
    Changed,
    /// The evidence cannot be written, or another fault of Cordon's own: 58000.
    Fault,
}

impl ReasonCode {
    /// The SQLSTATE of the error that the client sees.
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::NotPermitted | Self::NotMaskable => "42501",
            Self::NotUnderstood => "0A000",
            Self::Syntax => "42601",
            Self::NotApproved | Self::TooLong => "57014",
            Self::TooMuch => "54000",
            Self::TooOften => "53400",
            Self::SessionOver => "57P01",
            Self::NotAttributed => "28000",
            Self::Changed => "40001",
            Self::Fault => "58000",
        }
    }
}

impl Reason {
    /// The SQLSTATE of the error that the client sees.
    pub fn sqlstate(&self) -> &'static str {
        self.code.sqlstate()
    }
}
