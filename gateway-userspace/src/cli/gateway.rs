//! `cordon gateway`: the part of the daemon that speaks with jobs, databases, approvers and issuers.
//! Wires the parts together and takes them down in order.

use std::{
    net::TcpListener as StdListener, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration,
};

use anyhow::Context;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};

use super::{
    control::Control,
    fit::{load_policy, warn_observing},
    reload::PolicyFiles,
};
use crate::{
    admin,
    approval::{self, Approvals},
    audit::{
        self, Blot, Event, Log, LogConfig, PolicyLoaded, Recorder, RecorderConfig, SessionIndex,
        ShipConfig, Shipper, Store, StoreConfig,
    },
    config::{self, Config, PasswordKeeper, TlsMode},
    console,
    identity::{CgroupRoot, Host, Jobs},
    intercept::{BypassAttempt, Claim},
    listen::{self, Acceptor, BypassWatch, Namespaces, Served},
    masking::{Blotter, MaskKey},
    notify,
    policy::Policy,
    protocol::postgres,
    session::{Gate, Retention, hex},
    sql::BigStack,
    transport::{Authority, UpstreamTls},
    upstream::{Admin, JobRoles, Logins, Server, Settings},
    warden::{self, ClaimsIn, Client, Confinement, Hello, Link, Listeners, Said},
};

/// How long open sessions may take to end when the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Attempts to get past the gateway that wait to be recorded.
const BYPASSES: usize = 256;

/// What the gateway has read while it could still read it.
struct Opened {
    config: Config,
    policy: Policy,
    mask_key: MaskKey,
    /// Of the roles of this host.
    mark: String,
}

