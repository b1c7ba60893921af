//! What was refused: statements, connections, job starts, answers, policies.

use std::{collections::VecDeque, path::Path, sync::Arc};

use axum::extract::{RawQuery, State};
use serde::Serialize;

use super::{Search, number, query, read};
use crate::{
    audit::{Decision, Entry, Event, ReadError, read_entries},
    console::{app::App, guard::Reader, person::Role, refused::Refused, shown::Shown},
};

/// Refusals in an answer, at most.
const MAX_REFUSALS: usize = 500;

#[derive(Serialize)]
pub struct Refusals {
    /// Newest first.
    refusals: Vec<Refusal>,
    /// How many fit the filters.
    found: usize,
}

#[derive(Debug, Default, Serialize)]
struct Refusal {
    entry: u64,
    time: String,
    /// `statement`, `connection`, `job`, `answer`, `policy`.
    kind: &'static str,
    session: Option<String>,
    job: Option<String>,
    /// Who asked, or what they sent.
    what: String,
    reason: String,
    rule: Option<String>,
    hint: Option<String>,
    code: Option<String>,
}

/// The refusals that fit `q` (words) and `kind`, newest first.
pub async fn list(
    State(app): State<Arc<App>>,
    raw: RawQuery,
    reader: Reader,
) -> Result<Shown<Refusals>, Refused> {
    reader.asker.needs(Role::Auditor)?;
    let values = query(&raw);
    let dir = app.evidence.clone();
    let refusals = read(&app, move || {
        let most = number(&values, "limit", 100, MAX_REFUSALS);
        let kind = values.get("kind").map_or("", String::as_str);
        collect(&dir, kind, &Search::of(&values), most)
    })
    .await?;
    Ok(Shown(refusals))
}

fn collect(dir: &Path, kind: &str, search: &Search, most: usize) -> Result<Refusals, ReadError> {
    let (mut last, mut found) = (VecDeque::new(), 0);
    read_entries(dir, |entry| {
        if let Some(refusal) = Refusal::of(entry)
            && (kind.is_empty() || refusal.kind == kind)
            && search.finds(refusal.texts())
        {
            found += 1;
            last.push_front(refusal);
            last.truncate(most);
        }
        true
    })?;
    Ok(Refusals {
        refusals: last.into(),
        found,
    })
}

impl Refusal {
    fn of(entry: Entry) -> Option<Self> {
        let (index, time) = (entry.index, entry.time);
        let refusal = match entry.event? {
            Event::StatementDecided(decided) => {
                let Decision::Deny {
                    code,
                    sqlstate,
                    rule,
                    reason,
                    hint,
                } = decided.decision
                else {
                    return None;
                };
                Self {
                    kind: "statement",
                    session: Some(decided.session),
                    what: decided.text.shown().0,
                    reason,
                    rule: Some(rule),
                    hint: Some(hint).filter(|hint| !hint.is_empty()),
                    code: Some(format!("{sqlstate} {code}")),
                    ..Self::default()
                }
            }
            Event::ConnectionRefused(refused) => Self {
                kind: "connection",
                job: refused.job,
                what: match (refused.process, refused.original) {
                    (Some(process), Some(original)) => {
                        format!("{} ({}) to {original}", process.comm, process.pid)
                    }
                    (Some(process), None) => format!("{} ({})", process.comm, process.pid),
                    (None, Some(original)) => format!("to {original}"),
                    (None, None) => refused.peer.unwrap_or_default(),
                },
                reason: refused.reason,
                ..Self::default()
            },
            Event::BypassAttempted(attempted) => Self {
                kind: "bypass",
                job: attempted.job,
                what: match (attempted.process, attempted.destination) {
                    (Some(process), Some(to)) => {
                        format!("{} ({}) to {to}", process.comm, process.pid)
                    }
                    (Some(process), None) => format!("{} ({})", process.comm, process.pid),
                    (None, to) => to.map_or_else(String::new, |to| format!("to {to}")),
                },
                reason: if attempted.refused {
                    attempted.reason
                } else {
                    format!("(passed) {}", attempted.reason)
                },
                code: Some(attempted.way),
                ..Self::default()
            },
            Event::JobRefused(refused) => Self {
                kind: "job",
                job: refused.inside_job,
                what: format!(
                    "a job start by uid {} (process {})",
                    refused.peer_uid, refused.peer_pid
                ),
                reason: refused.reason,
                ..Self::default()
            },
            Event::ApprovalRefused(refused) => Self {
                kind: "answer",
                job: refused.inside_job,
                what: format!("an answer of {} to {}", refused.by, refused.approval),
                reason: refused.reason,
                ..Self::default()
            },
            Event::MessageRefused(refused) => Self {
                kind: "message",
                session: Some(refused.session),
                what: "a message of which no statement was read".to_owned(),
                reason: refused.reason,
                code: Some(refused.sqlstate),
                ..Self::default()
            },
            Event::PolicyRefused(refused) => Self {
                kind: "policy",
                what: "new policy files".to_owned(),
                reason: refused.problems.join("\n"),
                ..Self::default()
            },
            Event::LogOpened(_)
            | Event::PolicyLoaded(_)
            | Event::JobStarted(_)
            | Event::JobEnded(_)
            | Event::RoleChanged(_)
            | Event::SessionOpened(_)
            | Event::StatementCompleted(_)
            | Event::ApprovalRequested(_)
            | Event::ApprovalDecided(_)
            | Event::ApprovalExpired(_)
            | Event::ApprovalWithdrawn(_)
            | Event::ApprovalUsed(_)
            | Event::SessionClosed(_)
            | Event::SessionRecorded(_)
            | Event::RecordingRemoved(_)
            | Event::LogPruned(_)
            | Event::KeyRotated(_)
            | Event::Gap(_)
            | Event::Heartbeat(_)
            | Event::LogClosed(_)
            | Event::Spilled(_) => return None,
        };
        Some(Self {
            entry: index,
            time,
            ..refusal
        })
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        [
            Some(&self.what),
            Some(&self.reason),
            self.rule.as_ref(),
            self.session.as_ref(),
            self.job.as_ref(),
            self.code.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
    }
}
