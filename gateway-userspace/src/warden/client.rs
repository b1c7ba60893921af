//! The gateway's side: asks the warden.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::de::DeserializeOwned;

use super::{
    message::{Reply, Request, Said},
    wire,
};
use crate::{
    audit::{KeySlot, LogKeys},
    config::{LoginName, PasswordKeeper, Secret},
    identity::Host,
    intercept::{Claim, InterceptedConn},
    policy::{PolicyFolder, Sources, Stamp},
    transport::AuthorityKey,
};

/// Longest answer, in bytes: all files of a policy.
const MAX_REPLY: usize = 1 << 30;

/// Asks the warden. Calls block until it has answered: microseconds, but for passwords, which have
/// lanes of their own.
pub struct Client {
    quick: Lanes,
    slow: Lanes,
    authority: Vec<u8>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the warden")
    }
}

/// Connections to the warden; one request at a time on each.
struct Lanes {
    lanes: Vec<Mutex<UnixStream>>,
    next: AtomicUsize,
}

impl Lanes {
    fn new(lanes: Vec<UnixStream>) -> Self {
        Self {
            lanes: lanes.into_iter().map(Mutex::new).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// One that is free, or else the next in turn.
    fn lane(&self) -> io::Result<MutexGuard<'_, UnixStream>> {
        for lane in &self.lanes {
            match lane.try_lock() {
                Ok(lane) => return Ok(lane),
                Err(TryLockError::Poisoned(lane)) => return Ok(lane.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let lane = turn
            .checked_rem(self.lanes.len())
            .and_then(|turn| self.lanes.get(turn))
            .ok_or_else(|| io::Error::other("there is no way to ask the warden"))?;
        Ok(lane.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> io::Result<T> {
        let lane = self.lane()?;
        wire::write(&lane, request)?;
        let reply: Reply<T> = wire::read(&lane, MAX_REPLY)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the warden is gone"))?;
        reply.map_err(Into::into)
    }
}

impl Client {
    pub(super) fn new(quick: Vec<UnixStream>, slow: Vec<UnixStream>, authority: Vec<u8>) -> Self {
        Self {
            quick: Lanes::new(quick),
            slow: Lanes::new(slow),
            authority,
        }
    }

    /// Lets the warden know.
    ///
    /// # Errors
    /// If it is gone.
    pub fn say(&self, said: Said) -> io::Result<()> {
        self.quick.ask(&Request::Said(said))
    }
}

/// The kernel's evidence of connections to the proxy in one network namespace.
pub struct ClaimsIn {
    /// The warden.
    pub client: Arc<Client>,
    /// The namespace; `None`: the host's own.
    pub netns_cookie: Option<u64>,
}

impl Claim for ClaimsIn {
    fn claim(&self, peer: SocketAddr, local: SocketAddr) -> Option<InterceptedConn> {
        let claimed = self.client.quick.ask(&Request::Claim {
            netns_cookie: self.netns_cookie,
            peer,
            local,
        });
        claimed.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the record of a connection");
            None
        })
    }
}

impl Host for Client {
    fn make_cgroup(&self, job: &str) -> io::Result<()> {
        self.quick.ask(&Request::MakeCgroup(job.to_owned()))
    }

    fn join_cgroup(&self, job: &str, pid: u32) -> io::Result<()> {
        self.quick.ask(&Request::JoinCgroup(job.to_owned(), pid))
    }

    fn kill_cgroup(&self, job: &str) -> io::Result<()> {
        self.quick.ask(&Request::KillCgroup(job.to_owned()))
    }

    fn remove_cgroup(&self, job: &str) -> io::Result<()> {
        self.quick.ask(&Request::RemoveCgroup(job.to_owned()))
    }

    fn register(&self, job: &str) -> io::Result<()> {
        self.quick.ask(&Request::Register(job.to_owned()))
    }

    fn unregister(&self, cgroup_id: u64) -> io::Result<()> {
        self.quick.ask(&Request::Unregister(cgroup_id))
    }

    fn executable(&self, pid: u32) -> io::Result<PathBuf> {
        self.quick.ask(&Request::Executable(pid))
    }

    fn environment(&self, pid: u32) -> io::Result<Vec<u8>> {
        self.quick.ask(&Request::Environment(pid))
    }

    fn local_socket(&self, pid: u32, ports: &BTreeSet<u16>) -> io::Result<Option<PathBuf>> {
        self.quick.ask(&Request::LocalSocket(pid, ports.clone()))
    }

    fn key_set(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.quick.ask(&Request::KeySet(path.to_owned()))
    }
}

impl LogKeys for Client {
    fn public(&self, slot: KeySlot) -> io::Result<Option<Vec<u8>>> {
        self.quick.ask(&Request::LogPublic(slot))
    }

    fn make(&self, slot: KeySlot) -> io::Result<Vec<u8>> {
        self.quick.ask(&Request::LogMake(slot))
    }

    fn sign(&self, slot: KeySlot, text: &[u8]) -> io::Result<Vec<u8>> {
        self.quick.ask(&Request::LogSign(slot, text.to_vec()))
    }

    fn install_next(&self) -> io::Result<()> {
        self.quick.ask(&Request::LogInstallNext)
    }

    fn discard_next(&self) -> io::Result<()> {
        self.quick.ask(&Request::LogDiscardNext)
    }
}

impl AuthorityKey for Client {
    fn public(&self) -> &[u8] {
        &self.authority
    }

    fn sign(&self, data: &[u8]) -> io::Result<Vec<u8>> {
        self.quick.ask(&Request::SignCertificate(data.to_vec()))
    }
}

impl PasswordKeeper for Client {
    fn password(&self, login: &LoginName) -> Result<Secret, String> {
        let asked: io::Result<Result<String, String>> =
            self.slow.ask(&Request::Password(login.clone()));
        asked.map_err(|error| error.to_string())?.map(Secret::new)
    }

    fn refused(&self, login: &LoginName) {
        let told: io::Result<()> = self.quick.ask(&Request::PasswordRefused(login.clone()));
        if let Err(error) = told {
            tracing::warn!(%error, "a password that the server refused may be used again");
        }
    }
}

impl PolicyFolder for Client {
    fn stamp(&self) -> io::Result<Stamp> {
        self.quick.ask(&Request::PolicyStamp)
    }

    fn sources(&self) -> io::Result<Sources> {
        self.quick.ask(&Request::PolicySources)
    }

    fn digest(&self) -> io::Result<Option<[u8; 32]>> {
        self.quick.ask(&Request::PolicyDigest)
    }
}
