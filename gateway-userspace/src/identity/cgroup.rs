//! Control groups (v2): where they are, who is in them, when they become empty.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::config::CgroupPath;

/// Longest list of processes or mounts that is read.
const MAX_READ: u64 = 16 * 1024 * 1024;
/// Deepest nesting below a job that is cleaned up; the kernel's own limit is far below it.
const MAX_DEPTH: u32 = 64;

/// Where the cgroup v2 hierarchy is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupRoot {
    mount: PathBuf,
}

impl CgroupRoot {
    /// Finds the mount: `/sys/fs/cgroup` on most hosts, `/sys/fs/cgroup/unified` on hybrid ones.
    pub fn find() -> io::Result<Self> {
        let mounts = read_capped(Path::new("/proc/self/mountinfo"))?;
        Self::from_mountinfo(&mounts).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "no cgroup v2 hierarchy is mounted; boot with systemd.unified_cgroup_hierarchy=1, or mount one",
            )
        })
    }

    fn from_mountinfo(mounts: &str) -> Option<Self> {
        mounts.lines().find_map(|line| {
            // 41 31 0:38 ROOT MOUNT OPTIONS .. - TYPE SOURCE OPTIONS
            let (before, after) = line.split_once(" - ")?;
            let mut fields = before.split(' ').skip(3);
            let (root, mount) = (fields.next()?, fields.next()?);
            (after.split(' ').next()? == "cgroup2" && root == "/").then(|| Self {
                mount: PathBuf::from(unescape(mount)),
            })
        })
    }

    /// The mount point.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The folder of a cgroup.
    pub fn folder(&self, path: &CgroupPath) -> PathBuf {
        self.mount.join(path.relative())
    }

    /// The kernel's id of an existing cgroup.
    pub fn id(&self, path: &CgroupPath) -> io::Result<u64> {
        Ok(fs::metadata(self.folder(path))?.ino())
    }

    /// The path of the existing cgroup with this id; `None` if there is none, or none any more.
    /// Looks through the whole hierarchy, so it may block.
    pub(super) fn path_of_id(&self, id: u64) -> io::Result<Option<String>> {
        let mut found = None;
        if fs::metadata(&self.mount)?.ino() == id {
            return Ok(Some("/".to_owned()));
        }
        find(&self.mount, id, MAX_DEPTH, &mut found)?;
        let path = found.as_deref().and_then(|folder: &Path| {
            let below = folder.strip_prefix(&self.mount).ok()?;
            Some(format!("/{}", below.to_str()?))
        });
        Ok(path)
    }

    /// The existing cgroup at a path.
    pub fn open(&self, path: &CgroupPath) -> io::Result<Cgroup> {
        let folder = self.folder(path);
        let meta = fs::metadata(&folder)?;
        if !meta.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{path} is not a cgroup"),
            ));
        }
        Ok(Cgroup {
            id: meta.ino(),
            path: path.clone(),
            folder,
        })
    }

    /// Makes a new cgroup below `parent`, which is made too if need be. An existing one of this
    /// name is an error: whoever is in it would become part of the new one.
    pub(super) fn create(&self, parent: &CgroupPath, name: &str) -> io::Result<Cgroup> {
        fs::create_dir_all(self.folder(parent))?;
        let path = CgroupPath::new(&format!("{parent}/{name}")).map_err(io::Error::other)?;
        fs::create_dir(self.folder(&path))?;
        self.open(&path)
    }

    /// Paths of the cgroups directly below this one; none if it does not exist.
    pub(super) fn children(&self, parent: &CgroupPath) -> io::Result<Vec<CgroupPath>> {
        let entries = match fs::read_dir(self.folder(parent)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut children = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if let Some(name) = entry.file_name().to_str()
                && let Ok(path) = CgroupPath::new(&format!("{parent}/{name}"))
            {
                children.push(path);
            }
        }
        Ok(children)
    }
}

/// The cgroup v2 path of a process, or `None` if it is gone.
pub(super) fn path_of(pid: u32) -> Option<String> {
    let text = read_capped(Path::new(&format!("/proc/{pid}/cgroup"))).ok()?;
    parse_membership(&text).map(str::to_owned)
}

fn parse_membership(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// An existing cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    id: u64,
    path: CgroupPath,
    folder: PathBuf,
}

