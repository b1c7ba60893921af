//! What the registry of jobs asks of the kernel side and of the evidence.

use std::io;

use super::{EndReason, Job, StartError, Starter};

/// The kernel's set of job cgroups.
pub trait KernelJobs: Send + Sync {
    /// From now on, connections from this cgroup and below belong to a job.
    fn add(&self, cgroup_id: u64) -> io::Result<()>;
    /// From now on they do not. Removing what is not there is no error.
    fn remove(&self, cgroup_id: u64) -> io::Result<()>;
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
