//! The proxy's listening sockets.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// How many connections may wait for `accept`; the kernel caps it by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Listens on a loopback address. Non-blocking and closed on exec.
pub(super) fn listen_v4(port: u16) -> io::Result<TcpListener> {
    listen(
        AddressFamily::INET,
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
    )
}

/// As [`listen_v4`], for IPv6; `None` on a host without it.
pub(super) fn listen_v6(port: u16) -> io::Result<Option<TcpListener>> {
    match listen(
        AddressFamily::INET6,
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ) {
        Ok(listener) => Ok(Some(listener)),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn listen(family: AddressFamily, addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = rustix::net::socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &addr)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}
