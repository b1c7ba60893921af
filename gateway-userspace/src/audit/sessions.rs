//! Sessions and their statements, read from the log.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    entry::{Entries, Entry, load, read_entries},
    error::ReadError,
    event::{
        ApprovalDecided, ApprovalRequested, Decision, Event, JobStarted, SessionClosed,
        SessionOpened, StatementCompleted, StatementDecided,
    },
    index::SessionIndex,
};

/// One session, in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Session id.
    pub session: String,
    /// Job id.
    pub job: String,
    /// Database.
    pub database: String,
    /// Upstream login.
    pub login: String,
    /// Command of the process that dialled.
    pub process: String,
    /// When it opened, RFC 3339.
    pub opened: String,
    /// When it closed; `None` while it is open, or if a crash ended it.
    pub closed: Option<String>,
    /// Statements decided; each counts once.
    pub statements: u64,
    /// Statements denied.
    pub denied: u64,
    /// Statements held for approval.
    pub held: u64,
    /// Statements that passed only because a grant is in observe mode.
    #[serde(default)]
    pub observed: u64,
    /// Rows sent to the client.
    pub rows: u64,
    /// Cells masked in them.
    pub cells_masked: u64,
}

/// One session, in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionRecord {
    /// When it opened.
    pub opened_at: String,
    /// Nanoseconds since boot when it opened.
    pub opened_ns: u64,
    /// How it opened.
    pub opened: SessionOpened,
    /// Its statements, in order.
    pub statements: Vec<StatementRecord>,
    /// When and how it ended.
    pub closed: Option<(String, SessionClosed)>,
}

/// One decision of a session, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatementRecord {
    /// Index of the decision's entry.
    pub index: u64,
    /// When it was decided.
    pub time: String,
    /// Nanoseconds since boot.
    pub mono_ns: u64,
    /// The decision; texts from side files filled in.
    pub decided: StatementDecided,
    /// The request for approval, if it was held.
    pub requested: Option<ApprovalRequested>,
    /// The answers.
    pub answers: Vec<ApprovalDecided>,
    /// How it ended; `None` for what was denied or never ended.
    pub completed: Option<StatementCompleted>,
}

/// Sessions in full, and the jobs that the log knows.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The sessions, oldest first.
    pub sessions: Vec<SessionRecord>,
    /// Every job, by its id.
    pub jobs: BTreeMap<String, JobStarted>,
}

/// The sessions of the log in `dir` that `wanted` picks, by how and when they opened; texts from
/// side files filled in.
pub fn read_sessions(
    dir: &Path,
    wanted: impl Fn(&SessionOpened, &str) -> bool,
) -> Result<Recorded, ReadError> {
    struct Open {
        id: String,
        record: Option<SessionRecord>,
        approvals: BTreeMap<String, usize>,
    }
    let mut jobs = BTreeMap::new();
    let mut picked: Vec<Open> = Vec::new();
    let mut by_id: BTreeMap<String, usize> = BTreeMap::new();
    let mut by_approval: BTreeMap<String, usize> = BTreeMap::new();
    read_entries(dir, |entry| {
        match &entry.event {
            Some(Event::JobStarted(job)) => {
                jobs.insert(job.job.clone(), job.clone());
            }
            Some(Event::SessionOpened(opened)) if wanted(opened, &entry.time) => {
                by_id.insert(opened.session.clone(), picked.len());
                picked.push(Open {
                    id: opened.session.clone(),
                    record: None,
                    approvals: BTreeMap::new(),
                });
            }
            Some(_) | None => {}
        }
        let at = match &entry.event {
            Some(Event::SessionOpened(opened)) => by_id.get(&opened.session),
            Some(Event::StatementDecided(decided)) => by_id.get(&decided.session),
            Some(Event::StatementCompleted(completed)) => by_id.get(&completed.session),
            Some(Event::ApprovalRequested(requested)) => {
                let at = by_id.get(&requested.session);
                if let Some(at) = at {
                    by_approval.insert(requested.approval.clone(), *at);
                }
                at
            }
            Some(Event::ApprovalDecided(answer)) => by_approval.get(&answer.approval),
            Some(Event::SessionClosed(closed)) => by_id.get(&closed.session),
            Some(_) | None => None,
        };
        if let Some(open) = at.and_then(|at| picked.get_mut(*at)) {
            collect(&mut open.record, &mut open.approvals, &open.id, entry);
        }
        true
    })?;
    let mut sessions: Vec<SessionRecord> =
        picked.into_iter().filter_map(|open| open.record).collect();
    for statement in sessions
        .iter_mut()
        .flat_map(|session| &mut session.statements)
    {
        statement.decided.text = load(dir, &statement.decided.text)?;
    }
    Ok(Recorded { sessions, jobs })
}

