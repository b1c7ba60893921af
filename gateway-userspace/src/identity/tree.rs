//! A runner's worker, and the processes below it.

use std::{collections::HashMap, fs, io, path::Path};

use super::{Cgroup, Host, process};

/// How far above a hook its worker is looked for.
const MAX_ABOVE: usize = 32;
/// Looks at a tree until nothing of it is outside; more mean that it is made to outrun us.
const MAX_LOOKS: usize = 200;

/// The nearest process above `pid` whose executable is `wanted`: a path, or the name of a file.
/// It runs as the same user and began no later than the process below it.
pub(super) fn worker_above(host: &dyn Host, pid: u32, wanted: &str) -> Result<u32, String> {
    let mut below = pid;
    for _ in 0..MAX_ABOVE {
        let parent = process::parent(below).filter(|parent| *parent > 1).ok_or_else(|| {
            format!("there is no process {wanted} above process {pid}; is this a hook of the runner?")
        })?;
        let began = |pid| process::start_time(pid).ok_or_else(|| format!("process {pid} exited"));
        // A number can be somebody else's by now; a parent is older than its child.
        if began(parent)? > began(below)? {
            return Err(format!("process {below} has lost its parent"));
        }
        if host
            .executable(parent)
            .is_ok_and(|found| is_wanted(&found, wanted))
        {
            return Ok(parent);
        }
        below = parent;
    }
    Err(format!(
        "there is no process {wanted} near above process {pid}"
    ))
}

fn is_wanted(found: &Path, wanted: &str) -> bool {
    if wanted.starts_with('/') {
        found == Path::new(wanted)
    } else {
        found.file_name().is_some_and(|name| name == wanted)
    }
}

/// `root` and every process below it that still runs, parents first.
pub(super) fn tree(root: u32) -> io::Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some(parent) = process::parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// Moves a tree into a cgroup. Parents go first: whatever they start then is born inside; and it is
/// looked again until a look finds nothing outside.
pub(super) fn move_into(host: &dyn Host, job: &str, cgroup: &Cgroup, root: u32) -> io::Result<()> {
    for _ in 0..MAX_LOOKS {
        let mut outside = tree(root)?;
        outside.retain(|pid| process::runs(*pid) && !cgroup.holds(*pid));
        if outside.is_empty() {
            return Ok(());
        }
        for pid in outside {
            match host.join_cgroup(job, pid) {
                Ok(()) => {}
                // It has exited meanwhile.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(io::Error::other(
        "its processes multiply faster than they can be moved",
    ))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        process::{Child, Command, Stdio},
    };

    use super::*;
    use crate::identity::testing::{Recorder, TestParent, host};

    struct Shell(Child);

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_worker_is_found_above_a_hook_by_its_executable_alone() {
        let folder = tempfile::tempdir().unwrap();
        let worker = folder.path().join("Runner.Worker");
        fs::copy("/bin/sh", &worker).unwrap();
        // The worker starts a hook, which starts a process; the name of a process counts nothing.
        let mut child = Command::new(&worker)
            .args(["-c", "sh -c 'sleep 1000 & echo $!; wait'; true"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let shell = Shell(child);
        let below: u32 = line.trim().parse().unwrap();
        assert_eq!(
            worker_above(&*host(), below, "Runner.Worker"),
            Ok(shell.0.id())
        );
        let path = worker.to_str().unwrap();
        assert_eq!(worker_above(&*host(), below, path), Ok(shell.0.id()));
        assert!(worker_above(&*host(), below, "/opt/other/Runner.Worker").is_err());
        assert!(
            worker_above(&*host(), below, "Runner.Listener")
                .unwrap_err()
                .contains("Runner.Listener")
        );
        assert_eq!(tree(shell.0.id()).unwrap().len(), 3);
        for pid in tree(shell.0.id()).unwrap().into_iter().skip(1) {
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
                rustix::process::Signal::KILL,
            );
        }
    }

    #[test]
    fn nothing_of_a_tree_that_keeps_forking_stays_outside() {
        let parent = TestParent::new();
        let job = "job-0123456789abcdef";
        let cgroup = parent.root.create(&parent.path, job).unwrap();
        // Two generations of short-lived children, without a pause, and some that stay.
        let mut child = Command::new("/bin/sh")
            .args([
                "-c",
                "for i in 1 2 3 4 5; do sleep 1000 & done; (while :; do (/bin/true; /bin/true); done) & echo on; read end",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let mut input = child.stdin.take().unwrap();
        let shell = Shell(child);
        move_into(&parent.host(Recorder::new()), job, &cgroup, shell.0.id()).unwrap();
        let outside: Vec<u32> = tree(shell.0.id())
            .unwrap()
            .into_iter()
            .filter(|pid| process::runs(*pid) && !cgroup.holds(*pid) && process::runs(*pid))
            .collect();
        assert_eq!(outside, [0; 0]);
        assert!(cgroup.pids().unwrap().len() >= 7);
        cgroup.kill().unwrap();
        let _ = input.write_all(b"\n");
    }
}
