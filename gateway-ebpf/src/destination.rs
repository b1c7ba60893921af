//! Which destinations are protected.

use aya_ebpf::bindings::{
    bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
};
use aya_ebpf::helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_release};
use gateway_common::Endpoint;

use crate::maps::{PORTS, PROTECTED};

pub const LOOPBACK_V4: [u8; 4] = [127, 0, 0, 1];
pub const LOOPBACK_V6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

const CURRENT_NETNS: u64 = u64::MAX;

/// Where a connection to `to` ends up. The kernel turns the unspecified address to loopback only
/// after the hooks have run.
#[inline(always)]
pub fn effective(to: &Endpoint) -> Endpoint {
    if is_v4(&to.addr) {
        if to.addr[12] == 0 && to.addr[13] == 0 && to.addr[14] == 0 && to.addr[15] == 0 {
            return Endpoint::v4(LOOPBACK_V4, to.port);
        }
    } else if is_zero(&to.addr) {
        return Endpoint::v6(LOOPBACK_V6, to.port);
    }
    *to
}

/// Whether it is on the loopback network.
#[inline(always)]
pub fn is_loopback(to: &Endpoint) -> bool {
    if is_v4(&to.addr) {
        to.addr[12] == 127
    } else {
        let (words, _) = to.addr.as_chunks::<4>();
        words[0] == [0; 4] && words[1] == [0; 4] && words[2] == [0; 4] && words[3] == [0, 0, 0, 1]
    }
}

/// Whether `to`, which is [`effective`], is protected: as it stands, or because a port of this
/// host is protected on all its addresses and somebody listens there.
#[inline(always)]
pub fn is_protected<C>(ctx: *mut C, to: &Endpoint) -> bool {
    if !is_protected_port(to.port) {
        return false;
    }
    // SAFETY: the value is not used, so it does not matter if it is replaced meanwhile.
    if unsafe { PROTECTED.get(to) }.is_some() {
        return true;
    }
    // SAFETY: as above.
    if unsafe { PROTECTED.get(Endpoint::any_local(to.port)) }.is_none() {
        return false;
    }
    is_loopback(to) || with_listener(ctx, to, |_| ()).is_some()
}

/// Whether anything of this port is protected. One that cannot be looked up may be.
#[inline(always)]
pub fn is_protected_port(port: u16) -> bool {
    PORTS
        .get(u32::from(port >> 6))
        .is_none_or(|word| *word & (1 << (port & 63)) != 0)
}

/// Runs `f` on the socket that listens at `at` in the current network namespace.
#[inline(always)]
pub fn with_listener<C, R>(
    ctx: *mut C,
    at: &Endpoint,
    f: impl FnOnce(*mut bpf_sock) -> R,
) -> Option<R> {
    let (words, _) = at.addr.as_chunks::<4>();
    let sk = if is_v4(&at.addr) {
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: 0,
            daddr: u32::from_ne_bytes(words[3]),
            sport: 0,
            dport: at.port.to_be(),
        };
        // SAFETY: the tuple is on the stack and of the size given; the context is valid.
        unsafe {
            bpf_sk_lookup_tcp(
                ctx.cast(),
                (&raw mut tuple).cast::<bpf_sock_tuple>(),
                size_of_val(&tuple) as u32,
                CURRENT_NETNS,
                0,
            )
        }
    } else {
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: [0; 4],
            daddr: [
                u32::from_ne_bytes(words[0]),
                u32::from_ne_bytes(words[1]),
                u32::from_ne_bytes(words[2]),
                u32::from_ne_bytes(words[3]),
            ],
            sport: 0,
            dport: at.port.to_be(),
        };
        // SAFETY: as above.
        unsafe {
            bpf_sk_lookup_tcp(
                ctx.cast(),
                (&raw mut tuple).cast::<bpf_sock_tuple>(),
                size_of_val(&tuple) as u32,
                CURRENT_NETNS,
                0,
            )
        }
    };
    if sk.is_null() {
        return None;
    }
    let result = f(sk);
    // SAFETY: `sk` holds the reference that the lookup took.
    unsafe { bpf_sk_release(sk.cast()) };
    Some(result)
}

#[inline(always)]
pub fn is_v4(addr: &[u8; 16]) -> bool {
    let (words, _) = addr.as_chunks::<4>();
    words[0] == [0; 4] && words[1] == [0; 4] && words[2] == [0, 0, 0xff, 0xff]
}

#[inline(always)]
fn is_zero(addr: &[u8; 16]) -> bool {
    let (words, _) = addr.as_chunks::<4>();
    words[0] == [0; 4] && words[1] == [0; 4] && words[2] == [0; 4] && words[3] == [0; 4]
}

/// The bytes of an IPv6 address, which the kernel gives in words.
#[inline(always)]
pub fn bytes_of(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *to = word.to_ne_bytes();
    }
    bytes
}
