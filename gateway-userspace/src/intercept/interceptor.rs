//! The running interception.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf, SkStorage};
use gateway_common::{ConnKey, ConnRecord, Endpoint, Settings};

use super::{
    Attempts, Claim, Counters, InterceptError, InterceptedConn, Recognise, Scope, address, cgroup,
    kernel, links, listener,
    loader::{self, KernelSet, PortSet, map_error},
    namespaces::NamespaceStream,
    pin_dir::PinDir,
};

/// What to intercept, and how.
#[derive(Clone, Debug)]
pub struct InterceptConfig {
    /// Where the programs are pinned, below a bpffs. Only this user can enter it.
    pub pin_dir: PathBuf,
    /// The cgroup the programs are attached to; `None`: the cgroup v2 root. Anything else leaves
    /// sockets from outside it unseen, and is for tests.
    pub cgroup_root: Option<PathBuf>,
    /// Who is refused for having no job.
    pub scope: Scope,
    /// What is done about databases that nobody named.
    pub recognise: Recognise,
    /// Addresses of the databases.
    pub protected: Vec<SocketAddr>,
    /// Cgroup ids of the jobs that are live at the start.
    pub jobs: Vec<u64>,
    /// The proxy's loopback port; outside the ephemeral range.
    pub port: u16,
    /// The daemon's own cgroup, counted from the cgroup v2 root. Made if absent; this process
    /// moves into it.
    pub gateway_cgroup: PathBuf,
    /// Whether jobs in other network namespaces are served; else they are refused.
    pub namespaces: bool,
}

/// The programs in the kernel, and the maps they share with this process.
///
/// Dropping it leaves the programs in place: connects to protected databases are then refused,
/// until the next start takes over, or [`super::detach_all`] removes them.
pub struct Interceptor {
    root: PathBuf,
    port: u16,
    gateway_cgroup_id: u64,
    netns_cookie: u64,
    // Read on every accept, without a lock.
    connections: HashMap<MapData, ConnKey, ConnRecord>,
    counters: PerCpuArray<MapData, u64>,
    attempts: Mutex<Option<RingBuf<MapData>>>,
    namespaces: Mutex<Option<RingBuf<MapData>>>,
    state: Mutex<State>,
    // Declared last: the lock is let go only after all else.
    pins: PinDir,
}

/// What changes while the daemon runs.
struct State {
    protected: KernelSet<Endpoint>,
    ports: PortSet,
    jobs: KernelSet<u64>,
    scope_set: KernelSet<u64>,
    scope: Scope,
    recognise: Recognise,
    /// The process that may dial protected databases.
    gateway: u32,
    /// Counts the changes of `protected`.
    epoch: u32,
    /// What is to be protected, before it is resolved to endpoints.
    addresses: Vec<SocketAddr>,
    netns_cookie: u64,
    namespaces: bool,
    settings: Array<MapData, Settings>,
    listeners: SkStorage<MapData, u64>,
}

impl Interceptor {
    /// Moves this process into the gateway's cgroup, loads the programs, and puts them in place of
    /// those of an earlier daemon, if any.
    ///
    /// Maps are made anew and filled before the first program is replaced, and every replacement
    /// is one step: what the earlier programs protect stays protected throughout. Until
    /// [`Self::listen`] has been called, connects of jobs are refused.
    pub fn start(config: &InterceptConfig) -> Result<Self, InterceptError> {
        if config.port == 0 {
            return Err(InterceptError::PortZero);
        }
        if !kernel::is_initial_pid_namespace() {
            return Err(InterceptError::PidNamespace);
        }
        let root = match &config.cgroup_root {
            Some(root) => root.clone(),
            None => cgroup::find_root()?,
        };
        let root_id = cgroup::reachable_id(&root, &root)?;
        let pins = PinDir::open(&config.pin_dir)?;
        // Before any socket is made: a socket stays in the cgroup it was made in.
        let gateway_cgroup_id = cgroup::enter(&cgroup::resolve(&root, &config.gateway_cgroup))?;
        let netns_cookie = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| kernel::netns_cookie(&socket))
            .map_err(InterceptError::NetnsCookie)?;

