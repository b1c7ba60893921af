//! Listens in other network namespaces, for jobs in containers mostly.
//!
//! The proxy listens in a namespace once a job has dialled a database there; that first connect waits
//! in the kernel meanwhile. A listener keeps its namespace alive, so it goes when no process is left
//! in it. The gateway has copies of the listeners, and is told when to close them.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{Event, spawn::Events};
use crate::intercept::{Interceptor, NamespaceFile, NamespaceStream, NamespaceWanted};

/// How often it is looked for namespaces that nobody is in any more.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// Namespaces that are served at the same time.
const MAX_NAMESPACES: usize = 1024;
/// Of these those of one job: none can take the place of all others.
const MAX_OF_A_JOB: usize = 64;

/// The namespaces that are served.
pub struct NamespaceWatch {
    interceptor: Arc<Interceptor>,
    events: Arc<Events>,
    /// By cookie.
    open: HashMap<u64, Open>,
}

struct Open {
    file: NamespaceFile,
    /// cgroup of the job that came first.
    job: u64,
}

impl NamespaceWatch {
    /// None is served yet.
    pub fn new(interceptor: Arc<Interceptor>, events: Arc<Events>) -> Self {
        Self {
            interceptor,
            events,
            open: HashMap::new(),
        }
    }

    /// Opens and closes listeners for as long as it is polled.
    pub async fn run(mut self, mut requests: NamespaceStream) {
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                wanted = requests.next() => match wanted {
                    Ok(wanted) => self.open(wanted).await,
                    Err(error) => {
                        tracing::error!(%error, "jobs in new network namespaces are not served any more");
                        return;
                    }
                },
                _ = sweep.tick(), if !self.open.is_empty() => self.sweep().await,
            }
        }
    }

    async fn open(&mut self, wanted: NamespaceWanted) {
        // Asked by every connect that comes before the listener.
        if self.open.contains_key(&wanted.netns_cookie) {
            return;
        }
        let of_job = |open: &&Open| open.job == wanted.job_cgroup_id;
        if self.open.len() >= MAX_NAMESPACES
            || self.open.values().filter(of_job).count() >= MAX_OF_A_JOB
        {
            tracing::warn!(
                job_cgroup = wanted.job_cgroup_id,
                pid = wanted.pid,
                "too many network namespaces: this one is not served"
            );
            return;
        }
        let interceptor = self.interceptor.clone();
        let listening = match spawn_blocking(move || interceptor.listen_in(&wanted)).await {
            Ok(Ok(listening)) => listening,
            Ok(Err(error)) => {
                tracing::warn!(pid = wanted.pid, %error, "cannot listen in the network namespace of a job");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "cannot listen in the network namespace of a job");
                return;
            }
        };
        let cookie = wanted.netns_cookie;
        let listeners = listening.listeners.into_iter().map(OwnedFd::from).collect();
        if let Err(error) = self.tell(Event::NamespaceOpened(cookie), listeners).await {
            tracing::error!(%error, "the gateway cannot be given a listener");
            return;
        }
        tracing::info!(
            netns_cookie = wanted.netns_cookie,
            pid = wanted.pid,
            "a network namespace of a job is served"
        );
        self.open.insert(
            wanted.netns_cookie,
            Open {
                file: listening.file,
                job: wanted.job_cgroup_id,
            },
        );
    }

    /// Closes the listeners of namespaces that no process is in.
    async fn sweep(&mut self) {
        let Ok(inhabited) = spawn_blocking(inhabited).await else {
            return;
        };
        let mut gone = Vec::new();
        self.open.retain(|cookie, open| {
            let lives = inhabited.contains(&open.file);
            if !lives {
                tracing::info!(
                    netns_cookie = cookie,
                    "a network namespace is empty: not served any more"
                );
                gone.push(*cookie);
            }
            lives
        });
        for cookie in gone {
            if let Err(error) = self.tell(Event::NamespaceClosed(cookie), Vec::new()).await {
                tracing::error!(%error, "the gateway keeps the listener of an empty network namespace");
            }
        }
    }

    async fn tell(&self, event: Event, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let events = Arc::clone(&self.events);
        spawn_blocking(move || {
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            events.send(&event, &borrowed)
        })
        .await?
    }
}

/// The namespaces that processes are in.
fn inhabited() -> HashSet<NamespaceFile> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
        })
        .filter_map(|entry| fs::metadata(entry.path().join("ns/net")).ok())
        .map(|namespace| (namespace.dev(), namespace.ino()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_of_a_process_is_inhabited() {
        let own = fs::metadata("/proc/self/ns/net").unwrap();
        assert!(inhabited().contains(&(own.dev(), own.ino())));
    }
}
