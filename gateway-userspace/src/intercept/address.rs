//! Socket addresses and the kernel's form of them.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
};

use gateway_common::Endpoint;
use nix::ifaddrs::getifaddrs;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, netlink::SocketAddrNetlink},
};
use tokio::io::{Interest, unix::AsyncFd};

/// The kernel's form. IPv4 and IPv4-mapped IPv6 are the same endpoint.
pub(super) fn endpoint(addr: SocketAddr) -> Endpoint {
    match addr.ip() {
        IpAddr::V4(ip) => Endpoint::v4(ip.octets(), addr.port()),
        IpAddr::V6(ip) => Endpoint::v6(ip.octets(), addr.port()),
    }
}

/// The address an endpoint stands for; IPv4-mapped IPv6 is IPv4.
pub(super) fn socket_addr(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(endpoint.addr).to_canonical(), endpoint.port)
}

/// Everything under which the kernel must know a protected address. An address of this host is
/// protected on all the host's addresses, because the server often listens on all of them: by the
/// port where the programs can see who listens, and by the addresses `of_host` for jobs in other
/// network namespaces.
pub(super) fn protected_endpoints(addr: SocketAddr, of_host: &[IpAddr]) -> Vec<Endpoint> {
    let mut endpoints = vec![endpoint(addr)];
    if is_local(addr.ip()) {
        endpoints.push(Endpoint::any_local(addr.port()));
        let others = of_host.iter().map(|ip| SocketAddr::new(*ip, addr.port()));
        endpoints.extend(others.map(endpoint));
    }
    endpoints
}

/// The addresses of this host's interfaces but loopback, as they are now.
pub(super) fn of_host() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = getifaddrs()?
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .filter(|ip| !ip.is_loopback())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Tells when addresses of this host come and go.
pub struct AddressChanges(AsyncFd<OwnedFd>);

impl AddressChanges {
    /// To be called within a runtime.
    pub fn new() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        // `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
        let groups = 0x10 | 0x100;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        // SAFETY: an `OwnedFd` is the same descriptor, open, until it is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Waits for the next change, or for several at once. What changed, the interfaces tell.
    pub async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [0_u8; 4096];
        loop {
            let flags = rustix::net::RecvFlags::empty();
            match rustix::net::recv(self.0.get_ref(), &mut buffer[..], flags) {
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    return Ok(());
                }
                // Lost messages are a change all the same.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Whether an address is one of this host: only such can be bound.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    #[test]
    fn an_address_survives_the_way_to_the_kernel_and_back() {
        for text in ["192.0.2.7:5432", "[2001:db8::5]:6432", "[::1]:1"] {
            assert_eq!(socket_addr(&endpoint(addr(text))), addr(text), "{text}");
        }
    }

    #[test]
    fn ipv4_mapped_ipv6_is_the_ipv4_endpoint() {
        assert_eq!(
            endpoint(addr("[::ffff:192.0.2.7]:5432")),
            endpoint(addr("192.0.2.7:5432"))
        );
        assert_eq!(
            socket_addr(&endpoint(addr("[::ffff:192.0.2.7]:5432"))),
            addr("192.0.2.7:5432")
        );
    }

    #[test]
    fn a_local_address_is_protected_on_every_address_of_the_host() {
        let any = Endpoint::any_local(5432);
        assert!(protected_endpoints(addr("127.0.0.1:5432"), &[]).contains(&any));
        assert!(protected_endpoints(addr("[::1]:5432"), &[]).contains(&any));
        assert!(!protected_endpoints(addr("192.0.2.7:5432"), &[]).contains(&any));
    }

    #[test]
    fn for_other_namespaces_a_local_address_stands_for_every_address_of_the_host() {
        let bridge: IpAddr = "172.17.0.1".parse().expect("an address");
        let seen = endpoint(addr("172.17.0.1:5432"));
        assert!(protected_endpoints(addr("127.0.0.1:5432"), &[bridge]).contains(&seen));
        assert!(!protected_endpoints(addr("192.0.2.7:5432"), &[bridge]).contains(&seen));
    }
}
