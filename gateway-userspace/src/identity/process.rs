//! What `/proc` says about a process. Processes may exit at any moment.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{Host, ProcessEvidence, cgroup, tree};
use crate::intercept::InterceptedConn;

const MAX_COMMAND_LINE: u64 = 4096;
/// The kernel reports times to user space in hundredths of a second, whatever its own clock.
const NANOS_PER_TICK: u64 = 10_000_000;

/// A process that is to become a job. Holds on to it, so that another one that gets the same
/// number is not taken for it.
#[derive(Debug)]
pub struct Target {
    handle: OwnedFd,
    pid: u32,
    uids: [u32; 4],
    cgroup: String,
}

impl Target {
    /// Takes hold of a running process.
    pub fn open(pid: u32) -> io::Result<Self> {
        let gone = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no process {pid}"),
            )
        };
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(gone)?;
        let handle = pidfd_open(raw, PidfdFlags::empty()).map_err(|error| match error {
            rustix::io::Errno::SRCH => gone(),
            // The kernel's answers for the number of a thread.
            rustix::io::Errno::INVAL | rustix::io::Errno::NOENT => io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{pid} is a thread, not a process"),
            ),
            other => other.into(),
        })?;
        let uids = uids(pid).ok_or_else(gone)?;
        let cgroup = cgroup::path_of(pid).ok_or_else(gone)?;
        let target = Self {
            handle,
            pid,
            uids,
            cgroup,
        };
        // Alive after reading, so what was read is about this process.
        if target.is_alive() {
            Ok(target)
        } else {
            Err(gone())
        }
    }

    /// The runner's process above a hook, by its executable: a path, or the name of a file.
    ///
    /// # Errors
    /// If there is none.
    pub fn worker_above(host: &dyn Host, hook: &Self, executable: &str) -> Result<Self, String> {
        let pid = tree::worker_above(host, hook.pid, executable)?;
        let worker = Self::open(pid).map_err(|error| error.to_string())?;
        // Again, now that its number is held: that of the process below the hook's.
        if hook.is_alive() && tree::worker_above(host, hook.pid, executable) == Ok(pid) {
            Ok(worker)
        } else {
            Err(format!(
                "process {pid} is not above process {} any more",
                hook.pid
            ))
        }
    }

    /// A handle of its own on the process.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        self.handle.try_clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it runs as this user in every respect: real, effective, saved and file system id.
    pub fn belongs_to(&self, uid: u32) -> bool {
        self.uids.iter().all(|own| *own == uid)
    }

    /// Its cgroup v2 path when it was opened.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        is_alive(&self.handle)
    }
}

