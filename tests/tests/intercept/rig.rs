//! A host in small: a database, a gateway, cgroups, processes in them. All of it goes away on drop.

use std::{
    collections::VecDeque,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::fs::MetadataExt, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cordon::intercept::{
    Attempts, BypassAttempt, Claim, Counter, InterceptConfig, InterceptedConn, Interceptor,
    Recognise, RecogniseAction, Scope, detach_all,
};

use crate::child;

/// Names the role of a re-executed test binary.
pub const ROLE: &str = "CORDON_INTERCEPT_TEST_ROLE";

/// How many rigs stand; the process leaves the gateway's cgroup with the last one.
static RIGS: Mutex<usize> = Mutex::new(0);
static NEXT: AtomicU16 = AtomicU16::new(0);

pub struct Rig {
    pub interceptor: Option<Arc<Interceptor>>,
    attempts: Mutex<Option<Attempts>>,
    pub proxy: Option<Proxy>,
    pub db: Database,
    config: InterceptConfig,
    folder: PathBuf,
    home: PathBuf,
    number: u16,
}

impl Rig {
    /// A running gateway that protects the database on loopback, over both families.
    pub fn new(scope: impl FnOnce(&Path) -> Scope) -> Self {
        let mut rig = Self::stopped(scope);
        rig.start();
        rig.listen();
        rig
    }

    /// Everything but the gateway.
    pub fn stopped(scope: impl FnOnce(&Path) -> Scope) -> Self {
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = limit.maximum;
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
            .expect("raising the limit of open files");

        *rigs() += 1;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = cgroup_root();
        let name = format!("cordon-kernel-test-{}-{number}", std::process::id());
        let folder = home.join(&name);
        fs::create_dir(&folder).expect("a cgroup for the test (needs root and cgroup v2)");
        let db = Database::start();
        let config = InterceptConfig {
            namespaces: false,
            pin_dir: Path::new("/sys/fs/bpf").join(&name),
            cgroup_root: None,
            scope: scope(&folder),
            // Of jobs and of the rig's own cgroups only: rigs share the host.
            recognise: Recognise {
                action: RecogniseAction::Refuse,
                ..Recognise::default()
            },
            protected: vec![
                (Ipv4Addr::LOCALHOST, db.port).into(),
                (Ipv6Addr::LOCALHOST, db.port).into(),
                far_v4(number),
                far_v6(number),
            ],
            jobs: Vec::new(),
            port: free_port(),
            gateway_cgroup: format!("cordon-kernel-test-gateway-{}", std::process::id()).into(),
        };
        Self {
            interceptor: None,
            attempts: Mutex::new(None),
            proxy: None,
            db,
            config,
            folder,
            home,
            number,
        }
    }

    /// Starts the gateway, or starts it again.
    pub fn start(&mut self) {
        self.interceptor = None;
        let started = Interceptor::start(&self.config).unwrap_or_else(|error| {
            let mut chain = error.to_string();
            let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
            while let Some(inner) = cause {
                chain = format!("{chain}: {inner}");
                cause = inner.source();
            }
            panic!("the interceptor starts: {chain}")
        });
        let attempts = started.attempts().expect("the programs' reports");
        *self.attempts() = attempts;
        self.interceptor = Some(Arc::new(started));
    }

    /// Opens the proxy.
    pub fn listen(&mut self) {
        let interceptor = Arc::clone(self.interceptor.as_ref().expect("a started gateway"));
        self.proxy = Some(Proxy::start(&interceptor));
    }

    /// The daemon goes away; what it put into the kernel stays.
    pub fn stop(&mut self) {
        self.proxy = None;
        *self.attempts() = None;
        self.interceptor = None;
    }

    fn attempts(&self) -> MutexGuard<'_, Option<Attempts>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next attempt to get past that is reported; its connection is ended. Only a failing test
    /// waits long.
    pub fn attempt(&self) -> BypassAttempt {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(attempt) = self.try_attempt() {
                return attempt;
            }
            assert!(Instant::now() < deadline, "no attempt is reported");
            thread::yield_now();
        }
    }

    /// An attempt that is reported already.
    pub fn try_attempt(&self) -> Option<BypassAttempt> {
        self.attempts().as_mut()?.next_attempt()
    }

    /// Changes what is done about flows, before the start.
    pub fn recognise(&mut self, change: impl FnOnce(&mut Recognise)) {
        change(&mut self.config.recognise);
    }

    pub fn interceptor(&self) -> &Interceptor {
        self.interceptor.as_deref().expect("a started gateway")
    }

    pub fn config(&self) -> &InterceptConfig {
        &self.config
    }

    /// Jobs that the next start finds live.
    pub fn set_live_jobs(&mut self, ids: &[u64]) {
        self.config.jobs = ids.to_vec();
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.interceptor()
            .counters()
            .expect("the counters")
            .get(counter)
    }

    /// Waits until a counter has reached a value. Only a failing test waits long.
    pub fn wait(&self, counter: Counter, at_least: u64) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.count(counter) < at_least {
            assert!(
                Instant::now() < deadline,
                "{} stays at {}",
                counter.name(),
                self.count(counter)
            );
            thread::yield_now();
        }
    }

    /// Makes a cgroup; gives its path and id.
    pub fn cgroup(&self, name: &str) -> (PathBuf, u64) {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).expect("a cgroup");
        let id = fs::metadata(&path).expect("its metadata").ino();
        (path, id)
    }

    /// Makes a registered job with a process in it.
    pub fn job(&self, name: &str) -> (Process, u64) {
        let (path, id) = self.cgroup(name);
        self.interceptor().add_job(id).expect("registering the job");
        (Process::start(Some(&path)), id)
    }

    /// A process in no job: in a cgroup of its own.
    pub fn outsider(&self, name: &str) -> Process {
        Process::start(Some(&self.cgroup(name).0))
    }

    pub fn db_v4(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.db.port).into()
    }

    pub fn db_v6(&self) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, self.db.port).into()
    }

    /// A protected address without a route to it, of this rig alone: rigs share the host.
    pub fn far_v4(&self) -> SocketAddr {
        far_v4(self.number)
    }

    pub fn far_v6(&self) -> SocketAddr {
        far_v6(self.number)
    }

    pub fn proxy_v4(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.config.port).into()
    }

    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("a proxy")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop();
        let detached = detach_all(&self.config.pin_dir);
        remove_tree(&self.folder);
        let mut rigs = rigs();
        *rigs -= 1;
        if *rigs == 0 {
            let _moved = fs::write(
                self.home.join("cgroup.procs"),
                std::process::id().to_string(),
            );
            let _removed = fs::remove_dir(self.home.join(&self.config.gateway_cgroup));
        }
        if let Err(error) = detached
            && !thread::panicking()
        {
            panic!("nothing is left behind: {error}");
        }
    }
}

