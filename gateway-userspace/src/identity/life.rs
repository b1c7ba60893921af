//! Whether a job still lives, for all who must stop when it ends.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::watch;

/// Why a job ended: what came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// Its last process exited.
    Empty,
    /// The connection it was bound to closed.
    ConnectionClosed,
    /// Somebody allowed to asked for it.
    Requested,
    /// A process of its own, its runner's hook above all, said that it is over.
    Completed,
    /// The runner's process that works on it exited.
    WorkerExited,
    /// The token that started it expired, and its issuer's jobs end with their tokens.
    TokenExpired,
    /// It lived as long as a job may.
    MaxDuration,
    /// The daemon stops.
    Shutdown,
    /// Its process could not be put into its cgroup.
    StartFailed,
    /// Its processes cannot be watched any more.
    Fault,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "its last process exited",
            Self::ConnectionClosed => "the command that started it is gone",
            Self::Requested => "its end was requested",
            Self::Completed => "its runner said that it is over",
            Self::WorkerExited => "the runner's process that works on it exited",
            Self::TokenExpired => "its token expired",
            Self::MaxDuration => "it reached the longest time a job may live",
            Self::Shutdown => "the daemon stopped",
            Self::StartFailed => "its process could not be moved into its cgroup",
            Self::Fault => "its processes could not be watched any more",
        })
    }
}

/// A handle on the life of one job. Clones are handles on the same life.
#[derive(Clone, Debug)]
pub struct Life(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    end: watch::Sender<Option<EndReason>>,
    sessions: AtomicU32,
}

impl Life {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            end: watch::Sender::new(None),
            sessions: AtomicU32::new(0),
        }))
    }

    /// Ends it. False if it has ended before; the first reason stays.
    pub(super) fn end(&self, reason: EndReason) -> bool {
        self.0.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert(reason);
            first
        })
    }

    /// Whether the job lives.
    pub fn is_live(&self) -> bool {
        self.end_reason().is_none()
    }

    /// Why it ended; `None` while it lives.
    pub fn end_reason(&self) -> Option<EndReason> {
        *self.0.end.borrow()
    }

    /// Returns when the job has ended; at once if it has already.
    pub async fn ended(&self) -> EndReason {
        let mut end = self.0.end.subscribe();
        loop {
            if let Some(reason) = *end.borrow_and_update() {
                return reason;
            }
            if end.changed().await.is_err() {
                return EndReason::Fault;
            }
        }
    }

    /// Open database sessions of the job.
    pub fn sessions(&self) -> u32 {
        self.0.sessions.load(Ordering::Relaxed)
    }

    /// Counts a session for as long as the guard lives; `None` if the job has ended.
    pub fn open_session(&self) -> Option<SessionGuard> {
        self.0.sessions.fetch_add(1, Ordering::Relaxed);
        let guard = SessionGuard(self.clone());
        self.is_live().then_some(guard)
    }
}

/// One open session of a job.
#[derive(Debug)]
pub struct SessionGuard(Life);

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
