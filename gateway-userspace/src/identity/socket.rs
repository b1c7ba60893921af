//! Who holds the other end of a TCP connection, if that is on this host.
//!
//! The kernel's socket diagnostics (`NETLINK_SOCK_DIAG`) tell of a socket its user and the cgroup
//! that it was made in, also when another process holds it by now.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto,
    socket_with, sockopt,
};

use super::Jobs;
use crate::intercept::sock_diag::{NLM_F_REQUEST, NO_COOKIE, request};

/// The process at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Another host, or another network namespace.
    Elsewhere,
    /// A process of this host.
    Here {
        /// Its user.
        uid: u32,
        /// The job whose cgroup the socket was made in, live or ended.
        job: Option<String>,
    },
}

impl Jobs {
    /// Who dialled: `peer` is the other end's address, `local` ours. An error if it cannot be told:
    /// then it may be anybody. Asks the kernel, so it may block a little.
    pub fn holder(&self, peer: SocketAddr, local: SocketAddr) -> io::Result<Holder> {
        match lookup(canonical(peer), canonical(local))? {
            Some(found) => Ok(Holder::Here {
                uid: found.uid,
                job: self.inside_cgroup(found.cgroup)?,
            }),
            // Its socket cannot be anywhere but here: it has closed meanwhile.
            None if peer.ip().to_canonical().is_loopback() => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the other end has closed",
            )),
            None => Ok(Holder::Elsewhere),
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What the kernel says of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    uid: u32,
    cgroup: u64,
}

// linux/sock_diag.h, linux/inet_diag.h, linux/netlink.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const INET_DIAG_CGROUP_ID: u16 = 21;
const NLMSG_HEADER: usize = 16;
/// `struct inet_diag_msg`: family, state, timer, retransmits, the socket's id (48 bytes), then
/// expires, receive queue, send queue, uid, inode.
const DIAG_MESSAGE: usize = 72;
const DIAG_UID: usize = 64;
/// The kernel does not know the socket.
const ENOENT: i32 = 2;

/// The socket of this host with this address and this peer.
fn lookup(own: SocketAddr, peer: SocketAddr) -> io::Result<Option<Found>> {
    let found = ask(own, peer)?;
    // A socket of the IPv6 family may speak IPv4.
    match (found, own.ip(), peer.ip()) {
        (None, IpAddr::V4(a), IpAddr::V4(b)) => ask(
            SocketAddr::new(a.to_ipv6_mapped().into(), own.port()),
            SocketAddr::new(b.to_ipv6_mapped().into(), peer.port()),
        ),
        (found, _, _) => Ok(found),
    }
}

fn ask(own: SocketAddr, peer: SocketAddr) -> io::Result<Option<Found>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    sockopt::set_socket_timeout(
        &socket,
        sockopt::Timeout::Recv,
        Some(std::time::Duration::from_secs(1)),
    )?;
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    let message = request(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, own, peer, 0, NO_COOKIE);
    sendto(&socket, &message, SendFlags::empty(), &kernel)?;
    let mut answer = [0; 4096];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    parse(answer.get(..length).unwrap_or_default())
}

fn parse(answer: &[u8]) -> io::Result<Option<Found>> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "a short answer of the kernel's");
    let kind = u16::from_ne_bytes(bytes(answer, 4).ok_or_else(short)?);
    if kind == NLMSG_ERROR {
        let code = i32::from_ne_bytes(bytes(answer, NLMSG_HEADER).ok_or_else(short)?);
        return if code == -ENOENT {
            Ok(None)
        } else {
            Err(io::Error::from_raw_os_error(-code))
        };
    }
    if kind != SOCK_DIAG_BY_FAMILY {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "an unexpected answer of the kernel's",
        ));
    }
    let uid = bytes(answer, NLMSG_HEADER + DIAG_UID).ok_or_else(short)?;
    let mut rest = answer
        .get(NLMSG_HEADER + DIAG_MESSAGE..)
        .unwrap_or_default();
    while let (Some(length), Some(kind)) = (bytes(rest, 0), bytes(rest, 2)) {
        let length = usize::from(u16::from_ne_bytes(length));
        if u16::from_ne_bytes(kind) == INET_DIAG_CGROUP_ID
            && let Some(cgroup) = bytes(rest, 4)
        {
            return Ok(Some(Found {
                uid: u32::from_ne_bytes(uid),
                cgroup: u64::from_ne_bytes(cgroup),
            }));
        }
        if length < 4 {
            break;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the kernel does not tell the cgroups of sockets (Linux 5.9 does)",
    ))
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::unix::fs::MetadataExt,
    };

    use super::*;
    use crate::identity::CgroupRoot;

    #[test]
    fn the_kernel_tells_user_and_cgroup_of_the_other_end_over_ipv4_and_ipv6() {
        let root = CgroupRoot::find().unwrap();
        let own = super::super::cgroup::path_of(std::process::id()).unwrap();
        let id = std::fs::metadata(root.mount().join(own.trim_start_matches('/')))
            .unwrap()
            .ino();
        for (listen, dial) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
        ] {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let stream = TcpStream::connect((dial, port)).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            let found = lookup(canonical(peer), canonical(accepted.local_addr().unwrap()))
                .unwrap()
                .unwrap();
            assert_eq!(found.uid, rustix::process::geteuid().as_raw(), "{listen}");
            assert_eq!(found.cgroup, id, "{listen}");
            assert_eq!(root.path_of_id(found.cgroup).unwrap(), Some(own.clone()));
            // Dialled by one family, held by the other.
            drop(stream);
        }
        assert_eq!(root.path_of_id(u64::MAX).unwrap(), None);
    }

    #[test]
    fn answers_that_are_cut_short_or_say_no_are_no_socket() {
        for length in 0..20 {
            assert!(parse(&vec![0; length]).is_err());
        }
        let mut no = vec![0; 20];
        no[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        no[16..20].copy_from_slice(&(-ENOENT).to_ne_bytes());
        assert_eq!(parse(&no).unwrap(), None);
        no[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert!(parse(&no).is_err());
        let mut without = vec![0; NLMSG_HEADER + DIAG_MESSAGE];
        without[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        assert!(parse(&without).is_err(), "no cgroup is told");
    }
}
