//! From the kernel's evidence for a connection to the job it belongs to.

use super::{EndReason, Jobs, Principal, ProcessEvidence, process};
use crate::intercept::InterceptedConn;

/// Why a connection belongs to nobody. The messages are for the person who reads the client's
/// error; they say what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefusal {
    /// No registered cgroup above the process.
    #[error(
        "process {pid} ({comm}) does not belong to a job on this host; start it through `cordon job run -- COMMAND`, or register its runner with `cordon job start`"
    )]
    NoJob {
        /// The process.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// Its job has ended.
    #[error(
        "the job {job} of process {pid} ({comm}) has ended: {reason}; what is left of a job has no access, so start a new one"
    )]
    Ended {
        /// The process.
        pid: u32,
        /// Its name.
        comm: String,
        /// The job.
        job: String,
        /// Why it ended.
        reason: EndReason,
    },
    /// The kernel knows a job that the daemon does not.
    #[error(
        "process {pid} ({comm}) is in a job's cgroup (id {cgroup_id}) that this daemon does not know, since jobs end when the daemon stops; start the job again"
    )]
    UnknownJob {
        /// The process.
        pid: u32,
        /// Its name.
        comm: String,
        /// The kernel's id of the cgroup.
        cgroup_id: u64,
    },
    /// The process has left the job since it dialled.
    #[error(
        "process {pid} ({comm}) dialled from the job {job} but is not in it any more (now in the cgroup {cgroup:?}); processes keep their access only inside their job"
    )]
    LeftJob {
        /// The process.
        pid: u32,
        /// Its name.
        comm: String,
        /// The job.
        job: String,
        /// Where it is now.
        cgroup: String,
    },
}

/// Attributes a connection to the live job above the process that dialled.
///
/// The kernel's record decides. `/proc` can only take away: a process that is seen outside of
/// the job now is refused, one that is gone by now is not.
pub fn resolve(conn: &InterceptedConn, jobs: &Jobs) -> Result<Principal, IdentityRefusal> {
    let (pid, comm) = (conn.pid, || conn.comm.clone());
    let ended = |(job, reason)| IdentityRefusal::Ended {
        pid,
        comm: comm(),
        job,
        reason,
    };
    let Some(cgroup_id) = conn.job_cgroup_id else {
        // Leftovers of an ended job are not in any job, but deserve the better answer.
        return Err(jobs
            .ended_in(conn.cgroup_id)
            .map_or_else(|| IdentityRefusal::NoJob { pid, comm: comm() }, ended));
    };
    let Some(job) = jobs.by_cgroup(cgroup_id) else {
        let unknown = || IdentityRefusal::UnknownJob {
            pid,
            comm: comm(),
            cgroup_id,
        };
        return Err(jobs.ended_in(cgroup_id).map_or_else(unknown, ended));
    };
    if let Some(cgroup) =
        process::current_cgroup(conn).filter(|path| !job.cgroup().path().contains(path))
    {
        return Err(IdentityRefusal::LeftJob {
            pid,
            comm: comm(),
            job: job.id().to_owned(),
            cgroup,
        });
    }
    let principal = Principal {
        job: job.identity().clone(),
        process: process::evidence(&**jobs.host(), conn),
        life: job.life().clone(),
    };
    // Last: it may have ended meanwhile. Whoever holds the principal watches its life from here.
    match job.life().end_reason() {
        None => Ok(principal),
        Some(reason) => Err(ended((job.id().to_owned(), reason))),
    }
}
/// The job, live or ended, and the process behind what the kernel saw, as far as they are known:
/// for the record. Nothing is granted by it.
pub fn attribute(conn: &InterceptedConn, jobs: &Jobs) -> (Option<String>, Option<ProcessEvidence>) {
    let live = conn.job_cgroup_id.and_then(|id| jobs.by_cgroup(id));
    let job = live.map(|job| job.id().to_owned()).or_else(|| {
        let cgroup = conn.job_cgroup_id.unwrap_or(conn.cgroup_id);
        let ended = jobs.ended_in(cgroup).map(|(job, _)| job);
        ended.or_else(|| jobs.gone(cgroup))
    });
    (
        job,
        (conn.pid != 0).then(|| process::evidence(&**jobs.host(), conn)),
    )
}
