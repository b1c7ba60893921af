//! Limits: how long a session and a statement may take, how much they may return, how often
//! statements may come.

use std::{sync::Arc, time::Duration};

use super::grant::Grant;

/// How long a statement is held where no grant says so.
pub const DEFAULT_HOLD: Duration = Duration::from_mins(15);

/// The limits of one grant, as far as it sets any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantLimits {
    /// How long a statement waits for approval.
    pub hold: Option<Duration>,
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
    /// True if there is any but `hold`.
    pub fn limits_sessions(&self) -> bool {
        let Self {
            hold: _,
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

    /// True if what a statement returns is limited.
    pub fn limits_results(&self) -> bool {
        self.rows.is_some()
            || self.bytes.is_some()
            || self.session_rows.is_some()
            || self.session_bytes.is_some()
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
