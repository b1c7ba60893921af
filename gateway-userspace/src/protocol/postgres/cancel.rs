//! Cancel keys of our own, and what a request that shows one does.

use std::{
    collections::HashMap,
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

/// By process id: the secret, and what it leads to.
type Entries<K> = HashMap<u32, (Vec<u8>, CancelEntry<K>)>;

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
    /// Makes a key for a session, with a secret of `length` bytes. `None` if the system has no
    /// randomness.
    pub fn issue(self: &Arc<Self>, entry: CancelEntry<K>, length: usize) -> Option<IssuedKey<K>> {
        let mut secret = vec![0_u8; length];
        self.random.fill(&mut secret).ok()?;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut bytes = [0_u8; 4];
            self.random.fill(&mut bytes).ok()?;
            let [a, b, c, d] = bytes;
            // Positive, as process ids are: some drivers read it as a signed number.
            let pid = u32::from_be_bytes([a & 0x7f, b, c, d]);
            if pid == 0 || entries.contains_key(&pid) {
                continue;
            }
            entries.insert(pid, (secret.clone(), entry));
            return Some(IssuedKey {
                registry: self.clone(),
                pid,
                secret,
            });
        }
    }

    /// The entry of a key, if it is valid and belongs to the job that shows it.
    pub fn find(&self, pid: u32, secret: &[u8], job: &str) -> Option<CancelEntry<K>>
    where
        K: Clone,
    {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, entry) = entries.get(&pid)?;
        let same = ring::constant_time_eq(key, secret);
        (same && entry.job == job).then(|| entry.clone())
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
        entries.remove(&self.pid);
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
