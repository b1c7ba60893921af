//! A process of a job: does what it is told over the socket that is its standard input.
//!
//! Every command is a line, and so is every answer: `ok …`, `errno N`, or what a server said.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    mem::MaybeUninit,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use cordon::intercept::{InterceptConfig, Interceptor, Recognise, Scope};
use rustix::net::{
    AddressFamily, Protocol, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, ipproto,
    sockopt,
};

use crate::{rig::Proxy, speak};

/// Long enough for a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
pub const MPTCP: u32 = 262;
pub const MSG_FASTOPEN: u32 = 0x2000_0000;

type Counts = BTreeMap<String, usize>;

/// What the process holds between commands.
#[derive(Default)]
struct Held {
    socket: Option<OwnedFd>,
    stream: Option<TcpStream>,
    squatter: Option<TcpListener>,
    daemon: Option<Proxy>,
    repeat: Option<(Arc<AtomicBool>, JoinHandle<Counts>)>,
}

/// Serves commands until the parent hangs up.
pub fn serve() -> io::Result<()> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut lines = BufReader::new(control.try_clone()?);
    let mut held = Held::default();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match obey(&words, &mut held, &control) {
            Ok(answer) => answer,
            Err(error) => match error.raw_os_error() {
                Some(errno) => format!("errno {errno}"),
                None => format!("failed {error}"),
            },
        };
        writeln!(&control, "{answer}")?;
    }
}