/// Runs until a signal says stop, or the warden is gone.
///
/// # Errors
/// If the process cannot be confined, or something that it needs cannot be used.
pub fn run() -> anyhow::Result<()> {
    crate::telemetry::init();
    let (hello, client, listeners, events, lock) = Link::accept()?.split();
    let opened = open(&hello, &client)?;
    warn_observing(&opened.policy);
    // Before there is a second thread, and before anything from outside is read.
    let landlocked =
        warden::confine(&confinement(&opened.config)?).context("the gateway cannot be confined")?;
    if !landlocked {
        tracing::warn!(
            "this kernel has no Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK): files are guarded by their permissions alone"
        );
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?
        .block_on(async {
            let told = Link::hear(events, lock)?;
            serve(opened, hello, client, listeners, told).await
        })
}

/// Reads what root may read: the configuration with its secrets, but for the passwords of databases.
fn open(hello: &Hello, client: &Arc<Client>) -> anyhow::Result<Opened> {
    let mut config = Config::load(&hello.config)?;
    let keeper: Arc<dyn PasswordKeeper> = client.clone();
    config.keep_passwords(&keeper);
    for database in &mut config.databases {
        // Resolved once: what is protected is what is served.
        if let Some((addrs, aliases)) = hello.databases.get(&database.name) {
            database.addrs.clone_from(addrs);
            database.aliases.clone_from(aliases);
        }
    }
    let policy = load_policy(&config)?;
    Ok(Opened {
        policy,
        mask_key: MaskKey::open(&config.state_dir.join("mask.key"))
            .context("the masks' key cannot be read or made")?,
        mark: super::roles::mark(&config.state_dir)
            .context("the mark of this host's roles cannot be read or made")?,
        config,
    })
}

fn confinement(config: &Config) -> anyhow::Result<Confinement> {
    let user = config
        .user
        .context("the configuration names no user for the gateway")?;
    let cgroups = CgroupRoot::find().context("the cgroups cannot be found")?;
    // Names of hosts and users, roots of certificates; processes and their cgroups.
    let read = [
        "/etc",
        "/usr",
        "/lib",
        "/lib64",
        "/run/systemd/resolve",
        "/run/resolvconf",
    ]
    .into_iter()
    .chain([
        "/proc",
        "/sys/devices/system/cpu",
        "/dev/urandom",
        "/dev/null",
    ])
    .map(PathBuf::from)
    .chain([cgroups.mount().to_owned()]);
    Ok(Confinement {
        user,
        read: read.collect(),
        write: vec![config.evidence_dir(), config.gateway_dir()],
    })
}

async fn serve(
    opened: Opened,
    hello: Hello,
    client: Arc<Client>,
    listeners: Listeners,
    told: mpsc::Receiver<(warden::Event, Vec<OwnedFd>)>,
) -> anyhow::Result<()> {
    let Opened {
        config,
        policy,
        mask_key,
        mark,
    } = opened;
    // Before anything else: a signal that comes meanwhile must not cut the start short.
    let signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        reload: signal(SignalKind::hangup())?,
    };
    // The default for libraries that ask for one (the issuer's keys over https).
    let _already = rustls::crypto::ring::default_provider().install_default();

    let policy_hex = hex(&policy.digest());
    let files = policy.files().to_vec();
    let (log, recovery) = Log::open(LogConfig {
        policy: Some(policy_hex.clone()),
        keys: client.clone(),
        ..LogConfig::new(
            config.evidence_dir(),
            fsync(config.evidence.fsync),
            host_name(),
        )
    })
    .context("the evidence log cannot be opened")?;
    if !recovery.clean {
        tracing::warn!(
            ?recovery,
            "the evidence log was cut off; the cut is on record"
        );
    }
    let (requests, left) = approval::Database::open(&config.gateway_dir().join("approvals.db"))
        .context("the requests for approval cannot be used")?;
    let (approvals, withdrawn) = Approvals::resume(log.clone(), requests, left);
    notify::start(
        &config.notify,
        approvals.clone(),
        approvals.subscribe(),
        &withdrawn,
    )?;
    let stack = BigStack::start(2).context("the parser's threads cannot start")?;
    let authority = Authority::new(client.clone(), hello.authority.0)
        .context("the certificate authority cannot be used")?;
    let authority = Arc::new(authority);
    let gate = Gate::new(policy, log.clone(), approvals.clone(), stack, mask_key);
    let recorder = recorder(&config, &log).context("sessions cannot be recorded")?;
    if let Some((recorder, retention)) = &recorder {
        gate.record_sessions(recorder.clone(), *retention);
    }
    gate.log()
        .append(
            Event::PolicyLoaded(PolicyLoaded {
                digest: policy_hex,
                files,
            }),
            audit::Durability::Now,
        )
        .await
        .context("the evidence cannot be written")?;
    let ledger = Arc::new(super::control::Ledger {
        log: log.clone(),
        approvals: approvals.clone(),
        refusals: super::refusals::Refusals::default(),
    });
    let host: Arc<dyn Host> = client.clone();
    let jobs = Jobs::new(&config, host.clone(), ledger.clone())
        .context("the job cgroups cannot be used")?;
    gate.sees_processes_with(host);

    let databases = databases(&config, &mark, &ledger)?;
    let served = databases.iter().map(|served| served.database.clone());
    let served: Vec<_> = served.collect();
    let acceptor = Arc::new(Acceptor {
        jobs: jobs.clone(),
        gate: gate.clone(),
        postgres: postgres::Service::new(gate.clone(), authority),
        databases,
        places: Arc::new(tokio::sync::Semaphore::new(listen::room())),
    });
    let roles: Vec<_> = served
        .iter()
        .filter_map(|database| database.roles.clone())
        .collect();
    for roles in &roles {
        tokio::spawn(super::roles::keep(roles.clone(), gate.clone()));
    }
    let (stop, stopped) = watch::channel(false);
    let claims: Arc<dyn Claim> = Arc::new(ClaimsIn {
        client: client.clone(),
        netns_cookie: None,
    });
    for listener in listeners.proxies {
        tokio::spawn(acceptor.clone().run(
            tokio_listener(listener)?,
            claims.clone(),
            stopped.clone(),
        ));
    }
    let (attempts, tried) = mpsc::channel(BYPASSES);
    tokio::spawn(BypassWatch::new(jobs.clone(), gate.clone()).run(tried));
    tokio::spawn(hear(
        told,
        attempts,
        client.clone(),
        Namespaces::new(acceptor.clone()),
    ));
    let shipper = match &config.evidence.ship {
        None => None,
        Some(ship) => {
            let shipper = shipper(&config, ship)?;
            gate.stop_with(shipper.clone());
            tokio::spawn(shipper.clone().run());
            Some(shipper)
        }
    };
    let witnesses = match &config.evidence.witnesses {
        None => None,
        Some(configured) => {
            let witnesses = super::witness::witnesses(configured, config.evidence_dir())?;
            gate.witnessed_by(witnesses.clone());
            tokio::spawn(witnesses.clone().run());
            Some(witnesses)
        }
    };
    tokio::spawn(index_sessions(config.evidence_dir()));
    if let Some(keep) = config.evidence.keep {
        tokio::spawn(remove_old(log.clone(), keep));
    }
    let config = Arc::new(config);
    let policy_files = PolicyFiles::new(config.clone(), client.clone(), gate.clone());
    let control = Arc::new(Control::new(
        config.clone(),
        gate.clone(),
        jobs.clone(),
        served,
        policy_files.clone(),
    ));
    let admin = UnixListener::from_std(listeners.control)?;
    tokio::spawn(admin::serve(
        admin,
        jobs.clone(),
        config.clone(),
        control.clone(),
    ));
    if let (Some(settings), Some(listener)) = (config.console.clone(), listeners.console) {
        let listener = console::Listener::new(&settings, listener)
            .context("the console cannot listen; correct `console` in the configuration")?;
        let app = console::App::new(
            config.clone(),
            settings,
            gate.clone(),
            jobs.clone(),
            control,
        )
        .map_err(|error| anyhow::anyhow!("the console cannot start: {error}"))?;
        tracing::info!(at = %app.place(), "the console listens");
        tokio::spawn(console::serve(listener, Arc::new(app)));
    }
    client
        .say(Said::Ready)
        .context("the warden cannot be told")?;
    if let Some(every) = hello.beat {
        tokio::spawn(beat(client.clone(), every));
    }
    tracing::info!(
        databases = config.databases.len(),
        port = config.intercept.port,
        "ready"
    );
    let following = tokio::spawn(policy_files.follow(signals.reload));
    wait_for_stop(signals.terminate, signals.interrupt).await;
    following.abort();

    tracing::info!("stopping; protected databases stay out of reach until the next start");
    stop.send_replace(true);
    jobs.shutdown();
    drain(&gate, &roles).await;
    if let Err(error) = approvals.flush().await {
        tracing::error!(%error, "the last changes of requests for approval are not saved");
    }
    if let Some((recorder, _)) = recorder {
        tokio::task::spawn_blocking(move || recorder.close()).await?;
    }
    log.close("the daemon was stopped")
        .await
        .context("the evidence log cannot be closed")?;
    if let Some(witnesses) = witnesses {
        witnesses.finish(DRAIN).await;
    }
    if let Some(shipper) = shipper {
        shipper.finish(DRAIN).await;
    }
    Ok(())
}

