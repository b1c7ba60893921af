//! Unix sockets that lead round the programs.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::runners::Runner;

/// Where engines and databases have their sockets, also those of other network namespaces, which
/// the kernel does not list.
const USUAL: [&str; 8] = [
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/postgresql/.s.PGSQL.5432",
    "/tmp/.s.PGSQL.5432",
    "/run/mysqld/mysqld.sock",
];
/// `__SO_ACCEPTCON`: somebody listens.
const LISTENS: u32 = 0x0001_0000;

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container engine's.
    Engine,
    /// A PostgreSQL server's; its port.
    Postgres(u16),
    /// A MySQL or MariaDB server's.
    Mysql,
}

/// The sockets that somebody listens on, by path.
pub fn listening() -> BTreeMap<PathBuf, Kind> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let usual = USUAL
        .iter()
        .map(PathBuf::from)
        .filter(|path| fs::metadata(path).is_ok_and(|found| found.file_type().is_socket()));
    listed(&table)
        .chain(usual)
        // The same socket may go by `/var/run` and `/run`.
        .filter_map(|path| fs::canonicalize(path).ok())
        .filter_map(|path| kind(&path).map(|kind| (path, kind)))
        .collect()
}

/// The paths in `/proc/net/unix` on which somebody listens.
fn listed(table: &str) -> impl Iterator<Item = PathBuf> {
    table.lines().skip(1).filter_map(|line| {
        // Num RefCount Protocol Flags Type St Inode Path
        let mut fields = line.split_ascii_whitespace();
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        let path = fields.nth(3)?;
        (flags & LISTENS != 0 && path.starts_with('/')).then(|| PathBuf::from(path))
    })
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    if let Some(port) = name.strip_prefix(".s.PGSQL.") {
        return port.parse().ok().map(Kind::Postgres);
    }
    match name {
        "docker.sock" | "podman.sock" | "containerd.sock" | "crio.sock" | "buildkitd.sock" => {
            Some(Kind::Engine)
        }
        "mysqld.sock" | "mysql.sock" | "mysqlx.sock" | "mariadb.sock" => Some(Kind::Mysql),
        _ => None,
    }
}

/// Whether a user can connect: that takes the right to write the socket, and to pass every folder
/// on the way. By the mode bits; access lists are not read.
pub fn reaches(runner: &Runner, path: &Path) -> bool {
    const WRITE: u32 = 0o2;
    const PASS: u32 = 0o1;
    may(runner, path, WRITE)
        && path
            .ancestors()
            .skip(1)
            .all(|folder| may(runner, folder, PASS))
}

fn may(runner: &Runner, path: &Path, right: u32) -> bool {
    let Ok(found) = fs::metadata(path) else {
        return false;
    };
    if runner.uid == 0 {
        return true;
    }
    let class = if found.uid() == runner.uid {
        6
    } else if runner.groups.iter().any(|(gid, _)| *gid == found.gid()) {
        3
    } else {
        0
    };
    found.mode() & (right << class) != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt, net::UnixListener};

    use super::*;

    fn runner(uid: u32, gid: u32) -> Runner {
        Runner {
            name: "ci".to_owned(),
            uid,
            groups: vec![(gid, "ci".to_owned())],
        }
    }

    #[test]
    fn only_sockets_that_somebody_listens_on_and_that_have_a_path_are_listed() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff0: 00000002 00000000 00010000 0001 01 24136 /run/docker.sock\n\
            ffff0: 00000003 00000000 00000000 0001 03 24137 /tmp/.s.PGSQL.5432\n\
            ffff0: 00000002 00000000 00010000 0001 01 24138 @/containerd\n\
            ffff0: 00000003 00000000 00000000 0001 03 24139\n";
        let paths: Vec<_> = listed(table).collect();
        assert_eq!(paths, [PathBuf::from("/run/docker.sock")]);
    }

    #[test]
    fn sockets_are_known_by_their_names() {
        let kind = |path: &str| kind(Path::new(path));
        assert_eq!(kind("/srv/x/.s.PGSQL.6432"), Some(Kind::Postgres(6432)));
        assert_eq!(kind("/srv/x/.s.PGSQL.6432.lock"), None);
        assert_eq!(
            kind("/run/user/1000/podman/podman.sock"),
            Some(Kind::Engine)
        );
        assert_eq!(kind("/run/mysqld/mysqld.sock"), Some(Kind::Mysql));
        assert_eq!(kind("/run/systemd/notify"), None);
    }

    #[test]
    fn a_socket_is_in_reach_if_its_mode_and_every_folder_allow_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let found = fs::metadata(&path).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let stranger = runner(65_000, 65_000);
        let member = runner(65_000, found.gid());
        set(folder.path(), 0o755);
        set(&path, 0o777);
        assert!(reaches(&stranger, &path));
        set(&path, 0o660);
        assert!(!reaches(&stranger, &path) && reaches(&member, &path));
        set(&path, 0o606);
        assert!(reaches(&stranger, &path) && !reaches(&member, &path));
        set(&path, 0o666);
        set(folder.path(), 0o700);
        assert!(!reaches(&stranger, &path) && !reaches(&member, &path));
        assert!(reaches(&runner(0, 0), &path));
    }
}
