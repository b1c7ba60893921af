//! One redirected connection.

/// One end of a connection, or a protected destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// IPv6 address, IPv4 as IPv4-mapped, network byte order.
    pub addr: [u8; 16],
    /// Port, host byte order.
    pub port: u16,
    /// Always zero.
    pub zero: u16,
}

impl Endpoint {
    /// An IPv6 endpoint; an IPv4-mapped address is the IPv4 endpoint.
    #[inline]
    pub const fn v6(addr: [u8; 16], port: u16) -> Self {
        Self {
            addr,
            port,
            zero: 0,
        }
    }

    /// An IPv4 endpoint.
    #[inline]
    pub const fn v4(addr: [u8; 4], port: u16) -> Self {
        let [a, b, c, d] = addr;
        Self::v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port)
    }

    /// The key under which a port is protected on every address of this host: the unspecified
    /// address. It can never be a destination itself, because the kernel turns it to loopback.
    #[inline]
    pub const fn any_local(port: u16) -> Self {
        Self::v6([0; 16], port)
    }
}

/// Names one connection: the network namespace and both ends, seen from the client.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnKey {
    /// Network namespace cookie.
    pub netns_cookie: u64,
    /// The connecting socket's own address.
    pub client: Endpoint,
    /// The proxy's address it was redirected to.
    pub proxy: Endpoint,
}

/// What the kernel saw at `connect`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnRecord {
    /// `bpf_ktime_get_boot_ns` at `connect`.
    pub boot_ns: u64,
    /// cgroup v2 id of the calling process.
    pub cgroup_id: u64,
    /// The registered job cgroup above it; 0 if there is none.
    pub job_cgroup_id: u64,
    /// Socket cookie.
    pub cookie: u64,
    /// Network namespace cookie.
    pub netns_cookie: u64,
    /// The address the process dialled.
    pub original: Endpoint,
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Always zero.
    pub zero: u32,
    /// Command name, NUL-padded.
    pub comm: [u8; 16],
}
