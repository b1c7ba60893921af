//! The warden's side: does what the gateway asks for, if it may be asked for.

use std::{collections::BTreeSet, io, os::unix::net::UnixStream, sync::Arc, thread};

use serde::Serialize;
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    message::{Failure, Reply, Request, Said},
    wire,
};
use crate::{
    audit::{FileLogKeys, KeySlot, LogKeys},
    config::{Config, LoginName},
    identity::{Host, KernelJobs, LocalHost},
    intercept::{Claim, Interceptor},
    policy::{LocalFolder, PolicyFolder},
    transport::{AuthorityFiles, AuthorityKey},
};

/// Longest request, in bytes: a text to be signed, which is no longer than a checkpoint or a
/// certificate, as an array of numbers.
const MAX_REQUEST: usize = 256 * 1024;
/// Most ports that are asked for at once.
const MAX_PORTS: usize = 4096;

/// The private keys of the host.
pub struct Keys {
    /// Of the evidence.
    pub log: FileLogKeys,
    /// Of the authority whose certificates jobs see.
    pub authority: AuthorityFiles,
}

/// What the gateway is served with.
pub struct Warden {
    interceptor: Arc<Interceptor>,
    host: LocalHost,
    keys: Keys,
    policy: LocalFolder,
    config: Config,
    /// Runs commands that print passwords.
    runtime: Handle,
    said: mpsc::UnboundedSender<Said>,
}

/// The kernel's set of job cgroups.
struct Kernel(Arc<Interceptor>);

impl KernelJobs for Kernel {
    fn add(&self, cgroup_id: u64) -> io::Result<()> {
        self.0.add_job(cgroup_id).map_err(io::Error::other)
    }

    fn remove(&self, cgroup_id: u64) -> io::Result<()> {
        self.0.remove_job(cgroup_id).map_err(io::Error::other)
    }
}

impl Warden {
    /// Wires it together. To be called within a runtime.
    ///
    /// # Errors
    /// If there is no cgroup v2 hierarchy.
    pub fn new(
        config: Config,
        keys: Keys,
        interceptor: Arc<Interceptor>,
        said: mpsc::UnboundedSender<Said>,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            host: LocalHost::new(&config, Arc::new(Kernel(interceptor.clone())))?,
            interceptor,
            keys,
            policy: LocalFolder(config.policy_dir.clone()),
            config,
            runtime: Handle::current(),
            said,
        }))
    }

    /// Serves one lane on a thread of its own, until the gateway is gone.
    ///
    /// # Errors
    /// If there is no thread.
    pub fn serve(self: &Arc<Self>, lane: UnixStream) -> io::Result<()> {
        let warden = Arc::clone(self);
        thread::Builder::new()
            .name("lane".to_owned())
            .spawn(move || {
                if let Err(error) = warden.run(&lane) {
                    // The lane closes: the gateway sees it and can do no more by it.
                    tracing::error!(%error, "the gateway asks in a form that is not ours");
                }
            })
            .map(drop)
    }

    fn run(&self, lane: &UnixStream) -> io::Result<()> {
        while let Some(request) = wire::read(lane, MAX_REQUEST)? {
            match self.answer(request, lane) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                answered => answered?,
            }
        }
        Ok(())
    }

    fn answer(&self, request: Request, lane: &UnixStream) -> io::Result<()> {
        match request {
            Request::Claim {
                netns_cookie,
                peer,
                local,
            } => reply(
                lane,
                Ok(match netns_cookie {
                    None => self.interceptor.claim(peer, local),
                    Some(cookie) => self.interceptor.claim_in(cookie, peer, local),
                }),
            ),
            Request::MakeCgroup(job) => reply(lane, self.host.make_cgroup(&job)),
            Request::JoinCgroup(job, pid) => reply(lane, self.host.join_cgroup(&job, pid)),
            Request::KillCgroup(job) => reply(lane, self.host.kill_cgroup(&job)),
            Request::RemoveCgroup(job) => reply(lane, self.host.remove_cgroup(&job)),
            Request::Register(job) => reply(lane, self.host.register(&job)),
            Request::Unregister(id) => reply(lane, self.host.unregister(id)),
            Request::Executable(pid) => reply(lane, self.host.executable(pid)),
            Request::Environment(pid) => reply(lane, self.host.environment(pid)),
            Request::LocalSocket(pid, ports) => reply(lane, self.local_socket(pid, &ports)),
            Request::KeySet(path) => reply(lane, self.host.key_set(&path)),
            Request::LogPublic(slot) => reply(lane, self.keys.log.public(slot)),
            Request::LogMake(slot) => reply(lane, self.make_log_key(slot)),
            Request::LogSign(slot, text) => reply(lane, self.keys.log.sign(slot, &text)),
            Request::LogInstallNext => reply(lane, self.keys.log.install_next()),
            Request::LogDiscardNext => reply(lane, self.keys.log.discard_next()),
            Request::SignCertificate(data) => reply(lane, self.keys.authority.sign(&data)),
            Request::Password(login) => reply(lane, Ok(self.password(&login))),
            Request::PasswordRefused(login) => {
                if let Some(source) = self.config.password(&login) {
                    source.refused();
                }
                reply(lane, Ok(()))
            }
            Request::PolicyStamp => reply(lane, self.policy.stamp()),
            Request::PolicySources => reply(lane, self.policy.sources()),
            Request::PolicyDigest => reply(lane, self.policy.digest()),
            Request::Said(said) => {
                // Nobody listens any more when the warden ends.
                let _ended = self.said.send(said);
                reply(lane, Ok(()))
            }
        }
    }

    fn local_socket(
        &self,
        pid: u32,
        ports: &BTreeSet<u16>,
    ) -> io::Result<Option<std::path::PathBuf>> {
        if ports.len() > MAX_PORTS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many ports",
            ));
        }
        self.host.local_socket(pid, ports)
    }

    /// One that signs is never replaced but by its successor.
    fn make_log_key(&self, slot: KeySlot) -> io::Result<Vec<u8>> {
        if slot == KeySlot::Current && self.keys.log.public(slot)?.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the log has a key",
            ));
        }
        self.keys.log.make(slot)
    }

    fn password(&self, login: &LoginName) -> Result<String, String> {
        let source = self
            .config
            .password(login)
            .ok_or_else(|| format!("the configuration has no login {}", login.user))?;
        let secret = self.runtime.block_on(source.read())?;
        Ok(secret.expose().to_owned())
    }
}

fn reply<T: Serialize>(lane: &UnixStream, outcome: io::Result<T>) -> io::Result<()> {
    let reply: Reply<T> = outcome.map_err(Failure::from);
    wire::write(lane, &reply)
}
