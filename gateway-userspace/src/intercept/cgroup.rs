//! The little that interception needs to know of cgroups.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use gateway_common::MAX_CGROUP_LEVEL;

use super::InterceptError;

/// The mount point of the cgroup v2 hierarchy: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on a
/// hybrid host.
pub(super) fn find_root() -> Result<PathBuf, InterceptError> {
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").map_err(|source| InterceptError::Cgroup {
            action: "look in /proc/self/mountinfo for",
            path: PathBuf::from("/sys/fs/cgroup"),
            source,
        })?;
    root_in(&mounts).ok_or(InterceptError::NoCgroup2)
}

/// A mount that shows the whole hierarchy; one of a subtree is no root.
fn root_in(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        if filesystem.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (root == "/").then(|| PathBuf::from(unescape(point)))
    })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// A configured path, which counts from the root of the hierarchy, as a directory.
pub(super) fn resolve(root: &Path, path: &Path) -> PathBuf {
    if path.starts_with(root) {
        path.to_owned()
    } else {
        root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// The id of a cgroup, which is its directory's inode.
pub(super) fn id(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        Ok(metadata.ino())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

/// The id of a cgroup in which the programs' ancestor walk can find processes.
pub(super) fn reachable_id(root: &Path, path: &Path) -> Result<u64, InterceptError> {
    let level = path
        .strip_prefix(root)
        .map_or(0, |below| below.components().count());
    if level > MAX_CGROUP_LEVEL as usize {
        return Err(InterceptError::CgroupTooDeep {
            path: path.to_owned(),
            level,
        });
    }
    id(path).map_err(|source| InterceptError::Cgroup {
        action: "read the id of",
        path: path.to_owned(),
        source,
    })
}

/// Makes a cgroup if it is absent, moves this process into it, and gives its id.
pub(super) fn enter(path: &Path) -> Result<u64, InterceptError> {
    let failed = |action| {
        move |source| InterceptError::Cgroup {
            action,
            path: path.to_owned(),
            source,
        }
    };
    fs::create_dir_all(path).map_err(failed("create"))?;
    fs::write(path.join("cgroup.procs"), std::process::id().to_string())
        .map_err(failed("move the daemon into"))?;
    id(path).map_err(failed("read the id of"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_on_unified_and_hybrid_hosts() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(root_in(unified), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(
            root_in(hybrid),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
    }

    #[test]
    fn a_mount_of_a_subtree_is_not_the_root() {
        let sub = "50 23 0:38 /jobs /mnt/jobs rw - cgroup2 cgroup2 rw\n";
        assert_eq!(root_in(sub), None);
        assert_eq!(root_in("nonsense"), None);
    }

    #[test]
    fn a_mount_point_with_a_space_is_read() {
        let odd = "50 23 0:38 / /mnt/a\\040b rw - cgroup2 cgroup2 rw\n";
        assert_eq!(root_in(odd), Some(PathBuf::from("/mnt/a b")));
    }

    #[test]
    fn configured_paths_count_from_the_root() {
        let root = Path::new("/sys/fs/cgroup");
        for path in [
            "/system.slice/a",
            "system.slice/a",
            "/sys/fs/cgroup/system.slice/a",
        ] {
            assert_eq!(
                resolve(root, Path::new(path)),
                Path::new("/sys/fs/cgroup/system.slice/a"),
                "{path}"
            );
        }
    }
}
