//! The second line: packets as they leave.
//!
//! Catches what `connect` never saw: connections older than the programs, raw sockets, and flows
//! to destinations that nobody named.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_sk_fullsock, bpf_skb_cgroup_id},
    programs::SkBuffContext,
};
use gateway_common::{Counter, RECOGNISE_REFUSE, Settings};

use crate::{
    caller::{self, Standing},
    count::count,
    destination, flow, namespace,
    packet::{Packet, TCP},
};

const SOCK_RAW: u32 = 3;

/// Whether a packet may leave. Judged by the cgroup in which its socket was created, or by who
/// connected it.
#[inline(always)]
pub fn may_leave(ctx: &SkBuffContext) -> bool {
    let skb: *mut __sk_buff = ctx.skb.skb;
    let sk = socket(skb);
    let settings = caller::settings();
    if !sk.is_null()
        && let Some(settings) = settings
        && flow::needs_no_look(sk, settings)
    {
        return true;
    }
    let Some(packet) = Packet::read(ctx) else {
        return true;
    };
    if !sk.is_null()
        && let Some(settings) = settings
        && namespace::holds(skb, sk, &packet, settings)
    {
        return false;
    }
    let protected = destination::is_protected(skb, &packet.to);
    let Some(settings) = settings else {
        if protected {
            count(Counter::RefusedNoSettings);
        }
        return !protected;
    };
    if protected {
        return passes_protected(ctx, sk, &packet, settings);
    }
    if sk.is_null() || packet.transport != TCP || !caller::recognises(settings) {
        return true;
    }
    // SAFETY: not null, and the verifier knows it.
    if unsafe { (&raw const (*sk).type_).read_volatile() } == SOCK_RAW {
        return passes_raw(skb, settings);
    }
    flow::may_leave(ctx, sk, &packet, settings)
}

/// The packet's socket, or null.
#[inline(always)]
fn socket(skb: *mut __sk_buff) -> *mut bpf_sock {
    // SAFETY: the context is valid for the program's run.
    let sk = unsafe { (&raw const (*skb).__bindgen_anon_2.sk).read_volatile() };
    if sk.is_null() {
        return sk;
    }
    // SAFETY: the verifier knows the socket.
    unsafe { bpf_sk_fullsock(sk) }
}

#[inline(always)]
fn passes_protected(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    packet: &Packet,
    settings: &Settings,
) -> bool {
    let skb: *mut __sk_buff = ctx.skb.skb;
    // SAFETY: the context is valid for the program's run.
    if unsafe { bpf_skb_cgroup_id(skb) } == settings.gateway_cgroup_id {
        return true;
    }
    let standing = caller::standing_of(skb, caller::is_host_scope(settings));
    if standing == Standing::Outside {
        return true;
    }
    count(Counter::DroppedPacket);
    if !sk.is_null() {
        flow::stray(ctx, sk, packet, standing, settings);
    }
    false
}

/// A TCP packet that a raw socket sends: it was made for something else (`ping`), or before the
/// programs were there.
#[inline(always)]
fn passes_raw(skb: *mut __sk_buff, settings: &Settings) -> bool {
    let standing = caller::standing_of(skb, false);
    if standing == Standing::Outside || settings.recognise != RECOGNISE_REFUSE {
        return true;
    }
    count(Counter::DroppedRawPacket);
    false
}
