//! Limits: how long a session and a statement may take, how much they may return, how often
//! statements may come.

use std::{sync::Arc, time::Duration};

use super::{Reason, ReasonCode, grant::Grant, quantity};

/// How long a statement is held where no grant says so.
pub const DEFAULT_HOLD: Duration = Duration::from_mins(15);
/// The same in a transaction, which keeps others waiting.
pub const DEFAULT_HOLD_IN_TRANSACTION: Duration = Duration::from_mins(2);

/// The limits of one grant, as far as it sets any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantLimits {
    /// How long a statement waits for approval.
    pub hold: Option<Duration>,
    /// The same while a transaction keeps its locks.
    pub hold_in_transaction: Option<Duration>,
    /// How long a session may last.
    pub session: Option<Duration>,
    /// How long a statement may run.
    pub statement: Option<Duration>,
    /// Rows that one statement may return.
    pub rows: Option<u64>,
    /// Bytes that one statement may return.
    pub bytes: Option<u64>,
    /// Rows that one session may return.
    pub session_rows: Option<u64>,
    /// Bytes that one session may return.
    pub session_bytes: Option<u64>,
    /// Statements that a job may send to the database within any 60 seconds.
    pub statements_per_minute: Option<u64>,
}

impl GrantLimits {
    /// True if there is any but those of `hold`.
    pub fn limits_sessions(&self) -> bool {
        let Self {
            hold: _,
            hold_in_transaction: _,
            session,
            statement,
            rows,
            bytes,
            session_rows,
            session_bytes,
            statements_per_minute,
        } = self;
        session.is_some()
            || statement.is_some()
            || rows.is_some()
            || bytes.is_some()
            || session_rows.is_some()
            || session_bytes.is_some()
            || statements_per_minute.is_some()
    }
}

/// A limit in force, and the rule that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit<T> {
    /// The most.
    pub most: T,
    /// `grant: limits.rows`.
    pub rule: Arc<str>,
}

/// The limits in force for a job in a database: of each kind the narrowest of all its grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How long a session may last.
    pub session: Option<Limit<Duration>>,
    /// How long a statement may run.
    pub statement: Option<Limit<Duration>>,
    /// Rows of one statement.
    pub rows: Option<Limit<u64>>,
    /// Bytes of one statement.
    pub bytes: Option<Limit<u64>>,
    /// Rows of one session.
    pub session_rows: Option<Limit<u64>>,
    /// Bytes of one session.
    pub session_bytes: Option<Limit<u64>>,
    /// Statements within 60 seconds.
    pub statements_per_minute: Option<Limit<u64>>,
}

impl Limits {
    /// The narrowest of these grants.
    pub(super) fn of<'a>(grants: impl Iterator<Item = &'a Grant>) -> Self {
        let mut narrowest = Self::default();
        for grant in grants {
            let GrantLimits {
                hold: _,
                hold_in_transaction: _,
                session,
                statement,
                rows,
                bytes,
                session_rows,
                session_bytes,
                statements_per_minute,
            } = &grant.limits;
            let name = &grant.name;
            narrow(&mut narrowest.session, *session, name, "session");
            narrow(&mut narrowest.statement, *statement, name, "statement");
            narrow(&mut narrowest.rows, *rows, name, "rows");
            narrow(&mut narrowest.bytes, *bytes, name, "bytes");
            narrow(
                &mut narrowest.session_rows,
                *session_rows,
                name,
                "session_rows",
            );
            narrow(
                &mut narrowest.session_bytes,
                *session_bytes,
                name,
                "session_bytes",
            );
            narrow(
                &mut narrowest.statements_per_minute,
                *statements_per_minute,
                name,
                "statements_per_minute",
            );
        }
        narrowest
    }

    /// All that are in force, in the order of the policy's keys.
    pub fn in_force(&self) -> Vec<LimitReached> {
        let Self {
            session,
            statement,
            rows,
            bytes,
            session_rows,
            session_bytes,
            statements_per_minute,
        } = self;
        let time = |kind, limit: &Option<Limit<Duration>>| {
            limit.as_ref().map(|limit| LimitReached::time(kind, limit))
        };
        let count = |kind, limit: &Option<Limit<u64>>| {
            limit.as_ref().map(|limit| LimitReached::count(kind, limit))
        };
        [
            time(LimitKind::Session, session),
            time(LimitKind::Statement, statement),
            count(LimitKind::Rows, rows),
            count(LimitKind::Bytes, bytes),
            count(LimitKind::SessionRows, session_rows),
            count(LimitKind::SessionBytes, session_bytes),
            count(LimitKind::StatementsPerMinute, statements_per_minute),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// True if what a statement returns is limited.
    pub fn limits_results(&self) -> bool {
        self.rows.is_some()
            || self.bytes.is_some()
            || self.session_rows.is_some()
            || self.session_bytes.is_some()
    }
}

/// The kinds of limits that a session can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// How long a session may last.
    Session,
    /// How long a statement may run.
    Statement,
    /// Rows of one statement.
    Rows,
    /// Bytes of one statement.
    Bytes,
    /// Rows of one session.
    SessionRows,
    /// Bytes of one session.
    SessionBytes,
    /// Statements within 60 seconds.
    StatementsPerMinute,
}