/// Hears what the warden tells, for as long as it may.
async fn hear(
    mut told: mpsc::Receiver<(warden::Event, Vec<OwnedFd>)>,
    attempts: mpsc::Sender<BypassAttempt>,
    client: Arc<Client>,
    mut namespaces: Namespaces,
) {
    while let Some((event, descriptors)) = told.recv().await {
        match event {
            warden::Event::Bypass(attempt) => {
                if let Some(attempt) = attempt.read() {
                    // Its receiver lives as long as the daemon.
                    let _stopped = attempts.send(attempt).await;
                }
            }
            warden::Event::NamespaceOpened(cookie) => {
                let claims: Arc<dyn Claim> = Arc::new(ClaimsIn {
                    client: client.clone(),
                    netns_cookie: Some(cookie),
                });
                let listeners = descriptors.into_iter().map(StdListener::from).collect();
                namespaces.open(cookie, listeners, &claims);
            }
            warden::Event::NamespaceClosed(cookie) => namespaces.close(cookie),
        }
    }
}

/// Says that the threads that serve sessions run, so that a daemon that serves none is started anew.
async fn beat(client: Arc<Client>, every: Duration) {
    let mut tick = tokio::time::interval(every);
    loop {
        tick.tick().await;
        if let Err(error) = client.say(Said::Alive) {
            tracing::warn!(%error, "the warden cannot be told that the gateway lives");
        }
    }
}

/// Removes evidence that need not be kept any longer, once an hour.
async fn remove_old(log: Arc<Log>, keep: Duration) {
    let mut tick = tokio::time::interval(Duration::from_hours(1));
    loop {
        tick.tick().await;
        let log = log.clone();
        match tokio::task::spawn_blocking(move || log.prune(keep)).await {
            Ok(Ok(removed)) if removed.segments + removed.recordings > 0 => {
                tracing::info!(?removed, "old evidence was removed; the log says so");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "old evidence cannot be removed"),
            Err(error) => tracing::error!(%error, "removing old evidence failed"),
        }
    }
}

