//! Limits: what a statement may still return, how long it and its session may last, and how many
//! may come.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Refusal, Session, Understood};
pub use crate::policy::LimitReached;
use crate::{
    audit,
    policy::{Limit, LimitKind, Limits},
    sql::{Access, FunctionClass, Statement, StatementKind},
};

/// The time in which statements are counted.
const MINUTE: Duration = Duration::from_mins(1);

/// Rows and bytes of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Rows.
    pub rows: u64,
    /// Bytes of the messages that carry them, without tag and length.
    pub bytes: u64,
}

/// What one statement may still return.
#[derive(Clone, Debug)]
pub struct Allowance {
    rows: Option<(u64, LimitReached)>,
    bytes: Option<(u64, LimitReached)>,
    most_rows: u64,
    most_bytes: u64,
}

impl Allowance {
    /// Without limits.
    pub fn unlimited() -> Self {
        Self {
            rows: None,
            bytes: None,
            most_rows: u64::MAX,
            most_bytes: u64::MAX,
        }
    }

    fn new(limits: &Limits, statement: Volume, session: Volume) -> Self {
        let rows = narrower(
            left(limits.rows.as_ref(), LimitKind::Rows, statement.rows),
            left(
                limits.session_rows.as_ref(),
                LimitKind::SessionRows,
                session.rows,
            ),
        );
        let bytes = narrower(
            left(limits.bytes.as_ref(), LimitKind::Bytes, statement.bytes),
            left(
                limits.session_bytes.as_ref(),
                LimitKind::SessionBytes,
                session.bytes,
            ),
        );
        Self {
            most_rows: rows.as_ref().map_or(u64::MAX, |(most, _)| *most),
            most_bytes: bytes.as_ref().map_or(u64::MAX, |(most, _)| *most),
            rows,
            bytes,
        }
    }

    /// True if there is any limit.
    pub fn is_limited(&self) -> bool {
        self.rows.is_some() || self.bytes.is_some()
    }

    /// True if a result may be as large as this. On the path of every row.
    pub fn admits(&self, volume: Volume) -> bool {
        volume.rows <= self.most_rows && volume.bytes <= self.most_bytes
    }

    /// The limit that a result of this size passes; `None` if it passes none.
    pub fn passed(&self, volume: Volume) -> Option<&LimitReached> {
        let rows = self.rows.as_ref().filter(|(most, _)| volume.rows > *most);
        let bytes = self.bytes.as_ref().filter(|(most, _)| volume.bytes > *most);
        rows.or(bytes).map(|(_, reached)| reached)
    }
}

fn left(limit: Option<&Limit<u64>>, kind: LimitKind, used: u64) -> Option<(u64, LimitReached)> {
    let limit = limit?;
    Some((
        limit.most.saturating_sub(used),
        LimitReached::count(kind, limit),
    ))
}

