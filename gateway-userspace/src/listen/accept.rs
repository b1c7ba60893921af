//! From an accepted socket to a principal and a protocol.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use crate::{
    identity::{Jobs, resolve},
    intercept::{Claim, InterceptedConn},
    protocol::postgres,
    session::{ConnectionRefused, Gate, RefusalCause},
};

/// Connections served at the same time, at most; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// File descriptors that everything else needs: logs, programs, jobs, the control socket.
const OTHER_DESCRIPTORS: u64 = 512;
/// File descriptors of a session: its client, its server, and a cancel request on its way.
const SESSION_DESCRIPTORS: u64 = 3;

/// What every accepted connection needs.
pub struct Acceptor {
    /// The jobs.
    pub jobs: Arc<Jobs>,
    /// Where refusals are recorded.
    pub gate: Arc<Gate>,
    /// The protocol.
    pub postgres: Arc<postgres::Service>,
    /// Which databases there are.
    pub databases: Vec<Served>,
    /// Places for connections that are served at the same time, as many as [`room`] tells.
    pub places: Arc<Semaphore>,
}

/// Raises the process's limit of open files as far as it may, and says how many connections fit.
pub fn room() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let Some(files) = getrlimit(Resource::Nofile).current else {
        return MAX_CONNECTIONS;
    };
    let fit = files.saturating_sub(OTHER_DESCRIPTORS) / SESSION_DESCRIPTORS;
    let places = usize::try_from(fit).map_or(MAX_CONNECTIONS, |fit| fit.clamp(1, MAX_CONNECTIONS));
    if places < MAX_CONNECTIONS {
        tracing::warn!(
            files,
            connections = places,
            "the limit of open files bounds the connections; raise it (LimitNOFILE in systemd) for more"
        );
    }
    places
}

/// A protected database and the addresses under which jobs dial it.
pub struct Served {
    /// The addresses.
    pub addresses: Vec<SocketAddr>,
    /// The database.
    pub database: Arc<postgres::Database>,
}

impl Acceptor {
    /// Accepts until `stop` turns true or is dropped. What the kernel saw of a connection, `claims`
    /// tells. Open sessions go on until their jobs end.
    pub async fn run(
        self: Arc<Self>,
        listener: TcpListener,
        claims: Arc<dyn Claim>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    // Taken only when somebody has come: listeners are many, places are not.
                    let place = tokio::select! {
                        place = self.places.clone().acquire_owned() => place,
                        _ = stop.wait_for(|stop| *stop) => return,
                    };
                    let Ok(place) = place else {
                        return;
                    };
                    let (acceptor, claims) = (self.clone(), claims.clone());
                    tokio::spawn(async move {
                        // In a box: what it takes to open a session is gone while that lives.
                        let opening = Box::pin(acceptor.open(&*claims, tcp, peer));
                        if let Some(opened) = opening.await {
                            opened.serve().await;
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, or a connection that was reset in the queue.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    async fn open(
        &self,
        claims: &dyn Claim,
        tcp: TcpStream,
        peer: SocketAddr,
    ) -> Option<postgres::Opened> {
        let local = match tcp.local_addr() {
            Ok(local) => local,
            Err(error) => {
                tracing::warn!(%error, "an accepted connection has no local address");
                return None;
            }
        };
        let Some(conn) = claims.claim(peer, local) else {
            self.refuse_unclaimed(peer).await;
            return None;
        };
        let identity = resolve(&conn, &self.jobs);
        let host = self.host(&conn);
        let original = conn.original;
        self.postgres
            .open(tcp.into(), conn, identity, &host, |name| {
                self.find(original, name)
            })
            .await
    }

    /// Somebody dialled the proxy itself: without the kernel's record there is no telling who.
    async fn refuse_unclaimed(&self, peer: SocketAddr) {
        self.gate
            .refuse_connection(ConnectionRefused {
                cause: RefusalCause::NoEvidence,
                reason: "the kernel redirected no such connection".to_owned(),
                job: None,
                process: None,
                original: None,
                peer: Some(peer.to_string()),
            })
            .await;
    }

    fn at(&self, original: SocketAddr) -> impl Iterator<Item = &Arc<postgres::Database>> {
        self.databases
            .iter()
            .filter(move |served| served.addresses.contains(&original))
            .map(|served| &served.database)
    }

    fn host(&self, conn: &InterceptedConn) -> String {
        self.at(conn.original).next().map_or_else(
            || conn.original.ip().to_string(),
            |database| database.host.clone(),
        )
    }

    fn find(&self, original: SocketAddr, name: &str) -> Option<Arc<postgres::Database>> {
        self.at(original)
            .find(|database| database.name == name || database.dbname == name)
            .cloned()
    }
}