/// The sessions of the log in `dir`, oldest first; memory grows with their number, not with that
/// of their statements.
pub fn list_sessions(dir: &Path) -> Result<Vec<SessionSummary>, ReadError> {
    let mut sessions = Vec::new();
    newest_sessions(dir, |session| {
        sessions.push(session);
        true
    })?;
    sessions.reverse();
    Ok(sessions)
}

/// Visits the sessions of the log in `dir`, newest first, until `visit` returns false. Where there is
/// an index, it is brought up to date and read; otherwise all of the log is.
pub fn newest_sessions(
    dir: &Path,
    mut visit: impl FnMut(SessionSummary) -> bool,
) -> Result<(), ReadError> {
    if let Some(index) = SessionIndex::current(dir) {
        // Collected before they are visited: an index that fails half-way has shown nothing.
        let mut sessions = Vec::new();
        let read = index.newest(|session| {
            sessions.push(session);
            true
        });
        match read {
            Ok(()) => {
                for session in sessions {
                    if !visit(session) {
                        break;
                    }
                }
                return Ok(());
            }
            Err(error) => tracing::warn!(%error, "the log is read instead"),
        }
    }
    let mut sessions: Vec<SessionSummary> = Vec::new();
    let mut open: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    read_entries(dir, |entry| {
        summarise(&mut sessions, &mut open, entry);
        true
    })?;
    for session in sessions.into_iter().rev() {
        if !visit(session) {
            break;
        }
    }
    Ok(())
}

/// Adds what an entry says to the sessions. `open` has the position of each open one, and the number
/// of its last statement.
pub(super) fn summarise(
    sessions: &mut Vec<SessionSummary>,
    open: &mut BTreeMap<String, (usize, u64)>,
    entry: Entry,
) {
    let Some(event) = entry.event else { return };
    match event {
        Event::SessionOpened(opened) => {
            open.insert(opened.session.clone(), (sessions.len(), 0));
            sessions.push(SessionSummary {
                session: opened.session,
                job: opened.job,
                database: opened.database,
                login: opened.login,
                process: opened.process.comm,
                opened: entry.time,
                closed: None,
                statements: 0,
                denied: 0,
                held: 0,
                observed: 0,
                rows: 0,
                cells_masked: 0,
            });
        }
        Event::StatementDecided(decided) => {
            let Some((at, last)) = open.get_mut(&decided.session) else {
                return;
            };
            let Some(summary) = sessions.get_mut(*at) else {
                return;
            };
            // A held statement is decided twice under one number.
            summary.statements += u64::from(decided.statement != *last);
            *last = decided.statement;
            match decided.decision {
                Decision::Allow { .. } => {}
                Decision::Observe { .. } => summary.observed += 1,
                Decision::Approve { .. } => summary.held += 1,
                Decision::Deny { .. } => summary.denied += 1,
            }
        }
        Event::StatementCompleted(completed) => {
            let summary = open
                .get(&completed.session)
                .and_then(|(at, _)| sessions.get_mut(*at));
            if let Some(summary) = summary {
                summary.rows += completed.rows;
                summary.cells_masked += completed.cells_masked;
            }
        }
        Event::SessionClosed(closed) => {
            let at = open.remove(&closed.session).map(|(at, _)| at);
            if let Some(summary) = at.and_then(|at| sessions.get_mut(at)) {
                summary.closed = Some(entry.time);
            }
        }
        // What was open then never closed.
        Event::LogOpened(_) => open.clear(),
        Event::PolicyLoaded(_)
        | Event::PolicyRefused(_)
        | Event::JobStarted(_)
        | Event::JobEnded(_)
        | Event::JobRefused(_)
        | Event::RoleChanged(_)
        | Event::ConnectionRefused(_)
        | Event::BypassAttempted(_)
        | Event::SessionRecorded(_)
        | Event::RecordingRemoved(_)
        | Event::LogPruned(_)
        | Event::KeyRotated(_)
        | Event::ApprovalRequested(_)
        | Event::ApprovalDecided(_)
        | Event::ApprovalRefused(_)
        | Event::ApprovalExpired(_)
        | Event::ApprovalWithdrawn(_)
        | Event::ApprovalUsed(_)
        | Event::MessageRefused(_)
        | Event::Gap(_)
        | Event::Heartbeat(_)
        | Event::LogClosed(_)
        | Event::Spilled(_) => {}
    }
}