fn narrower(
    one: Option<(u64, LimitReached)>,
    other: Option<(u64, LimitReached)>,
) -> Option<(u64, LimitReached)> {
    match (one, other) {
        (Some(one), Some(other)) if other.0 < one.0 => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

/// When statements were sent, as far back as it counts.
#[derive(Debug, Default)]
struct Window {
    sent: VecDeque<Instant>,
}

impl Window {
    /// Counts one more. The error says how long to wait instead.
    fn admit(&mut self, most: u64, now: Instant) -> Result<(), Duration> {
        while let Some(first) = self.sent.front()
            && now.saturating_duration_since(*first) >= MINUTE
        {
            self.sent.pop_front();
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // Where a limit was narrowed there may be more than it allows.
        let Some(blocking) = self.sent.len().checked_sub(most) else {
            self.sent.push_back(now);
            return Ok(());
        };
        let since = self
            .sent
            .get(blocking)
            .map_or(MINUTE, |sent| now.saturating_duration_since(*sent));
        Err(MINUTE.saturating_sub(since))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.sent
            .back()
            .is_none_or(|last| now.saturating_duration_since(*last) >= MINUTE)
    }
}

/// The statements of every job, by job and database: a job's sessions are counted together, and
/// connecting anew does not start anew.
#[derive(Debug, Default)]
pub(super) struct Rates {
    windows: Mutex<HashMap<(String, String), Window>>,
}

impl Rates {
    /// Counts a statement. The error says how long to wait instead.
    fn admit(&self, job: &str, database: &str, most: u64, now: Instant) -> Result<(), Duration> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (job.to_owned(), database.to_owned());
        if !windows.contains_key(&key) {
            windows.retain(|_, window| !window.is_over(now));
        }
        windows.entry(key).or_default().admit(most, now)
    }
}

impl Session {
    /// What a statement may return, of which `before` has been returned already: by a portal with
    /// rows left.
    pub fn allowance(&self, before: Volume) -> Allowance {
        let limits = self.admission.limits();
        if !limits.limits_results() {
            return Allowance::unlimited();
        }
        let session = Volume {
            rows: self.rows,
            bytes: self.bytes,
        };
        Allowance::new(limits, before, session)
    }

    /// How long a statement may run.
    pub fn statement_time(&self) -> Option<Duration> {
        let limit = self.admission.limits().statement.as_ref();
        limit.map(|limit| limit.most)
    }

    /// The limit of a statement that has run that long.
    pub fn overdue(&self) -> Option<LimitReached> {
        let limit = self.admission.limits().statement.as_ref();
        limit.map(|limit| LimitReached::time(LimitKind::Statement, limit))
    }

    /// When its time is over.
    pub fn end(&self) -> Option<Instant> {
        let limit = self.admission.limits().session.as_ref();
        limit.map(|limit| self.opened + limit.most)
    }

    /// True if a limit may have statements cancelled.
    pub fn may_cancel(&self) -> bool {
        let limits = self.admission.limits();
        limits.statement.is_some() || limits.limits_results()
    }

    /// Number of the last statement.
    pub fn last_statement(&self) -> u64 {
        self.statements
    }

    /// The refusal of a statement that passed a limit while it ran.
    pub fn limited(&self, statement: u64, reached: &LimitReached) -> Refusal {
        tracing::warn!(session = %self.id, rule = %reached.rule, "a statement passed a limit");
        Refusal::new(&reached.reason(None), self.reference(statement))
    }

    /// The refusal of whatever it does after its end, which is on record as the reason.
    pub fn over(&mut self) -> Option<Refusal> {
        let limit = self.admission.limits().session.as_ref()?;
        let reached = LimitReached::time(LimitKind::Session, limit);
        self.limit = Some(recorded(&reached));
        Some(self.limited(self.statements, &reached))
    }

    /// Counts a statement that is about to be sent. The error says which limit forbids it, and
    /// how long to wait.
    pub(super) fn count_statement(
        &self,
        understood: &Understood,
    ) -> Result<(), (LimitReached, Duration)> {
        let Some(limit) = &self.admission.limits().statements_per_minute else {
            return Ok(());
        };
        if matches!(understood.statement().kind, StatementKind::Transaction(_)) {
            // Refusing the end of a transaction would undo what was allowed.
            return Ok(());
        }
        let job = self.principal.job().id();
        self.gate
            .rates
            .admit(job, &self.database, limit.most, Instant::now())
            .map_err(|wait| {
                (
                    LimitReached::count(LimitKind::StatementsPerMinute, limit),
                    wait,
                )
            })
    }
}

/// A limit as the evidence has it.
pub(super) fn recorded(reached: &LimitReached) -> audit::LimitReached {
    audit::LimitReached {
        limit: reached.kind.word().to_owned(),
        most: reached.most,
        rule: reached.rule.to_string(),
    }
}

impl Understood {
    /// It may return rows, so that a limit may end it.
    pub fn may_return_rows(&self) -> bool {
        match &self.statement().kind {
            StatementKind::Insert
            | StatementKind::Update
            | StatementKind::Delete
            | StatementKind::Merge => self.statement().output.is_some(),
            StatementKind::Fetch { moves, .. } => !moves,
            StatementKind::Select
            | StatementKind::CopyOut { .. }
            | StatementKind::Show { .. }
            | StatementKind::Execute { .. }
            | StatementKind::Explain { .. }
            | StatementKind::Procedural => true,
            StatementKind::Empty
            | StatementKind::Truncate
            | StatementKind::Ddl
            | StatementKind::CopyIn
            | StatementKind::Transaction(_)
            | StatementKind::Set
            | StatementKind::DeclareCursor { .. }
            | StatementKind::CloseCursor { .. }
            | StatementKind::Prepare { .. }
            | StatementKind::Deallocate { .. }
            | StatementKind::Lock
            | StatementKind::Listen
            | StatementKind::Notify
            | StatementKind::Discard
            | StatementKind::Maintenance
            | StatementKind::Privilege => false,
        }
    }

    /// It plainly reads: whether its transaction commits makes no difference.
    pub fn only_reads(&self) -> bool {
        only_reads(self.statement())
    }
}

fn only_reads(statement: &Statement) -> bool {
    let kind = match &statement.kind {
        StatementKind::Select
        | StatementKind::CopyOut { .. }
        | StatementKind::Show { .. }
        | StatementKind::Fetch { .. }
        | StatementKind::Explain { .. } => true,
        StatementKind::Empty
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::Truncate
        | StatementKind::Ddl
        | StatementKind::CopyIn
        | StatementKind::Transaction(_)
        | StatementKind::Set
        | StatementKind::DeclareCursor { .. }
        | StatementKind::CloseCursor { .. }
        | StatementKind::Prepare { .. }
        | StatementKind::Execute { .. }
        | StatementKind::Deallocate { .. }
        | StatementKind::Lock
        | StatementKind::Listen
        | StatementKind::Notify
        | StatementKind::Discard
        | StatementKind::Maintenance
        | StatementKind::Privilege
        | StatementKind::Procedural => false,
    };
    kind && statement.ddl.is_empty()
        && statement.settings.is_empty()
        && statement
            .functions
            .iter()
            .all(|function| match function.class {
                FunctionClass::Pure | FunctionClass::Catalog => true,
                FunctionClass::Other => false,
            })
        && statement.relations.iter().all(|relation| {
            relation.access.iter().all(|access| match access {
                Access::Select => true,
                Access::Insert
                | Access::Update
                | Access::Delete
                | Access::Truncate
                | Access::Lock => false,
            })
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn limit(most: u64, key: &str) -> Limit<u64> {
        Limit {
            most,
            rule: Arc::from(format!("g: limits.{key}")),
        }
    }

    fn volume(rows: u64, bytes: u64) -> Volume {
        Volume { rows, bytes }
    }

    #[test]
    fn a_result_may_be_exactly_as_large_as_its_limit() {
        let limits = Limits {
            rows: Some(limit(10, "rows")),
            bytes: Some(limit(100, "bytes")),
            ..Limits::default()
        };
        let allowance = Allowance::new(&limits, Volume::default(), volume(1_000, 1_000));
        assert!(allowance.is_limited());
        assert!(allowance.admits(volume(10, 100)));
        assert_eq!(allowance.passed(volume(10, 100)), None);
        for (passed, rule) in [
            (volume(11, 0), "g: limits.rows"),
            (volume(0, 101), "g: limits.bytes"),
        ] {
            assert!(!allowance.admits(passed));
            let reached = allowance.passed(passed).expect(rule);
            assert_eq!(&*reached.rule, rule);
        }
    }

    #[test]
    fn what_a_portal_has_returned_before_counts() {
        let limits = Limits {
            rows: Some(limit(10, "rows")),
            ..Limits::default()
        };
        let allowance = Allowance::new(&limits, volume(7, 70), Volume::default());
        assert!(allowance.admits(volume(3, u64::MAX)));
        assert!(!allowance.admits(volume(4, 0)));
        let spent = Allowance::new(&limits, volume(12, 70), Volume::default());
        assert!(!spent.admits(volume(1, 0)));
    }

    #[test]
    fn the_narrower_of_statement_and_session_holds() {
        let limits = Limits {
            rows: Some(limit(10, "rows")),
            session_rows: Some(limit(100, "session_rows")),
            ..Limits::default()
        };
        let early = Allowance::new(&limits, Volume::default(), volume(5, 0));
        let reached = early.passed(volume(11, 0)).expect("rows");
        assert_eq!((reached.kind, reached.most), (LimitKind::Rows, 10));
        let late = Allowance::new(&limits, Volume::default(), volume(95, 0));
        assert!(late.admits(volume(5, 0)));
        let reached = late.passed(volume(6, 0)).expect("session_rows");
        assert_eq!((reached.kind, reached.most), (LimitKind::SessionRows, 100));
    }

    #[test]
    fn without_limits_any_result_passes() {
        let allowance = Allowance::new(&Limits::default(), Volume::default(), Volume::default());
        assert!(!allowance.is_limited());
        assert!(allowance.admits(volume(u64::MAX, u64::MAX)));
        assert!(Allowance::unlimited().admits(volume(u64::MAX, u64::MAX)));
    }

    #[test]
    fn any_sixty_seconds_hold_as_many_statements_as_allowed() {
        let mut window = Window::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(window.admit(2, at(0)), Ok(()));
        assert_eq!(window.admit(2, at(50)), Ok(()));
        assert_eq!(window.admit(2, at(51)), Err(Duration::from_secs(9)));
        assert_eq!(window.admit(2, at(59)), Err(Duration::from_secs(1)));
        assert_eq!(window.admit(2, at(60)), Ok(()));
        assert_eq!(window.admit(2, at(61)), Err(Duration::from_secs(49)));
        assert_eq!(window.admit(2, at(110)), Ok(()));
        // A limit that was narrowed: both have to leave the window.
        assert_eq!(window.admit(1, at(111)), Err(Duration::from_secs(59)));
    }

    #[test]
    fn jobs_are_counted_apart_and_forgotten_in_time() {
        let rates = Rates::default();
        let start = Instant::now();
        assert!(rates.admit("a", "shop", 1, start).is_ok());
        assert!(rates.admit("a", "shop", 1, start).is_err());
        assert!(rates.admit("a", "other", 1, start).is_ok());
        assert!(rates.admit("b", "shop", 1, start).is_ok());
        let later = start + Duration::from_mins(1);
        assert!(rates.admit("c", "shop", 1, later).is_ok());
        let windows = rates.windows.lock().unwrap();
        assert_eq!(windows.len(), 1, "{windows:?}");
    }
}