impl Cgroup {
    /// The kernel's id: the inode of its folder.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its path from the root of the hierarchy.
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Moves a process into it, with all its threads.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// Processes in it and below it. Those of other pid namespaces show as 0 and are left out.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        collect_pids(&self.folder, MAX_DEPTH, &mut pids)?;
        Ok(pids)
    }

    /// Whether a process is in it or below it now. False if the process is gone.
    pub fn holds(&self, pid: u32) -> bool {
        path_of(pid).is_some_and(|path| self.path.contains(&path))
    }

    /// Kills every process in it and below it, also those being forked.
    pub(super) fn kill(&self) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.kill"), "1")
    }

    /// Returns when no process is left in it or below it; at once if there is none now.
    pub(super) async fn emptied(&self) -> io::Result<()> {
        let events = match File::open(self.folder.join("cgroup.events")) {
            Ok(events) => events,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        // The kernel signals a change of this file as a priority event.
        // SAFETY: the file owns its descriptor, keeps it open until the `AsyncFd` is dropped, and is
        // only ever borrowed from it, so the registered descriptor stays this file's.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::PRIORITY) }?;
        loop {
            // Reading re-arms the event, so a change between two reads is never missed.
            match is_populated(events.get_ref()) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
            events.ready(Interest::PRIORITY).await?.clear_ready();
        }
    }

    /// Removes it with whatever cgroups were made below it. Fails while processes are left.
    pub(super) fn remove(&self) -> io::Result<()> {
        match remove_tree(&self.folder, MAX_DEPTH) {
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }
}

fn is_populated(mut events: &File) -> io::Result<bool> {
    let mut text = String::new();
    events.rewind()?;
    events.take(4096).read_to_string(&mut text)?;
    text.lines()
        .find_map(|line| line.strip_prefix("populated "))
        .map(|populated| populated != "0")
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "cgroup.events does not say whether the cgroup is populated",
            )
        })
}

/// A removed cgroup: its folder is gone, or its open files answer ENODEV.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn collect_pids(folder: &Path, depth: u32, pids: &mut Vec<u32>) -> io::Result<()> {
    let text = match read_capped(&folder.join("cgroup.procs")) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    pids.extend(
        text.lines()
            .filter_map(|line| line.parse::<u32>().ok())
            .filter(|pid| *pid != 0),
    );
    for_folders(folder, depth, |below, depth| {
        collect_pids(below, depth, pids)
    })
}

fn find(folder: &Path, id: u64, depth: u32, found: &mut Option<PathBuf>) -> io::Result<()> {
    for_folders(folder, depth, |below, depth| {
        if found.is_some() {
            return Ok(());
        }
        // Cgroups come and go while this looks.
        match fs::metadata(below) {
            Ok(meta) if meta.ino() == id => {
                *found = Some(below.to_owned());
                Ok(())
            }
            Ok(_) => match find(below, id, depth, found) {
                Err(error) if is_gone(&error) || is_closed(&error) => Ok(()),
                other => other,
            },
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    })
}

/// A cgroup of somebody else's (a container engine's, say) that only its owner may look into.
fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn remove_tree(folder: &Path, depth: u32) -> io::Result<()> {
    for_folders(folder, depth, remove_tree)?;
    fs::remove_dir(folder)
}

fn for_folders(
    folder: &Path,
    depth: u32,
    mut visit: impl FnMut(&Path, u32) -> io::Result<()>,
) -> io::Result<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(io::Error::other("cgroups are nested too deeply"));
    };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            visit(&entry.path(), depth)?;
        }
    }
    Ok(())
}

