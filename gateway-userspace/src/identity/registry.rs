//! All jobs of this host, from start to end.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use ring::rand::{SecureRandom, SystemRandom};

use super::{
    CgroupRoot, EndReason, Host, Job, JobLedger, Life, Proof, Start, StartError, Starter, Target,
    Tokens, local_socket, replay::UsedTokens, start::fault, tree,
};
use crate::config::{CgroupPath, Config, UnixSockets};

/// Names of job cgroups begin so; others below the parent are not touched.
const PREFIX: &str = "job-";
/// Ended jobs that are remembered when their cgroups are gone.
const REMEMBERED: usize = 256;
/// How long killed processes may take to go before their cgroup is left for later.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// The registry of jobs.
pub struct Jobs {
    root: CgroupRoot,
    parent: CgroupPath,
    max_duration: Duration,
    /// Ports of the protected databases of this host.
    local_ports: BTreeSet<u16>,
    unix_sockets: UnixSockets,
    tokens: Tokens,
    used: UsedTokens,
    host: Arc<dyn Host>,
    ledger: Arc<dyn JobLedger>,
    /// Jobs by cgroup id: read by every new connection, so readers never wait.
    live: ArcSwap<HashMap<u64, Arc<Job>>>,
    /// What is left of ended jobs. Also held while `live` is changed; never while waiting.
    ended: Mutex<HashMap<u64, Ended>>,
    /// The last cgroups of ended jobs that were removed, newest first: what they tried is reported a
    /// moment later.
    gone: Mutex<VecDeque<(u64, String)>>,
    /// Held while a job is admitted, so that no process is put into two.
    admission: Mutex<()>,
}

/// A cgroup that outlives its job because processes are left in it.
#[derive(Clone, Debug)]
struct Ended {
    job: String,
    reason: EndReason,
}

impl Jobs {
    /// Begins with no jobs. Cgroups that an earlier daemon left behind are unregistered and, where
    /// they are empty, removed: their jobs ended with that daemon.
    pub fn new(
        config: &Config,
        host: Arc<dyn Host>,
        ledger: Arc<dyn JobLedger>,
    ) -> io::Result<Arc<Self>> {
        let jobs = Self {
            root: CgroupRoot::find()?,
            parent: config.jobs.cgroup.clone(),
            max_duration: config.jobs.max_duration,
            local_ports: local_socket::local_ports(&config.databases),
            unix_sockets: config.intercept.unix_sockets,
            tokens: Tokens::new(&config.issuers, &host),
            used: UsedTokens::open(&config.gateway_dir().join("used-tokens"), SystemTime::now())?,
            host,
            ledger,
            live: ArcSwap::default(),
            ended: Mutex::default(),
            gone: Mutex::default(),
            admission: Mutex::default(),
        };
        jobs.sweep()?;
        Ok(Arc::new(jobs))
    }

    /// Starts a job: finds out who it is, makes a cgroup, records the start, moves the processes.
    /// Whether the starter may do so has been decided before, except that nobody may start a
    /// process that is in a job.
    pub async fn start(self: &Arc<Self>, start: &Start<'_>) -> Result<Arc<Job>, StartError> {
        let started = self.try_start(start).await;
        if let Err(error) = &started {
            self.refuse(start.starter, start.target.pid(), error);
        }
        started
    }

    /// Records a start that is refused before it gets as far as [`Jobs::start`].
    pub fn refuse(&self, starter: &Starter, pid: u32, error: &StartError) {
        tracing::warn!(uid = starter.uid, pid, error = %error, "job start refused");
        self.ledger.refused(starter, pid, error);
    }

