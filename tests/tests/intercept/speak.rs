//! What a process of a job says to servers, and what servers it runs.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::Duration,
};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::net::{Protocol, SendFlags, SocketType, addr::SocketAddrArg};

use crate::{
    bytes,
    child::{MPTCP, MSG_FASTOPEN, family, first_line, parse, set_option, socket},
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
        ["open-on", interface, to] => {
            let to: SocketAddr = parse(to)?;
            let socket = socket(family(to), SocketType::STREAM, None)?;
            // Needs no right.
            let name = interface.as_bytes();
            set_option(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name)?;
            rustix::net::connect(&socket, &to)?;
            *held = Some(TcpStream::from(socket));
            Ok("ok".into())
        }
        // As `flow`, of a socket that can hold no more.
        ["flow-full", to, pieces] => {
            let to: SocketAddr = parse(to)?;
            let socket = socket(family(to), SocketType::STREAM, None)?;
            fill(&socket)?;
            rustix::net::connect(&socket, &to)?;
            let stream = TcpStream::from(socket);
            send(&stream, pieces)?;
            finish(&stream)
        }
        // As `serve-startup`; what is accepted can hold no more.
        ["serve-startup-full"] => serve_with(fill, |mut stream| {
            stream.write_all(&bytes::startup(0x0003_0000))?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        }),
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
        ["uring-lent", cgroup, to] => lend(cgroup, parse(to)?),
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

/// Uses up the memory that the kernel lets a socket's options have (`net.core.optmem_max`), with a
/// packet filter that accepts everything, as large as it may be.
fn fill(socket: &OwnedFd) -> io::Result<()> {
    // Each of these becomes several instructions of the kernel's.
    let load = libc::sock_filter {
        code: 0x20, // BPF_LD | BPF_W | BPF_ABS
        jt: 0,
        jf: 0,
        k: 0,
    };
    let accept = libc::sock_filter {
        code: 0x06, // BPF_RET | BPF_K
        k: u32::MAX,
        ..load
    };
    let attach = |loads: u16| {
        let mut filter = vec![load; usize::from(loads)];
        filter.push(accept);
        let program = libc::sock_fprog {
            len: loads + 1,
            filter: filter.as_mut_ptr(),
        };
        set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program).is_ok()
    };
    let detach = || {
        // There may be none.
        let _detached =
            set_option::<libc::c_int>(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0);
    };
    let (mut fits, mut exceeds) = (0, 4096);
    while exceeds - fits > 1 {
        let middle = u16::midpoint(fits, exceeds);
        // For a moment the one before would count, too.
        detach();
        if attach(middle) {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    detach();
    if exceeds < 4096 && attach(fits) {
        Ok(())
    } else {
        Err(io::Error::other("the socket cannot be filled"))
    }
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
    serve_with(|_| Ok(()), conversation)
}

/// As [`serve`]; what is done to the listening socket is inherited by what it accepts.
fn serve_with(
    prepare: fn(&OwnedFd) -> io::Result<()>,
    conversation: impl Fn(TcpStream) -> io::Result<()> + Send + 'static,
) -> io::Result<String> {
    let listener = OwnedFd::from(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    prepare(&listener)?;
    let listener = TcpListener::from(listener);
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
            let fd = types::Fd(socket.as_raw_fd());
            let connect = opcode::Connect::new(fd, address.cast(), length).build();
            complete(&mut ring, &connect)
        })
    }?;
    let stream = TcpStream::from(socket);
    let said = first_line(&stream)?;
    Ok(format!("{said} peer {}", stream.peer_addr()?))
}

/// A connection made with a ring that this process made and the kernel polls for it, by a process
/// in `cgroup` with a socket of its own.
fn lend(cgroup: &str, to: SocketAddr) -> io::Result<String> {
    struct Loan<'a> {
        ring: IoUring,
        cgroup: &'a str,
        to: SocketAddr,
        answer: io::Result<String>,
    }

    fn borrow(loan: &mut Loan<'_>) -> io::Result<String> {
        let own = std::process::id().to_string();
        std::fs::write(format!("{}/cgroup.procs", loan.cgroup), own)?;
        let socket = socket(family(loan.to), SocketType::STREAM, None)?;
        // The polling thread knows the lender's descriptors only.
        loan.ring
            .submitter()
            .register_files(&[socket.as_raw_fd()])?;
        // SAFETY: the address lives until the closure returns, and the operation ends before it.
        let connected = unsafe {
            loan.to.with_sockaddr(|address, length| {
                let fd = types::Fixed(0);
                let connect = opcode::Connect::new(fd, address.cast(), length).build();
                complete(&mut loan.ring, &connect)
            })
        };
        loan.ring.submitter().unregister_files()?;
        connected?;
        Ok(format!("said {}", first_line(&TcpStream::from(socket))?))
    }

    extern "C" fn enter(loan: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the lender's own, which waits until this process has ended.
        let loan = unsafe { &mut *loan.cast::<Loan<'_>>() };
        loan.answer = borrow(loan);
        0
    }

    let ring = IoUring::<squeue::Entry>::builder()
        .setup_sqpoll(100)
        .build(2)?;
    let mut loan = Loan {
        ring,
        cgroup,
        to,
        answer: Err(io::Error::other("nothing was borrowed")),
    };
    let mut stack = vec![0_u8; 256 * 1024];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the other process has this stack to itself, and this one waits until it has ended.
    let pid = unsafe {
        libc::clone(
            enter,
            stack.as_mut_ptr_range().end.cast(),
            flags,
            (&raw mut loan).cast(),
        )
    };
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(io::Error::last_os_error)?;
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
    loan.answer
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
