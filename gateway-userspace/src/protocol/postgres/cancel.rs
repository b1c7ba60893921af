//! Cancel keys of our own, and what a request that shows one does.
//!
//! The process id is the server's, because clients compare it with the sender of notifications and
//! with `pg_backend_pid()`; the secret is ours.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;

/// Where a session listens for cancel requests.
#[derive(Debug, Default)]
pub struct CancelTarget {
    /// The session's statement waits for humans: nothing runs upstream.
    pub held: AtomicBool,
    /// A query of the gateway's own runs upstream, which nobody asked to cancel.
    pub internal: AtomicBool,
    /// Somebody asked to cancel what the client's last message started.
    requested: AtomicBool,
    /// Wakes the waiting session.
    pub cancelled: Notify,
    /// Held while a request is on its way to the server.
    pub flight: tokio::sync::Mutex<()>,
}

/// What a valid key leads to.
#[derive(Clone, Debug)]
pub struct CancelEntry<K> {
    /// The session's own.
    pub target: Arc<CancelTarget>,
    /// Job that the session belongs to; only it may cancel.
    pub job: String,
    /// How to reach the server's backend.
    pub upstream: Arc<K>,
}

/// By process id, which two servers may both use: the secrets, and what each leads to.
type Entries<K> = HashMap<u32, Vec<(Vec<u8>, CancelEntry<K>)>>;

/// All keys given out.
#[derive(Debug)]
pub struct CancelRegistry<K> {
    entries: Mutex<Entries<K>>,
    random: SystemRandom,
}

impl<K> Default for CancelRegistry<K> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            random: SystemRandom::new(),
        }
    }
}

/// A key in use; dropping it makes it void.
#[derive(Debug)]
pub struct IssuedKey<K> {
    registry: Arc<CancelRegistry<K>>,
    /// Process id as told to the client.
    pub pid: u32,
    /// Secret as told to the client.
    pub secret: Vec<u8>,
}

impl<K> CancelRegistry<K> {
    /// Makes a key for a session whose backend is `pid`, with a secret of `length` bytes. `None` if
    /// the system has no randomness.
    pub fn issue(
        self: &Arc<Self>,
        entry: CancelEntry<K>,
        pid: u32,
        length: usize,
    ) -> Option<IssuedKey<K>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Hardly ever more than one: two servers that use the same process id.
        let same_pid = entries.entry(pid).or_insert_with(|| Vec::with_capacity(1));
        let mut secret = vec![0_u8; length];
        loop {
            self.random.fill(&mut secret).ok()?;
            if same_pid.iter().all(|(have, _)| *have != secret) {
                break;
            }
        }
        same_pid.push((secret.clone(), entry));
        Some(IssuedKey {
            registry: self.clone(),
            pid,
            secret,
        })
    }

    /// The entry of a key, if it is valid and belongs to the job that shows it.
    pub fn find(&self, pid: u32, secret: &[u8], job: &str) -> Option<CancelEntry<K>>
    where
        K: Clone,
    {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, entry) = entries
            .get(&pid)?
            .iter()
            .find(|(key, _)| ring::constant_time_eq(key, secret))?;
        (entry.job == job).then(|| entry.clone())
    }
}

impl CancelTarget {
    /// Notes a request, and wakes the session if its statement is held. `true`: the server has to
    /// be asked too.
    pub fn request(&self) -> bool {
        self.requested.store(true, Ordering::SeqCst);
        let held = self.held.load(Ordering::SeqCst);
        if held {
            self.cancelled.notify_one();
        }
        !held && !self.internal.load(Ordering::SeqCst)
    }

    /// What was asked for before the client's next message does not concern it.
    pub fn forget(&self) {
        self.requested.store(false, Ordering::SeqCst);
    }

    /// True if there was a request; it counts once. If it went to the server as well, it has landed
    /// there, and does not meet what is sent next.
    pub async fn take(&self) -> bool {
        let requested = self.requested.swap(false, Ordering::SeqCst);
        if requested {
            drop(self.flight.lock().await);
        }
        requested
    }
}

impl<K> Drop for IssuedKey<K> {
    fn drop(&mut self) {
        let mut entries = self
            .registry
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut same_pid) = entries.entry(self.pid) {
            same_pid
                .get_mut()
                .retain(|(secret, _)| *secret != self.secret);
            if same_pid.get().is_empty() {
                same_pid.remove();
            }
        }
    }
}

mod ring {
    pub use ::ring::*;

    /// Compares a secret without telling how much of it was right.
    #[expect(
        deprecated,
        reason = "ring offers no other public constant-time comparison"
    )]
    pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
        ::ring::constant_time::verify_slices_are_equal(a, b).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CancelEntry, CancelRegistry, CancelTarget};

    fn entry(server: &'static str) -> CancelEntry<&'static str> {
        CancelEntry {
            target: Arc::new(CancelTarget::default()),
            job: "job".to_owned(),
            upstream: Arc::new(server),
        }
    }

    #[test]
    fn backends_of_two_servers_with_one_process_id_are_told_apart_by_the_secret() {
        let registry = Arc::new(CancelRegistry::default());
        let one = registry.issue(entry("one"), 7, 4).unwrap();
        let two = registry.issue(entry("two"), 7, 32).unwrap();
        let found = |secret: &[u8], job| registry.find(7, secret, job).map(|entry| *entry.upstream);
        assert_eq!(found(&one.secret, "job"), Some("one"));
        assert_eq!(found(&two.secret, "job"), Some("two"));
        assert_eq!(found(&two.secret, "another job"), None);
        assert_eq!(found(&[0; 5], "job"), None);
        let void = one.secret.clone();
        drop(one);
        assert_eq!(found(&void, "job"), None);
        assert_eq!(found(&two.secret, "job"), Some("two"));
        drop(two);
        assert!(registry.entries.lock().unwrap().is_empty());
    }
}