fn obey(words: &[&str], held: &mut Held, control: &UnixStream) -> io::Result<String> {
    match *words {
        ["cgroup", path] => {
            std::fs::write(
                format!("{path}/cgroup.procs"),
                std::process::id().to_string(),
            )?;
            Ok("ok".into())
        }
        ["uid", uid] => {
            let uid = rustix::process::Uid::from_raw(parse(uid)?);
            rustix::thread::set_thread_uid(uid)?;
            Ok("ok".into())
        }
        ["new-netns"] => {
            let flags = rustix::thread::UnshareFlags::NEWNET;
            // SAFETY: no file descriptor table is unshared.
            unsafe { rustix::thread::unshare_unsafe(flags) }?;
            Ok("ok".into())
        }
        ["connect", flavour, to] => connect(flavour, parse(to)?),
        ["make", family] => {
            let family = if family == "4" {
                AddressFamily::INET
            } else {
                AddressFamily::INET6
            };
            held.socket = Some(socket(family, SocketType::STREAM, None)?);
            Ok("ok".into())
        }
        ["use", to] => {
            let socket = held
                .socket
                .take()
                .ok_or_else(|| io::Error::other("no socket"))?;
            rustix::net::connect(&socket, &parse::<SocketAddr>(to)?)?;
            answer_of(&TcpStream::from(socket))
        }
        // Connects twice with one socket; the second time where nothing is protected.
        ["reuse", first, second] => {
            let to: SocketAddr = parse(first)?;
            let socket = socket(family(to), SocketType::STREAM, None)?;
            rustix::net::connect(&socket, &to)?;
            rustix::net::connect_unspec(&socket)?;
            rustix::net::connect(&socket, &parse::<SocketAddr>(second)?)?;
            answer_of(&TcpStream::from(socket))
        }
        ["give"] => {
            let socket = held
                .socket
                .take()
                .ok_or_else(|| io::Error::other("no socket"))?;
            give(control, &socket)?;
            Ok("ok".into())
        }
        ["take"] => {
            writeln!(&mut &*control, "ready")?;
            held.socket = Some(take(control)?);
            Ok("ok".into())
        }
        ["hold", to] => {
            let stream = TcpStream::connect(parse::<SocketAddr>(to)?)?;
            let answer = answer_of(&stream)?;
            held.stream = Some(stream);
            Ok(answer)
        }
        ["write", text] => {
            let stream = held
                .stream
                .as_mut()
                .ok_or_else(|| io::Error::other("no stream"))?;
            stream.write_all(text.as_bytes())?;
            Ok("ok".into())
        }
        ["udp-connect", to] => {
            let to: SocketAddr = parse(to)?;
            let socket = socket(family(to), SocketType::DGRAM, None)?;
            rustix::net::connect(&socket, &to)?;
            Ok("ok".into())
        }
        ["udp-send", to] => {
            let to: SocketAddr = parse(to)?;
            let socket = socket(family(to), SocketType::DGRAM, None)?;
            rustix::net::sendto(&socket, b"x", SendFlags::empty(), &to)?;
            Ok("ok".into())
        }
        ["raw-syn", to] => {
            let to: SocketAddr = parse(to)?;
            let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
            rustix::net::sendto(&socket, &syn(to)?, SendFlags::empty(), &to)?;
            Ok("ok".into())
        }
        // A socket for ping may write its own IP header, too.
        ["raw-syn-of-ping", to] => {
            let to: SocketAddr = parse(to)?;
            let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))?;
            turn_on(&socket, libc::IPPROTO_IP, libc::IP_HDRINCL)?;
            rustix::net::sendto(&socket, &syn(to)?, SendFlags::empty(), &to)?;
            Ok("ok".into())
        }
        // As `hold`, to be given away.
        ["keep", to] => {
            let stream = TcpStream::connect(parse::<SocketAddr>(to)?)?;
            let answer = answer_of(&stream)?;
            held.socket = Some(stream.into());
            Ok(answer)
        }
        ["adopt"] => {
            held.stream = held.socket.take().map(TcpStream::from);
            Ok("ok".into())
        }
        ["bind", at] => {
            held.squatter = Some(TcpListener::bind(parse::<SocketAddr>(at)?)?);
            Ok("ok".into())
        }
        ["many", threads, each, to] => {
            let (each, to) = (parse(each)?, parse(to)?);
            let workers: Vec<_> = (0..parse(threads)?)
                .map(|_| thread::spawn(move || many(each, to)))
                .collect();
            let mut sum = Counts::new();
            for worker in workers {
                let counts = worker.join().map_err(panicked)?;
                add(&mut sum, &counts);
            }
            Ok(show(&sum))
        }
        ["repeat", to] => {
            let to = parse(to)?;
            let stop = Arc::new(AtomicBool::new(false));
            let worker = thread::spawn({
                let stop = Arc::clone(&stop);
                move || {
                    let mut counts = Counts::new();
                    while !stop.load(Ordering::Relaxed) {
                        *counts.entry(outcome(to)).or_default() += 1;
                    }
                    counts
                }
            });
            held.repeat = Some((stop, worker));
            Ok("ok".into())
        }
        ["daemon", pin_dir, port, gateway_cgroup, protected, job] => {
            let config = InterceptConfig {
                namespaces: false,
                pin_dir: pin_dir.into(),
                cgroup_root: None,
                scope: Scope::Host,
                recognise: Recognise::default(),
                protected: vec![parse(protected)?],
                jobs: vec![parse(job)?],
                port: parse(port)?,
                gateway_cgroup: gateway_cgroup.into(),
            };
            let interceptor = Interceptor::start(&config).map_err(io::Error::other)?;
            held.daemon = Some(Proxy::start(&Arc::new(interceptor)));
            Ok("ok".into())
        }
        ["stop"] => {
            let (stop, worker) = held
                .repeat
                .take()
                .ok_or_else(|| io::Error::other("nothing repeats"))?;
            stop.store(true, Ordering::Relaxed);
            let counts = worker.join().map_err(panicked)?;
            Ok(show(&counts))
        }
        _ => speak::obey(words, &mut held.stream),
    }
}

fn connect(flavour: &str, to: SocketAddr) -> io::Result<String> {
    match flavour {
        "plain" => answer_of(&TcpStream::connect(to)?),
        "mptcp" => {
            let protocol = rustix::net::RawProtocol::new(MPTCP).map(Protocol::from_raw);
            let socket = socket(family(to), SocketType::STREAM, protocol)?;
            rustix::net::connect(&socket, &to)?;
            answer_of(&TcpStream::from(socket))
        }
        "nonblocking" => {
            let socket = socket(family(to), SocketType::STREAM, None)?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            match rustix::net::connect(&socket, &to) {
                Ok(()) => {}
                Err(rustix::io::Errno::INPROGRESS) => {
                    let mut poll = [rustix::event::PollFd::new(
                        &socket,
                        rustix::event::PollFlags::OUT,
                    )];
                    rustix::event::poll(&mut poll, None)?;
                    sockopt::socket_error(&socket)??;
                }
                Err(errno) => return Err(errno.into()),
            }
            rustix::io::ioctl_fionbio(&socket, false)?;
            answer_of(&TcpStream::from(socket))
        }
        "fastopen" => {
            let socket = socket(family(to), SocketType::STREAM, None)?;
            let flags = SendFlags::from_bits_retain(MSG_FASTOPEN);
            rustix::net::sendto(&socket, b"early", flags, &to)?;
            answer_of(&TcpStream::from(socket))
        }
        "fastopen-connect" => {
            let socket = socket(family(to), SocketType::STREAM, None)?;
            turn_on(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)?;
            // The SYN leaves with the first data.
            rustix::net::connect(&socket, &to)?;
            rustix::net::send(&socket, b"early", SendFlags::empty())?;
            answer_of(&TcpStream::from(socket))
        }
        other => match other.strip_prefix("from:") {
            Some(source) => {
                let socket = socket(family(to), SocketType::STREAM, None)?;
                rustix::net::bind(&socket, &SocketAddr::new(parse(source)?, 0))?;
                rustix::net::connect(&socket, &to)?;
                answer_of(&TcpStream::from(socket))
            }
            None => Err(io::Error::other(format!("unknown flavour {flavour}"))),
        },
    }
}

