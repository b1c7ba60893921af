//! The directory on bpffs that keeps the programs in the kernel.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::FlockOperation;

use super::InterceptError;

/// How long another daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

const BPFFS: &str = "/sys/fs/bpf";
const BPFFS_MAGIC: u64 = 0xcafe_4a11;

/// The pin directory, held by this process alone.
#[derive(Debug)]
pub(super) struct PinDir {
    path: PathBuf,
    lock: File,
}

impl PinDir {
    /// Makes the directory if it is absent, mounting bpffs if need be, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, InterceptError> {
        let failed = |action| {
            move |source: io::Error| InterceptError::PinDir {
                action,
                path: path.to_owned(),
                source,
            }
        };
        if path.starts_with(BPFFS) && !is_bpffs(Path::new(BPFFS)) {
            fs::create_dir_all(BPFFS)
                .and_then(|()| {
                    rustix::mount::mount(
                        "bpf",
                        BPFFS,
                        "bpf",
                        rustix::mount::MountFlags::empty(),
                        Some(c"mode=0700"),
                    )
                    .map_err(Into::into)
                })
                .map_err(failed("mount bpffs for"))?;
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("create"))?;
        if !is_bpffs(path) {
            return Err(InterceptError::NotBpffs {
                path: path.to_owned(),
            });
        }
        // Whoever can unlink a pin ends the interception.
        let metadata = fs::symlink_metadata(path).map_err(failed("read"))?;
        if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(failed("use")(io::Error::other(
                "it belongs to somebody else",
            )));
        }
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("protect"))?;

        let lock = File::open(path).map_err(failed("open"))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        path: path.to_owned(),
                        lock,
                    });
                }
                // What is left of a daemon that was killed holds it until the kernel has ended it, too.
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(InterceptError::AlreadyRunning {
                        path: path.to_owned(),
                    });
                }
                Err(errno) => return Err(failed("lock")(errno.into())),
            }
        }
    }

    /// A second hold on the lock.
    pub(super) fn lock(&self) -> io::Result<OwnedFd> {
        Ok(self.lock.try_clone()?.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all pins.
    pub(super) fn names(&self) -> Result<Vec<String>, InterceptError> {
        let read = || {
            fs::read_dir(&self.path)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()
        };
        read().map_err(|source| InterceptError::PinDir {
            action: "list",
            path: self.path.clone(),
            source,
        })
    }

    /// Removes a pin, and with it what it kept in the kernel.
    pub(super) fn unpin(&self, name: &str) -> Result<(), InterceptError> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(|source| InterceptError::PinDir {
            action: "remove a pin from",
            path,
            source,
        })
    }
}

impl Drop for PinDir {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started holds a copy until it
        // executes its program.
        if let Err(error) = rustix::fs::flock(&self.lock, FlockOperation::Unlock) {
            tracing::warn!(%error, "cannot unlock the pin directory");
        }
    }
}

/// Whether this is on a bpffs.
pub fn is_bpffs(path: &Path) -> bool {
    rustix::fs::statfs(path)
        .is_ok_and(|info| u64::try_from(info.f_type).is_ok_and(|magic| magic == BPFFS_MAGIC))
}
