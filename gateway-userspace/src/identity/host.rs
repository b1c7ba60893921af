//! What is done on this host with rights that its users do not have.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Cgroup, CgroupRoot, Host, KernelJobs, cgroup, local_socket, process, registry::is_job_id,
};
use crate::config::{CgroupPath, Config, Console, JwksSource};

/// Longest environment that is read, in bytes.
const MAX_ENVIRONMENT: u64 = 4 * 1024 * 1024;
/// Largest key set, in bytes.
const MAX_KEY_SET: u64 = 1024 * 1024;

/// Does it in this process. Whoever asks is not trusted: cgroups other than jobs', files other than
/// the configured key sets, and environments other than those of runners, jobs and Cordon's own
/// commands are out of reach.
pub struct LocalHost {
    root: CgroupRoot,
    parent: CgroupPath,
    runners: BTreeSet<u32>,
    key_sets: BTreeSet<PathBuf>,
    kernel: Arc<dyn KernelJobs>,
}

impl LocalHost {
    /// For the jobs of a configuration.
    ///
    /// # Errors
    /// If there is no cgroup v2 hierarchy.
    pub fn new(config: &Config, kernel: Arc<dyn KernelJobs>) -> io::Result<Self> {
        let at_console = config.console.as_ref().and_then(Console::login);
        let issuers = config.issuers.iter();
        let issuers = issuers.chain(at_console.map(|login| &login.issuer));
        let files = issuers.filter_map(|issuer| match &issuer.jwks {
            JwksSource::File(path) => Some(path.clone()),
            JwksSource::Discovery | JwksSource::Url(_) => None,
        });
        Ok(Self {
            root: CgroupRoot::find()?,
            parent: config.jobs.cgroup.clone(),
            runners: config.jobs.runners.clone(),
            key_sets: files.collect(),
            kernel,
        })
    }

    #[cfg(test)]
    pub(super) fn at(root: CgroupRoot, parent: CgroupPath, kernel: Arc<dyn KernelJobs>) -> Self {
        Self {
            root,
            parent,
            runners: BTreeSet::new(),
            key_sets: BTreeSet::new(),
            kernel,
        }
    }

    #[cfg(test)]
    pub(super) fn with_key_set(mut self, path: PathBuf) -> Self {
        self.key_sets.insert(path);
        self
    }

    fn path(&self, job: &str) -> io::Result<CgroupPath> {
        if !is_job_id(job) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{job:?} is not the name of a job's cgroup"),
            ));
        }
        CgroupPath::new(&format!("{}/{job}", self.parent)).map_err(io::Error::other)
    }

    fn cgroup(&self, job: &str) -> io::Result<Cgroup> {
        self.root.open(&self.path(job)?)
    }

    /// Whether what a process was told at its start is of use for jobs, and nobody else's.
    fn is_of_jobs(&self, pid: u32) -> io::Result<bool> {
        if self
            .runners
            .contains(&fs::metadata(format!("/proc/{pid}"))?.uid())
        {
            return Ok(true);
        }
        if cgroup::path_of(pid).is_some_and(|path| self.parent.contains(&path)) {
            return Ok(true);
        }
        // A command like `cordon job run`, of whomever: it says of its caller what a hook would.
        runs_this_program(pid)
    }
}

fn runs_this_program(pid: u32) -> io::Result<bool> {
    let theirs = fs::metadata(format!("/proc/{pid}/exe"))?;
    let own = fs::metadata("/proc/self/exe")?;
    Ok((theirs.dev(), theirs.ino()) == (own.dev(), own.ino()))
}

/// Whether it is this process, or the part of the daemon that this process has started.
fn is_daemons(pid: u32) -> io::Result<bool> {
    let own = std::process::id();
    Ok(pid == own || (process::parent(pid) == Some(own) && runs_this_program(pid)?))
}

impl Host for LocalHost {
    fn make_cgroup(&self, job: &str) -> io::Result<()> {
        self.path(job)?;
        self.root.create(&self.parent, job).map(drop)
    }

