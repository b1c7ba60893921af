//! `socket`: raw sockets could build a database connection of their own.

use aya_ebpf::{bindings::bpf_sock, helpers::generated::bpf_get_netns_cookie};
use gateway_common::{Counter, RECOGNISE_REFUSE, Way};

use crate::{
    caller::{self, Standing},
    count::count,
    report::{self, NOWHERE, Socket},
    sock_addr::{EPERM, Verdict},
};

const SOCK_RAW: u32 = 3;
const ICMP: u32 = 1;
const ICMPV6: u32 = 58;

/// Refuses raw IP sockets to jobs and to the cgroups of the scope, but for those of `ping`; what
/// these send of TCP is dropped as it leaves. Packet sockets do not come through here: they need
/// `CAP_NET_RAW`, and jobs must not have it.
#[inline(always)]
pub fn create(sk: *mut bpf_sock) -> Verdict {
    // SAFETY: the context is valid for the program's run.
    let (kind, protocol) = unsafe {
        (
            (&raw const (*sk).type_).read_volatile(),
            (&raw const (*sk).protocol).read_volatile(),
        )
    };
    if kind != SOCK_RAW || protocol == ICMP || protocol == ICMPV6 {
        return Verdict::Pass;
    }
    let Some(settings) = caller::settings() else {
        return Verdict::Pass;
    };
    if !caller::recognises(settings) {
        return Verdict::Pass;
    }
    let job = match caller::standing_in(false) {
        Standing::Job(id) => id,
        Standing::NoJob => 0,
        Standing::Outside => return Verdict::Pass,
    };
    let refused = settings.recognise == RECOGNISE_REFUSE;
    // SAFETY: the context is valid for the program's run.
    let netns_cookie = unsafe { bpf_get_netns_cookie(sk.cast()) };
    let socket = Socket::unconnected(netns_cookie, NOWHERE);
    report::report(Way::RawSocket, refused, &report::caller(job), &socket);
    if !refused {
        return Verdict::Pass;
    }
    count(Counter::RefusedRawSocket);
    Verdict::Refuse(EPERM)
}
