//! The process that is measured, and the servers that it speaks to.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use crate::child::parse;

const PING: usize = 128;
const BULK: usize = 64 * 1024;

/// Obeys `cgroup PATH` and `KIND COUNT ADDRESS`, answered with nanoseconds of
/// processor time, until the parent hangs
/// up.
pub fn serve() -> io::Result<()> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut lines = BufReader::new(control.try_clone()?);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = obey(&words).unwrap_or_else(|error| format!("failed {error}"));
        writeln!(&control, "{answer}")?;
    }
}

fn obey(words: &[&str]) -> io::Result<String> {
    match *words {
        ["cgroup", path] => {
            let own = std::process::id().to_string();
            std::fs::write(format!("{path}/cgroup.procs"), own)?;
            Ok("ok".into())
        }
        [kind, count, to] => {
            let (count, to): (u32, SocketAddr) = (parse(count)?, parse(to)?);
            let taken = match kind {
                "tcp" => {
                    let start = processor_time()?;
                    for _ in 0..count {
                        drop(TcpStream::connect(to)?);
                    }
                    processor_time()?.saturating_sub(start)
                }
                "udp" => {
                    let socket = UdpSocket::bind("127.0.0.1:0")?;
                    let start = processor_time()?;
                    for _ in 0..count {
                        socket.connect(to)?;
                    }
                    processor_time()?.saturating_sub(start)
                }
                "ping-pong" => {
                    let mut stream = TcpStream::connect(to)?;
                    stream.set_nodelay(true)?;
                    let mut buffer = [b'x'; PING];
                    // The first one is judged.
                    stream.write_all(&buffer)?;
                    stream.read_exact(&mut buffer)?;
                    let start = processor_time()?;
                    for _ in 0..count {
                        stream.write_all(&buffer)?;
                        stream.read_exact(&mut buffer)?;
                    }
                    processor_time()?.saturating_sub(start)
                }
                "bulk" => {
                    let mut stream = TcpStream::connect(to)?;
                    let buffer = vec![b'x'; BULK];
                    stream.write_all(&buffer)?;
                    let start = processor_time()?;
                    for _ in 0..count {
                        stream.write_all(&buffer)?;
                    }
                    processor_time()?.saturating_sub(start)
                }
                _ => return Err(io::Error::other(format!("unknown kind {kind}"))),
            };
            Ok(taken.as_nanos().to_string())
        }
        _ => Err(io::Error::other(format!("unknown command {words:?}"))),
    }
}

/// What this process has used of the processors. Unlike the time on the clock it says little of what
/// else the host does; the kernel's work on what is sent is in it.
fn processor_time() -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes what is given here, which outlives the call.
    if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    let nanos = u32::try_from(time.tv_nsec).map_err(io::Error::other)?;
    Ok(Duration::new(seconds, nanos))
}

/// Servers on loopback, which nobody protects.
pub struct Servers {
    accepts: SocketAddr,
    echoes: SocketAddr,
    takes: SocketAddr,
}

impl Servers {
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            accepts: listen(|_| Ok(()))?,
            echoes: listen(|mut stream| {
                stream.set_nodelay(true)?;
                let mut buffer = [0; PING];
                loop {
                    stream.read_exact(&mut buffer)?;
                    stream.write_all(&buffer)?;
                }
            })?,
            takes: listen(|mut stream| io::copy(&mut stream, &mut io::sink()).map(drop))?,
        })
    }

    /// The one for a kind of measurement.
    pub fn at(&self, kind: &str) -> SocketAddr {
        match kind {
            "ping-pong" => self.echoes,
            "bulk" => self.takes,
            _ => self.accepts,
        }
    }
}

fn listen(serve: fn(TcpStream) -> io::Result<()>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // It ends as its client goes away.
            let _served = serve(stream);
        }
    });
    Ok(at)
}
