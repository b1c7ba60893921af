//! Takes from the gateway what it does not need: root, capabilities, files, system calls.

use std::{collections::BTreeMap, io, path::PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

use crate::config::GatewayUser;

/// What is left to the gateway.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// Who it is from now on.
    pub user: GatewayUser,
    /// What it may read, with all that is below.
    pub read: Vec<PathBuf>,
    /// What it may change, with all that is below.
    pub write: Vec<PathBuf>,
}

/// Confines this process, which must have one thread. From here on it is another user, cannot become
/// anybody else, start programs, or touch files, processes and kernel features that it has no
/// business with; and it ends with its parent. False: this kernel has no Landlock (Linux 5.13), so
/// that files are guarded by their permissions alone.
///
/// # Errors
/// If any of it fails but for the lack of Landlock: then the process is not fit to serve.
pub fn confine(confinement: &Confinement) -> io::Result<bool> {
    let (uid, gid) = (
        Uid::from_raw(confinement.user.uid),
        Gid::from_raw(confinement.user.gid),
    );
    // Capabilities go with root: nothing is kept or ambient.
    setgroups(&[gid])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // After the change of user, which clears it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Its memory is nobody's, not even that of processes of the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let landlocked = restrict_files(confinement).map_err(io::Error::other)?;
    restrict_calls().map_err(io::Error::other)?;
    Ok(landlocked)
}

/// Also sets `no_new_privs`.
fn restrict_files(confinement: &Confinement) -> Result<bool, landlock::RulesetError> {
    let abi = ABI::V6;
    // NOT `from_read`, which allows to execute.
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(abi) & !AccessFs::Execute;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(&confinement.read, read))?
        .add_rules(path_beneath_rules(&confinement.write, write))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn restrict_calls() -> Result<(), seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    // Asked for first, as the C library then falls back to `clone`, whose flags can be looked at.
    let unknown = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno(libc::ENOSYS)),
        arch,
    )?;
    let allowed = SeccompFilter::new(
        rules()?,
        SeccompAction::Errno(errno(libc::EPERM)),
        SeccompAction::Allow,
        arch,
    )?;
    for filter in [unknown, allowed] {
        let program: BpfProgram = filter.try_into()?;
        apply_filter_all_threads(&program)?;
    }
    Ok(())
}

fn errno(errno: i32) -> u32 {
    errno.unsigned_abs()
}

/// Allowed whatever their arguments: what the runtime, SQLite, TLS, the resolver and the log need.
/// Not among them are those that start programs, trace or signal other processes, load programs into
/// the kernel, change namespaces, mounts, users, time or keys, and `io_uring`.
const ALLOWED: &[i64] = &[
    // Files that are open, or that Landlock allows to be opened.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_fadvise64,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_getcwd,
    libc::SYS_umask,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_memfd_create,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_futex,
    // The network; which sockets can be made is looked at.
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    // Memory and threads of its own.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // What there is to know.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    // A handle on a process says when it ends, and no more: signals are not allowed.
    libc::SYS_pidfd_open,
];

