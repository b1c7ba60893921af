//! Who is at the other end of a connection, by the kernel's word.

use std::{io, os::fd::OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt},
    unistd::{Uid, User},
};
use tokio::net::UnixStream;

use crate::{
    config::Config,
    identity::{Jobs, Starter, is_alive, start_time},
};

/// Who asks, at the time of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id, if the process is visible from here.
    pub pid: Option<u32>,
    /// User name, or the id if it has none.
    pub user: String,
    /// Approvers' groups the user is a member of.
    pub groups: Vec<String>,
    /// The job whose cgroup the process is in. Where that cannot be told, this is not `None`:
    /// who cannot be seen to be outside of jobs is treated as inside of one.
    pub inside_job: Option<String>,
}

impl Peer {
    /// This peer as the one who starts a job.
    pub fn starter(&self) -> Starter {
        Starter {
            uid: self.uid,
            user: self.user.clone(),
            pid: self.pid,
            inside_job: self.inside_job.clone(),
        }
    }
}

/// What a peer is called whose place cannot be told.
const UNKNOWN: &str = "(cannot be told)";

/// The other end of one connection.
#[derive(Debug)]
pub(crate) struct Credentials {
    uid: u32,
    gid: u32,
    process: Option<Process>,
}

/// The process that connected, so that another one with its number is not taken for it.
#[derive(Debug)]
struct Process {
    pid: u32,
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    /// A handle on exactly the process that connected (Linux 6.5).
    Handle(OwnedFd),
    /// Its start time when the connection was accepted.
    StartTime(u64),
}

impl Credentials {
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pid = credentials
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid != 0);
        let hold = match getsockopt(stream, sockopt::PeerPidfd) {
            Ok(handle) => Some(Hold::Handle(handle)),
            // Kernels that do not know the option.
            Err(Errno::ENOPROTOOPT) => pid.and_then(start_time).map(Hold::StartTime),
            // The process is gone.
            Err(_) => None,
        };
        let process = pid.zip(hold).map(|(pid, hold)| Process { pid, hold });
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            process,
        })
    }

    /// Looks at the peer again: it may have been moved into a job since it connected.
    pub(crate) fn look(&self, config: &Config, jobs: &Jobs) -> Peer {
        let name = User::from_uid(Uid::from_raw(self.uid))
            .ok()
            .flatten()
            .map(|user| user.name);
        Peer {
            uid: self.uid,
            gid: self.gid,
            pid: self.process.as_ref().map(|process| process.pid),
            user: name.unwrap_or_else(|| self.uid.to_string()),
            groups: config
                .approver_groups(self.uid)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            inside_job: self
                .process
                .as_ref()
                .map_or_else(|| Some(UNKNOWN.to_owned()), |process| process.inside(jobs)),
        }
    }
}

impl Process {
    fn inside(&self, jobs: &Jobs) -> Option<String> {
        let inside = jobs.inside(self.pid);
        // Alive after looking, so it was this process that was looked at.
        let same = match &self.hold {
            Hold::Handle(handle) => is_alive(handle),
            Hold::StartTime(ticks) => start_time(self.pid) == Some(*ticks),
        };
        match inside {
            Ok(inside) if same => inside,
            Ok(_) | Err(_) => Some(UNKNOWN.to_owned()),
        }
    }
}
