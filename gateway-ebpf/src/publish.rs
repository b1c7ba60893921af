//! Publishes the record of a connection for the daemon, and removes it.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_TIMEOUT_INIT, BPF_TCP_CLOSE, bpf_sock, bpf_sock_ops,
    },
    helpers::generated::{bpf_get_netns_cookie, bpf_sock_ops_cb_flags_set},
    programs::SockOpsContext,
};
use gateway_common::{ConnKey, ConnRecord, Counter, Endpoint};

use crate::{
    caller,
    count::count,
    destination::bytes_of,
    maps::{CONNECTIONS, RECORDS, storage_get},
    namespace,
};

const AF_INET: u32 = 2;

/// Follows the state of a client's socket.
#[inline(always)]
pub fn on_event(ctx: &SockOpsContext) {
    let ops = ctx.ops;
    // SAFETY: the context is valid for the program's run. Volatile, here and below: LLVM would
    // otherwise merge loads into ones the verifier refuses.
    let op = unsafe { (&raw const (*ops).op).read_volatile() };
    match op {
        // Before the SYN leaves, with the source port known. At "established" it would race with
        // `accept` when data travels with the SYN.
        BPF_SOCK_OPS_TCP_CONNECT_CB => publish(ops),
        BPF_SOCK_OPS_TIMEOUT_INIT => hasten(ops),
        BPF_SOCK_OPS_STATE_CB => {
            // SAFETY: the context is valid for the program's run.
            let state = unsafe { (&raw const (*ops).__bindgen_anon_1.args[1]).read_volatile() };
            if state == BPF_TCP_CLOSE {
                unpublish(ops);
            }
        }
        _ => {}
    }
}

/// Has the SYN of a connect that may wait for its listener sent again soon.
#[inline(always)]
fn hasten(ops: *mut bpf_sock_ops) {
    if let Some(settings) = caller::settings()
        && let Some(record) = record(ops)
        && namespace::is_served(settings, record.netns_cookie)
    {
        // SAFETY: the context is valid for the program's run, and the field writable.
        unsafe { (&raw mut (*ops).__bindgen_anon_1.reply).write_volatile(namespace::SYN_AGAIN) };
    }
}

#[inline(always)]
fn publish(ops: *mut bpf_sock_ops) {
    let Some(record) = record(ops) else {
        return;
    };
    // SAFETY: the context is valid for the program's run.
    let followed =
        unsafe { bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG as i32) } == 0;
    // An entry that nothing would remove is not published.
    if followed && CONNECTIONS.insert(key(ops), record, 0).is_ok() {
        count(Counter::Published);
    } else {
        count(Counter::PublishFailed);
    }
}

#[inline(always)]
fn unpublish(ops: *mut bpf_sock_ops) {
    if record(ops).is_some() && CONNECTIONS.remove(key(ops)).is_ok() {
        count(Counter::Unpublished);
    }
}

#[inline(always)]
fn record<'a>(ops: *mut bpf_sock_ops) -> Option<&'a ConnRecord> {
    // SAFETY: the context is valid for the program's run.
    let sk: *mut bpf_sock = unsafe { (&raw const (*ops).__bindgen_anon_2.sk).read_volatile() };
    if sk.is_null() {
        return None;
    }
    // SAFETY: the socket is the context's own, and outlives the program's run.
    unsafe { storage_get::<_, ConnRecord, _>(&RECORDS, sk, false).as_ref() }
}

/// Reads one field of the context.
macro_rules! field {
    ($ops:expr, $($place:tt)+) => {
        // SAFETY: the context is valid for the program's run, and the place lies in it.
        unsafe { (&raw const (*$ops).$($place)+).read_volatile() }
    };
}

#[inline(always)]
fn key(ops: *mut bpf_sock_ops) -> ConnKey {
    // All fields are read before the first branch: LLVM would join the branches' loads into one
    // at a computed offset, which the verifier refuses.
    let family = field!(ops, family);
    let (local4, remote4) = (field!(ops, local_ip4), field!(ops, remote_ip4));
    let local6 = [
        field!(ops, local_ip6[0]),
        field!(ops, local_ip6[1]),
        field!(ops, local_ip6[2]),
        field!(ops, local_ip6[3]),
    ];
    let remote6 = [
        field!(ops, remote_ip6[0]),
        field!(ops, remote_ip6[1]),
        field!(ops, remote_ip6[2]),
        field!(ops, remote_ip6[3]),
    ];
    // The local port is in host byte order, the remote one in network byte order in the upper
    // half of the word.
    let local_port = field!(ops, local_port) as u16;
    let remote_port = u32::from_be(field!(ops, remote_port)) as u16;

    let (client, proxy) = if family == AF_INET {
        (
            Endpoint::v4(local4.to_ne_bytes(), local_port),
            Endpoint::v4(remote4.to_ne_bytes(), remote_port),
        )
    } else {
        (
            Endpoint::v6(bytes_of(local6), local_port),
            Endpoint::v6(bytes_of(remote6), remote_port),
        )
    };
    ConnKey {
        // SAFETY: the context is valid for the program's run.
        netns_cookie: unsafe { bpf_get_netns_cookie(ops.cast()) },
        client,
        proxy,
    }
}
