//! Recorded sessions, read again: what their statements do, by a catalog at hand.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::{
    arguments::CatalogSource,
    job::{self, KnownJob},
};
use crate::{
    admin::rfc3339,
    audit::{
        Decision, JobStarted, Phase, Recorded, SessionRecord, StatementDecided, read_sessions,
    },
    cli::sessions::EVIDENCE_DIR,
    config::parse_duration,
    policy::{JOB_ROLE_PREFIX, Kinship},
    session::OpenCatalog,
    sql::{Catalog, NotUnderstood, Statement, run_on_big_stack, split},
};

/// Which recorded sessions.
#[derive(Args, Clone, Debug)]
pub struct SessionPick {
    /// A session's id, or the start of it; several may be given.
    #[arg(long = "session", value_name = "ID")]
    pub sessions: Vec<String>,
    /// The sessions of this job; several may be given.
    #[arg(long = "job", value_name = "ID")]
    pub jobs: Vec<String>,
    /// Sessions opened since then: a time in UTC (2026-01-31, 2026-01-31T08:00:00Z) or a duration
    /// (24h, 7d).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// The evidence folder.
    #[arg(long, value_name = "FOLDER", env = "CORDON_EVIDENCE", default_value = EVIDENCE_DIR)]
    pub evidence: PathBuf,
}

impl SessionPick {
    /// Reads the sessions picked; at least one, or it is an error.
    pub fn read(&self) -> anyhow::Result<Recorded> {
        ensure!(
            !self.sessions.is_empty() || !self.jobs.is_empty() || self.since.is_some(),
            "say which sessions: --session ID, --job ID or --since TIME; `cordon sessions list` lists them"
        );
        let since = self.since.as_deref().map(since).transpose()?;
        let recorded = read_sessions(&self.evidence, |opened, time| {
            let by_session = self
                .sessions
                .iter()
                .any(|id| opened.session.starts_with(id.as_str()));
            let by_job = self.jobs.contains(&opened.job);
            let named = self.sessions.is_empty() && self.jobs.is_empty() || by_session || by_job;
            named && since.as_deref().is_none_or(|since| time >= since)
        })?;
        for id in &self.sessions {
            let found = recorded
                .sessions
                .iter()
                .any(|session| session.opened.session.starts_with(id.as_str()));
            ensure!(
                found,
                "no session {id} is recorded in {}",
                self.evidence.display()
            );
        }
        ensure!(
            !recorded.sessions.is_empty(),
            "no such session is recorded in {}",
            self.evidence.display()
        );
        Ok(recorded)
    }
}

/// A time as the evidence writes it, to be compared as text.
fn since(written: &str) -> anyhow::Result<String> {
    if let Ok(duration) = parse_duration(written) {
        let then = SystemTime::now()
            .checked_sub(duration)
            .filter(|then| *then >= SystemTime::UNIX_EPOCH + Duration::from_hours(24))
            .context("so long ago is nothing")?;
        return Ok(rfc3339(then).trim_end_matches('Z').to_owned());
    }
    let (date, time) = written.split_once('T').unwrap_or((written, ""));
    let shape: String = date
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let plain = time.trim_end_matches('Z');
    let times = plain.is_empty()
        || (time.ends_with('Z')
            && plain
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, ':' | '.')));
    if shape != "0000-00-00" || !times {
        bail!(
            "`{written}` is no time; write 2026-01-31, 2026-01-31T08:00:00Z (in UTC) or a duration such as 24h"
        );
    }
    Ok(written.trim_end_matches('Z').to_owned())
}

/// One statement of a recorded session.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Where it is on record: session and number.
    pub reference: String,
    /// Its text.
    pub text: String,
    /// True if it was sent to the database.
    pub ran: bool,
    /// What was masked: labels and masks.
    pub masked: Vec<String>,
    /// What it does; or why that cannot be told.
    pub read: Result<Arc<Statement>, String>,
}

/// A recorded session, read again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Its id.
    pub session: String,
    /// Whose it was.
    pub job: KnownJob,
    /// The job's id.
    pub job_id: String,
    /// The database, by its configured name.
    pub database: String,
    /// The login that was used.
    pub login: String,
    /// Its statements, each text once.
    pub statements: Vec<Replayed>,
    /// The catalog it was read with.
    pub catalog: Arc<Catalog>,
    /// Families of tables in it.
    pub kinship: Arc<Kinship>,
}

