//! Asks the policy in force, as `cordon policy explain` does.

use std::{collections::BTreeMap, sync::Arc};

use axum::{body::Bytes, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::read;
use crate::{
    audit::{JobStarted, read_sessions},
    console::{
        app::App,
        guard::{Changer, Reader},
        person::Role,
        refused::Refused,
        shown::Shown,
    },
    identity::{Assurance, JobIdentity},
    session::{ExplainError, Explained, OpenCatalog, explained},
};

/// Recorded jobs to choose from, the last ones.
const MAX_JOBS: usize = 200;

/// What can be asked about.
#[derive(Serialize)]
pub struct Subjects {
    databases: Vec<String>,
    issuers: Vec<String>,
    /// Live ones first, then recorded ones, the newest first.
    jobs: Vec<JobChoice>,
}

#[derive(Serialize)]
struct JobChoice {
    id: String,
    issuer: String,
    subject: String,
    live: bool,
}

/// Databases, issuers, and jobs that are live or on record.
pub async fn subjects(
    State(app): State<Arc<App>>,
    reader: Reader,
) -> Result<Shown<Subjects>, Refused> {
    reader.asker.needs(Role::Auditor)?;
    let mut jobs: Vec<JobChoice> = app
        .jobs
        .list()
        .iter()
        .map(|job| JobChoice {
            id: job.id().to_owned(),
            issuer: job.identity().issuer().to_owned(),
            subject: job.identity().subject().to_owned(),
            live: true,
        })
        .collect();
    let mut recorded = recorded(&app).await?;
    recorded.retain(|started| !jobs.iter().any(|job| job.id == started.job));
    jobs.extend(
        recorded
            .into_iter()
            .rev()
            .take(MAX_JOBS)
            .map(|started| JobChoice {
                id: started.job,
                issuer: started.issuer,
                subject: started.subject,
                live: false,
            }),
    );
    let databases = app.config.databases.iter();
    let issuers = app.config.issuers.iter();
    Ok(Shown(Subjects {
        databases: databases.map(|database| database.name.clone()).collect(),
        issuers: issuers.map(|issuer| issuer.name.clone()).collect(),
        jobs,
    }))
}

/// The jobs on record, in the order of the log.
async fn recorded(app: &App) -> Result<Vec<JobStarted>, Refused> {
    let dir = app.evidence.clone();
    read(app, move || {
        let recorded = read_sessions(&dir, |_, _| false)?;
        Ok(recorded.jobs.into_values().collect())
    })
    .await
}

/// A statement, and whose it would be: a job by its id, or one described.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    sql: String,
    database: String,
    job: Option<String>,
    issuer: Option<String>,
    #[serde(default)]
    claims: BTreeMap<String, Value>,
    #[serde(default)]
    groups: Vec<String>,
}

/// What the policy says.
pub async fn explain(
    State(app): State<Arc<App>>,
    changer: Changer,
    body: Bytes,
) -> Result<Shown<Explained>, Refused> {
    changer.asker.needs(Role::Auditor)?;
    let question: Question = serde_json::from_slice(&body)
        .map_err(|error| Refused::bad(format!("the question is not understood: {error}")))?;
    let job = job(&app, &question).await?;
    let _turn = app
        .readers
        .acquire()
        .await
        .map_err(|_closed| Refused::fault("the console is stopping"))?;
    let asked = Arc::clone(&app);
    let answer = spawn_blocking(move || {
        let policy = asked.gate.policy();
        let database = &question.database;
        explained(&policy, &job, database, None, &question.sql, |login| {
            catalog(&asked, database, login)
        })
    });
    answer
        .await
        .map_err(|error| Refused::fault(error.to_string()))?
        .map(Shown)
}

/// The catalog of a database as it is now.
fn catalog(app: &App, database: &str, login: Option<&str>) -> Result<OpenCatalog, Refused> {
    let saved = app
        .control
        .catalog(database, login)
        .map_err(Refused::fault)?;
    OpenCatalog::open(&saved, format!("database {database}"), login)
        .map_err(|error| Refused::fault(format!("the catalog cannot be used: {error}")))
}

async fn job(app: &App, question: &Question) -> Result<Arc<JobIdentity>, Refused> {
    let Some(id) = &question.job else {
        let issuer = question.issuer.clone().ok_or_else(|| {
            Refused::bad("say whose statement it would be: a `job`, or an `issuer` with `claims`")
        })?;
        return Ok(Arc::new(JobIdentity::supposed(
            issuer,
            Assurance::OidcVerified,
            question.groups.clone(),
            question.claims.clone(),
        )));
    };
    if let Some(job) = app.jobs.get(id) {
        return Ok(Arc::clone(job.identity()));
    }
    let started = recorded(app).await?.into_iter().find(|job| job.job == *id);
    let started =
        started.ok_or_else(|| Refused::missing(format!("no job {id} is live or on record")))?;
    let assurance = match started.assurance.as_str() {
        "oidc-verified" => Assurance::OidcVerified,
        _ => Assurance::RunnerAsserted,
    };
    Ok(Arc::new(JobIdentity::supposed(
        started.issuer,
        assurance,
        started.groups,
        started.claims,
    )))
}

impl From<ExplainError> for Refused {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::NoStatement => Self::bad(error.to_string()),
            ExplainError::Thread(_) => Self::fault(error.to_string()),
        }
    }
}