/// Keeps the index of recorded sessions up to date, for whoever lists them.
async fn index_sessions(dir: PathBuf) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut index = None;
    loop {
        tick.tick().await;
        let (dir, opened) = (dir.clone(), index.take());
        let caught_up = tokio::task::spawn_blocking(move || {
            let mut index = opened.map_or_else(|| SessionIndex::create(&dir), Ok)?;
            index.catch_up().map(|()| index)
        });
        match caught_up.await {
            Ok(Ok(current)) => index = Some(current),
            // It is opened anew.
            Ok(Err(error)) => tracing::warn!(%error, "lists of sessions read the log instead"),
            Err(error) => tracing::error!(%error, "indexing the sessions failed"),
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

/// Waits for SIGTERM or SIGINT.
async fn wait_for_stop(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn drain(gate: &Arc<Gate>, roles: &[Arc<JobRoles>]) {
    let drained = async {
        while gate.sessions() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for roles in roles {
            roles.settled().await;
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(sessions = gate.sessions(), "sessions were cut off");
    }
}

/// What ships the evidence.
fn shipper(config: &Config, ship: &config::Ship) -> anyhow::Result<Arc<Shipper>> {
    let store = Store::new(&store_config(ship))?;
    let config = ShipConfig {
        dir: config.evidence_dir(),
        every: ship.every,
        backlog: ship.backlog,
    };
    Ok(Shipper::new(config, store))
}

/// The store of a configuration.
pub fn store_config(ship: &config::Ship) -> StoreConfig {
    StoreConfig {
        endpoint: ship.endpoint.clone(),
        region: ship.region.clone(),
        bucket: ship.bucket.clone(),
        prefix: ship.prefix.clone(),
        access_key: ship.access_key.expose().to_owned(),
        secret_key: zeroize::Zeroizing::new(ship.secret_key.expose().to_owned()),
    }
}

/// The thread that writes what the messages of sessions were.
fn recorder(config: &Config, log: &Arc<Log>) -> anyhow::Result<Option<(Arc<Recorder>, Retention)>> {
    let retention = match config.evidence.recording {
        config::Recording::Full => Retention::contents_up_to(config.evidence.recorded_result),
        config::Recording::Digests => Retention::contents_up_to(0),
        config::Recording::Off => return Ok(None),
    };
    let blotter = Blotter::default();
    let blot: Blot =
        Arc::new(move |direction, tag, body| postgres::blot(&blotter, direction, tag, body));
    let recorder = Recorder::start(log.clone(), RecorderConfig::new(blot))?;
    Ok(Some((recorder, retention)))
}

fn databases(
    config: &Config,
    mark: &str,
    ledger: &Arc<super::control::Ledger>,
) -> anyhow::Result<Vec<Served>> {
    config
        .databases
        .iter()
        .map(|database| {
            let tls = match database.tls {
                TlsMode::VerifyFull => Some(UpstreamTls::verified(rustls::RootCertStore::clone(
                    &database.roots,
                ))?),
                TlsMode::Require => Some(UpstreamTls::unverified()?),
                TlsMode::Disable => None,
            };
            let address = *database
                .addrs
                .first()
                .with_context(|| format!("the database {} has no address", database.name))?;
            let roles = database.admin.as_ref().map(|admin| {
                let server = Server {
                    address: address.into(),
                    host: database.host.clone(),
                    tls: tls.clone(),
                    dbname: database.dbname.clone(),
                };
                let settings = Settings {
                    database: database.name.clone(),
                    mark: mark.to_owned(),
                    procedures: admin.procedures,
                    connections: admin.connections,
                    max_duration: config.jobs.max_duration,
                };
                let admin = Admin::new(server, admin.login.clone());
                JobRoles::new(settings, admin, ledger.clone())
            });
            Ok(Served {
                addresses: database.addresses().collect(),
                database: Arc::new(postgres::Database {
                    name: database.name.clone(),
                    dbname: database.dbname.clone(),
                    host: database.host.clone(),
                    address: address.into(),
                    tls,
                    client_password: database
                        .client_password
                        .as_deref()
                        .map(|password| {
                            postgres::Verifier::new(password, &ring::rand::SystemRandom::new())
                        })
                        .transpose()?,
                    logins: Logins::new(database.logins.values()),
                    roles,
                }),
            })
        })
        .collect()
}

fn fsync(fsync: config::Fsync) -> audit::Fsync {
    match fsync {
        config::Fsync::Always => audit::Fsync::Always,
        config::Fsync::Risky => audit::Fsync::Risky,
    }
}

fn tokio_listener(listener: StdListener) -> anyhow::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

/// The host's name, as the evidence has it.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