/// Reads sessions again, each by the catalog of its database.
pub fn replay(recorded: &Recorded, source: &CatalogSource) -> anyhow::Result<Vec<Replay>> {
    let mut catalogs: HashMap<(String, String), OpenCatalog> = HashMap::new();
    for session in &recorded.sessions {
        let opened = &session.opened;
        let key = (opened.database.clone(), opened.login.clone());
        if let Entry::Vacant(place) = catalogs.entry(key) {
            // A role that was made for a job is gone.
            let login =
                Some(opened.login.as_str()).filter(|login| !login.starts_with(JOB_ROLE_PREFIX));
            place.insert(source.open(&opened.database, login)?);
        }
    }
    run_on_big_stack(|| {
        recorded
            .sessions
            .iter()
            .map(|session| {
                let opened = &session.opened;
                let key = (opened.database.clone(), opened.login.clone());
                let catalog = catalogs.get(&key).context("its catalog was read")?;
                let job = recorded.jobs.get(&opened.job).with_context(|| {
                    format!(
                        "the start of job {} is not in this log, so that whose session {} was cannot be told",
                        opened.job, opened.session
                    )
                })?;
                Ok(one(session, job, catalog))
            })
            .collect()
    })?
}

fn one(session: &SessionRecord, job: &JobStarted, catalog: &OpenCatalog) -> Replay {
    let mut names = catalog.start.clone();
    let mut path: Option<&[String]> = None;
    let mut statements = Vec::new();
    let mut known: BTreeMap<(String, Vec<String>), usize> = BTreeMap::new();
    let ran = ran(session);
    let number = |decided: &StatementDecided| {
        format!(
            "{}-{}",
            decided.session.trim_start_matches("ses-"),
            decided.statement
        )
    };
    for record in &session.statements {
        let decided = &record.decided;
        if !decided.search_path.is_empty() {
            path = Some(&decided.search_path);
        }
        // What the session's names meant is on record; older logs do not tell, and there it is
        // followed.
        if let Some(path) = path {
            names.set_search_path(path.to_vec());
        }
        let (text, whole) = decided.text.shown();
        let ran = ran.contains(&decided.statement);
        let key = (text.clone(), names.namespace().search_path.clone());
        let before = known.get(&key).copied();
        if let Some(before) = before.and_then(|at| statements.get_mut(at)) {
            let before: &mut Replayed = before;
            before.ran |= ran;
            // Its effect on the session counts each time.
            if let Ok(statement) = &before.read {
                names.follow(statement);
            }
            continue;
        }
        let read = if whole {
            read(&text, &names)
        } else {
            Err("its text is not in the evidence in full".to_owned())
        };
        let Some(read) = read.transpose() else {
            continue;
        };
        if let Ok(statement) = &read {
            names.follow(statement);
        }
        known.insert(key, statements.len());
        statements.push(Replayed {
            reference: number(decided),
            text,
            ran,
            masked: decided.masked.clone(),
            read,
        });
    }
    Replay {
        session: session.opened.session.clone(),
        job: job::recorded(job),
        job_id: session.opened.job.clone(),
        database: session.opened.database.clone(),
        login: session.opened.login.clone(),
        statements,
        catalog: names.catalog().clone(),
        kinship: names.kinship().clone(),
    }
}

/// The numbers of the statements that were released to the database: those whose last decision
/// lets them run.
fn ran(session: &SessionRecord) -> BTreeSet<u64> {
    let mut ran = BTreeSet::new();
    for record in &session.statements {
        let decided = &record.decided;
        let runs = match (&decided.decision, decided.phase) {
            (Decision::Allow { .. } | Decision::Observe { .. }, _)
            | (Decision::Approve { .. }, Phase::Prepare) => true,
            (Decision::Approve { .. }, Phase::Execute | Phase::Simple)
            | (Decision::Deny { .. }, _) => false,
        };
        if runs {
            ran.insert(decided.statement);
        } else {
            ran.remove(&decided.statement);
        }
    }
    ran
}

/// `None`: there is no statement in it.
fn read(text: &str, names: &crate::session::Rehearsal) -> Result<Option<Arc<Statement>>, String> {
    let understood = split(text).and_then(|parsed| match parsed.as_slice() {
        [] => Ok(None),
        [one] => names.read(one).map(Some),
        _ => Err(NotUnderstood::Unsupported(
            "it is several statements".to_owned(),
        )),
    });
    match understood {
        Ok(statement) => Ok(statement.map(Arc::new)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn a_time_is_a_date_a_moment_or_a_duration() {
        assert_eq!(since("2026-01-31").expect("a date"), "2026-01-31");
        assert_eq!(
            since("2026-01-31T08:00:00Z").expect("a moment"),
            "2026-01-31T08:00:00"
        );
        assert!(since("24h").expect("a duration") > since("7d").expect("a duration"));
        for wrong in [
            "",
            "yesterday",
            "2026-1-1",
            "2026-01-31T08:00:00+02:00",
            "2026-01-31T08:00",
        ] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