    async fn try_start(self: &Arc<Self>, start: &Start<'_>) -> Result<Arc<Job>, StartError> {
        let target = start.target;
        // Before the token is used up.
        self.check_target(target, start.worker)?;
        self.check_local_databases(target)?;
        let now = SystemTime::now();
        let id = new_id().map_err(|error| fault("make an id", error))?;
        let (identity, deadline) = match start.proof {
            Proof::Token(token) => {
                start
                    .verified(&self.tokens, &self.used, id.clone(), token, now)
                    .await?
            }
            Proof::Asserted(issuer) => (start.asserted(&self.tokens, id.clone(), issuer)?, None),
        };
        let worker = start
            .worker
            .then(|| target.handle())
            .transpose()
            .map_err(|error| fault("hold on to the runner's process", error))?;
        let cgroup = self
            .host
            .make_cgroup(&id)
            .and_then(|()| self.root.open(&self.path(&id)?))
            .map_err(|error| fault("make the job's cgroup", error))?;
        let job = Arc::new(Job {
            identity: Arc::new(identity),
            cgroup,
            process: target.pid(),
            starter: start.starter.clone(),
            bound: start.bound,
            worker,
            deadline,
            started: now,
            life: Life::new(),
        });
        if let Err(error) = self.admit(&job, target) {
            // Empty, as the process did not get there; else it stays, without access.
            let _ = self.host.remove_cgroup(job.id());
            self.reap();
            return Err(error);
        }
        tracing::info!(
            job = job.id(),
            issuer = job.identity.issuer(),
            pid = job.process,
            "job started"
        );
        tokio::spawn(Arc::clone(self).watch(Arc::clone(&job)));
        Ok(job)
    }

    /// From a job that nobody knows to one that is live, recorded, and has its process.
    fn admit(&self, job: &Arc<Job>, target: &Target) -> Result<(), StartError> {
        let _one_at_a_time = self
            .admission
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Again, now that nobody else can be putting it into a job.
        self.check_target(target, job.worker.is_some())?;
        let id = job.cgroup.id();
        self.host
            .register(job.id())
            .map_err(|error| fault("register the job with the kernel", error))?;
        if let Err(error) = self.ledger.started(job) {
            job.life.end(EndReason::StartFailed);
            self.unregister(job);
            return Err(fault("record the job's start", error));
        }
        self.update(|live, _| {
            live.insert(id, Arc::clone(job));
        });
        // Last, so that the process is never in a job's cgroup without a job.
        let moved = if job.worker.is_some() {
            tree::move_into(&*self.host, job.id(), &job.cgroup, target.pid())
        } else {
            self.host.join_cgroup(job.id(), target.pid())
        };
        if moved.is_ok() && target.is_alive() {
            return Ok(());
        }
        self.finish(job, EndReason::StartFailed);
        Err(match moved {
            Ok(()) => StartError::Process(format!("process {} exited", target.pid())),
            Err(error) => fault("move the process into the job's cgroup", error),
        })
    }

    fn check_target(&self, target: &Target, worker: bool) -> Result<(), StartError> {
        if worker {
            let tree = tree::tree(target.pid())
                .map_err(|error| fault("look at the runner's processes", error))?;
            for pid in tree {
                let inside = super::cgroup::path_of(pid);
                if let Some(name) = inside.as_deref().and_then(|path| self.job_name(path)) {
                    return Err(StartError::InJob {
                        pid,
                        job: format!("the job {name}"),
                    });
                }
            }
        }
        let path = super::cgroup::path_of(target.pid()).filter(|_| target.is_alive());
        let Some(path) = path else {
            return Err(StartError::Process(format!(
                "process {} exited",
                target.pid()
            )));
        };
        match self.job_name(&path) {
            None => Ok(()),
            Some(name) => {
                let over = self.lock().values().any(|ended| ended.job == name);
                let job = if over {
                    format!("the ended job {name}")
                } else {
                    format!("the job {name}")
                };
                Err(StartError::InJob {
                    pid: target.pid(),
                    job,
                })
            }
        }
    }

