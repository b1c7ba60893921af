//! Tells the daemon of attempts to get past it.

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
    bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
};
use gateway_common::{Attempt, Caller, Counter, Endpoint, Way};

use crate::{count::count, maps::ATTEMPTS};

/// No address.
pub const NOWHERE: Endpoint = Endpoint::v6([0; 16], 0);

/// The socket an attempt was made with.
pub struct Socket {
    pub cookie: u64,
    pub netns_cookie: u64,
    pub client: Endpoint,
    pub server: Endpoint,
    /// Where it is connected to.
    pub peer: Endpoint,
    /// Index of the interface that it is bound to, or 0.
    pub interface: u32,
}

impl Socket {
    /// One that is not connected.
    #[inline(always)]
    pub fn unconnected(netns_cookie: u64, server: Endpoint) -> Self {
        Self {
            cookie: 0,
            netns_cookie,
            client: NOWHERE,
            server,
            peer: NOWHERE,
            interface: 0,
        }
    }
}

/// The calling process, which belongs to `job`, or to none if that is 0. Only where the hook runs
/// in the process's own call.
#[inline(always)]
pub fn caller(job: u64) -> Caller {
    let mut caller = Caller {
        // SAFETY: helpers without pointers.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        job_cgroup_id: job,
        // SAFETY: as above.
        pid: (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32,
        // SAFETY: as above.
        uid: unsafe { bpf_get_current_uid_gid() } as u32,
        comm: [0; 16],
    };
    // SAFETY: the buffer is on the stack and of the size given. On failure it stays zero.
    unsafe {
        bpf_get_current_comm(
            (&raw mut caller.comm).cast(),
            size_of_val(&caller.comm) as u32,
        );
    }
    caller
}

/// Reports it. A full buffer loses the report, never the verdict.
#[inline(always)]
pub fn report(way: Way, refused: bool, caller: &Caller, socket: &Socket) {
    let Some(mut entry) = ATTEMPTS.reserve(0) else {
        count(Counter::AttemptLost);
        return;
    };
    entry.write(Attempt {
        // SAFETY: a helper without pointers.
        boot_ns: unsafe { bpf_ktime_get_boot_ns() },
        cookie: socket.cookie,
        netns_cookie: socket.netns_cookie,
        caller: *caller,
        client: socket.client,
        server: socket.server,
        peer: socket.peer,
        interface: socket.interface,
        way: way as u32,
        refused: u32::from(refused),
    });
    entry.submit(0);
}