impl LimitKind {
    /// Its key in policy files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Statement => "statement",
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::SessionRows => "session_rows",
            Self::SessionBytes => "session_bytes",
            Self::StatementsPerMinute => "statements_per_minute",
        }
    }
}

/// A limit that a session has reached, or may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// Which.
    pub kind: LimitKind,
    /// The most that it allows: rows, bytes, statements or milliseconds.
    pub most: u64,
    /// `grant: limits.rows`.
    pub rule: Arc<str>,
}

impl LimitReached {
    /// A limit of a number.
    pub fn count(kind: LimitKind, limit: &Limit<u64>) -> Self {
        Self {
            kind,
            most: limit.most,
            rule: limit.rule.clone(),
        }
    }

    /// A limit of a time.
    pub fn time(kind: LimitKind, limit: &Limit<Duration>) -> Self {
        Self {
            kind,
            most: u64::try_from(limit.most.as_millis()).unwrap_or(u64::MAX),
            rule: limit.rule.clone(),
        }
    }

    /// The most that it allows, as the policy would write it.
    pub fn written(&self) -> String {
        match self.kind {
            LimitKind::Session | LimitKind::Statement => {
                quantity::written(Duration::from_millis(self.most))
            }
            LimitKind::Rows
            | LimitKind::Bytes
            | LimitKind::SessionRows
            | LimitKind::SessionBytes
            | LimitKind::StatementsPerMinute => self.most.to_string(),
        }
    }

    /// In words, for whoever meets it. `retry`: when statements may come again.
    pub fn reason(&self, retry: Option<Duration>) -> Reason {
        let most = self.most;
        let time = || self.written();
        let plural = if most == 1 { "" } else { "s" };
        let (code, message, remedy) = match self.kind {
            LimitKind::Rows => (
                ReasonCode::TooMuch,
                format!("the result has more than {most} row{plural}"),
                "ask for fewer rows",
            ),
            LimitKind::Bytes => (
                ReasonCode::TooMuch,
                format!("the result has more than {most} byte{plural}"),
                "ask for fewer or narrower rows",
            ),
            LimitKind::SessionRows => (
                ReasonCode::TooMuch,
                format!("the results of this session have more than {most} row{plural}"),
                "ask for fewer rows",
            ),
            LimitKind::SessionBytes => (
                ReasonCode::TooMuch,
                format!("the results of this session have more than {most} byte{plural}"),
                "ask for fewer or narrower rows",
            ),
            LimitKind::Statement => (
                ReasonCode::TooLong,
                format!("the statement ran longer than {}", time()),
                "ask for less at a time",
            ),
            LimitKind::Session => (
                ReasonCode::SessionOver,
                format!("the session has lasted {}, the longest it may", time()),
                "connect again",
            ),
            LimitKind::StatementsPerMinute => (
                ReasonCode::TooOften,
                format!(
                    "the job has sent {most} statement{plural} to this database within 60 seconds, the most it may"
                ),
                "send fewer statements",
            ),
        };
        let grant = self.rule.split(": ").next().unwrap_or_default();
        let raise = format!(
            "{remedy}, or raise limits.{} in grant {grant}",
            self.kind.word()
        );
        let hint = match retry {
            // In whole seconds, rounded up: later is never refused.
            Some(wait) => format!("retry in {} s; {raise}", wait.as_millis().div_ceil(1_000)),
            None => raise,
        };
        Reason {
            code,
            message,
            rule: self.rule.to_string(),
            hint,
        }
    }
}

fn narrow<T: PartialOrd>(current: &mut Option<Limit<T>>, most: Option<T>, grant: &str, key: &str) {
    let Some(most) = most else { return };
    if current.as_ref().is_none_or(|current| most < current.most) {
        *current = Some(Limit {
            most,
            rule: Arc::from(format!("{grant}: limits.{key}")),
        });
    }
}
