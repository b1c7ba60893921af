//! Recorded sessions: the list, and one of them statement by statement.

use std::{collections::HashSet, path::Path as FilePath, sync::Arc};

use axum::extract::{Path, RawQuery, State};
use serde::Serialize;

use super::{Search, number, query, read};
use crate::{
    audit::{
        Content, Decision, Event, ProcessRecord, ReadError, SessionRecord, SessionSummary,
        StatementRecord, newest_sessions, read_entries, read_session,
    },
    console::{app::App, guard::Reader, person::Role, refused::Refused, shown::Shown},
};

/// Sessions in an answer, at most.
const MAX_SESSIONS: usize = 500;
/// Statements in an answer, at most.
const MAX_STATEMENTS: usize = 500;

#[derive(Serialize)]
pub struct Sessions {
    /// Newest first.
    sessions: Vec<SessionSummary>,
    /// How many fit the filters.
    found: usize,
}

/// The sessions that fit `q` (words), `state` (open, closed), `with` (denied, held, observed,
/// masked) and `text` (in a statement), newest first.
pub async fn list(
    State(app): State<Arc<App>>,
    raw: RawQuery,
    reader: Reader,
) -> Result<Shown<Sessions>, Refused> {
    let values = query(&raw);
    let text = values.get("text").filter(|text| !text.is_empty()).cloned();
    if text.is_some() {
        reader.asker.needs(Role::Auditor)?;
    }
    let dir = app.evidence.clone();
    let sessions = read(&app, move || {
        let search = Search::of(&values);
        let of = |name: &str| values.get(name).map_or("", String::as_str);
        let with_text = text.map(|text| containing(&dir, &text)).transpose()?;
        let fits = |session: &SessionSummary| {
            let state = match of("state") {
                "open" => session.closed.is_none(),
                "closed" => session.closed.is_some(),
                _ => true,
            };
            let with = match of("with") {
                "denied" => session.denied > 0,
                "held" => session.held > 0,
                "observed" => session.observed > 0,
                "masked" => session.cells_masked > 0,
                _ => true,
            };
            let texts = [
                &session.session,
                &session.job,
                &session.database,
                &session.login,
                &session.process,
                &session.opened,
            ];
            state
                && with
                && search.finds(texts.map(String::as_str))
                && with_text
                    .as_ref()
                    .is_none_or(|sessions| sessions.contains(&session.session))
        };
        let most = number(&values, "limit", 100, MAX_SESSIONS);
        let (mut sessions, mut found) = (Vec::new(), 0);
        newest_sessions(&dir, |session| {
            if fits(&session) {
                found += 1;
                if sessions.len() < most {
                    sessions.push(session);
                }
            }
            true
        })?;
        Ok(Sessions { sessions, found })
    })
    .await?;
    Ok(Shown(sessions))
}

/// Ids of the sessions in which a statement contains this text.
fn containing(dir: &FilePath, text: &str) -> Result<HashSet<String>, ReadError> {
    let wanted = text.to_lowercase();
    let mut found = HashSet::new();
    read_entries(dir, |entry| {
        if let Some(Event::StatementDecided(decided)) = entry.event
            && decided.text.shown().0.to_lowercase().contains(&wanted)
        {
            found.insert(decided.session);
        }
        true
    })?;
    Ok(found)
}

/// A session as the page replays it.
#[derive(Serialize)]
pub struct Replay {
    session: String,
    job: String,
    database: String,
    login: String,
    original: String,
    process: ProcessRecord,
    client: std::collections::BTreeMap<String, String>,
    opened: String,
    closed: Option<String>,
    reason: Option<String>,
    /// From its opening to its end, or to the last that is known of it, in milliseconds.
    duration_ms: u64,
    /// How many statements there are; those from `from` follow.
    total: usize,
    from: usize,
    statements: Vec<Step>,
}

/// One statement of it.
#[derive(Serialize)]
struct Step {
    number: u64,
    entry: u64,
    time: String,
    /// Since the session opened, in milliseconds.
    at_ms: u64,
    phase: &'static str,
    text: String,
    /// False if only its beginning is kept.
    whole: bool,
    parameters: Vec<Option<String>>,
    effects: Vec<String>,
    verdict: &'static str,
    rule: Option<String>,
    why: String,
    masked: Vec<String>,
    approval: Option<String>,
    answers: Vec<Answered>,
    outcome: Option<String>,
    rows: u64,
    bytes: u64,
    cells_masked: u64,
    duration_us: u64,
}

