//! The kernel's socket diagnostics (`NETLINK_SOCK_DIAG`): requests about one TCP socket, and its end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto,
    socket_with,
};

// linux/sock_diag.h, linux/inet_diag.h, linux/netlink.h.
const SOCK_DESTROY: u16 = 21;
/// The message asks for something.
pub(crate) const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const NLMSG_HEADER: usize = 16;
const IPPROTO_TCP: u8 = 6;
/// Instead of a cookie: any socket of these addresses.
pub(crate) const NO_COOKIE: u64 = u64::MAX;

/// `nlmsghdr`, then `inet_diag_req_v2` for exactly one socket: with the address `own`, connected
/// to `peer`, and bound to the `interface` of this index, if it is not 0.
pub(crate) fn request(
    kind: u16,
    flags: u16,
    own: SocketAddr,
    peer: SocketAddr,
    interface: u32,
    cookie: u64,
) -> Vec<u8> {
    let family = if own.is_ipv4() { 2_u8 } else { 10 };
    let mut out = Vec::with_capacity(72);
    out.extend(72_u32.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([0; 8]); // sequence number and port
    out.extend([family, IPPROTO_TCP, 0, 0]); // no extensions, padding
    out.extend(u32::MAX.to_ne_bytes()); // every state
    out.extend(own.port().to_be_bytes());
    out.extend(peer.port().to_be_bytes());
    for address in [own.ip(), peer.ip()] {
        let mut field = [0; 16];
        match address {
            IpAddr::V4(v4) => field[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => field = v6.octets(),
        }
        out.extend(field);
    }
    out.extend(interface.to_ne_bytes());
    // Two words, the lower one first.
    for word in cookie.to_le_bytes().as_chunks::<4>().0 {
        out.extend(u32::from_le_bytes(*word).to_ne_bytes());
    }
    out
}

/// Ends connections of this network namespace, so that whoever holds one hears of it at once.
#[derive(Debug)]
pub(super) struct Destroyer {
    socket: OwnedFd,
}

impl Destroyer {
    /// For the network namespace of the calling thread.
    pub(super) fn new() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        Ok(Self { socket })
    }

    /// Ends the connection from `own` to `peer` with `ECONNABORTED`; `interface` is the index of the
    /// one that the socket is bound to, or 0. `false` if there is none like that (any more).
    pub(super) fn destroy(
        &self,
        own: SocketAddr,
        peer: SocketAddr,
        interface: u32,
        cookie: u64,
    ) -> io::Result<bool> {
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        let flags = NLM_F_REQUEST | NLM_F_ACK;
        let message = request(SOCK_DESTROY, flags, own, peer, interface, cookie);
        sendto(&self.socket, &message, SendFlags::empty(), &kernel)?;
        // The kernel has answered before `sendto` returns.
        let mut answer = [0; 512];
        let (length, _) = recv(&self.socket, &mut answer[..], RecvFlags::DONTWAIT)?;
        outcome(answer.get(..length).unwrap_or_default())
    }
}

fn outcome(answer: &[u8]) -> io::Result<bool> {
    let error = |kind: [u8; 2]| u16::from_ne_bytes(kind) == NLMSG_ERROR;
    let code = answer
        .get(4..6)
        .and_then(|kind| kind.try_into().ok())
        .filter(|kind| error(*kind))
        .and_then(|_| answer.get(NLMSG_HEADER..NLMSG_HEADER + 4)?.try_into().ok())
        .map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(true),
        Some(code) if code == -libc::ENOENT => Ok(false),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "an unexpected answer of the kernel's",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    fn ends_at_once(address: &str) {
        let listener = TcpListener::bind(address).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (own, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let destroyer = Destroyer::new().unwrap();
        assert!(
            destroyer.destroy(own, peer, 0, 1).is_err() || client.peer_addr().is_ok(),
            "another socket's cookie changes nothing"
        );
        assert!(client.peer_addr().is_ok());
        assert!(destroyer.destroy(own, peer, 0, NO_COOKIE).unwrap());
        let error = client.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert!(!destroyer.destroy(own, peer, 0, NO_COOKIE).unwrap());
    }

    #[test]
    fn a_destroyed_connection_fails_at_once_over_ipv4_and_ipv6() {
        ends_at_once("127.0.0.1:0");
        ends_at_once("[::1]:0");
    }
}
