//! What the page asks for: JSON, every text in it made visible.

mod approvals;
mod evidence;
mod explain;
mod recorded;
mod refusals;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, State},
    routing::{get, post},
};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::{app::App, guard::Reader, person::Role, refused::Refused, shown::Shown};
use crate::{
    admin::{JobView, StatusView, job_view},
    audit::ReadError,
};

pub(super) use evidence::Verification;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/me", get(me))
        .route("/api/status", get(status))
        .route("/api/jobs", get(jobs))
        .route(
            "/api/approvals/{id}",
            get(approvals::show).post(approvals::decide),
        )
        .route("/api/sessions", get(recorded::list))
        .route("/api/sessions/{id}", get(recorded::show))
        .route("/api/refusals", get(refusals::list))
        .route(
            "/api/explain",
            get(explain::subjects).post(explain::explain),
        )
        .route("/api/evidence", get(evidence::state))
        .route("/api/evidence/checkpoint", get(evidence::checkpoint))
        .route("/api/evidence/verify", post(evidence::verify_now))
}

#[derive(Serialize)]
struct Me {
    name: String,
    role: Role,
    groups: Vec<String>,
    csrf: String,
    /// Whether there is a login to end.
    logout: bool,
}

async fn me(reader: Reader) -> Shown<Me> {
    let asker = reader.asker;
    Shown(Me {
        name: asker.person.name,
        role: asker.person.role,
        groups: asker.person.groups,
        csrf: asker.csrf,
        logout: asker.session.is_some(),
    })
}

async fn status(State(app): State<Arc<App>>, _reader: Reader) -> Shown<StatusView> {
    Shown(app.control.status())
}

/// Live jobs, with their claims.
async fn jobs(State(app): State<Arc<App>>, reader: Reader) -> Result<Shown<Vec<JobView>>, Refused> {
    reader.asker.needs(Role::Auditor)?;
    Ok(Shown(
        app.jobs.list().iter().map(|job| job_view(job)).collect(),
    ))
}

/// Reads the evidence where it may block; a few at a time, since each reads all of it.
async fn read<T: Send + 'static>(
    app: &App,
    what: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, Refused> {
    let _turn = app
        .readers
        .acquire()
        .await
        .map_err(|_closed| Refused::fault("the console is stopping"))?;
    match spawn_blocking(what).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error @ (ReadError::NoSession(_) | ReadError::Ambiguous { .. }))) => {
            Err(Refused::missing(error.to_string()))
        }
        Ok(Err(
            error @ (ReadError::Io { .. }
            | ReadError::Malformed { .. }
            | ReadError::Removed { .. }
            | ReadError::Recording(_)),
        )) => Err(Refused::fault(error.to_string())),
        Err(error) => Err(Refused::fault(format!(
            "the evidence cannot be read: {error}"
        ))),
    }
}

/// The values of a query; of a name given twice the last counts.
fn query(RawQuery(query): &RawQuery) -> BTreeMap<String, String> {
    let Ok(mut url) = reqwest::Url::parse("query:") else {
        return BTreeMap::new();
    };
    url.set_query(query.as_deref());
    url.query_pairs().into_owned().collect()
}

/// A number of the query, within bounds.
fn number(values: &BTreeMap<String, String>, name: &str, default: usize, most: usize) -> usize {
    let written = values.get(name).and_then(|value| value.parse().ok());
    written.unwrap_or(default).min(most)
}

/// Whether any of these texts contains the words that are looked for, without regard to case.
struct Search(Vec<String>);

impl Search {
    fn of(values: &BTreeMap<String, String>) -> Self {
        let written = values.get("q").map_or("", String::as_str);
        Self(written.split_whitespace().map(str::to_lowercase).collect())
    }

    fn finds<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let texts: Vec<String> = texts.into_iter().map(str::to_lowercase).collect();
        self.0
            .iter()
            .all(|word| texts.iter().any(|text| text.contains(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_must_be_found_somewhere() {
        let values = query(&RawQuery(Some("q=Drop%20shop&limit=9999".to_owned())));
        let search = Search::of(&values);
        assert!(search.finds(["DROP TABLE x", "in shop"]));
        assert!(!search.finds(["DROP TABLE x"]));
        assert!(Search::of(&BTreeMap::new()).finds([""]));
        assert_eq!(number(&values, "limit", 10, 500), 500);
        assert_eq!(number(&values, "from", 10, 500), 10);
    }
}
