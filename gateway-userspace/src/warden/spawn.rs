//! How the gateway is started, and what it is given.

use std::{
    io,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    process::{ExitStatus, Stdio},
    sync::Arc,
    thread,
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, Signal, kill_process},
};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
};

use super::{Client, Event, Hello, Warden, wire};

/// Lanes for what is answered at once.
const QUICK: usize = 4;
/// Lanes for passwords, which commands may print.
const SLOW: usize = 4;
/// Events that wait to be looked at.
const EVENTS: usize = 1024;

/// What systemd tells the daemon about itself is not for its child.
const NOT_INHERITED: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// What the gateway listens on.
#[derive(Debug)]
pub struct Listeners {
    /// The proxy, by address family.
    pub proxies: Vec<TcpListener>,
    /// The control socket.
    pub control: UnixListener,
    /// The console, a TCP or a Unix socket as configured.
    pub console: Option<OwnedFd>,
}

/// The gateway, seen by the warden.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    pid: u32,
    events: Arc<Events>,
}

/// What the warden tells the gateway of its own accord.
#[derive(Debug)]
pub struct Events(OwnedFd);

impl Events {
    /// Tells it. Blocks while the gateway does not listen.
    ///
    /// # Errors
    /// If the gateway is gone.
    pub fn tell(&self, event: &Event) -> io::Result<()> {
        self.send(event, &[])
    }

    pub(super) fn send(&self, event: &Event, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        wire::send(&self.0, event, descriptors)
    }
}

impl Gateway {
    /// Starts the process, which waits for [`Gateway::greet`]. To be called within a runtime, on the
    /// thread whose end is to be the gateway's end.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start() -> io::Result<Self> {
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // This very program, also when another one has been installed in its place meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("cordon")
            .arg("gateway")
            .stdin(Stdio::from(far));
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let child = command.spawn()?;
        let pid = child
            .id()
            .ok_or_else(|| io::Error::other("the gateway ended at once"))?;
        Ok(Self {
            child,
            pid,
            events: Arc::new(Events(near)),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it is told of.
    pub fn events(&self) -> Arc<Events> {
        Arc::clone(&self.events)
    }

    /// Gives it what it works with, and serves it from now on.
    ///
    /// # Errors
    /// If it is gone.
    pub fn greet(
        &self,
        hello: &Hello,
        listeners: &Listeners,
        lock: &OwnedFd,
        warden: &Arc<Warden>,
    ) -> io::Result<()> {
        let mut theirs = Vec::new();
        for _ in 0..QUICK + SLOW {
            let (near, far) = UnixStream::pair()?;
            warden.serve(near)?;
            theirs.push(far);
        }
        let descriptors: Vec<BorrowedFd<'_>> = theirs
            .iter()
            .map(AsFd::as_fd)
            .chain(listeners.proxies.iter().map(AsFd::as_fd))
            .chain([listeners.control.as_fd(), lock.as_fd()])
            .chain(listeners.console.as_ref().map(AsFd::as_fd))
            .collect();
        wire::send(&self.events.0, hello, &descriptors)
    }

    /// Passes a signal on.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, signal));
        if let Some(Err(error)) = sent {
            tracing::warn!(%error, "the gateway cannot be signalled");
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

/// The gateway's own end of it.
pub struct Link {
    /// What it was told first.
    pub hello: Hello,
    /// Asks the warden.
    pub client: Arc<Client>,
    /// What it listens on.
    pub listeners: Listeners,
    events: OwnedFd,
    lock: OwnedFd,
}

impl Link {
    /// Takes what the warden gives on the standard input, which is nothing from then on.
    ///
    /// # Errors
    /// If this process was not started by a warden.
    pub fn accept() -> io::Result<Self> {
        let strange = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "this is a part of the daemon, which `cordon run` starts",
            )
        };
        let events = rustix::stdio::stdin().try_clone_to_owned()?;
        let (hello, descriptors): (Hello, _) = wire::receive(&events)
            .map_err(|_error| strange())?
            .ok_or_else(strange)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or_else(strange);
        let mut lanes = |count| -> io::Result<Vec<UnixStream>> {
            (0..count).map(|_| next().map(UnixStream::from)).collect()
        };
        let (quick, slow) = (lanes(QUICK)?, lanes(SLOW)?);
        let proxies = (0..hello.proxies)
            .map(|_| next().map(TcpListener::from))
            .collect::<io::Result<_>>()?;
        let (control, lock) = (UnixListener::from(next()?), next()?);
        let console = hello.console.then(next).transpose()?;
        Ok(Self {
            client: Arc::new(Client::new(quick, slow, hello.authority.1.clone())),
            hello,
            listeners: Listeners {
                proxies,
                control,
                console,
            },
            events,
            lock,
        })
    }

    /// Hears what the warden tells, on a thread of its own; and ends this process when the warden is
    /// gone.
    ///
    /// # Errors
    /// If there is no thread.
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing may outlive the warden, and nobody is left who could be told"
    )]
    pub fn hear(
        events: OwnedFd,
        lock: OwnedFd,
    ) -> io::Result<mpsc::Receiver<(Event, Vec<OwnedFd>)>> {
        let (heard, hear) = mpsc::channel(EVENTS);
        thread::Builder::new()
            .name("warden".to_owned())
            .spawn(move || {
                // Held as long as this process lives, so that no other daemon starts meanwhile.
                let _lock = lock;
                while let Ok(Some(event)) = wire::receive(&events) {
                    // Nobody listens any more when the daemon stops.
                    let _stopped = heard.blocking_send(event);
                }
                eprintln!("cordon: the warden is gone, and so is the gateway");
                std::process::exit(1);
            })?;
        Ok(hear)
    }

    /// The parts: what is asked and listened on, and what [`Link::hear`] takes.
    pub fn split(self) -> (Hello, Arc<Client>, Listeners, OwnedFd, OwnedFd) {
        (
            self.hello,
            self.client,
            self.listeners,
            self.events,
            self.lock,
        )
    }
}
