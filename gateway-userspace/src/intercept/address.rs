//! Socket addresses and the kernel's form of them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use gateway_common::Endpoint;

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
/// protected on all the host's addresses, because the server often listens on all of them.
pub(super) fn protected_endpoints(addr: SocketAddr) -> Vec<Endpoint> {
    let mut endpoints = vec![endpoint(addr)];
    if is_local(addr.ip()) {
        endpoints.push(Endpoint::any_local(addr.port()));
    }
    endpoints
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
        assert!(protected_endpoints(addr("127.0.0.1:5432")).contains(&any));
        assert!(protected_endpoints(addr("[::1]:5432")).contains(&any));
        assert!(!protected_endpoints(addr("192.0.2.7:5432")).contains(&any));
    }
}