fn read_capped(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_READ).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Undoes the octal escapes of mountinfo (`\040` is a space).
fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            plain.push(code);
            rest = after.get(3..).unwrap_or_default();
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{Sleeper, TestParent};

    #[test]
    fn the_mount_is_found_on_unified_and_on_hybrid_hosts() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:3 - cgroup cgroup rw,cpu\n\
                      40 31 0:38 /elsewhere /mnt/part rw - cgroup2 cgroup2 rw\n\
                      41 31 0:38 / /sys/fs/my\\040cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            CgroupRoot::from_mountinfo(hybrid).unwrap().mount(),
            Path::new("/sys/fs/my cgroup")
        );
        assert_eq!(
            CgroupRoot::from_mountinfo("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"),
            None
        );
        assert!(
            CgroupRoot::find()
                .unwrap()
                .mount()
                .join("cgroup.procs")
                .exists()
        );
    }

    #[test]
    fn the_v2_line_of_a_process_is_read() {
        assert_eq!(
            parse_membership("9:name=systemd:/x\n1:cpu:/y\n0::/a/b\n"),
            Some("/a/b")
        );
        assert_eq!(parse_membership("9:name=systemd:/x\n"), None);
        assert_eq!(path_of(u32::MAX), None);
    }

    #[test]
    fn a_sibling_whose_name_begins_alike_is_not_below_a_cgroup() {
        let job = CgroupPath::new("jobs/job-1").unwrap();
        assert!(job.contains("/jobs/job-1"));
        assert!(job.contains("/jobs/job-1/inner"));
        assert!(!job.contains("/jobs/job-10"));
        assert!(!job.contains("/jobs"));
    }

    #[tokio::test]
    async fn a_process_is_moved_listed_and_killed_and_the_cgroup_reports_empty() {
        let parent = TestParent::new();
        let cgroup = parent.root.create(&parent.path, "one").unwrap();
        assert_eq!(cgroup.id(), parent.root.id(cgroup.path()).unwrap());
        cgroup.emptied().await.unwrap();
        let mut sleeper = Sleeper::start();
        cgroup.add(sleeper.pid()).unwrap();
        assert!(cgroup.holds(sleeper.pid()));
        assert_eq!(cgroup.pids().unwrap(), [sleeper.pid()]);
        assert!(
            cgroup.remove().is_err(),
            "a cgroup with a process in it cannot be removed"
        );
        let (killed, emptied) = tokio::join!(async { cgroup.kill() }, cgroup.emptied());
        killed.unwrap();
        emptied.unwrap();
        sleeper.wait();
        assert!(!cgroup.holds(sleeper.pid()));
        cgroup.remove().unwrap();
        cgroup.remove().unwrap();
        cgroup.emptied().await.unwrap();
    }

    #[tokio::test]
    async fn processes_in_nested_cgroups_count_and_nested_cgroups_are_removed() {
        let parent = TestParent::new();
        let cgroup = parent.root.create(&parent.path, "outer").unwrap();
        let inner = parent.root.create(cgroup.path(), "inner").unwrap();
        let mut sleeper = Sleeper::start();
        inner.add(sleeper.pid()).unwrap();
        assert!(cgroup.holds(sleeper.pid()));
        assert_eq!(cgroup.pids().unwrap(), [sleeper.pid()]);
        let watch = cgroup.clone();
        let emptied = tokio::spawn(async move { watch.emptied().await });
        cgroup.kill().unwrap();
        sleeper.wait();
        emptied.await.unwrap().unwrap();
        cgroup.remove().unwrap();
        assert!(parent.root.id(cgroup.path()).is_err());
    }

    #[test]
    fn an_existing_cgroup_is_never_taken_for_a_new_one() {
        let parent = TestParent::new();
        parent.root.create(&parent.path, "one").unwrap();
        assert_eq!(
            parent.root.create(&parent.path, "one").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(parent.root.children(&parent.path).unwrap().len(), 1);
    }

    #[test]
    fn a_cgroup_that_is_closed_to_the_gateway_hides_no_other() {
        use std::os::unix::fs::PermissionsExt;
        let parent = TestParent::new();
        let closed = parent.root.create(&parent.path, "closed").unwrap();
        let inside = parent.root.create(closed.path(), "inside").unwrap();
        let open = parent.root.create(&parent.path, "open").unwrap();
        let folder = parent.root.folder(closed.path());
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        // As the gateway's user; a thread of its own, which alone becomes it.
        let found = std::thread::scope(|scope| {
            let look = scope.spawn(|| {
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
                [&open, &closed, &inside].map(|cgroup| parent.root.path_of_id(cgroup.id()).unwrap())
            });
            look.join().unwrap()
        });
        let path = |cgroup: &Cgroup| Some(cgroup.path().as_str().to_owned());
        assert_eq!(found, [path(&open), path(&closed), None]);
    }
}
