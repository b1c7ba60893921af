//! Ships the evidence off the host, to a store with the S3 interface, as it grows.
//!
//! What a signed checkpoint covers is read from the log, with the parts of recordings and side files
//! that it names, and put there in objects that are never changed. A store that keeps them for good
//! (Object Lock) then shows what somebody with all rights on the host may change here.

mod fetch;
mod follow;
mod store;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub use fetch::{Fetched, fetch};
use follow::{Bundle, Follower, Parts};

use super::blocking::blocking;
pub use store::{Store, StoreConfig, StoreError};

/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What is shipped, and how far behind it may be.
#[derive(Clone, Debug)]
pub struct ShipConfig {
    /// The log's folder.
    pub dir: PathBuf,
    /// How often it is looked for news.
    pub every: Duration,
    /// Nothing new may begin while more than this is not shipped, in bytes.
    pub backlog: u64,
}

/// Evidence cannot be shipped now.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// It cannot be read here.
    #[error("cannot read what is to be shipped: {0}")]
    Read(String),
    /// The store does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How shipping goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ShipState {
    /// Entries that are there.
    pub entries: u64,
    /// Bytes that are not.
    pub backlog: u64,
    /// Why not, since the last success.
    pub problem: Option<String>,
}

/// Ships a log.
pub struct Shipper {
    config: ShipConfig,
    store: Store,
    full: AtomicBool,
    backlog: AtomicU64,
    entries: AtomicU64,
    problem: Mutex<Option<String>>,
    /// Taken while it is measured.
    parts: Mutex<Option<Parts>>,
}

impl Shipper {
    /// Ships to this store, from where it has stopped.
    pub fn new(config: ShipConfig, store: Store) -> Arc<Self> {
        Arc::new(Self {
            config,
            store,
            full: AtomicBool::new(false),
            backlog: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            problem: Mutex::default(),
            parts: Mutex::default(),
        })
    }

    /// Why nothing new may begin, if so: too much is not shipped.
    pub fn fault(&self) -> Option<String> {
        self.full.load(Ordering::Relaxed).then(|| {
            let why = self.state().problem.unwrap_or_default();
            format!(
                "{} bytes of evidence are not shipped, more than {} may wait: {why}",
                self.backlog.load(Ordering::Relaxed),
                self.config.backlog
            )
        })
    }

    /// How it goes.
    pub fn state(&self) -> ShipState {
        let problem = self.problem.lock();
        ShipState {
            entries: self.entries.load(Ordering::Relaxed),
            backlog: self.backlog.load(Ordering::Relaxed),
            problem: problem.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Ships for ever; dropping it stops between or within objects, which are sent again then.
    pub async fn run(self: Arc<Self>) {
        let mut pause = self.config.every;
        let mut due = tokio::time::Instant::now();
        loop {
            if let Err(error) = self.measure().await {
                self.tell(Some(error.to_string()));
            }
            if tokio::time::Instant::now() >= due {
                let shipped = self.ship().await;
                pause = match &shipped {
                    Ok(()) => self.config.every,
                    Err(_) => (pause * 2).min(LONGEST_PAUSE),
                };
                due = tokio::time::Instant::now() + pause;
                self.tell(shipped.err().map(|error| error.to_string()));
            }
            tokio::time::sleep(self.config.every).await;
        }
    }

    fn parts(&self) -> MutexGuard<'_, Option<Parts>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks how much is not shipped.
    async fn measure(&self) -> Result<(), ShipError> {
        let dir = self.config.dir.clone();
        let taken = self.parts().take();
        let (backlog, entries, parts) = reading(move || {
            let follower = Follower::open(&dir)?;
            let mut parts = taken.unwrap_or_default();
            let backlog = follower.backlog(&mut parts)?;
            Ok((backlog, follower.position().entries, parts))
        })
        .await?;
        *self.parts() = Some(parts);
        self.backlog.store(backlog, Ordering::Relaxed);
        self.full
            .store(backlog > self.config.backlog, Ordering::Relaxed);
        self.entries.store(entries, Ordering::Relaxed);
        Ok(())
    }

    /// Ships what there is, if it can, within a time: at the end of a daemon.
    pub async fn finish(&self, within: Duration) {
        match tokio::time::timeout(within, self.ship()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last evidence is not shipped yet"),
            Err(_elapsed) => tracing::warn!("the last evidence is not shipped yet"),
        }
    }

    fn tell(&self, problem: Option<String>) {
        let mut now = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*now, &problem) {
            (None, Some(error)) => tracing::error!(%error, "evidence is not shipped"),
            (Some(_), None) => tracing::info!("evidence is shipped again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *now = problem;
    }

    /// Ships all that is covered by a checkpoint.
    async fn ship(&self) -> Result<(), ShipError> {
        let dir = self.config.dir.clone();
        let mut follower = reading(move || Follower::open(&dir)).await?;
        self.store.put_keys(&self.config.dir).await?;
        loop {
            let (back, bundle) = reading(move || {
                let bundle = follower.next()?;
                Ok((follower, bundle))
            })
            .await?;
            follower = back;
            let Some(bundle) = bundle else {
                return Ok(());
            };
            self.store.put(&bundle).await?;
            let after = bundle.after;
            follower = reading(move || {
                follower.shipped(after)?;
                Ok(follower)
            })
            .await?;
            self.measure().await?;
        }
    }
}

impl std::fmt::Debug for Shipper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipper")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

async fn reading<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, ShipError> {
    blocking(work).await.map_err(ShipError::Read)
}
