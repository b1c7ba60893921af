//! Connections of the console: bounded in number, size and time.

use std::{convert::Infallible, io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::{app::App, guard, peer::Dialled};
use crate::{
    admin::{self, Credentials},
    config::{Console, ConsoleAt},
};

/// Connections of those who are not in a job.
const MAX_CONNECTIONS: usize = 512;
/// Connections of jobs, which get nothing but a refusal.
const MAX_OF_JOBS: usize = 16;
/// How long the head of a request, and a TLS handshake, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest head of a request.
const MAX_HEAD: usize = 32 * 1024;
/// Pause after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the console listens.
pub enum Listener {
    /// A Unix socket.
    Socket(UnixListener),
    /// TCP, with TLS or without.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// Begins to listen.
///
/// # Errors
/// If the address or the path cannot be had.
pub fn bind(console: &Console) -> io::Result<OwnedFd> {
    match &console.at {
        ConsoleAt::Socket(path) => admin::bind(path).map(Into::into),
        ConsoleAt::Tcp(tcp) => {
            let listener = std::net::TcpListener::bind(tcp.address)?;
            listener.set_nonblocking(true)?;
            Ok(listener.into())
        }
    }
}

impl Listener {
    /// What [`bind`] has given. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the runtime does not take it.
    pub fn new(console: &Console, bound: OwnedFd) -> io::Result<Self> {
        Ok(match &console.at {
            ConsoleAt::Socket(_) => Self::Socket(UnixListener::from_std(bound.into())?),
            ConsoleAt::Tcp(tcp) => Self::Tcp(
                TcpListener::from_std(bound.into())?,
                tcp.tls.clone().map(TlsAcceptor::from),
            ),
        })
    }
}

/// Serves until the task is dropped.
pub async fn serve(listener: Listener, app: Arc<App>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let of_jobs = Arc::new(Semaphore::new(MAX_OF_JOBS));
    let router = guard::router(Arc::clone(&app));
    loop {
        let accepted = match &listener {
            Listener::Socket(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| Accepted::Socket(stream)),
            Listener::Tcp(listener, tls) => listener
                .accept()
                .await
                .map(|(stream, peer)| Accepted::Tcp(stream, peer, tls.clone())),
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the console");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // A place first, so that looking up who dialled is bounded, too.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let (app, router, of_jobs) = (Arc::clone(&app), router.clone(), Arc::clone(&of_jobs));
        tokio::spawn(async move {
            if let Some(dialled) = accepted.dialled(&app).await {
                let place = if dialled.job(&app.config, &app.jobs).is_none() {
                    place
                } else {
                    drop(place);
                    // Full: the client sees the connection close.
                    let Ok(place) = of_jobs.try_acquire_owned() else {
                        return;
                    };
                    place
                };
                accepted.run(dialled, router).await;
                drop(place);
            }
        });
    }
}

enum Accepted {
    Socket(UnixStream),
    Tcp(TcpStream, SocketAddr, Option<TlsAcceptor>),
}

impl Accepted {
    async fn dialled(&self, app: &Arc<App>) -> Option<Dialled> {
        match self {
            Self::Socket(stream) => Credentials::of(stream).ok().map(Dialled::Socket),
            Self::Tcp(stream, peer, _) => {
                let (peer, local) = (*peer, stream.local_addr().ok()?);
                let jobs = Arc::clone(&app.jobs);
                spawn_blocking(move || Dialled::tcp(peer, local, &jobs))
                    .await
                    .ok()
            }
        }
    }

    async fn run(self, dialled: Dialled, router: Router) {
        match self {
            Self::Socket(stream) => http(stream, dialled, router).await,
            Self::Tcp(stream, _, None) => http(stream, dialled, router).await,
            Self::Tcp(stream, _, Some(tls)) => {
                // A failed handshake is the client's affair.
                if let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await {
                    http(stream, dialled, router).await;
                }
            }
        }
    }
}

async fn http<S>(stream: S, dialled: Dialled, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let dialled = Arc::new(dialled);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (mut router, dialled) = (router.clone(), Arc::clone(&dialled));
        async move {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(dialled);
            Ok::<_, Infallible>(
                router
                    .call(request)
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of the console ended");
    }
}
