//! What was found.

use serde::Serialize;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// A guarantee does not hold, or jobs are not served.
    Problem,
    /// Could not be checked.
    Skipped,
}

impl State {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is part of.
    pub area: &'static str,
    /// What was looked at.
    pub check: String,
    /// How it stands.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(area: &'static str, check: impl Into<String>, seen: impl Into<String>) -> Self {
        Self {
            area,
            check: check.into(),
            state: State::Ok,
            seen: seen.into(),
            mend: None,
        }
    }

    /// Somebody should look at it.
    pub fn warning(
        area: &'static str,
        check: impl Into<String>,
        seen: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Warning,
            mend: Some(mend.into()),
            ..Self::ok(area, check, seen)
        }
    }

    /// A guarantee does not hold, or jobs are not served.
    pub fn problem(
        area: &'static str,
        check: impl Into<String>,
        seen: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Problem,
            mend: Some(mend.into()),
            ..Self::ok(area, check, seen)
        }
    }

    /// It could not be checked; `why`.
    pub fn skipped(area: &'static str, check: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            state: State::Skipped,
            ..Self::ok(area, check, why)
        }
    }
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// There is no problem.
    pub healthy: bool,
    /// In the order in which they were looked at.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The report of these.
    pub fn new(findings: Vec<Finding>) -> Self {
        Self {
            healthy: findings
                .iter()
                .all(|finding| finding.state != State::Problem),
            findings,
        }
    }
}