/// What the server says, and what the client takes it for.
fn answer_of(stream: &TcpStream) -> io::Result<String> {
    let said = first_line(stream)?;
    let peer = stream.peer_addr()?;
    Ok(format!("{said} peer {peer}"))
}

pub fn first_line(stream: &TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(64)).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn outcome(to: SocketAddr) -> String {
    let tried = TcpStream::connect(to).and_then(|stream| {
        let line = first_line(&stream)?;
        stream.shutdown(Shutdown::Both)?;
        Ok(line)
    });
    match tried {
        Ok(line) if line.is_empty() => "hangup".into(),
        Ok(line) => line,
        Err(error) => match error.raw_os_error() {
            Some(errno) => format!("errno-{errno}"),
            None => format!("{:?}", error.kind()),
        },
    }
}

/// Opens connections and keeps all of them until each has its answer.
fn many(count: usize, to: SocketAddr) -> Counts {
    let streams: Vec<_> = (0..count).map(|_| TcpStream::connect(to)).collect();
    let mut counts = Counts::new();
    for stream in &streams {
        let said = match stream {
            Ok(stream) => first_line(stream).unwrap_or_else(|error| format!("{:?}", error.kind())),
            Err(error) => format!("{:?}", error.kind()),
        };
        *counts.entry(said).or_default() += 1;
    }
    counts
}

fn add(sum: &mut Counts, counts: &Counts) {
    for (said, times) in counts {
        *sum.entry(said.clone()).or_default() += times;
    }
}

fn show(counts: &Counts) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(said, times)| format!("{said}={times}"))
        .collect();
    format!("ok {}", parts.join(" "))
}

fn give(control: &UnixStream, socket: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [socket.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no space for the descriptor"));
    }
    rustix::net::sendmsg(
        control,
        &[io::IoSlice::new(b"+")],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// Receives a descriptor. Also used by the parent, which passes it on.
pub fn take(control: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        control,
        &mut [io::IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::empty(),
    )?;
    ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::other("no descriptor came"))
}

/// Passes a descriptor to a child that was told to `take`.
pub fn pass(control: &UnixStream, socket: &OwnedFd) -> io::Result<()> {
    give(control, socket)
}

/// An IPv4 packet with a TCP SYN; the kernel fills in the rest of the IP header.
fn syn(to: SocketAddr) -> io::Result<Vec<u8>> {
    let SocketAddr::V4(to) = to else {
        return Err(io::Error::other("IPv4 only"));
    };
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(Ipv4Addr::LOCALHOST.octets());
    packet.extend(to.ip().octets());
    packet.extend(40_000_u16.to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    Ok(packet)
}

/// Turns on an option that is a number.
fn turn_on(socket: &OwnedFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    set_option::<libc::c_int>(socket, level, option, &1)
}

/// Sets an option to the bytes of `value`.
pub fn set_option<T: ?Sized>(
    socket: &OwnedFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(value)).map_err(io::Error::other)?;
    // SAFETY: the value is as long as is said, and outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

pub fn socket(
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        family,
        kind,
        SocketFlags::CLOEXEC,
        protocol,
    )?)
}

pub fn family(to: SocketAddr) -> AddressFamily {
    if to.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}

pub fn parse<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse()
        .ok()
        .ok_or_else(|| io::Error::other(format!("cannot read {text}")))
}

fn panicked(_payload: Box<dyn std::any::Any + Send>) -> io::Error {
    io::Error::other("a thread panicked")
}
