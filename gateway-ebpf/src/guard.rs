//! The second line: packets to a protected destination that are not the gateway's.
//!
//! Catches what `connect` never saw: connections older than the programs, raw sockets.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id},
    programs::SkBuffContext,
};
use gateway_common::{Counter, Endpoint};

use crate::{
    caller::{self, Standing},
    count::count,
    destination,
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Whether a packet may leave. Judged by the cgroup in which its socket was created.
#[inline(always)]
pub fn may_leave(ctx: &SkBuffContext) -> bool {
    let Some(to) = addressee(ctx) else {
        return true;
    };
    let skb: *mut __sk_buff = ctx.skb.skb;
    if !destination::is_protected(skb, &to) {
        return true;
    }
    let Some(settings) = caller::settings() else {
        count(Counter::RefusedNoSettings);
        return false;
    };
    // SAFETY: the context is valid for the program's run.
    if unsafe { bpf_skb_cgroup_id(skb) } == settings.gateway_cgroup_id {
        return true;
    }
    // SAFETY: as above.
    let standing = caller::walk(settings, |level| unsafe {
        bpf_skb_ancestor_cgroup_id(skb, level)
    });
    match standing {
        Standing::Outside => true,
        Standing::Job(_) | Standing::NoJob => {
            count(Counter::DroppedPacket);
            false
        }
    }
}

/// The destination of a TCP or UDP packet; `None` for anything else, and for what is too short to
/// have one.
#[inline(always)]
fn addressee(ctx: &SkBuffContext) -> Option<Endpoint> {
    let first: u8 = ctx.load(0).ok()?;
    match first >> 4 {
        4 => {
            let protocol: u8 = ctx.load(9).ok()?;
            if protocol != TCP && protocol != UDP {
                return None;
            }
            // A later fragment has no port. The first one of the datagram was judged.
            let fragment: [u8; 2] = ctx.load(6).ok()?;
            if u16::from_be_bytes(fragment) & 0x1fff != 0 {
                return None;
            }
            let header = usize::from(first & 0xf) * 4;
            let to: [u8; 4] = ctx.load(16).ok()?;
            let port: [u8; 2] = ctx.load(header + 2).ok()?;
            Some(Endpoint::v4(to, u16::from_be_bytes(port)))
        }
        6 => {
            let (mut protocol, mut header): (u8, usize) = (ctx.load(6).ok()?, 40);
            // Hop-by-hop, routing, destination options and fragment come before the transport
            // header.
            for _ in 0..4 {
                match protocol {
                    0 | 43 | 60 => {
                        let next: [u8; 2] = ctx.load(header).ok()?;
                        protocol = next[0];
                        header += (usize::from(next[1]) + 1) * 8;
                    }
                    44 => {
                        let next: [u8; 4] = ctx.load(header).ok()?;
                        // A later fragment has no port.
                        if u16::from_be_bytes([next[2], next[3]]) & 0xfff8 != 0 {
                            return None;
                        }
                        protocol = next[0];
                        header += 8;
                    }
                    _ => break,
                }
            }
            if protocol != TCP && protocol != UDP {
                return None;
            }
            let to: [u8; 16] = ctx.load(24).ok()?;
            let port: [u8; 2] = ctx.load(header + 2).ok()?;
            Some(Endpoint::v6(to, u16::from_be_bytes(port)))
        }
        _ => None,
    }
}
