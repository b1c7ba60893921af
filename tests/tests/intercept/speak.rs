//! What a process of a job says to servers, and what servers it runs.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::net::{Protocol, SendFlags, SocketType, addr::SocketAddrArg};

use crate::{
    bytes,
    child::{MPTCP, MSG_FASTOPEN, family, first_line, parse, socket},
};

/// Obeys a command; `held` is the connection that is kept between commands.
pub fn obey(words: &[&str], held: &mut Option<TcpStream>) -> io::Result<String> {
    match *words {
        ["flow", to, pieces] => {
            let stream = TcpStream::connect(parse::<SocketAddr>(to)?)?;
            send(&stream, pieces)?;
            finish(&stream)
        }
        // Nobody will end it.
        ["impatient-flow", to, pieces] => {
            let mut stream = TcpStream::connect(parse::<SocketAddr>(to)?)?;
            send(&stream, pieces)?;
            stream.set_read_timeout(Some(Duration::from_millis(300)))?;
            let length = stream.read(&mut [0; 16])?;
            Ok(format!("said {length} bytes"))
        }
        ["flow-fastopen", to, pieces] => {
            let to: SocketAddr = parse(to)?;
            let socket = socket(family(to), SocketType::STREAM, None)?;
            let flags = SendFlags::from_bits_retain(MSG_FASTOPEN);
            rustix::net::sendto(&socket, &decode(pieces)?, flags, &to)?;
            finish(&TcpStream::from(socket))
        }
        ["flow-mptcp", to, pieces] => {
            let to: SocketAddr = parse(to)?;
            let protocol = rustix::net::RawProtocol::new(MPTCP).map(Protocol::from_raw);
            let socket = socket(family(to), SocketType::STREAM, protocol)?;
            rustix::net::connect(&socket, &to)?;
            let stream = TcpStream::from(socket);
            send(&stream, pieces)?;
            finish(&stream)
        }
        // Two connections of one socket.
        ["flow-again", first, before, second, after] => {
            let to: SocketAddr = parse(first)?;
            let socket = socket(family(to), SocketType::STREAM, None)?;
            rustix::net::connect(&socket, &to)?;
            let stream = TcpStream::from(socket);
            send(&stream, before)?;
            finish(&stream)?;
            rustix::net::connect_unspec(&stream)?;
            rustix::net::connect(&stream, &parse::<SocketAddr>(second)?)?;
            send(&stream, after)?;
            finish(&stream)
        }
        ["open", to] => {
            *held = Some(TcpStream::connect(parse::<SocketAddr>(to)?)?);
            Ok("ok".into())
        }
        ["send", pieces] => {
            send(held_stream(held.as_ref())?, pieces)?;
            Ok("ok".into())
        }
        ["finish"] => finish(held_stream(held.as_ref())?),
        ["serve"] => serve(|mut stream| {
            let mut said = Vec::new();
            stream.read_to_end(&mut said)?;
            stream.write_all(b"GOT\n")
        }),
        ["serve-startup"] => serve(|mut stream| {
            stream.write_all(&bytes::startup(0x0003_0000))?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        }),
        ["relay", to] => {
            let to: SocketAddr = parse(to)?;
            serve(move |mut client| {
                let mut server = TcpStream::connect(to)?;
                let (mut from, mut into) = (client.try_clone()?, server.try_clone()?);
                let there = thread::spawn(move || io::copy(&mut from, &mut into));
                let back = io::copy(&mut server, &mut client);
                client.shutdown(Shutdown::Both)?;
                let _there = there.join();
                back.map(drop)
            })
        }
        ["uring", flavour, to] => uring(flavour, parse(to)?),
        ["raw-socket", protocol] => {
            let protocol = rustix::net::RawProtocol::new(parse(protocol)?).map(Protocol::from_raw);
            socket(rustix::net::AddressFamily::INET, SocketType::RAW, protocol)?;
            Ok("ok".into())
        }
        ["packet-socket"] => {
            socket(rustix::net::AddressFamily::PACKET, SocketType::RAW, None)?;
            Ok("ok".into())
        }
        _ => Err(io::Error::other(format!("unknown command {words:?}"))),
    }
}

fn held_stream(held: Option<&TcpStream>) -> io::Result<&TcpStream> {
    held.ok_or_else(|| io::Error::other("no stream"))
}

/// Sends pieces of hexadecimal digits, each by itself; after `!` an urgent byte.
fn send(mut stream: &TcpStream, pieces: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for piece in pieces.split(',') {
        match piece.strip_prefix('!') {
            Some(urgent) => {
                rustix::net::send(stream, &decode(urgent)?, SendFlags::OOB)?;
            }
            None => stream.write_all(&decode(piece)?)?,
        }
    }
    Ok(())
}

/// Says that all was said, and hears the answer.
fn finish(stream: &TcpStream) -> io::Result<String> {
    // A connection that was ended cannot be shut; reading tells how it was.
    let _shut = stream.shutdown(Shutdown::Write);
    Ok(format!("said {}", first_line(stream)?))
}

fn decode(hex: &str) -> io::Result<Vec<u8>> {
    hex.as_bytes()
        .chunks(2)
        .map(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        })
        .collect::<Option<_>>()
        .ok_or_else(|| io::Error::other(format!("cannot read {hex}")))
}

/// Runs a server for one client after the other; gives its address.
fn serve(
    conversation: impl Fn(TcpStream) -> io::Result<()> + Send + 'static,
) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // A client that goes away ends its own conversation.
            let _said = conversation(stream);
        }
    });
    Ok(format!("ok {at}"))
}

/// A connection made by `io_uring`: its socket too, or by the kernel's own thread.
fn uring(flavour: &str, to: SocketAddr) -> io::Result<String> {
    let mut ring = match flavour {
        "sqpoll" => IoUring::<squeue::Entry>::builder()
            .setup_sqpoll(100)
            .build(2)?,
        _ => IoUring::new(2)?,
    };
    let socket = if flavour == "socket" {
        let domain = if to.is_ipv4() { 2 } else { 10 };
        let made = complete(&mut ring, &opcode::Socket::new(domain, 1, 0).build())?;
        // SAFETY: the kernel made this descriptor for us just now.
        unsafe { std::os::fd::FromRawFd::from_raw_fd(made) }
    } else {
        socket(family(to), SocketType::STREAM, None)?
    };
    // SAFETY: the address lives until the closure returns, and the operation ends before it.
    unsafe {
        to.with_sockaddr(|address, length| {
            let fd = types::Fd(std::os::fd::AsRawFd::as_raw_fd(&socket));
            let connect = opcode::Connect::new(fd, address.cast(), length).build();
            complete(&mut ring, &connect)
        })
    }?;
    let stream = TcpStream::from(socket);
    let said = first_line(&stream)?;
    Ok(format!("{said} peer {}", stream.peer_addr()?))
}

/// Runs one operation to its end.
fn complete(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<i32> {
    // SAFETY: what the entry points to outlives the operation, which is waited for here.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next();
    let result = done
        .ok_or_else(|| io::Error::other("nothing completed"))?
        .result();
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(result)
}
