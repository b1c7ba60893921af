//! A network namespace in which the daemon does not listen yet.

/// One entry of the ring buffer: a job has dialled a protected database there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceRequest {
    /// Network namespace cookie of the socket.
    pub netns_cookie: u64,
    /// The registered job cgroup above the process.
    pub job_cgroup_id: u64,
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Thread id there.
    pub tid: u32,
}
