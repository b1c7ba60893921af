//! What can go wrong between the daemon and the kernel.

use std::{io, path::PathBuf};

use gateway_common::MAX_CGROUP_LEVEL;

/// An error of the kernel side, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterceptError {
    /// No cgroup v2 hierarchy.
    #[error(
        "no cgroup v2 hierarchy is mounted: mount one, e.g. `mount -t cgroup2 none \
         /sys/fs/cgroup/unified`"
    )]
    NoCgroup2,
    /// A cgroup could not be used.
    #[error("cannot {action} the cgroup {}", path.display())]
    Cgroup {
        /// What was tried.
        action: &'static str,
        /// Its directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A cgroup lies too deep for the programs to find it.
    #[error(
        "the cgroup {} lies {level} levels deep, more than the {MAX_CGROUP_LEVEL} that the \
         programs look at: choose one nearer to the root",
        path.display()
    )]
    CgroupTooDeep {
        /// Its directory.
        path: PathBuf,
        /// Its level below the root.
        level: usize,
    },
    /// The pin directory could not be used.
    #[error("cannot {action} the pin directory {}", path.display())]
    PinDir {
        /// What was tried.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The pin directory is not on a bpffs.
    #[error(
        "{} is not on a bpffs: choose a directory below /sys/fs/bpf, or mount one there with \
         `mount -t bpf bpf {}`",
        path.display(),
        path.display()
    )]
    NotBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// Another daemon holds the pin directory.
    #[error(
        "another daemon intercepts with the pin directory {}: stop it first",
        path.display()
    )]
    AlreadyRunning {
        /// The directory.
        path: PathBuf,
    },
    /// The programs or maps could not be loaded.
    #[error("cannot load the eBPF programs (needs CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    Load(#[source] Box<aya::EbpfError>),
    /// One program could not be loaded or attached.
    #[error("cannot {action} the eBPF program `{program}`")]
    Program {
        /// What was tried.
        action: &'static str,
        /// Which program.
        program: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The embedded object lacks a part.
    #[error("the embedded eBPF object has no {kind} `{name}`: rebuild with `cargo xtask build`")]
    Missing {
        /// Map or program.
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A map could not be read or written.
    #[error("cannot {action} in the eBPF map `{map}`")]
    Map {
        /// What was tried.
        action: &'static str,
        /// Which map.
        map: &'static str,
        /// The cause.
        source: Box<aya::maps::MapError>,
    },
    /// A port of zero cannot be protected or served.
    #[error("port 0 is not a port: name the port that clients dial")]
    PortZero,
    /// The programs know processes by their numbers on the host.
    #[error(
        "this is not the host's own pid namespace; start the daemon on the host, or its container with the host's (`--pid=host`)"
    )]
    PidNamespace,
    /// The host's own addresses could not be listed.
    #[error("cannot list the addresses of this host")]
    Addresses(#[source] io::Error),
    /// The network namespace could not be named.
    #[error("cannot read the network namespace's cookie (needs Linux 5.14)")]
    NetnsCookie(#[source] io::Error),
}
