//! The log as events of the Open Cybersecurity Schema Framework, for SIEMs: class 6005, Datastore
//! Activity, version 1.3.0, with the profile `security_control`.
//!
//! One event for each session that was opened or refused, and for each statement: when it has
//! ended, or when it was denied. What was only prepared, and allowed, is no event of its own.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};

use super::{
    content::Content,
    entry::{Entry, load, read_entries},
    error::ReadError,
    event::{
        BypassAttempted, ConnectionRefused, Decision, Event, JobStarted, Outcome, Phase,
        ProcessRecord, SessionOpened, StatementCompleted, StatementDecided,
    },
};

const CLASS: u64 = 6005;

/// What a statement does to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Read = 1,
    Update = 2,
    Connect = 3,
    Query = 4,
    Write = 5,
    Create = 6,
    Delete = 7,
}

impl Activity {
    /// The gravest of what a statement does.
    fn of(effects: &[String]) -> Self {
        let does = |verbs: &[&str]| {
            effects.iter().any(|effect| {
                let verb = effect.split(' ').next().unwrap_or_default();
                verbs.contains(&verb)
            })
        };
        if does(&["delete", "truncate", "drop"]) {
            Self::Delete
        } else if does(&["update", "alter"]) {
            Self::Update
        } else if does(&["create"]) {
            Self::Create
        } else if does(&["insert"]) {
            Self::Write
        } else if does(&["select"]) {
            Self::Read
        } else {
            Self::Query
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Update => "Update",
            Self::Connect => "Connect",
            Self::Query => "Query",
            Self::Write => "Write",
            Self::Create => "Create",
            Self::Delete => "Delete",
        }
    }
}

