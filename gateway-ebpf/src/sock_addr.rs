//! The context of the `cgroup_sock_addr` programs, and their verdict.

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie},
    programs::SockAddrContext,
};
use gateway_common::Endpoint;

pub const EPERM: i32 = 1;
pub const EACCES: i32 = 13;
pub const ENOMEM: i32 = 12;
pub const ECONNREFUSED: i32 = 111;

/// What to tell the kernel.
pub enum Verdict {
    /// Go on, with the address as it is now.
    Pass,
    /// Fail the call with this errno.
    Refuse(i32),
}

/// Which hook ran. An IPv4-mapped address of an IPv6 socket comes through the IPv6 hook.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

const TCP: u32 = 6;

/// The address argument of a socket call.
pub struct SockAddr {
    raw: *mut bpf_sock_addr,
    family: Family,
}

// Fields are read and written one by one, volatile: LLVM would otherwise merge neighbouring
// accesses into ones the verifier refuses.
impl SockAddr {
    #[inline(always)]
    pub fn new(ctx: &SockAddrContext, family: Family) -> Self {
        Self {
            raw: ctx.sock_addr,
            family,
        }
    }

    #[inline(always)]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The socket.
    #[inline(always)]
    pub fn sk(&self) -> *mut bpf_sock {
        // SAFETY: the context is valid for the program's run.
        unsafe { (&raw const (*self.raw).__bindgen_anon_1.sk).read_volatile() }
    }

    /// The context itself, for helpers.
    #[inline(always)]
    pub fn ctx<T>(&self) -> *mut T {
        self.raw.cast()
    }

    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        // SAFETY: the context is valid for the program's run.
        unsafe { (&raw const (*self.raw).protocol).read_volatile() == TCP }
    }

    #[inline(always)]
    pub fn port(&self) -> u16 {
        // SAFETY: the context is valid for the program's run.
        let port = unsafe { (&raw const (*self.raw).user_port).read_volatile() };
        u16::from_be(port as u16)
    }

    /// The address argument, as it is.
    #[inline(always)]
    pub fn endpoint(&self) -> Endpoint {
        let port = self.port();
        match self.family {
            Family::V4 => {
                // SAFETY: the context is valid for the program's run.
                let ip = unsafe { (&raw const (*self.raw).user_ip4).read_volatile() };
                Endpoint::v4(ip.to_ne_bytes(), port)
            }
            Family::V6 => {
                let mut addr = [0; 16];
                for (word, bytes) in addr.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    // SAFETY: `word` is below 4; the context is valid for the program's run.
                    let part = unsafe { (&raw const (*self.raw).user_ip6[word]).read_volatile() };
                    *bytes = part.to_ne_bytes();
                }
                Endpoint::v6(addr, port)
            }
        }
    }

    /// Replaces the address argument. An IPv4 hook takes the IPv4 part.
    #[inline(always)]
    pub fn set_endpoint(&self, to: &Endpoint) {
        let (words, _) = to.addr.as_chunks::<4>();
        match self.family {
            Family::V4 => {
                let ip = u32::from_ne_bytes(words[3]);
                // SAFETY: the context is valid for the program's run, and the field writable.
                unsafe { (&raw mut (*self.raw).user_ip4).write_volatile(ip) };
            }
            Family::V6 => {
                for (word, bytes) in words.iter().enumerate() {
                    let part = u32::from_ne_bytes(*bytes);
                    // SAFETY: as above; `word` is below 4.
                    unsafe { (&raw mut (*self.raw).user_ip6[word]).write_volatile(part) };
                }
            }
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*self.raw).user_port).write_volatile(u32::from(to.port.to_be())) };
    }

    #[inline(always)]
    pub fn netns_cookie(&self) -> u64 {
        // SAFETY: the context is valid for the program's run.
        unsafe { bpf_get_netns_cookie(self.ctx()) }
    }

    #[inline(always)]
    pub fn socket_cookie(&self) -> u64 {
        // SAFETY: the context is valid for the program's run.
        unsafe { bpf_get_socket_cookie(self.ctx()) }
    }
}