/// Accepts, claims, and says what it found.
pub struct Proxy {
    seen: Arc<Mutex<Vec<InterceptedConn>>>,
    strangers: Arc<AtomicUsize>,
    listeners: Vec<Arc<TcpListener>>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    pub fn start(interceptor: &Arc<Interceptor>) -> Self {
        let (v4, v6) = interceptor.listen().expect("the proxy listens");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let strangers = Arc::new(AtomicUsize::new(0));
        let listeners: Vec<_> = std::iter::once(v4).chain(v6).map(Arc::new).collect();
        let threads = listeners
            .iter()
            .map(|listener| {
                listener
                    .set_nonblocking(false)
                    .expect("a blocking listener");
                let listener = Arc::clone(listener);
                let interceptor = Arc::clone(interceptor);
                let (seen, strangers) = (Arc::clone(&seen), Arc::clone(&strangers));
                thread::spawn(move || {
                    // Closing a stream whose data was not read would reset it under the client.
                    let mut open = VecDeque::new();
                    while let Ok((mut stream, peer)) = listener.accept() {
                        let Ok(local) = stream.local_addr() else {
                            continue;
                        };
                        let word = if let Some(conn) = interceptor.claim(peer, local) {
                            seen.lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push(conn);
                            "PROXY\n"
                        } else {
                            strangers.fetch_add(1, Ordering::Relaxed);
                            "STRANGER\n"
                        };
                        // The client may be gone.
                        let _written = stream.write_all(word.as_bytes());
                        open.push_back(stream);
                        if open.len() > 2500 {
                            open.pop_front();
                        }
                    }
                })
            })
            .collect();
        Self {
            seen,
            strangers,
            listeners,
            threads,
        }
    }

    /// What was claimed since the last time.
    pub fn take(&self) -> Vec<InterceptedConn> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one connection claimed since the last time.
    pub fn take_one(&self) -> InterceptedConn {
        let mut seen = self.take();
        assert_eq!(seen.len(), 1, "one connection was claimed");
        seen.remove(0)
    }

    /// Connections without a record.
    pub fn strangers(&self) -> usize {
        self.strangers.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Wakes the thread that accepts.
            let _shut = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _joined = thread.join();
        }
    }
}

/// Something to protect: says `DB`, and counts what it gets.
pub struct Database {
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    received: Arc<AtomicUsize>,
    listeners: Vec<Arc<TcpListener>>,
    threads: Vec<JoinHandle<()>>,
}

