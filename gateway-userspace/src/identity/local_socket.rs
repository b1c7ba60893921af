//! Unix sockets of protected databases on this host: a way round that no program in the kernel
//! sees, so that only permissions and mounts can close it.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::process::read;
use crate::config::Database;

/// Most that is read of the kernel's list of sockets.
const MAX_LIST: u64 = 16 * 1024 * 1024;
/// The flag of a socket that listens (`__SO_ACCEPTCON`).
const LISTENS: u32 = 1 << 16;
const WRITE: u32 = 0o2;
const SEARCH: u32 = 0o1;

/// A user with its groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct User {
    uid: u32,
    gids: BTreeSet<u32>,
}

/// The ports of the databases that run on this host.
pub(super) fn local_ports(databases: &[Database]) -> BTreeSet<u16> {
    databases
        .iter()
        .flat_map(Database::addresses)
        .filter(|address| crate::intercept::is_local(address.ip()))
        .map(|address| address.port())
        .collect()
}

/// A Unix socket of a database with one of these ports that the process could connect to. A
/// process of root's is taken for one that will give its rights up: what everybody may counts.
///
/// # Errors
/// If the kernel's list of sockets cannot be read, or is too long.
pub(super) fn in_reach(pid: u32, ports: &BTreeSet<u16>) -> io::Result<Option<PathBuf>> {
    if ports.is_empty() {
        return Ok(None);
    }
    let user = user(pid);
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    // Sockets in the file system belong to no network namespace; the process's own list has the
    // abstract ones of its namespace.
    let lists = [
        read_list("/proc/self/net/unix")?,
        read_list(&format!("/proc/{pid}/net/unix"))?,
    ];
    let found = lists
        .iter()
        .flat_map(|list| sockets(list, ports))
        .find(|name| {
            name.strip_prefix('@').is_some()
                || may_connect(
                    &root,
                    Path::new(name),
                    user.as_ref().unwrap_or(&User::default()),
                )
        })
        .map(PathBuf::from);
    Ok(found)
}

fn read_list(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_LIST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LIST {
        // What stands behind is not known.
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{path} has more than {MAX_LIST} bytes"),
        ));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The names of PostgreSQL's listening sockets with one of these ports. A line is `Num RefCount
/// Protocol Flags Type St Inode Path`.
fn sockets<'a>(list: &'a str, ports: &BTreeSet<u16>) -> Vec<&'a str> {
    list.lines()
        .filter_map(|line| {
            let mut rest = line;
            let mut next = || {
                let (field, behind) = rest.trim_start().split_once(' ')?;
                rest = behind;
                Some(field)
            };
            let mut fields = [""; 7];
            for field in &mut fields {
                *field = next()?;
            }
            let [_, _, _, flags, ..] = fields;
            let flags = u32::from_str_radix(flags, 16).ok()?;
            // The path may hold blanks: it is all that follows.
            let path = rest.trim_start();
            let port = path.rsplit_once(".s.PGSQL.")?.1.parse().ok()?;
            (flags & LISTENS != 0 && ports.contains(&port)).then_some(path)
        })
        .collect()
}

/// Whether the user may write to the socket and search all folders above it, as the process sees
/// them.
fn may_connect(root: &Path, socket: &Path, user: &User) -> bool {
    let Ok(below) = socket.strip_prefix("/") else {
        // Bound by a relative name: it cannot be found, and not be ruled out.
        return true;
    };
    let mut at = root.to_owned();
    for part in below {
        if !fs::metadata(&at).is_ok_and(|folder| allows(&folder, user, SEARCH)) {
            return false;
        }
        at.push(part);
    }
    fs::metadata(&at)
        .is_ok_and(|socket| socket.file_type().is_socket() && allows(&socket, user, WRITE))
}

fn allows(of: &fs::Metadata, user: &User, right: u32) -> bool {
    let shift = if user.uid != 0 && of.uid() == user.uid {
        6
    } else if user.uid != 0 && user.gids.contains(&of.gid()) {
        3
    } else {
        0
    };
    of.mode() >> shift & right != 0
}

/// Effective user and all groups; `None` if the process is gone.
fn user(pid: u32) -> Option<User> {
    let status = read(pid, "status", 64 * 1024)?;
    parse(&String::from_utf8_lossy(&status))
}

fn parse(status: &str) -> Option<User> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace()
            .map(|id| id.parse().ok())
            .collect::<Option<Vec<u32>>>()
    };
    Some(User {
        uid: *field("Uid:")?.get(1)?,
        gids: field("Gid:")?
            .into_iter()
            .chain(field("Groups:")?)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt, net::UnixListener};

    use super::*;
    use crate::identity::testing::Sleeper;

    #[test]
    fn listening_sockets_of_the_ports_are_found_whatever_their_folder() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 10000 /run/postgresql/.s.PGSQL.5432\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12 /run/postgresql/.s.PGSQL.5433\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 13 /run/postgresql/.s.PGSQL.5432\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 14 /srv/my data/.s.PGSQL.5432\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 15 @/db/.s.PGSQL.5432\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 16\n";
        assert_eq!(
            sockets(list, &[5432].into()),
            [
                "/run/postgresql/.s.PGSQL.5432",
                "/srv/my data/.s.PGSQL.5432",
                "@/db/.s.PGSQL.5432"
            ]
        );
    }

    #[test]
    fn h5_a_socket_is_in_reach_as_its_and_its_folders_permissions_say() {
        let folder = tempfile::tempdir().unwrap();
        let port = 64_999;
        let path = folder.path().join(format!(".s.PGSQL.{port}"));
        let _listener = UnixListener::bind(&path).unwrap();
        let process = Sleeper::start();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let reached = || in_reach(process.pid(), &[port].into()).unwrap().is_some();
        for (of_folder, of_socket, expected) in [
            (0o755, 0o777, true),
            (0o700, 0o777, false),
            (0o755, 0o770, false),
            (0o755, 0o755, false),
        ] {
            set(folder.path(), of_folder);
            set(&path, of_socket);
            assert_eq!(reached(), expected, "{of_folder:o} {of_socket:o}");
        }
        set(&path, 0o777);
        assert_eq!(in_reach(process.pid(), &[1].into()).unwrap(), None);
    }

    #[test]
    fn a_users_own_and_its_groups_rights_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o760)).unwrap();
        std::os::unix::fs::chown(&path, Some(4001), Some(4002)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let user = |uid, gid| User {
            uid,
            gids: [gid].into(),
        };
        assert!(allows(&metadata, &user(4001, 1), WRITE));
        assert!(allows(&metadata, &user(1, 4002), WRITE));
        assert!(!allows(&metadata, &user(1, 1), WRITE));
    }

    #[test]
    fn the_effective_user_and_all_groups_are_read() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \n";
        let user = parse(status).unwrap();
        assert_eq!((user.uid, user.gids), (2, [5, 6, 7, 8, 9, 10].into()));
    }
}
