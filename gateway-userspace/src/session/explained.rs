//! What the policy says to statements of a job, without a session: for tools that ask.

use std::sync::Arc;

use serde::Serialize;

use super::{Refusal, Rehearsal};
use crate::{
    identity::JobIdentity,
    policy::{
        Admission, Kinship, Policy,
        explain::{
            Explanation, GrantView, LimitView, ReasonView, VerdictView, explain, grants_for, limits,
        },
    },
    sql::{Namespace, NotUnderstood, SavedCatalog, SavedCatalogError, run_on_big_stack, split},
};

/// A catalog at hand.
#[derive(Clone, Debug)]
pub struct OpenCatalog {
    /// Where it is from, for people.
    pub from: String,
    /// When it was read.
    pub read: String,
    /// A session in it that has done nothing yet.
    pub start: Rehearsal,
}

impl OpenCatalog {
    /// Makes a saved catalog ready for use; `login`: whose session it is to be.
    ///
    /// # Errors
    /// If it is not one that this version reads.
    pub fn open(
        saved: &SavedCatalog,
        from: String,
        login: Option<&str>,
    ) -> Result<Self, SavedCatalogError> {
        let (catalog, namespace) = saved.open()?;
        let kinship = Arc::new(Kinship::of(&catalog));
        let namespace = Namespace {
            user: login.map_or(namespace.user, str::to_owned),
            ..namespace
        };
        Ok(Self {
            from,
            read: saved.read.clone(),
            start: Rehearsal::new(Arc::new(catalog), kinship, namespace),
        })
    }
}

/// Everything there is to say, as programs read it.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The database.
    pub database: String,
    /// The worst of the statements: `allow`, `hold`, `deny` or `unreadable`.
    pub verdict: &'static str,
    /// Every grant of the database, and whether it is for the job.
    pub grants: Vec<GrantView>,
    /// Why the job has no access at all.
    pub refused: Option<ReasonView>,
    /// The login it gets.
    pub login: Option<String>,
    /// What holds for whatever the job sends.
    pub limits: Vec<LimitView>,
    /// What the names were looked up in.
    pub catalog: Option<CatalogView>,
    /// The statements, in order.
    pub statements: Vec<ExplainedStatement>,
}

/// What names were looked up in.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogView {
    /// Where it is from.
    pub from: String,
    /// When it was read.
    pub read: String,
    /// The search path at the start.
    pub search_path: Vec<String>,
}

/// One statement.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ExplainedStatement {
    /// Understood.
    Statement(Box<Explanation>),
    /// Refused before any policy is asked.
    NotUnderstood {
        /// Its text.
        text: String,
        /// What the client would see.
        error: ErrorView,
    },
}

/// What the client would see.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorView {
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// In words.
    pub message: String,
    /// Character of the text, from 1.
    pub position: Option<usize>,
    /// True if the statement itself is at fault, for the server too.
    pub statement_at_fault: bool,
}

/// What the policy says to the statements in `sql`, were they sent by this job one after another.
/// `open` gives the catalog of the database for a login, or for a role that is made for a job; it is not called if the job has no access.
/// Reading wants a thread with a deep stack, which this starts and waits for.
///
/// # Errors
/// Those of `open`; and that there is no statement, or the thread cannot run.
pub fn explained<E: From<ExplainError>>(
    policy: &Arc<Policy>,
    job: &JobIdentity,
    database: &str,
    search_path: Option<Vec<String>>,
    sql: &str,
    open: impl FnOnce(Option<&str>) -> Result<OpenCatalog, E>,
) -> Result<Explained, E> {
    let mut answer = Explained {
        database: database.to_owned(),
        verdict: "deny",
        grants: grants_for(policy, job, database),
        refused: None,
        login: None,
        limits: Vec::new(),
        catalog: None,
        statements: Vec::new(),
    };
    let admission = match policy.admit_job(job, database) {
        Ok(admission) => admission,
        Err(reason) => {
            answer.refused = Some(ReasonView::from(&reason));
            return Ok(answer);
        }
    };
    let mut catalog = open(admission.role().login())?;
    if let Some(path) = search_path {
        catalog.start.set_search_path(path);
    }
    answer.login = Some(admission.login().to_owned());
    answer.limits = limits(&admission);
    answer.catalog = Some(CatalogView {
        from: catalog.from.clone(),
        read: catalog.read.clone(),
        search_path: catalog.start.namespace().search_path.clone(),
    });
    answer.statements = run_on_big_stack(|| statements(job, &admission, catalog.start, sql))
        .map_err(|error| ExplainError::Thread(error.to_string()))?;
    if answer.statements.is_empty() {
        return Err(ExplainError::NoStatement.into());
    }
    answer.verdict = worst(&answer.statements);
    Ok(answer)
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Blank, or comments only.
    #[error("there is no statement in the text")]
    NoStatement,
    /// The thread that reads.
    #[error("the statement cannot be read: {0}")]
    Thread(String),
}

fn statements(
    job: &JobIdentity,
    admission: &Admission,
    mut names: Rehearsal,
    sql: &str,
) -> Vec<ExplainedStatement> {
    let failed = |text: &str, error: &NotUnderstood| ExplainedStatement::NotUnderstood {
        text: text.to_owned(),
        error: ErrorView::of(error),
    };
    let parsed = match split(sql) {
        Ok(parsed) => parsed,
        Err(error) => return vec![failed(sql, &error)],
    };
    parsed
        .iter()
        .map(|parsed| match names.read(parsed) {
            Ok(statement) => {
                names.follow(&statement);
                ExplainedStatement::Statement(Box::new(explain(
                    job,
                    admission,
                    &statement,
                    names.catalog(),
                    names.kinship(),
                )))
            }
            Err(error) => failed(parsed.text(), &error),
        })
        .collect()
}

impl ErrorView {
    fn of(error: &NotUnderstood) -> Self {
        let refusal = Refusal::not_understood(error, String::new());
        Self {
            sqlstate: refusal.sqlstate(),
            message: error.to_string(),
            position: refusal.position(),
            statement_at_fault: match error {
                NotUnderstood::Syntax { .. } | NotUnderstood::UnknownName { .. } => true,
                NotUnderstood::Limit(_) | NotUnderstood::Unsupported(_) => false,
            },
        }
    }
}

fn worst(statements: &[ExplainedStatement]) -> &'static str {
    let rank = |statement: &ExplainedStatement| match statement {
        ExplainedStatement::Statement(explanation) => match explanation.verdict {
            VerdictView::Allow { .. } => (0, "allow"),
            VerdictView::Hold { .. } => (1, "hold"),
            VerdictView::Deny { .. } => (2, "deny"),
        },
        ExplainedStatement::NotUnderstood { error, .. } if error.statement_at_fault => {
            (3, "unreadable")
        }
        ExplainedStatement::NotUnderstood { .. } => (2, "deny"),
    };
    statements
        .iter()
        .map(rank)
        .max()
        .map_or("allow", |(_, word)| word)
}
