//! An attempt to get past the gateway, as the programs report it.

use crate::Endpoint;

macro_rules! ways {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal;)+) => {
        /// What was tried.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Way {
            $($(#[doc = $doc])+ $variant = $code,)+
        }

        impl Way {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The way of this code.
            pub const fn from_code(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

ways! {
    /// A flow to a destination that is not protected begins as PostgreSQL does.
    PostgresStartup = 1;
    /// A flow to a destination that is not protected begins with a TLS handshake that offers
    /// PostgreSQL (ALPN `postgresql`).
    PostgresTls = 2;
    /// A flow to a destination that is not protected begins as a MySQL client's does.
    MysqlStartup = 3;
    /// A flow begins so that it cannot be told what it is: with urgent data, or a TLS handshake
    /// in thousands of pieces.
    Obscured = 4;
    /// A packet to a protected destination on a connection that is not the gateway's: it is older
    /// than the programs, or was made where they did not run.
    StrayConnection = 5;
    /// A packet to a protected destination from a raw or datagram socket.
    StrayPacket = 6;
    /// A raw socket.
    RawSocket = 7;
    /// The proxy's port, dialled directly.
    DirectDial = 8;
}

/// Who made a call: the process, as the kernel saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// cgroup v2 id of the calling process; of the socket, if `pid` is zero.
    pub cgroup_id: u64,
    /// The registered job cgroup above it; 0 if there is none.
    pub job_cgroup_id: u64,
    /// Process id (tgid) in the initial pid namespace; 0 if the process is not known.
    pub pid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Command name, NUL-padded.
    pub comm: [u8; 16],
}

/// One entry of the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// `bpf_ktime_get_boot_ns` of the attempt.
    pub boot_ns: u64,
    /// Socket cookie; 0 if the socket is not known.
    pub cookie: u64,
    /// Network namespace cookie; 0 if it is not known.
    pub netns_cookie: u64,
    /// Who tried.
    pub caller: Caller,
    /// The socket's own address; zero if it has none yet.
    pub client: Endpoint,
    /// Where it was going; zero for a socket.
    pub server: Endpoint,
    /// Where the socket is connected to, which the host's own NAT may have changed to `server`; zero
    /// if it is not connected.
    pub peer: Endpoint,
    /// Index of the interface that the socket is bound to; 0 for none.
    pub interface: u32,
    /// A [`Way`].
    pub way: u32,
    /// 1 if it was stopped, 0 if it was only reported.
    pub refused: u32,
}