/// Older forms that only some architectures have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_arch_prctl,
    libc::SYS_time,
    libc::SYS_getrlimit,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    let number = |value: i32| u64::from(value.unsigned_abs());
    let one_of =
        |argument: u8, values: &[u64]| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
            values
                .iter()
                .map(|value| {
                    SeccompRule::new(vec![SeccompCondition::new(
                        argument,
                        SeccompCmpArgLen::Dword,
                        SeccompCmpOp::Eq,
                        *value,
                    )?])
                })
                .collect()
        };
    // To databases and issuers; to the kernel, for the resolver and to see who dialled. Not Unix
    // sockets: behind those of other services is who trusts their callers.
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(number);
    rules.insert(libc::SYS_socket, one_of(0, &families)?);
    rules.insert(libc::SYS_socketpair, one_of(0, &[number(libc::AF_UNIX)])?);
    // Threads, no processes, and no namespaces.
    let thread = number(libc::CLONE_THREAD);
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ]
    .iter()
    .fold(0, |all, flag| all | number(*flag));
    let threads = SeccompRule::new(vec![SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(thread | namespaces),
        thread,
    )?])?;
    rules.insert(libc::SYS_clone, vec![threads]);
    // Refused by the other filter, so that it is as if the kernel did not know it.
    rules.insert(libc::SYS_clone3, Vec::new());
    // To itself, when it aborts.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, one_of(0, &[own])?);
    // Its own limits.
    rules.insert(libc::SYS_prlimit64, one_of(0, &[0])?);
    // Names of threads and of memory.
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA].map(number);
    rules.insert(libc::SYS_prctl, one_of(0, &names)?);
    // Whether a descriptor blocks, how much waits in it, and whether it is a terminal.
    let requests = [
        libc::FIONBIO,
        libc::FIONREAD,
        libc::FIOCLEX,
        libc::TCGETS,
        libc::TIOCGWINSZ,
    ];
    rules.insert(libc::SYS_ioctl, one_of(1, &requests)?);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{TcpListener, TcpStream},
        os::unix::{fs::PermissionsExt, net::UnixDatagram},
        path::Path,
        process::Command,
    };

    use rustix::{
        net::{AddressFamily, SocketType},
        process::kill_process,
    };

    use super::*;

    /// What an attacker in the gateway would go on with.
    #[test]
    fn calls_that_lead_out_of_the_gateway_are_not_allowed() {
        let rules = rules().unwrap();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_pidfd_send_signal,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_open_tree,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_setgroups,
            libc::SYS_capset,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
            libc::SYS_userfaultfd,
            libc::SYS_open_by_handle_at,
            libc::SYS_linkat,
            libc::SYS_symlinkat,
            libc::SYS_mknodat,
            libc::SYS_fchownat,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_reboot,
        ] {
            assert!(!rules.contains_key(&call), "{call}");
        }
        for looked_at in [
            libc::SYS_socket,
            libc::SYS_clone,
            libc::SYS_prctl,
            libc::SYS_ioctl,
            libc::SYS_prlimit64,
            libc::SYS_tgkill,
        ] {
            assert!(!rules[&looked_at].is_empty(), "{looked_at}");
        }
    }

    #[test]
    fn the_filters_are_accepted() {
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let deny = SeccompAction::Errno(1);
        let filter =
            SeccompFilter::new(rules().unwrap(), deny, SeccompAction::Allow, arch).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        assert!(!program.is_empty());
    }

    /// A user that no Debian has.
    const UID: u32 = 64_647;

    #[test]
    fn a_confined_process_does_its_work_and_gets_nowhere_else() {
        // This test again, in a process of its own.
        if let Some(dir) = std::env::var_os(FOLDER) {
            in_the_confinement(Path::new(&dir));
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let open = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        };
        open(dir.path());
        for folder in ["read", "write", "other"] {
            fs::create_dir(at(folder)).unwrap();
            open(&at(folder));
            fs::write(at(folder).join("file"), "x").unwrap();
            open(&at(folder).join("file"));
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("warden::confine::tests::a_confined_process_does_its_work_and_gets_nowhere_else")
            .env(FOLDER, dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    const FOLDER: &str = "CORDON_TEST_CONFINED";

    fn in_the_confinement(dir: &Path) {
        let file = |folder: &str| dir.join(folder).join("file");
        let before = Command::new("/bin/true").status();
        assert!(before.is_ok_and(|status| status.success()));
        assert!(fs::read(file("other")).is_ok());
        let user = GatewayUser { uid: UID, gid: UID };
        let landlocked = confine(&Confinement {
            user,
            read: vec![dir.join("read")],
            write: vec![dir.join("write")],
        })
        .unwrap();

        // What it is there for.
        fs::read(file("read")).unwrap();
        fs::write(dir.join("write/new"), "x").unwrap();
        fs::rename(dir.join("write/new"), file("write")).unwrap();
        std::thread::spawn(|| ()).join().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(rustix::process::getuid().as_raw(), UID);

        // What it is not there for.
        assert!(fs::write(file("read"), "y").is_err() || !landlocked);
        assert!(fs::read(file("other")).is_err() || !landlocked);
        assert!(fs::read("/etc/shadow").is_err());
        assert!(Command::new("/bin/true").status().is_err());
        assert!(UnixDatagram::unbound().is_err());
        assert!(setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_err());
        let parent = rustix::process::getppid().unwrap();
        assert!(kill_process(parent, Signal::CONT).is_err());
        assert!(rustix::process::test_kill_process(parent).is_err());
        let memory = format!("/proc/{}/mem", parent.as_raw_nonzero());
        assert!(fs::File::open(memory).is_err());
        for (family, kind) in [
            (AddressFamily::PACKET, SocketType::RAW),
            (AddressFamily::INET, SocketType::RAW),
            (AddressFamily::VSOCK, SocketType::STREAM),
        ] {
            assert!(
                rustix::net::socket(family, kind, None).is_err(),
                "{family:?}"
            );
        }
    }
}