/// Calls `visit` with each OCSF event of the log in `dir`, in order of their ends, up to entry
/// `size`. Memory grows with the jobs and with what is open at once, not with the log.
///
/// # Errors
/// If the log cannot be read.
pub fn ocsf_events(
    dir: &Path,
    size: u64,
    mut visit: impl FnMut(Value) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut told = Told::default();
    let mut failed = None;
    read_entries(dir, |entry| {
        if entry.index >= size {
            return false;
        }
        let outcome = told.entry(dir, entry).and_then(|event| match event {
            Some(event) => visit(event),
            None => Ok(()),
        });
        match outcome {
            Ok(()) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// What has been read so far and will be needed.
#[derive(Default)]
struct Told {
    host: String,
    version: String,
    jobs: BTreeMap<String, JobStarted>,
    sessions: BTreeMap<String, SessionOpened>,
    /// By session and number: the entry's index, when it was decided, and the decision.
    decided: BTreeMap<(String, u64), (u64, String, StatementDecided)>,
}

impl Told {
    fn entry(&mut self, dir: &Path, entry: Entry) -> Result<Option<Value>, ReadError> {
        let Entry {
            index, time, event, ..
        } = entry;
        match event {
            Some(Event::LogOpened(opened)) => {
                self.host = opened.host;
                self.version = opened.version;
                // What was open when the daemon ended is not continued.
                self.sessions.clear();
                self.decided.clear();
            }
            Some(Event::JobStarted(job)) => {
                self.jobs.insert(job.job.clone(), job);
            }
            Some(Event::SessionOpened(opened)) => {
                let event = self.opened(index, &time, &opened);
                self.sessions.insert(opened.session.clone(), opened);
                return Ok(Some(event));
            }
            Some(Event::SessionClosed(closed)) => {
                self.sessions.remove(&closed.session);
                self.decided
                    .retain(|(session, _), _| *session != closed.session);
            }
            Some(Event::ConnectionRefused(refused)) => {
                return Ok(Some(self.refused(index, &time, &refused)));
            }
            Some(Event::BypassAttempted(attempted)) => {
                return Ok(Some(self.attempted(index, &time, &attempted)));
            }
            Some(Event::StatementDecided(mut decided)) => {
                decided.text = load(dir, &decided.text)?;
                if matches!(decided.decision, Decision::Deny { .. }) {
                    return Ok(Some(self.statement(index, &time, &time, &decided, None)));
                }
                if decided.phase != Phase::Prepare {
                    let key = (decided.session.clone(), decided.statement);
                    self.decided.insert(key, (index, time, decided));
                }
            }
            Some(Event::StatementCompleted(completed)) => {
                let key = (completed.session.clone(), completed.statement);
                if let Some((decided_at, start, decided)) = self.decided.remove(&key) {
                    return Ok(Some(self.statement(
                        decided_at,
                        &start,
                        &time,
                        &decided,
                        Some(&completed),
                    )));
                }
            }
            Some(_) | None => {}
        }
        Ok(None)
    }

    /// What every event has.
    fn event(
        &self,
        index: u64,
        time: &str,
        activity: Activity,
        allowed: bool,
    ) -> Map<String, Value> {
        let id = activity as u64;
        let mut event = Map::new();
        event.insert("class_uid".into(), CLASS.into());
        event.insert("class_name".into(), "Datastore Activity".into());
        event.insert("category_uid".into(), 6.into());
        event.insert("category_name".into(), "Application Activity".into());
        event.insert("activity_id".into(), id.into());
        event.insert("activity_name".into(), activity.name().into());
        event.insert("type_uid".into(), (CLASS * 100 + id).into());
        event.insert(
            "type_name".into(),
            format!("Datastore Activity: {}", activity.name()).into(),
        );
        event.insert("type_id".into(), 1.into());
        event.insert("time".into(), millis(time).into());
        // Informational, or Medium.
        event.insert("severity_id".into(), if allowed { 1 } else { 3 }.into());
        event.insert("action_id".into(), if allowed { 1 } else { 2 }.into());
        event.insert("disposition_id".into(), if allowed { 1 } else { 2 }.into());
        event.insert("status_id".into(), if allowed { 1 } else { 2 }.into());
        event.insert(
            "metadata".into(),
            json!({
                "version": "1.3.0",
                "profiles": ["security_control"],
                "product": { "name": "Cordon", "vendor_name": "Cordon", "version": self.version },
                // The entry of the log that proves it.
                "uid": format!("{}/{index}", self.host),
                "sequence": index,
            }),
        );
        event.insert("src_endpoint".into(), json!({ "hostname": self.host }));
        event
    }

    fn actor(
        &self,
        job: Option<&str>,
        process: Option<&ProcessRecord>,
        session: Option<&str>,
    ) -> Value {
        let mut actor = Map::new();
        if let Some(job) = job.and_then(|job| self.jobs.get(job)) {
            actor.insert(
                "user".into(),
                json!({
                    "name": job.subject,
                    "uid": job.job,
                    "type": "Job",
                    "type_id": 99,
                    "groups": job.groups.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
                }),
            );
            actor.insert("idp".into(), json!({ "name": job.issuer }));
        }
        if let Some(session) = session {
            actor.insert("session".into(), json!({ "uid": session }));
        }
        if let Some(process) = process {
            actor.insert(
                "process".into(),
                json!({
                    "pid": process.pid,
                    "name": process.comm,
                    "cmd_line": process.command_line,
                    "file": process.executable.as_deref().map(|path| json!({
                        "path": path,
                        "name": path.rsplit('/').next(),
                        "type_id": 1,
                    })),
                    "user": { "uid": process.uid.to_string() },
                }),
            );
        }
        if actor.is_empty() {
            actor.insert("app_name".into(), "unknown".into());
        }
        without_nulls(Value::Object(actor))
    }

    fn opened(&self, index: u64, time: &str, opened: &SessionOpened) -> Value {
        let mut event = self.event(index, time, Activity::Connect, true);
        let session = Some(opened.session.as_str());
        event.insert(
            "actor".into(),
            self.actor(Some(&opened.job), Some(&opened.process), session),
        );
        event.insert("database".into(), database(opened));
        event.insert("dst_endpoint".into(), endpoint(&opened.original));
        event.into()
    }

    fn refused(&self, index: u64, time: &str, refused: &ConnectionRefused) -> Value {
        let mut event = self.event(index, time, Activity::Connect, false);
        event.insert(
            "actor".into(),
            self.actor(refused.job.as_deref(), refused.process.as_ref(), None),
        );
        event.insert("status_detail".into(), refused.reason.as_str().into());
        let original = refused.original.as_deref().unwrap_or_default();
        event.insert("database".into(), json!({ "name": original, "type_id": 0 }));
        if !original.is_empty() {
            event.insert("dst_endpoint".into(), endpoint(original));
        }
        event.into()
    }

    fn attempted(&self, index: u64, time: &str, attempted: &BypassAttempted) -> Value {
        let mut event = self.event(index, time, Activity::Connect, !attempted.refused);
        event.insert(
            "actor".into(),
            self.actor(attempted.job.as_deref(), attempted.process.as_ref(), None),
        );
        event.insert("status_detail".into(), attempted.reason.as_str().into());
        let to = attempted.destination.as_deref().unwrap_or_default();
        event.insert("database".into(), json!({ "name": to, "type_id": 0 }));
        if !to.is_empty() {
            event.insert("dst_endpoint".into(), endpoint(to));
        }
        event.into()
    }

    fn statement(
        &self,
        index: u64,
        start: &str,
        end: &str,
        decided: &StatementDecided,
        completed: Option<&StatementCompleted>,
    ) -> Value {
        let denied = matches!(decided.decision, Decision::Deny { .. });
        let mut event = self.event(index, end, Activity::of(&decided.effects), !denied);
        let session = self.sessions.get(&decided.session);
        event.insert(
            "actor".into(),
            self.actor(
                session.map(|session| session.job.as_str()),
                session.map(|session| &session.process),
                Some(&decided.session),
            ),
        );
        event.insert(
            "database".into(),
            session.map_or_else(|| json!({ "name": "", "type_id": 1 }), database),
        );
        if let Some(session) = session {
            event.insert("dst_endpoint".into(), endpoint(&session.original));
        }
        if let [relation] = decided.relations.as_slice() {
            event.insert("table".into(), json!({ "name": relation }));
        }
        event.insert(
            "query_info".into(),
            json!({
                "query_string": shown(&decided.text),
                "uid": format!("{}-{}", decided.session, decided.statement),
            }),
        );
        event.insert("start_time".into(), millis(start).into());
        let mut unmapped = json!({
            "effects": decided.effects,
            "relations": decided.relations,
            "masked": decided.masked,
            "policy": decided.policy,
            "approval": decided.approval,
        });
        if let Decision::Deny {
            sqlstate,
            rule,
            reason,
            ..
        } = &decided.decision
        {
            event.insert("status_code".into(), sqlstate.as_str().into());
            event.insert("status_detail".into(), reason.as_str().into());
            event.insert("firewall_rule".into(), json!({ "name": rule }));
        }
        if let Some(completed) = completed {
            event.insert("end_time".into(), millis(end).into());
            event.insert("duration".into(), (completed.duration_us / 1000).into());
            event.insert("count".into(), 1.into());
            if let Value::Object(unmapped) = &mut unmapped {
                unmapped.insert("rows".into(), completed.rows.into());
                unmapped.insert("bytes".into(), completed.bytes.into());
                unmapped.insert("cells_masked".into(), completed.cells_masked.into());
            }
            let failure = match &completed.outcome {
                Outcome::Ok => None,
                Outcome::Error { sqlstate } => Some((sqlstate.as_str(), "the database refused it")),
                Outcome::Cancelled => Some(("57014", "it was cancelled")),
                Outcome::Limited(_) => Some(("54000", "it passed a limit of the policy")),
                Outcome::Abandoned => Some(("", "its end was not seen")),
            };
            if let Some((code, detail)) = failure {
                event.insert("status_id".into(), 2.into());
                event.insert("status_code".into(), code.into());
                event.insert("status_detail".into(), detail.into());
            }
        }
        event.insert("unmapped".into(), without_nulls(unmapped));
        event.into()
    }
}

/// Relational.
fn database(session: &SessionOpened) -> Value {
    json!({ "name": session.database, "type": "Relational", "type_id": 1 })
}

fn endpoint(address: &str) -> Value {
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => json!({ "ip": address.ip().to_string(), "port": address.port() }),
        Err(_) => json!({ "name": address }),
    }
}

fn shown(text: &Content) -> String {
    match text {
        Content::Text(text) => text.clone(),
        Content::Hex { hex } => String::from_utf8_lossy(hex).into_owned(),
        Content::Blob { head, .. } | Content::Digest { head, .. } => head.clone(),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// Milliseconds since 1970 of a time as the log writes it: `2026-01-02T03:04:05.678901Z`.
fn millis(time: &str) -> u64 {
    let part = |range: std::ops::Range<usize>| -> u64 {
        time.get(range)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_default()
    };
    let (year, month, day) = (part(0..4), part(5..7), part(8..10));
    // Days of the Gregorian calendar, with years that start in March.
    let (year, month) = if month <= 2 {
        (year.saturating_sub(1), month + 9)
    } else {
        (year, month - 3)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let seconds = days.saturating_sub(719_469) * 86_400
        + part(11..13) * 3_600
        + part(14..16) * 60
        + part(17..19);
    seconds * 1_000 + part(20..23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{rfc3339, tests::written};

    #[test]
    fn times_are_those_that_were_written() {
        for micros in [
            0,
            951_782_399_999_000,
            951_782_400_000_000,
            1_798_675_445_678_000,
            4_107_542_400_123_000,
        ] {
            assert_eq!(
                millis(&rfc3339(micros)),
                micros / 1000,
                "{}",
                rfc3339(micros)
            );
        }
    }

    #[test]
    fn the_gravest_effect_names_the_activity() {
        let of = |effects: &[&str]| {
            Activity::of(&effects.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            of(&["select public.t (a)", "delete public.u"]),
            Activity::Delete
        );
        assert_eq!(of(&["select public.t", "insert public.t"]), Activity::Write);
        assert_eq!(of(&["create table public.t"]), Activity::Create);
        assert_eq!(of(&[]), Activity::Query);
    }

    #[tokio::test]
    async fn sessions_and_statements_become_events() {
        let dir = tempfile::tempdir().unwrap();
        let size = written(dir.path()).await;
        let mut events = Vec::new();
        ocsf_events(dir.path(), size, |event| {
            events.push(event);
            Ok(())
        })
        .unwrap();
        let names: Vec<&str> = events
            .iter()
            .filter_map(|event| event["activity_name"].as_str())
            .collect();
        assert_eq!(names, ["Connect", "Read", "Delete"], "{events:#?}");
        for event in &events {
            for required in [
                "activity_id",
                "actor",
                "category_uid",
                "class_uid",
                "metadata",
                "severity_id",
                "src_endpoint",
                "time",
                "type_uid",
                "type_id",
                "database",
            ] {
                assert!(!event[required].is_null(), "{required}: {event:#}");
            }
            assert_eq!(event["actor"]["user"]["name"], "repo:shop");
        }
        assert_eq!(events[1]["query_info"]["query_string"], "SELECT 1");
        assert_eq!(events[1]["status_id"], 1);
        assert_eq!(events[2]["disposition_id"], 2);
        assert_eq!(events[2]["status_code"], "42501");
    }
}
