//! `connect`: where the decision is made.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use gateway_common::{ConnRecord, Counter, Endpoint, Settings, Way};

use crate::{
    caller::{self, Standing},
    count::count,
    destination::{self, LOOPBACK_V4, LOOPBACK_V6},
    flow, listener,
    maps::{RECORDS, storage_delete, storage_get},
    namespace,
    report::{self, Socket},
    sock_addr::{EACCES, ECONNREFUSED, ENOMEM, Family, SockAddr, Verdict},
};

/// Redirects, refuses or passes a connect. Also runs for a UDP `connect` and for data sent with
/// the SYN (`MSG_FASTOPEN`).
#[inline(always)]
pub fn connect(call: &SockAddr) -> Verdict {
    let original = call.endpoint();
    let to = destination::effective(&original);

    if !destination::is_protected::<()>(call.ctx(), &to) {
        return unprotected(call, &to);
    }
    let Some(settings) = caller::settings() else {
        count(Counter::RefusedNoSettings);
        return Verdict::Refuse(EACCES);
    };
    if caller::is_gateway(settings) {
        count(Counter::PassedGateway);
        clear(call);
        return Verdict::Pass;
    }
    let job = match caller::standing(settings) {
        Standing::Job(id) => id,
        Standing::NoJob => 0,
        Standing::Outside => {
            count(Counter::PassedOutOfScope);
            clear(call);
            return Verdict::Pass;
        }
    };
    if !call.is_tcp() {
        count(Counter::RefusedProtocol);
        return Verdict::Refuse(EACCES);
    }
    redirect(call, settings, original, &to, job)
}

/// A destination that is not protected: only the proxy's own port needs care.
#[inline(always)]
fn unprotected(call: &SockAddr, to: &Endpoint) -> Verdict {
    if destination::is_loopback(to)
        && let Some(settings) = caller::settings()
        && settings.proxy_port == u32::from(to.port)
        && !caller::is_gateway(settings)
    {
        count(Counter::RefusedDirect);
        let job = match caller::standing_in(false) {
            Standing::Job(id) => id,
            Standing::NoJob | Standing::Outside => 0,
        };
        let socket = Socket::unconnected(call.netns_cookie(), *to);
        report::report(Way::DirectDial, true, &report::caller(job), &socket);
        return Verdict::Refuse(EACCES);
    }
    clear_record(call);
    flow::watch(call, to)
}

#[inline(always)]
fn redirect(
    call: &SockAddr,
    settings: &Settings,
    original: Endpoint,
    to: &Endpoint,
    job: u64,
) -> Verdict {
    let port = settings.proxy_port as u16;
    // An IPv6 socket with an IPv4-mapped destination stays IPv4 on the wire.
    let proxy = match call.family() {
        Family::V4 => Endpoint::v4(LOOPBACK_V4, port),
        Family::V6 if destination::is_v4(&to.addr) => Endpoint::v4(LOOPBACK_V4, port),
        Family::V6 => Endpoint::v6(LOOPBACK_V6, port),
    };
    let netns_cookie = call.netns_cookie();
    let elsewhere = namespace::is_served(settings, netns_cookie);
    if elsewhere && destination::is_loopback(to) {
        count(Counter::RefusedLoopback);
        clear(call);
        return Verdict::Refuse(ECONNREFUSED);
    }
    let listens = listener::is_ours::<()>(call.ctx(), &proxy)
        || (elsewhere
            && job != 0
            && namespace::may_wait::<()>(call.ctx(), &proxy, netns_cookie, job));
    if !listens {
        count(Counter::RefusedNoListener);
        clear(call);
        return Verdict::Refuse(ECONNREFUSED);
    }

    // SAFETY: the socket is the context's own.
    let stored: *mut ConnRecord = unsafe { storage_get(&RECORDS, call.sk(), true) };
    if stored.is_null() {
        count(Counter::RefusedNoStorage);
        return Verdict::Refuse(ENOMEM);
    }
    let caller = report::caller(job);
    // The storage of a socket used again still holds its old record: always write all of it.
    let record = ConnRecord {
        // SAFETY: a helper without pointers.
        boot_ns: unsafe { bpf_ktime_get_boot_ns() },
        cgroup_id: caller.cgroup_id,
        job_cgroup_id: job,
        cookie: call.socket_cookie(),
        netns_cookie,
        original,
        pid: caller.pid,
        uid: caller.uid,
        zero: 0,
        comm: caller.comm,
    };
    // SAFETY: not null, and a `ConnRecord` owned by this socket, which `connect` holds locked.
    unsafe { *stored = record };
    flow::forget(call);

    call.set_endpoint(&proxy);
    count(if job == 0 {
        Counter::RedirectedNoJob
    } else {
        Counter::RedirectedJob
    });
    Verdict::Pass
}

/// Removes what an earlier connect of the same socket left, which would otherwise speak for this
/// one.
#[inline(always)]
fn clear(call: &SockAddr) {
    clear_record(call);
    if call.is_tcp() {
        flow::forget(call);
    }
}

#[inline(always)]
fn clear_record(call: &SockAddr) {
    if !call.is_tcp() {
        return;
    }
    // SAFETY: the socket is the context's own, and the result only compared with null.
    let stored: *mut ConnRecord = unsafe { storage_get(&RECORDS, call.sk(), false) };
    // SAFETY: the socket is the context's own.
    if !stored.is_null() && unsafe { storage_delete(&RECORDS, call.sk()) } {
        count(Counter::ClearedRecord);
    }
}
