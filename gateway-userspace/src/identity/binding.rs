//! A job: an identity bound to a cgroup for as long as it lives.

use std::{
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::io::{Interest, unix::AsyncFd};

use super::{Cgroup, EndReason, JobIdentity, Life};

/// Who asked for a job to be started, by the credentials of their connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starter {
    /// User id.
    pub uid: u32,
    /// User name, or the id if it has none.
    pub user: String,
    /// Process id, if the kernel told.
    pub pid: Option<u32>,
    /// The job whose cgroup that process is in; such starts are refused and recorded.
    pub inside_job: Option<String>,
}

/// A job. Its cgroup belongs to it alone.
#[derive(Debug)]
pub struct Job {
    pub(super) identity: Arc<JobIdentity>,
    pub(super) cgroup: Cgroup,
    pub(super) process: u32,
    pub(super) starter: Starter,
    pub(super) bound: bool,
    /// The runner's process with whose end it ends.
    pub(super) worker: Option<OwnedFd>,
    /// When its token ends it.
    pub(super) deadline: Option<SystemTime>,
    pub(super) started: SystemTime,
    pub(super) life: Life,
}

impl Job {
    /// Its id.
    pub fn id(&self) -> &str {
        self.identity.id()
    }
    /// Its identity.
    pub fn identity(&self) -> &Arc<JobIdentity> {
        &self.identity
    }
    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
    /// The process it began with.
    pub fn process(&self) -> u32 {
        self.process
    }
    /// Who started it.
    pub fn starter(&self) -> &Starter {
        &self.starter
    }
    /// Whether it ends with the connection that started it, and its processes with it.
    pub fn is_bound(&self) -> bool {
        self.bound
    }
    /// Whether an end for this reason takes the job's processes with it. A stop of the daemon does
    /// not, and a start that failed may not have moved the right process.
    pub(super) fn kills(&self, reason: EndReason) -> bool {
        self.bound
            && match reason {
                EndReason::Empty | EndReason::Shutdown | EndReason::StartFailed => false,
                EndReason::ConnectionClosed
                | EndReason::Completed
                | EndReason::WorkerExited
                | EndReason::TokenExpired
                | EndReason::Requested
                | EndReason::MaxDuration
                | EndReason::Fault => true,
            }
    }
    /// When it began.
    pub fn started(&self) -> SystemTime {
        self.started
    }
    /// Returns when its worker exits; never if it has none.
    pub(super) async fn worker_exited(&self) {
        let Some(worker) = self.worker.as_ref() else {
            return std::future::pending().await;
        };
        // Readable once the process has exited.
        let exited = async {
            let handle = worker.try_clone()?;
            // SAFETY: the handle owns its descriptor, keeps it open until the `AsyncFd` is dropped,
            // and is only ever borrowed from it, so the registered descriptor stays this one.
            let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }?;
            let _ready = handle.readable().await?;
            std::io::Result::Ok(())
        };
        if let Err(error) = exited.await {
            tracing::error!(job = self.id(), %error, "cannot watch the runner's process; the job ends");
        }
    }

    /// Returns when its token ends it; never if it does not.
    pub(super) async fn token_expired(&self) {
        let Some(deadline) = self.deadline else {
            return std::future::pending().await;
        };
        let left = deadline.duration_since(SystemTime::now());
        tokio::time::sleep(left.unwrap_or(Duration::ZERO)).await;
    }

    /// Its life, to hold on to without the job.
    pub fn life(&self) -> &Life {
        &self.life
    }
    /// Whether it lives.
    pub fn is_live(&self) -> bool {
        self.life.is_live()
    }
    /// Returns when it has ended.
    pub async fn ended(&self) -> EndReason {
        self.life.ended().await
    }
}
