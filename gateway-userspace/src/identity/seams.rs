//! What the registry of jobs asks of the kernel side, of the host and of the evidence.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use super::{EndReason, Job, StartError, Starter};

/// The kernel's set of job cgroups.
pub trait KernelJobs: Send + Sync {
    /// From now on, connections from this cgroup and below belong to a job.
    fn add(&self, cgroup_id: u64) -> io::Result<()>;
    /// From now on they do not. Removing what is not there is no error.
    fn remove(&self, cgroup_id: u64) -> io::Result<()>;
}

/// What takes rights on this host: over cgroups, and to see what other users' processes are.
/// Jobs are named by their ids; their cgroups are directly below one parent.
///
/// Everything here blocks a little.
pub trait Host: Send + Sync {
    /// Makes a new cgroup for a job. One that is there already is an error: whoever is in it would
    /// become part of the job.
    fn make_cgroup(&self, job: &str) -> io::Result<()>;
    /// Moves a process into the job's cgroup.
    fn join_cgroup(&self, job: &str, pid: u32) -> io::Result<()>;
    /// Kills every process in the job's cgroup and below it.
    fn kill_cgroup(&self, job: &str) -> io::Result<()>;
    /// Removes the job's cgroup. Fails while processes are left; no error if there is none.
    fn remove_cgroup(&self, job: &str) -> io::Result<()>;
    /// From now on, connections from the job's cgroup and below belong to a job.
    fn register(&self, job: &str) -> io::Result<()>;
    /// From now on those from the cgroup with this id do not.
    fn unregister(&self, cgroup_id: u64) -> io::Result<()>;
    /// The executable of a process.
    fn executable(&self, pid: u32) -> io::Result<PathBuf>;
    /// The environment that a process was started with, as `/proc/PID/environ` has it, cut at 4 MiB.
    fn environment(&self, pid: u32) -> io::Result<Vec<u8>>;
    /// A Unix socket of a database with one of these ports that the process could connect to.
    fn local_socket(&self, pid: u32, ports: &BTreeSet<u16>) -> io::Result<Option<PathBuf>>;
    /// An issuer's key set, from the file that the configuration names.
    fn key_set(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The evidence of the lives of jobs.
pub trait JobLedger: Send + Sync {
    /// Records a start. The job lives only if this succeeds.
    fn started(&self, job: &Job) -> Result<(), String>;
    /// Records an end. The job has ended whatever happens here.
    fn ended(&self, job: &Job, reason: EndReason);
    /// Records a start that was refused: what was asked, by whom, why not.
    fn refused(&self, starter: &Starter, pid: u32, error: &StartError);
}
