//! What changes, told to the page as it happens (server-sent events).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use http_body::Frame;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast::error::RecvError, mpsc},
    time::{MissedTickBehavior, interval},
};

use super::{
    app::{App, Asker},
    guard::Reader,
    peer::Dialled,
    refused::Refused,
    shown,
};
use crate::{
    admin::{ApprovalView, NeedView},
    approval::visible_line,
};

/// Its path; requests for it are not what a person does.
pub(super) const PATH: &str = "/api/events";
/// Changes in quick succession are told together.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the host's state is told, and looked whether the login still holds.
const STATUS_EVERY: Duration = Duration::from_secs(3);
/// Characters of a statement in the queue; all of it is with the request itself.
const EXCERPT: usize = 200;
/// Requests that have ended in the queue.
const MAX_ENDED: usize = 30;

/// A held statement in the queue.
#[derive(Debug, Serialize)]
struct Queued {
    id: String,
    state: String,
    database: String,
    requester: String,
    job: String,
    excerpt: String,
    effects: Vec<String>,
    rule: String,
    needs: Vec<NeedView>,
    approved_by: Vec<String>,
    created: String,
    expires: String,
    used: Option<String>,
}

impl From<ApprovalView> for Queued {
    fn from(view: ApprovalView) -> Self {
        // Marks make it longer; a blank run counts as one.
        let head: String = view.statement.chars().take(EXCERPT).collect();
        let cut = head.len() < view.statement.len();
        let mut excerpt = visible_line(&head.replace(['\n', '\t'], " "));
        if cut {
            excerpt.push_str(" ...");
        }
        Self {
            id: view.id,
            state: view.state,
            database: view.database,
            requester: view.requester,
            job: view.job,
            excerpt,
            effects: view.effects,
            rule: view.rule,
            needs: view.needs,
            approved_by: view.approved_by,
            created: view.created,
            expires: view.expires,
            used: view.used,
        }
    }
}

/// All that wait, oldest first, and the last that have ended.
fn queue(app: &App) -> Vec<Queued> {
    let all = app.gate.approvals().list();
    let ended = all.iter().filter(|view| view.state != "pending").count();
    let mut skip = ended.saturating_sub(MAX_ENDED);
    all.into_iter()
        .filter(|view| {
            let drop = view.state != "pending" && skip > 0;
            skip -= usize::from(drop);
            !drop
        })
        .map(Queued::from)
        .collect()
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route(PATH, get(stream))
}

async fn stream(State(app): State<Arc<App>>, reader: Reader) -> Result<Response, Refused> {
    let place = Arc::clone(&app.streams)
        .try_acquire_owned()
        .map_err(|_full| Refused::busy("too many pages are open; close some"))?;
    let (tell, told) = mpsc::channel(8);
    tokio::spawn(follow(app, reader.asker, reader.dialled, tell, place));
    let mut response = Body::new(Events(told)).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        axum::http::HeaderValue::from_static("text/event-stream"),
    );
    Ok(response)
}

/// Tells of changes until the page goes, or its login ends.
async fn follow(
    app: Arc<App>,
    asker: Asker,
    dialled: Arc<Dialled>,
    tell: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    // First, so that no change is missed between the look and the wait.
    let mut changes = app.gate.approvals().subscribe();
    let mut tick = interval(STATUS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut queued = String::new();
    loop {
        let now = tokio::select! {
            _ = tick.tick() => true,
            change = changes.recv() => match change {
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    tokio::time::sleep(PAUSE).await;
                    changes = changes.resubscribe();
                    false
                }
                Err(RecvError::Closed) => return,
            },
            () = tell.closed() => return,
        };
        if !app.still(&asker, &dialled) {
            let _gone = tell.send(event("over", "{}")).await;
            return;
        }
        let queue = shown::json(&queue(&app));
        if queue != queued {
            if tell.send(event("queue", &queue)).await.is_err() {
                return;
            }
            queued = queue;
        }
        if now {
            let status = shown::json(&app.control.status());
            if tell.send(event("status", &status)).await.is_err() {
                return;
            }
        }
    }
}

/// One event; JSON has no line ends.
fn event(name: &str, data: &str) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// The events as the body of an answer.
struct Events(mpsc::Receiver<Bytes>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(context)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
