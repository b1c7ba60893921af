//! What a test needs of the host: privilege, users, ports, scratch directories, the cgroup root.

use std::{
    collections::HashSet,
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// The longest a test waits for something that must happen. A bound for hangs, not a measurement.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Fails unless the process is root.
pub fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "this needs root: it loads eBPF programs, makes cgroups and starts servers as other \
             users; run it as root, for example `sudo -E env \"PATH=$PATH\" cargo xtask test`"
        );
    }
    Ok(())
}

/// A user of this host.
#[derive(Clone, Debug)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

/// Looks up a local user.
pub fn user(name: &str) -> Result<User> {
    let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if fields.next() == Some(name) {
            let (uid, gid) = (fields.nth(1), fields.next());
            if let (Some(uid), Some(gid)) = (uid, gid) {
                return Ok(User {
                    uid: uid.parse()?,
                    gid: gid.parse()?,
                });
            }
        }
    }
    bail!(
        "this host has no user `{name}`; install the package that makes it (for `postgres`: apt-get install postgresql)"
    )
}

/// The mount point of cgroup v2: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid hosts.
pub fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading mountinfo")?;
    mounts
        .lines()
        .find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            (right.split(' ').next()? == "cgroup2")
                .then(|| left.split(' ').nth(4).map(PathBuf::from))?
        })
        .context(
            "cgroup v2 is not mounted; mount it (mount -t cgroup2 none /sys/fs/cgroup/unified)",
        )
}

/// A cgroup of the test's own, removed on drop.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    name: String,
}

impl Cgroup {
    /// Makes a cgroup directly below the cgroup v2 root.
    pub fn create(name: &str) -> Result<Self> {
        let path = cgroup_root()?.join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("making the cgroup {}", path.display()))?;
        crate::reaper::at_exit(&format!("rmdir {} 2>/dev/null", path.display()))?;
        Ok(Self {
            path,
            name: name.to_owned(),
        })
    }

    /// Its path relative to the cgroup v2 root, with a leading slash.
    pub fn relative(&self) -> String {
        format!("/{}", self.name)
    }

    /// The file to which a process writes its id to move in.
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Processes that just exited may still be leaving.
        let _ = eventually("the cgroup to be empty", || {
            Ok(fs::remove_dir(&self.path).is_ok().then_some(()))
        });
    }
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A name nobody else on this host uses: process id and a serial number.
pub fn unique() -> String {
    format!(
        "{}-{}",
        process::id(),
        SERIAL.fetch_add(1, Ordering::Relaxed)
    )
}

/// A free loopback port below the ephemeral range, not handed out twice by this process.
pub fn free_port() -> Result<u16> {
    static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut guard = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = guard.get_or_insert_with(HashSet::new);
    // Processes that run at the same time start their search at different places.
    let start = u16::try_from(process::id().wrapping_mul(97) % 12_000)?;
    for step in 0..12_000_u16 {
        let port = 18_000 + (start + step) % 12_000;
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.insert(port);
            return Ok(port);
        }
    }
    bail!("no free loopback port between 18000 and 30000")
}

/// A directory of the test's own, readable by all (jobs run as another user), removed on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes the directory. `what` becomes part of its name.
    pub fn new(what: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("cordon-test-{}-{what}", unique()));
        if let Err(error) = fs::create_dir(&path) {
            // The leftover of a killed run with the same process id.
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(error).with_context(|| format!("making {}", path.display()));
            }
            fs::remove_dir_all(&path)?;
            fs::create_dir(&path)?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        crate::reaper::at_exit(&format!("rm -rf {}", path.display()))?;
        Ok(Self { path })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that everyone may read and execute.
    pub fn share(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Asks until the answer is there, for [`PATIENCE`] at most. For states of other processes that
/// nothing announces.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {PATIENCE:?} in vain for {what}");
        }
        thread::sleep(Duration::from_millis(15));
    }
}