    /// What is on a file system cannot be intercepted.
    fn check_local_databases(&self, target: &Target) -> Result<(), StartError> {
        if self.local_ports.is_empty() {
            return Ok(());
        }
        let found = self.host.local_socket(target.pid(), &self.local_ports);
        let socket = match found {
            Ok(None) => return Ok(()),
            Ok(Some(socket)) => socket.display().to_string(),
            Err(error) => return Err(fault("look for databases' Unix sockets", error)),
        };
        match self.unix_sockets {
            UnixSockets::Refuse => Err(StartError::LocalDatabase { socket }),
            UnixSockets::Report => {
                tracing::warn!(
                    pid = target.pid(),
                    socket,
                    "a job can reach a protected database's Unix socket without Cordon"
                );
                Ok(())
            }
        }
    }

    /// What takes rights on this host.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    fn path(&self, job: &str) -> io::Result<CgroupPath> {
        CgroupPath::new(&format!("{}/{job}", self.parent)).map_err(io::Error::other)
    }

    /// The name of the job cgroup that a cgroup path is in or below.
    fn job_name<'a>(&self, path: &'a str) -> Option<&'a str> {
        if !self.parent.contains(path) {
            return None;
        }
        let below = path
            .get(self.parent.as_str().len()..)?
            .trim_start_matches('/');
        let name = below.split('/').next()?;
        // The parent itself belongs to no job, but nobody but Cordon has any business there.
        Some(if name.is_empty() {
            "(the parent of all jobs)"
        } else {
            name
        })
    }

    /// The id of the job whose cgroup this process is in, live or ended; `None` outside of jobs.
    /// An error if it cannot be told.
    pub fn inside(&self, pid: u32) -> io::Result<Option<String>> {
        let path = super::cgroup::path_of(pid).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("process {pid} is gone"))
        })?;
        Ok(self.job_name(&path).map(str::to_owned))
    }

    /// The id of the job whose cgroup this is, or is above it, live or ended; `None` outside of
    /// jobs. An error if it cannot be told, as of a cgroup that is gone. May block.
    pub(super) fn inside_cgroup(&self, id: u64) -> io::Result<Option<String>> {
        let path = self.root.path_of_id(id)?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("cgroup {id} is gone"))
        })?;
        Ok(self.job_name(&path).map(str::to_owned))
    }

    /// Ends a job. False if there is no such live job.
    pub fn end(&self, id: &str, reason: EndReason) -> bool {
        match self.get(id) {
            Some(job) => self.finish(&job, reason),
            None => false,
        }
    }

    /// The live job with this id.
    pub fn get(&self, id: &str) -> Option<Arc<Job>> {
        self.live
            .load()
            .values()
            .find(|job| job.id() == id)
            .cloned()
    }

    /// The live job of this cgroup.
    pub fn by_cgroup(&self, cgroup_id: u64) -> Option<Arc<Job>> {
        self.live.load().get(&cgroup_id).cloned()
    }

    /// The ended job that left this cgroup behind.
    pub(super) fn ended_in(&self, cgroup_id: u64) -> Option<(String, EndReason)> {
        self.lock()
            .get(&cgroup_id)
            .map(|ended| (ended.job.clone(), ended.reason))
    }

    /// The job that this cgroup was of, which is gone: one of the last that ended.
    pub(super) fn gone(&self, cgroup_id: u64) -> Option<String> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let found = gone.iter().find(|(id, _)| *id == cgroup_id);
        found.map(|(_, job)| job.clone())
    }

    /// Live jobs, oldest first.
    pub fn list(&self) -> Vec<Arc<Job>> {
        let mut jobs: Vec<_> = self.live.load().values().cloned().collect();
        jobs.sort_by(|a, b| a.started.cmp(&b.started).then_with(|| a.id().cmp(b.id())));
        jobs
    }

    /// Ends all jobs because the daemon stops. Their processes live on, without access: whoever
    /// upgrades the daemon does not mean to kill the host's work.
    pub fn shutdown(&self) {
        for job in self.list() {
            self.finish(&job, EndReason::Shutdown);
        }
    }

    /// Waits for the first thing that ends the job, then cleans up after it.
    async fn watch(self: Arc<Self>, job: Arc<Job>) {
        let reason = tokio::select! {
            reason = job.life.ended() => reason,
            emptied = job.cgroup.emptied() => match emptied {
                Ok(()) => EndReason::Empty,
                Err(error) => {
                    tracing::error!(job = job.id(), error = %error, "cannot watch the job's cgroup; the job ends");
                    EndReason::Fault
                }
            },
            () = job.worker_exited() => EndReason::WorkerExited,
            () = job.token_expired() => EndReason::TokenExpired,
            () = tokio::time::sleep(self.max_duration) => EndReason::MaxDuration,
        };
        self.finish(&job, reason);
        let reason = job.life.end_reason().unwrap_or(reason);
        if reason != EndReason::Shutdown {
            // Processes that nobody kills may stay as long as they like.
            let patience = if job.kills(reason) {
                KILL_PATIENCE
            } else {
                Duration::MAX
            };
            if tokio::time::timeout(patience, job.cgroup.emptied())
                .await
                .is_err()
            {
                tracing::error!(job = job.id(), "killed processes of the job do not go away");
            }
        }
        self.reap();
    }

    /// Sessions close first, then the kernel stops attributing connections, then what is left is
    /// killed, then the end is recorded.
    /// Marking waits for nobody, so a recorder that hangs delays no other job's end.
    fn finish(&self, job: &Arc<Job>, reason: EndReason) -> bool {
        if !job.life.end(reason) {
            return false;
        }
        let id = job.cgroup.id();
        self.update(|live, ended| {
            live.remove(&id);
            ended.insert(
                id,
                Ended {
                    job: job.id().to_owned(),
                    reason,
                },
            );
        });
        self.unregister(job);
        if job.kills(reason)
            && let Err(error) = self.host.kill_cgroup(job.id())
        {
            tracing::error!(job = job.id(), error = %error, "cannot kill what is left of the job");
        }
        tracing::info!(job = job.id(), reason = %reason, "job ended");
        self.ledger.ended(job, reason);
        true
    }

    fn unregister(&self, job: &Job) {
        // Not fatal: the registry, which has the last word, does not know the job any more.
        if let Err(error) = self.host.unregister(job.cgroup.id()) {
            tracing::error!(job = job.id(), error = %error, "cannot unregister the ended job from the kernel");
        }
    }

    /// Removes the cgroups of ended jobs that are empty by now.
    fn reap(&self) {
        self.lock().retain(|id, ended| {
            let left = self.host.remove_cgroup(&ended.job).is_err();
            if !left {
                let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
                gone.truncate(REMEMBERED - 1);
                gone.push_front((*id, ended.job.clone()));
            }
            left
        });
    }

    fn sweep(&self) -> io::Result<()> {
        let mut ended = self.lock();
        for path in self.root.children(&self.parent)? {
            let Some(name) = self.job_name(path.as_str()).filter(|name| is_job_id(name)) else {
                continue;
            };
            let Ok(cgroup) = self.root.open(&path) else {
                continue;
            };
            self.host.unregister(cgroup.id())?;
            if self.host.remove_cgroup(name).is_err() {
                let job = name.to_owned();
                ended.insert(
                    cgroup.id(),
                    Ended {
                        job,
                        reason: EndReason::Shutdown,
                    },
                );
            }
        }
        Ok(())
    }

    /// Changes who is live and who has ended, in one step for writers.
    fn update(&self, change: impl FnOnce(&mut HashMap<u64, Arc<Job>>, &mut HashMap<u64, Ended>)) {
        let mut ended = self.lock();
        let mut live = HashMap::clone(&self.live.load());
        change(&mut live, &mut ended);
        self.live.store(Arc::new(live));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this can be the id of a job, and so the name of its cgroup.
pub(super) fn is_job_id(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// 64 random bits: never the same twice.
fn new_id() -> Result<String, &'static str> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| "the system has no random numbers")?;
    let mut id = PREFIX.to_owned();
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    Ok(id)
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
