//! What the kernel saw of a connection, and the programs that see it.
//!
//! The rest of the daemon knows only [`InterceptedConn`] and the [`Claim`] trait; everything
//! that speaks to the kernel (loading, pinning, maps) stays in this folder.

use std::net::SocketAddr;

/// The kernel's evidence for one accepted connection. Evidence, not identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterceptedConn {
    /// The address the process dialled, before it was redirected. IPv4-mapped IPv6 is
    /// reported as IPv4.
    pub original: SocketAddr,
    /// cgroup v2 id (directory inode) of the process at `connect`.
    pub cgroup_id: u64,
    /// The id of the registered job cgroup found by the ancestor walk; `None` if no ancestor is
    /// a job.
    pub job_cgroup_id: Option<u64>,
    /// Process id (tgid) in the host's pid namespace.
    pub pid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Command name (`comm`), lossily decoded, for display only.
    pub comm: String,
    /// Socket cookie.
    pub cookie: u64,
    /// Network namespace cookie.
    pub netns_cookie: u64,
    /// `bpf_ktime_get_boot_ns` at `connect`.
    pub boot_ns: u64,
}

/// Looks up the kernel's evidence for an accepted connection.
///
/// The second implementation is the tests' fake.
pub trait Claim: Send + Sync {
    /// Takes the record of the connection with these two ends, or `None` if the kernel
    /// redirected no such connection: then it must be closed.
    fn claim(&self, peer: SocketAddr, local: SocketAddr) -> Option<InterceptedConn>;
}