#[derive(Serialize)]
struct Answered {
    by: String,
    approve: bool,
    reason: Option<String>,
}

/// One session, with statements `from` to `from + count`.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    raw: RawQuery,
    reader: Reader,
) -> Result<Shown<Replay>, Refused> {
    reader.asker.needs(Role::Auditor)?;
    let values = query(&raw);
    let dir = app.evidence.clone();
    let replay = read(&app, move || {
        let from = number(&values, "from", 0, usize::MAX);
        let count = number(&values, "count", MAX_STATEMENTS, MAX_STATEMENTS);
        read_session(&dir, &id).map(|session| Replay::of(session, from, count))
    })
    .await?;
    Ok(Shown(replay))
}

impl Replay {
    fn of(session: SessionRecord, from: usize, count: usize) -> Self {
        let SessionRecord {
            opened_at,
            opened_ns,
            opened,
            statements,
            closed,
        } = session;
        let since = |ns: u64| ns.saturating_sub(opened_ns) / 1_000_000;
        let last = statements.last().map_or(0, |statement| {
            let ran = statement
                .completed
                .as_ref()
                .map_or(0, |done| done.duration_us);
            since(statement.mono_ns) + ran.div_ceil(1_000)
        });
        let ended = closed
            .as_ref()
            .map(|(_, closed)| closed.duration_us / 1_000);
        Self {
            session: opened.session,
            job: opened.job,
            database: opened.database,
            login: opened.login,
            original: opened.original,
            process: opened.process,
            client: opened.client,
            opened: opened_at,
            reason: closed.as_ref().map(|(_, closed)| closed.reason.clone()),
            closed: closed.map(|(time, _)| time),
            duration_ms: ended.unwrap_or(last).max(last),
            total: statements.len(),
            from,
            statements: statements
                .into_iter()
                .skip(from)
                .take(count)
                .map(|statement| {
                    let at = since(statement.mono_ns);
                    Step::of(statement, at)
                })
                .collect(),
        }
    }
}

impl Step {
    fn of(statement: StatementRecord, at_ms: u64) -> Self {
        let decided = statement.decided;
        let (text, whole) = decided.text.shown();
        let (rule, why) = why(&decided.decision);
        let done = statement.completed.as_ref();
        Self {
            number: decided.statement,
            entry: statement.index,
            time: statement.time,
            at_ms,
            phase: decided.phase.word(),
            text,
            whole,
            parameters: decided
                .parameters
                .iter()
                .map(|parameter| parameter.as_ref().map(value))
                .collect(),
            effects: decided.effects,
            verdict: decided.decision.word(),
            rule,
            why,
            masked: decided.masked,
            approval: statement.requested.map(|requested| requested.approval),
            answers: statement
                .answers
                .into_iter()
                .map(|answer| Answered {
                    by: answer.by,
                    approve: answer.approve,
                    reason: answer.reason,
                })
                .collect(),
            outcome: done.map(|done| done.outcome.words()),
            rows: done.map_or(0, |done| done.rows),
            bytes: done.map_or(0, |done| done.bytes),
            cells_masked: done.map_or(0, |done| done.cells_masked),
            duration_us: done.map_or(0, |done| done.duration_us),
        }
    }
}

fn value(content: &Content) -> String {
    let (text, whole) = content.shown();
    if whole { text } else { format!("{text} ...") }
}

/// The rule that decided, and why.
fn why(decision: &Decision) -> (Option<String>, String) {
    match decision {
        Decision::Allow { grants } => (None, format!("granted by {}", grants.join(", "))),
        Decision::Observe {
            would,
            rule,
            reason,
            ..
        } => (Some(rule.clone()), format!("would {would}: {reason}")),
        Decision::Approve { rule, reason, .. } | Decision::Deny { rule, reason, .. } => {
            (Some(rule.clone()), reason.clone())
        }
    }
}