    fn join_cgroup(&self, job: &str, pid: u32) -> io::Result<()> {
        let cgroup = self.cgroup(job)?;
        if pid <= 1 || is_daemons(pid)? {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "neither process 1 nor the daemon can become a job",
            ));
        }
        cgroup.add(pid)
    }

    fn kill_cgroup(&self, job: &str) -> io::Result<()> {
        self.cgroup(job)?.kill()
    }

    fn remove_cgroup(&self, job: &str) -> io::Result<()> {
        match self.cgroup(job) {
            Ok(cgroup) => cgroup.remove(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn register(&self, job: &str) -> io::Result<()> {
        self.kernel.add(self.root.id(&self.path(job)?)?)
    }

    fn unregister(&self, cgroup_id: u64) -> io::Result<()> {
        self.kernel.remove(cgroup_id)
    }

    fn executable(&self, pid: u32) -> io::Result<PathBuf> {
        fs::read_link(format!("/proc/{pid}/exe"))
    }

    fn environment(&self, pid: u32) -> io::Result<Vec<u8>> {
        if !self.is_of_jobs(pid)? {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is neither a runner's process nor a job's",
            ));
        }
        let mut bytes = Vec::new();
        File::open(format!("/proc/{pid}/environ"))?
            .take(MAX_ENVIRONMENT)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn local_socket(&self, pid: u32, ports: &BTreeSet<u16>) -> io::Result<Option<PathBuf>> {
        local_socket::in_reach(pid, ports)
    }

    fn key_set(&self, path: &Path) -> io::Result<Vec<u8>> {
        if !self.key_sets.contains(path) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "no configured issuer has this key set",
            ));
        }
        let metadata = fs::metadata(path)?;
        if metadata.mode() & 0o002 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "every user of this host can change it; run `chmod o-w {}`",
                    path.display()
                ),
            ));
        }
        if metadata.len() > MAX_KEY_SET {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {MAX_KEY_SET} bytes"),
            ));
        }
        fs::read(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{Recorder, Sleeper, TestParent};

    #[test]
    fn cgroups_that_are_no_jobs_and_files_that_are_no_key_sets_are_out_of_reach() {
        let parent = TestParent::new();
        let host = parent.host(Recorder::new());
        parent.root.create(&parent.path, "others").unwrap();
        let inner = "job-0123456789abcdef/inner";
        for name in [
            "others",
            "",
            ".",
            "..",
            "../init",
            "job-",
            "job-1/../..",
            inner,
        ] {
            let kind = |outcome: io::Result<()>| outcome.unwrap_err().kind();
            assert_eq!(
                kind(host.kill_cgroup(name)),
                io::ErrorKind::InvalidInput,
                "{name}"
            );
            assert_eq!(kind(host.join_cgroup(name, 1)), io::ErrorKind::InvalidInput);
            assert_eq!(kind(host.make_cgroup(name)), io::ErrorKind::InvalidInput);
            assert_eq!(kind(host.remove_cgroup(name)), io::ErrorKind::InvalidInput);
            assert_eq!(kind(host.register(name)), io::ErrorKind::InvalidInput);
        }
        let refused = host.key_set(Path::new("/etc/shadow")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn environments_are_seen_of_jobs_and_of_runners_alone() {
        let parent = TestParent::new();
        let mut host = parent.host(Recorder::new());
        let job = "job-0123456789abcdef";
        host.make_cgroup(job).unwrap();
        let (inside, outside) = (Sleeper::start(), Sleeper::start());
        host.join_cgroup(job, inside.pid()).unwrap();
        assert!(!host.environment(inside.pid()).unwrap().is_empty());
        let refused = host.environment(outside.pid()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        // Of this very program.
        assert!(host.environment(std::process::id()).is_ok());
        host.runners.insert(0);
        assert!(host.environment(outside.pid()).is_ok());
        drop(inside);
    }

    #[test]
    fn process_1_and_the_daemon_do_not_become_jobs() {
        let parent = TestParent::new();
        let host = parent.host(Recorder::new());
        let job = "job-0123456789abcdef";
        host.make_cgroup(job).unwrap();
        for pid in [0, 1, std::process::id()] {
            let refused = host.join_cgroup(job, pid).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{pid}");
        }
    }

    #[test]
    fn a_jobs_cgroup_is_made_once_and_removed_as_often_as_one_likes() {
        let parent = TestParent::new();
        let host = parent.host(Recorder::new());
        let job = "job-0123456789abcdef";
        host.make_cgroup(job).unwrap();
        assert_eq!(
            host.make_cgroup(job).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        host.register(job).unwrap();
        host.remove_cgroup(job).unwrap();
        host.remove_cgroup(job).unwrap();
    }
}