        let (mut ebpf, maps) = loader::load()?;
        let mut state = State {
            protected: maps.protected,
            ports: maps.ports,
            jobs: maps.jobs,
            scope_set: maps.scope,
            scope: config.scope.clone(),
            recognise: config.recognise.clone(),
            gateway: std::process::id(),
            epoch: 0,
            addresses: config.protected.clone(),
            netns_cookie,
            namespaces: config.namespaces,
            settings: maps.settings,
            listeners: maps.listeners,
        };
        state.protect(&endpoints(&config.protected)?)?;
        state.jobs.replace(&config.jobs)?;
        let mut exceptions = maps.exceptions;
        exceptions.replace(&config.recognise.exceptions())?;
        let missing = state.write_scope(&root, config.port, gateway_cgroup_id)?;
        for path in missing {
            tracing::warn!(cgroup = %path.display(), "a cgroup of the scope does not exist");
        }
        links::install(&mut ebpf, &pins, &root, root_id)?;

        Ok(Self {
            root,
            port: config.port,
            gateway_cgroup_id,
            netns_cookie,
            connections: maps.connections,
            counters: maps.counters,
            attempts: Mutex::new(Some(maps.attempts)),
            namespaces: Mutex::new(config.namespaces.then_some(maps.namespaces)),
            state: Mutex::new(state),
            pins,
        })
    }

    /// Listens on the proxy's port on 127.0.0.1 and, where the host has IPv6, on `::1`, and marks
    /// both sockets: from then on connects are redirected to them. They do not block.
    pub fn listen(&self) -> io::Result<(TcpListener, Option<TcpListener>)> {
        let v4 = listener::listen_v4(self.port)?;
        let v6 = listener::listen_v6(self.port)?;
        self.mark(std::iter::once(&v4).chain(&v6))?;
        Ok((v4, v6))
    }

    /// Marks listening sockets as the gateway's.
    pub(super) fn mark<'l>(
        &self,
        listeners: impl IntoIterator<Item = &'l TcpListener>,
    ) -> io::Result<()> {
        let mut state = self.state();
        for socket in listeners {
            state
                .listeners
                .insert(&socket.as_raw_fd(), 1_u64, 0)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Requests to listen in other namespaces. `None` if jobs there are refused, and the second
    /// time: there is one reader.
    pub fn namespaces(&self) -> io::Result<Option<NamespaceStream>> {
        let ring = self
            .namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        ring.map(NamespaceStream::new).transpose()
    }

    /// Looks up the host's addresses again: a protected address of this host is protected on all
    /// of them.
    pub fn refresh_addresses(&self) -> Result<(), InterceptError> {
        let addresses = self.state().addresses.clone();
        self.protect(&addresses)
    }

    /// Protects exactly these addresses. One of this host is protected on all its addresses.
    pub fn protect(&self, addresses: &[SocketAddr]) -> Result<(), InterceptError> {
        let wanted = endpoints(addresses)?;
        let mut state = self.state();
        state.addresses = addresses.to_vec();
        state.protect(&wanted)?;
        // Flows that were found clean are looked up again.
        state.epoch = state.epoch.wrapping_add(1);
        state
            .write_scope(&self.root, self.port, self.gateway_cgroup_id)
            .map(drop)
    }

    /// What the programs report. Once: there is one reader.
    pub fn attempts(&self) -> io::Result<Option<Attempts>> {
        let ring = self
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        ring.map(|ring| Attempts::new(ring, self.netns_cookie))
            .transpose()
    }

    /// Changes the scope. Gives those of its cgroups that do not exist (now).
    pub fn set_scope(&self, scope: Scope) -> Result<Vec<PathBuf>, InterceptError> {
        let mut state = self.state();
        state.scope = scope;
        state.write_scope(&self.root, self.port, self.gateway_cgroup_id)
    }

    /// Looks up the scope's cgroups again. A service that is restarted gets a new cgroup of the
    /// same name: call this now and then. Gives those that do not exist (now).
    pub fn refresh_scope(&self) -> Result<Vec<PathBuf>, InterceptError> {
        self.state()
            .write_scope(&self.root, self.port, self.gateway_cgroup_id)
    }

    /// From now on this process of the gateway's cgroup may dial protected databases, and no other;
    /// until then it is the one that started the programs.
    pub fn exempt(&self, pid: u32) -> Result<(), InterceptError> {
        let mut state = self.state();
        state.gateway = pid;
        state
            .write_scope(&self.root, self.port, self.gateway_cgroup_id)
            .map(drop)
    }

    /// A second hold on the lock of the pin directory: no other daemon starts as long as somebody
    /// holds it.
    pub fn lock(&self) -> io::Result<OwnedFd> {
        self.pins.lock()
    }

    /// Makes a cgroup a job's.
    pub fn add_job(&self, cgroup_id: u64) -> Result<(), InterceptError> {
        self.state().jobs.add(&cgroup_id)
    }

    /// Ends a job: what is still below its cgroup is refused from now on.
    pub fn remove_job(&self, cgroup_id: u64) -> Result<(), InterceptError> {
        self.state().jobs.remove(&cgroup_id)
    }

    /// Makes these the live jobs, and no others.
    pub fn set_jobs(&self, cgroup_ids: &[u64]) -> Result<(), InterceptError> {
        self.state().jobs.replace(cgroup_ids)
    }

    /// What the programs counted since the start.
    pub fn counters(&self) -> Result<Counters, InterceptError> {
        Counters::read(&self.counters).map_err(map_error("read a counter", "COUNTERS"))
    }

    /// The mount point of the cgroup v2 hierarchy.
    pub fn cgroup_root(&self) -> &Path {
        &self.root
    }

    /// The proxy's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A panic while the lock was held leaves maps that are each as valid as before.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim for Interceptor {
    fn claim(&self, peer: SocketAddr, local: SocketAddr) -> Option<InterceptedConn> {
        self.claim_in(self.netns_cookie, peer, local)
    }
}

impl Interceptor {
    /// As [`Claim::claim`], in the network namespace of this cookie.
    pub fn claim_in(
        &self,
        netns_cookie: u64,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Option<InterceptedConn> {
        let key = ConnKey {
            netns_cookie,
            client: address::endpoint(peer),
            proxy: address::endpoint(local),
        };
        match self.connections.get(&key, 0) {
            Ok(record) => Some(record.into()),
            Err(aya::maps::MapError::KeyNotFound) => None,
            Err(error) => {
                tracing::error!(error = %error, "cannot read the record of a connection");
                None
            }
        }
    }
}

impl State {
    /// Protects exactly these. A port is known before anything of it is protected, and as long as
    /// something of it is.
    fn protect(&mut self, wanted: &[Endpoint]) -> Result<(), InterceptError> {
        let ports = || wanted.iter().map(|endpoint| endpoint.port);
        self.ports.add(ports())?;
        self.protected.replace(wanted)?;
        self.ports.replace(ports())
    }

    /// Writes scope and settings. The wider of the two is written first.
    fn write_scope(
        &mut self,
        root: &Path,
        port: u16,
        gateway_cgroup_id: u64,
    ) -> Result<Vec<PathBuf>, InterceptError> {
        let (mut ids, mut missing) = (Vec::new(), Vec::new());
        for path in self.scope.cgroups().iter().chain(&self.recognise.cgroups) {
            match cgroup::reachable_id(root, &cgroup::resolve(root, path)) {
                Ok(id) => ids.push(id),
                Err(InterceptError::Cgroup { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    missing.push(path.clone());
                }
                Err(error) => return Err(error),
            }
        }
        let settings = Settings {
            gateway_cgroup_id,
            gateway_tgid: self.gateway,
            proxy_port: u32::from(port),
            scope: self.scope.code(),
            recognise: self.recognise.action.code(),
            recognise_host: u32::from(self.recognise.host),
            epoch: self.epoch,
            netns_cookie: self.netns_cookie,
            namespaces: u32::from(self.namespaces),
            warden_tgid: std::process::id(),
        };
        // For cgroups, the set comes before the switch that trusts it; for the host, after.
        let set_first = matches!(self.scope, Scope::Cgroups(_));
        if set_first {
            self.scope_set.replace(&ids)?;
        }
        self.settings
            .set(0, settings, 0)
            .map_err(map_error("write the settings", "SETTINGS"))?;
        if !set_first {
            self.scope_set.replace(&ids)?;
        }
        Ok(missing)
    }
}

fn endpoints(addresses: &[SocketAddr]) -> Result<Vec<Endpoint>, InterceptError> {
    if addresses.iter().any(|address| address.port() == 0) {
        return Err(InterceptError::PortZero);
    }
    let of_host = address::of_host().map_err(InterceptError::Addresses)?;
    Ok(addresses
        .iter()
        .flat_map(|address| address::protected_endpoints(*address, &of_host))
        .collect())
}