/// One session of the log in `dir`, by its id or an unambiguous prefix.
pub fn read_session(dir: &Path, prefix: &str) -> Result<SessionRecord, ReadError> {
    let (id, mut entries) = begin_of(dir, prefix)?;
    let mut record: Option<SessionRecord> = None;
    // Approval id to the position of its statement.
    let mut approvals: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(entry) = entries.next()? {
        collect(&mut record, &mut approvals, &id, entry);
        if record
            .as_ref()
            .is_some_and(|record| record.closed.is_some())
        {
            break;
        }
    }
    let mut record = record.ok_or_else(|| ReadError::NoSession(prefix.to_owned()))?;
    for statement in &mut record.statements {
        statement.decided.text = load(dir, &statement.decided.text)?;
        for parameter in statement.decided.parameters.iter_mut().flatten() {
            *parameter = load(dir, parameter)?;
        }
    }
    Ok(record)
}

/// The full id of a session, and the log's entries from where it opens on.
pub(super) fn begin_of(dir: &Path, prefix: &str) -> Result<(String, Entries), ReadError> {
    if let Some(index) = SessionIndex::current(dir) {
        match index.find(prefix) {
            Ok(found) => {
                let ids = found.iter().map(|(session, _)| session.clone()).collect();
                let id = only(prefix, ids)?;
                let at = found.first().map(|(_, position)| *position);
                return Ok((id, Entries::open_at(dir, at.unwrap_or_default())?));
            }
            Err(error) => tracing::warn!(%error, "the log is read instead"),
        }
    }
    Ok((full_id(dir, prefix)?, Entries::open(dir)?))
}

fn full_id(dir: &Path, prefix: &str) -> Result<String, ReadError> {
    let mut exact = false;
    let mut matches = Vec::new();
    read_entries(dir, |entry| {
        if let Some(Event::SessionOpened(opened)) = entry.event
            && opened.session.starts_with(prefix)
        {
            exact = opened.session == prefix;
            if exact {
                matches.clear();
            }
            // A few are enough to say that it is ambiguous.
            if matches.len() < 5 {
                matches.push(opened.session);
            }
        }
        !exact
    })?;
    only(prefix, matches)
}

/// The one session that a prefix must mean.
fn only(prefix: &str, matches: Vec<String>) -> Result<String, ReadError> {
    match matches.as_slice() {
        [] => Err(ReadError::NoSession(prefix.to_owned())),
        [one] => Ok(one.clone()),
        _ => Err(ReadError::Ambiguous {
            prefix: prefix.to_owned(),
            matches,
        }),
    }
}

fn collect(
    record: &mut Option<SessionRecord>,
    approvals: &mut BTreeMap<String, usize>,
    id: &str,
    entry: Entry,
) {
    let Some(event) = entry.event else { return };
    match (event, record.as_mut()) {
        (Event::SessionOpened(opened), None) if opened.session == id => {
            *record = Some(SessionRecord {
                opened_at: entry.time,
                opened_ns: entry.mono_ns,
                opened,
                statements: Vec::new(),
                closed: None,
            });
        }
        (Event::StatementDecided(decided), Some(record)) if decided.session == id => {
            record.statements.push(StatementRecord {
                index: entry.index,
                time: entry.time,
                mono_ns: entry.mono_ns,
                decided,
                requested: None,
                answers: Vec::new(),
                completed: None,
            });
        }
        (Event::StatementCompleted(completed), Some(record)) if completed.session == id => {
            let statement = record
                .statements
                .iter_mut()
                .rev()
                .find(|s| s.decided.statement == completed.statement);
            if let Some(statement) = statement {
                statement.completed = Some(completed);
            }
        }
        (Event::ApprovalRequested(requested), Some(record)) if requested.session == id => {
            let at = record
                .statements
                .iter()
                .rposition(|s| s.decided.statement == requested.statement);
            if let Some((at, statement)) =
                at.and_then(|at| Some((at, record.statements.get_mut(at)?)))
            {
                approvals.insert(requested.approval.clone(), at);
                statement.requested = Some(requested);
            }
        }
        (Event::ApprovalDecided(answer), Some(record)) => {
            if let Some(statement) = approvals
                .get(&answer.approval)
                .and_then(|at| record.statements.get_mut(*at))
            {
                statement.answers.push(answer);
            }
        }
        (Event::SessionClosed(closed), Some(record)) if closed.session == id => {
            record.closed = Some((entry.time, closed));
        }
        // Other sessions, and what belongs to none.
        _ => {}
    }
}