/// Whether the process of a pidfd still runs. The handle becomes readable when it exits.
pub(crate) fn is_alive(handle: &OwnedFd) -> bool {
    let mut handles = [PollFd::new(handle, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Fails closed: what cannot be asked is taken for gone.
    matches!(poll(&mut handles, Some(&now)), Ok(0))
}

/// Evidence about the process that dialled. What cannot be read any more is left out.
pub(super) fn evidence(host: &dyn Host, conn: &InterceptedConn) -> ProcessEvidence {
    let kernel_only = ProcessEvidence {
        pid: conn.pid,
        uid: conn.uid,
        comm: conn.comm.clone(),
        executable: None,
        command_line: None,
        start_time: None,
    };
    let Some(start_time) =
        start_time(conn.pid).filter(|ticks| started_before(*ticks, conn.boot_ns))
    else {
        return kernel_only;
    };
    let executable = host.executable(conn.pid).ok();
    let read = ProcessEvidence {
        executable: executable.map(|path| path.to_string_lossy().into_owned()),
        command_line: command_line(conn.pid),
        start_time: Some(start_time),
        ..kernel_only.clone()
    };
    // The same process before and after, or nothing of what was read counts.
    if self::start_time(conn.pid) == Some(start_time) {
        read
    } else {
        kernel_only
    }
}

/// Where the process that dialled is now; `None` if it is gone.
pub(super) fn current_cgroup(conn: &InterceptedConn) -> Option<String> {
    let is_it = || start_time(conn.pid).filter(|ticks| started_before(*ticks, conn.boot_ns));
    let before = is_it()?;
    let path = cgroup::path_of(conn.pid)?;
    (is_it() == Some(before)).then_some(path)
}

/// Whether a process of this start time can have done what happened at `boot_ns`. If it began
/// later, it only has the number of the one that did.
fn started_before(ticks: u64, boot_ns: u64) -> bool {
    ticks
        .checked_mul(NANOS_PER_TICK)
        .is_some_and(|started| started <= boot_ns)
}

/// The parent of a process: field 4 of `/proc/PID/stat`; `None` if it is gone, or only waits to be
/// forgotten.
pub(super) fn parent(pid: u32) -> Option<u32> {
    let stat = read(pid, "stat", 4096)?;
    let mut fields = after_name(&stat)?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(parent)
}

/// Whether a process runs: what has exited and was not waited for does not.
pub(super) fn runs(pid: u32) -> bool {
    parent(pid).is_some()
}

/// Start time in clock ticks since boot: field 22 of `/proc/PID/stat`.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    parse_start_time(&read(pid, "stat", 4096)?)
}

fn parse_start_time(stat: &[u8]) -> Option<u64> {
    after_name(stat)?
        .split_ascii_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// The fields from the third on.
fn after_name(stat: &[u8]) -> Option<&str> {
    // The name in parentheses may contain anything, so count from the last one.
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(stat.get(close + 1..)?).ok()
}

fn uids(pid: u32) -> Option<[u32; 4]> {
    let status = read(pid, "status", 64 * 1024)?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let ids: Vec<u32> = line
        .split_ascii_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    ids.try_into().ok()
}

fn command_line(pid: u32) -> Option<String> {
    let bytes = read(pid, "cmdline", MAX_COMMAND_LINE)?;
    let words: Vec<_> = bytes
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let line = words.join(" ").trim_end().to_owned();
    (!line.is_empty()).then_some(line)
}

pub(super) fn read(pid: u32, name: &str, cap: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/{name}"))
        .ok()?
        .take(cap)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{Sleeper, conn, host};

    #[test]
    fn a_process_name_with_parentheses_does_not_move_the_start_time() {
        let stat = b"7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21";
        assert_eq!(parse_start_time(stat), Some(777));
        assert_eq!(parse_start_time(b"7 (a"), None);
        assert_eq!(parse_start_time(b""), None);
    }

    #[test]
    fn evidence_of_a_live_process_names_its_executable_and_command_line() {
        let sleeper = Sleeper::start();
        let evidence = evidence(&*host(), &conn(sleeper.pid(), None));
        assert!(evidence.executable.unwrap().contains("sleep"));
        assert_eq!(evidence.command_line.unwrap(), "sleep 1000");
        assert!(evidence.start_time.is_some());
    }

    #[test]
    fn evidence_of_a_process_that_exited_is_what_the_kernel_recorded() {
        let mut sleeper = Sleeper::start();
        let conn = conn(sleeper.pid(), None);
        sleeper.kill();
        let evidence = evidence(&*host(), &conn);
        assert_eq!((evidence.pid, evidence.comm.as_str()), (conn.pid, "test"));
        assert_eq!(
            (
                evidence.executable,
                evidence.command_line,
                evidence.start_time
            ),
            (None, None, None)
        );
        assert_eq!(current_cgroup(&conn), None);
    }

    #[test]
    fn a_process_that_began_after_the_connect_is_not_taken_for_the_one_that_dialled() {
        let sleeper = Sleeper::start();
        let mut conn = conn(sleeper.pid(), None);
        conn.boot_ns = 1;
        assert_eq!(evidence(&*host(), &conn).executable, None);
        assert_eq!(current_cgroup(&conn), None);
    }

    #[test]
    fn a_target_knows_its_user_and_notices_its_end() {
        let mut sleeper = Sleeper::start();
        let target = Target::open(sleeper.pid()).unwrap();
        assert!(target.belongs_to(rustix::process::getuid().as_raw()));
        assert!(!target.belongs_to(12345));
        assert!(target.is_alive());
        sleeper.kill();
        assert!(!target.is_alive());
        assert_eq!(
            Target::open(sleeper.pid()).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(Target::open(0).is_err());
        assert!(Target::open(u32::MAX).is_err());
    }
}
