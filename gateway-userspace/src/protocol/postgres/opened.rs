//! A session that both sides have agreed to, to its end and that of what it left at the server.

use std::{sync::Arc, time::Instant};

use super::{
    ask::ask,
    backend::{self, BackendError, CancelKey, Destination},
    cancel::{CancelTarget, IssuedKey},
    close::Close,
    connection::Connection,
    limit::Canceller,
    serve::{Database, chain},
};
use crate::{session::Session, transport::Channel};

/// How to cancel what a session runs at its server.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) database: Arc<Database>,
    pub(super) key: CancelKey,
    /// When the server had let the session in.
    pub(super) since: Instant,
    /// The login of the configuration; `None`: the job's own role, which ends with the job.
    pub(super) login: Option<String>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("address", &self.database.address)
            .finish_non_exhaustive()
    }
}

/// What the server's side of a session has agreed to.
pub(super) struct Agreed {
    pub(super) server: Channel,
    pub(super) session: Session,
    pub(super) target: Arc<CancelTarget>,
    pub(super) key: IssuedKey<Upstream>,
    pub(super) upstream: Arc<Upstream>,
}

impl Agreed {
    /// The session with its client.
    pub(super) fn with(self, client: Channel) -> Opened {
        let Self {
            server,
            session,
            target,
            key,
            upstream,
        } = self;
        let cancelled = upstream.clone();
        let canceller: Canceller = Box::new(move || {
            let upstream = cancelled.clone();
            Box::pin(async move { cancel_upstream(&upstream).await })
        });
        let life = session.principal().life().clone();
        let ended =
            Box::pin(async move { format!("cordon: the job has ended: {}", life.ended().await) });
        Opened {
            connection: Box::new(Connection::new(
                client, server, session, target, canceller, ended,
            )),
            key,
            upstream,
        }
    }
}

/// A session that both sides have agreed to.
pub struct Opened {
    connection: Box<Connection>,
    key: IssuedKey<Upstream>,
    upstream: Arc<Upstream>,
}

impl Opened {
    /// Serves it to its end.
    ///
    /// What this future holds by value each session holds as long as it lives, at its largest: what
    /// is only needed at times is in boxes of its own.
    pub async fn serve(self) {
        let Self {
            connection,
            key,
            upstream,
        } = self;
        let (close, session, busy) = connection.serve().await;
        drop(key);
        Box::pin(end(&upstream, &close, session, busy)).await;
    }
}

/// `busy`: the server may still be running something of it.
async fn end(upstream: &Upstream, close: &Close, session: Session, busy: bool) {
    if busy {
        let ended = !session.principal().life().is_live();
        stop_upstream(upstream, ended).await;
    }
    tracing::info!(session = session.id(), reason = %close.reason(), "session closed");
    session.close(&close.reason()).await;
}

pub(super) async fn cancel_upstream(upstream: &Upstream) -> Result<(), BackendError> {
    let database = &upstream.database;
    let destination = Destination {
        address: &database.address,
        host: &database.host,
        tls: database.tls.as_ref(),
        database: &database.dbname,
        user: "",
        password: b"",
        parameters: &[],
    };
    backend::cancel(&destination, &upstream.key).await
}

/// Stops what a session that is over still runs. A statement may take a cancel request for an
/// error that it knows how to go on after; when the job has ended, its backend is ended too.
async fn stop_upstream(upstream: &Upstream, ended: bool) {
    if let Err(error) = cancel_upstream(upstream).await {
        tracing::warn!(error = %chain(&error), "what still runs was not cancelled");
    }
    let Some(login) = upstream.login.as_deref().filter(|_| ended) else {
        return;
    };
    if let Err(error) = terminate_upstream(upstream, login).await {
        tracing::warn!(error = %chain(&error), "the backend of a session of an ended job was not ended");
    }
}

/// Ends the backend, by another session of the same login. Its number may be somebody else's by
/// now, who came later.
async fn terminate_upstream(upstream: &Upstream, login: &str) -> Result<(), BackendError> {
    let database = &upstream.database;
    let credential = database.logins.credential(login, &database.name).await?;
    let destination = Destination {
        address: &database.address,
        host: &database.host,
        tls: database.tls.as_ref(),
        database: &database.dbname,
        user: &credential.user,
        password: &credential.password,
        parameters: &[],
    };
    let query = format!(
        "WITH s AS MATERIALIZED (SELECT a.pid FROM pg_catalog.pg_stat_activity AS a \
         WHERE a.pid OPERATOR(pg_catalog.=) {} AND a.usename OPERATOR(pg_catalog.=) CURRENT_USER \
         AND pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.backend_start) \
         OPERATOR(pg_catalog.>=) {:.3}) SELECT pg_catalog.pg_terminate_backend(s.pid)::pg_catalog.text FROM s",
        upstream.key.pid,
        upstream.since.elapsed().as_secs_f64(),
    );
    ask(&destination, &[&query]).await.map(|_answers| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room_for<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_session_keeps_no_room_for_what_it_does_at_times() {
        let task = room_for(Opened::serve);
        assert!(task <= 1_536, "the task of a session takes {task} bytes");
        let connection = size_of::<Connection>();
        assert!(connection <= 2_048, "a connection takes {connection} bytes");
    }
}
