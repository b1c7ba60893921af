//! Jobs in other network namespaces: containers, mostly.
//!
//! The daemon listens in such a namespace once a job has dialled a database from there. That first
//! connect waits: it is redirected as any other, and its SYN is dropped, and sent again by the
//! kernel, until somebody with the daemon's mark listens. Nobody else can: the port is the
//! gateway's in every namespace (`bind_port`).

use aya_ebpf::{
    bindings::{__sk_buff, BPF_TCP_SYN_SENT, bpf_sock},
    helpers::generated::bpf_get_current_pid_tgid,
};
use gateway_common::{ConnRecord, Counter, Endpoint, NamespaceRequest, Settings};

use crate::{
    count::count,
    destination, listener,
    maps::{NAMESPACES, RECORDS, storage_get},
    packet::{Packet, TCP},
};

/// What a SYN that is dropped waits before it is sent again, in jiffies: 50 to 500 ms, by the
/// kernel's clock rate. Six more follow, then the connect fails.
pub const SYN_AGAIN: u32 = 50;

/// Whether a namespace is another than the gateway's, and jobs in it are served.
#[inline(always)]
pub fn is_served(settings: &Settings, netns_cookie: u64) -> bool {
    settings.namespaces != 0 && netns_cookie != settings.netns_cookie
}

/// Whether a connect of `job` may wait for a listener: nobody listens at `proxy`, and the daemon
/// was asked to.
#[inline(always)]
pub fn may_wait<C>(ctx: *mut C, proxy: &Endpoint, netns_cookie: u64, job: u64) -> bool {
    if destination::with_listener(ctx, proxy, |_| ()).is_some() {
        return false;
    }
    let Some(mut entry) = NAMESPACES.reserve(0) else {
        return false;
    };
    // SAFETY: a helper without pointers.
    let id = unsafe { bpf_get_current_pid_tgid() };
    entry.write(NamespaceRequest {
        netns_cookie,
        job_cgroup_id: job,
        pid: (id >> 32) as u32,
        tid: id as u32,
    });
    entry.submit(0);
    count(Counter::HeldForListener);
    true
}

/// Whether a packet is the SYN of a redirected connect to a port where the daemon does not listen
/// yet.
#[inline(always)]
pub fn holds(skb: *mut __sk_buff, sk: *mut bpf_sock, packet: &Packet, settings: &Settings) -> bool {
    if settings.namespaces == 0
        || packet.transport != TCP
        || u32::from(packet.to.port) != settings.proxy_port
        || !destination::is_loopback(&packet.to)
    {
        return false;
    }
    // SAFETY: the caller has checked that it is not null, and the verifier knows it.
    if unsafe { (&raw const (*sk).state).read_volatile() } != BPF_TCP_SYN_SENT {
        return false;
    }
    // SAFETY: as above.
    let record: *mut ConnRecord = unsafe { storage_get(&RECORDS, sk, false) };
    if record.is_null() {
        return false;
    }
    // SAFETY: not null, and held by the socket.
    if unsafe { (*record).netns_cookie } == settings.netns_cookie {
        return false;
    }
    if listener::is_ours(skb, &packet.to) {
        return false;
    }
    count(Counter::HeldPacket);
    true
}