impl Database {
    fn listen() -> io::Result<(TcpListener, TcpListener)> {
        let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = v4.local_addr()?.port();
        let v6 = rustix::net::socket(
            rustix::net::AddressFamily::INET6,
            rustix::net::SocketType::STREAM,
            None,
        )?;
        rustix::net::sockopt::set_ipv6_v6only(&v6, true)?;
        rustix::net::bind(&v6, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
        rustix::net::listen(&v6, 128)?;
        Ok((v4, TcpListener::from(v6)))
    }

    fn start() -> Self {
        Self::with(converse)
    }

    /// On every address of the host.
    fn with(serve: fn(TcpStream, &AtomicUsize)) -> Self {
        // The port that IPv4 is given may be another test's over IPv6: then the next one.
        let (v4, v6) = std::iter::repeat_with(Self::listen)
            .take(50)
            .find_map(Result::ok)
            .expect("a port for the database over IPv4 and IPv6");
        let port = v4.local_addr().expect("its address").port();
        let (accepted, received) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let listeners = vec![Arc::new(v4), Arc::new(v6)];
        let threads = listeners
            .iter()
            .map(|listener| {
                let listener = Arc::clone(listener);
                let (accepted, received) = (Arc::clone(&accepted), Arc::clone(&received));
                thread::spawn(move || {
                    while let Ok((stream, _)) = listener.accept() {
                        accepted.fetch_add(1, Ordering::SeqCst);
                        let received = Arc::clone(&received);
                        thread::spawn(move || serve(stream, &received));
                    }
                })
            })
            .collect();
        Self {
            port,
            accepted,
            received,
            listeners,
            threads,
        }
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }

    /// Waits until it has got so many bytes. Only a failing test waits long.
    pub fn wait(&self, bytes: usize) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.received() < bytes {
            assert!(Instant::now() < deadline, "it got {}", self.received());
            thread::yield_now();
        }
    }
}

/// A server of something that is not protected, on every address of the host: counts what it
/// gets, and says `GOT` when the client has said all.
pub struct Server(Database);

impl Server {
    pub fn start() -> Self {
        Self(Database::with(|mut stream, received| {
            let mut buffer = [0; 512];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => received.fetch_add(length, Ordering::SeqCst),
                    Err(_) => return,
                };
            }
            // The client may be gone.
            let _written = stream.write_all(b"GOT\n");
        }))
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub fn v4(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.0.port).into()
    }

    pub fn v6(&self) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, self.0.port).into()
    }

    pub fn mapped(&self) -> String {
        format!("[::ffff:127.0.0.1]:{}", self.0.port)
    }

    pub fn accepted(&self) -> usize {
        self.0.accepted()
    }

    pub fn received(&self) -> usize {
        self.0.received()
    }

    /// Waits until it has got so many bytes.
    pub fn wait(&self, bytes: usize) {
        self.0.wait(bytes);
    }
}

fn converse(mut stream: TcpStream, received: &AtomicUsize) {
    let mut buffer = [0; 512];
    if stream.write_all(b"DB\n").is_err() {
        return;
    }
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        received.fetch_add(length, Ordering::SeqCst);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        for listener in &self.listeners {
            let _shut = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _joined = thread.join();
        }
    }
}

/// A process that does what it is told.
pub struct Process {
    child: Child,
    control: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Process {
    pub fn start(cgroup: Option<&Path>) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "a_process_of_a_job_obeys", "--nocapture"])
            .env(ROLE, "child")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .expect("a child process");
        let answers = BufReader::new(ours.try_clone().expect("the control socket"));
        let mut process = Self {
            child,
            control: ours,
            answers,
        };
        if let Some(cgroup) = cgroup {
            process.enter(cgroup);
        }
        process
    }

    pub fn enter(&mut self, cgroup: &Path) {
        assert_eq!(self.ask(&format!("cgroup {}", cgroup.display())), "ok");
    }

    pub fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer()
    }

    /// Asks without waiting for the answer.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.control, "{command}").expect("telling the child");
    }

    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .expect("the child's answer");
        line.trim_end().to_owned()
    }

    /// Moves this process's kept socket into another process.
    pub fn pass_socket(&mut self, to: &mut Self) -> io::Result<()> {
        writeln!(self.control, "give")?;
        let socket = child::take(&self.control)?;
        assert_eq!(self.answer(), "ok");
        assert_eq!(to.ask("take"), "ready");
        child::pass(&to.control, &socket)?;
        assert_eq!(to.answer(), "ok");
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn far_v4(number: u16) -> SocketAddr {
    (Ipv4Addr::from_octets([198, 51, 100, 1]), 5000 + number).into()
}

fn far_v6(number: u16) -> SocketAddr {
    (
        Ipv6Addr::from_segments([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        5000 + number,
    )
        .into()
}

fn rigs() -> MutexGuard<'static, usize> {
    RIGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A free port below the ephemeral range; processes that choose at the same time start at
/// different places.
fn free_port() -> u16 {
    let start = std::process::id() % 10_000;
    loop {
        let offset = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + (start + offset) % 10_000).expect("a port");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn cgroup_root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let line = mounts
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .expect("a cgroup v2 hierarchy is mounted");
    line.split(' ').nth(4).expect("its mount point").into()
}

/// Ends what is left in a cgroup, and removes it with all below it.
fn remove_tree(folder: &Path) {
    let _killed = fs::write(folder.join("cgroup.kill"), "1");
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // The kernel takes a moment to bury the dead.
    for _ in 0..1000 {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::yield_now(),
            _ => return,
        }
    }
}
