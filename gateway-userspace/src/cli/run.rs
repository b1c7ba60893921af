//! `cordon run`: the daemon. Wires the parts together and takes them down in order.

use std::{io::Write, net::TcpListener as StdListener, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::{control::Control, reload::PolicyFiles};
use crate::{
    admin,
    approval::{self, Approvals},
    audit::{
        self, Blot, Event, Log, LogConfig, PolicyLoaded, Recorder, RecorderConfig, SessionIndex,
        ShipConfig, Shipper, Store, StoreConfig,
    },
    config::{self, Config, Scope, TlsMode},
    console,
    identity::{CgroupRoot, Jobs},
    intercept::{self, AddressChanges, InterceptConfig, Interceptor},
    listen::{self, Acceptor, BypassWatch, Namespaces, Served},
    masking::{Blotter, MaskKey},
    notify,
    policy::{GrantRole, Policy},
    protocol::postgres,
    session::{Gate, Retention, hex},
    sql::BigStack,
    transport::{Authority, UpstreamTls},
    upstream::{Admin, JobRoles, Logins, Server, Settings},
};

/// How long open sessions may take to end when the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Run the daemon.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
}

/// Runs until a signal says stop.
///
/// # Errors
/// If the configuration, the policy, the evidence or the kernel side cannot be used.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    crate::telemetry::init();
    let config = Config::load(&args.config)?;
    let policy = load_policy(&config)?;
    warn_observing(&policy);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?
        .block_on(serve(config, policy))
}

/// Grants in observe mode refuse little: whoever runs the host must know.
pub fn warn_observing(policy: &Policy) {
    for grant in policy.observing() {
        tracing::warn!(
            grant = %grant.name,
            "the grant is in observe mode: what it would refuse or hold is recorded, and passes"
        );
    }
}

/// Loads the policy and checks it against the configuration: what it names must exist.
///
/// # Errors
/// Every problem, with its place.
pub fn load_policy(config: &Config) -> anyhow::Result<Policy> {
    let policy = Policy::load(&config.policy_dir)?;
    let mut problems = Vec::new();
    for group in policy.approver_groups() {
        if !config.has_approvers(group) {
            problems.push(format!(
                "the group {group:?} is not among the configured approvers"
            ));
        }
    }
    for issuer in policy.issuers() {
        if !config.issuers.iter().any(|known| known.name == issuer) {
            problems.push(format!("the issuer {issuer:?} is not configured"));
        }
    }
    for (database, role) in policy.roles() {
        match config.databases.iter().find(|known| known.name == database) {
            None => problems.push(format!("the database {database:?} is not configured")),
            Some(known) => match role {
                Some(GrantRole::Login(login)) if known.login(login).is_none() => {
                    problems.push(format!(
                        "the database {database:?} has no login {login:?} in the configuration"
                    ));
                }
                Some(GrantRole::PerJob) if known.admin.is_none() => problems.push(format!(
                    "the database {database:?} has no `admin` in the configuration, who makes the roles of jobs (`per_job`)"
                )),
                Some(GrantRole::Login(_) | GrantRole::PerJob) | None => {}
            },
        }
    }
    if problems.is_empty() {
        Ok(policy)
    } else {
        bail!(
            "the policy does not fit the configuration:\n  {}",
            problems.join("\n  ")
        )
    }
}

async fn serve(config: Config, policy: Policy) -> anyhow::Result<()> {
    // Before anything else: a signal that comes meanwhile must not cut the start short.
    let signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        reload: signal(SignalKind::hangup())?,
    };
    // The default for libraries that ask for one (the issuer's keys over https).
    let _already = rustls::crypto::ring::default_provider().install_default();
    private_dir(&config.state_dir)?;
    std::fs::create_dir_all(&config.runtime_dir)
        .with_context(|| format!("the folder {} cannot be made", config.runtime_dir.display()))?;

    let policy_hex = hex(&policy.digest());
    let files = policy.files().to_vec();
    let (log, recovery) = Log::open(LogConfig {
        policy: Some(policy_hex.clone()),
        ..LogConfig::new(
            config.state_dir.join("evidence"),
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
    let (requests, left) = approval::Database::open(&config.state_dir.join("approvals.db"))
        .context("the requests for approval cannot be used")?;
    let (approvals, withdrawn) = Approvals::resume(log.clone(), requests, left);
    notify::start(
        &config.notify,
        approvals.clone(),
        approvals.subscribe(),
        &withdrawn,
    )?;
    let stack = BigStack::start(2).context("the parser's threads cannot start")?;
    let mask_key = MaskKey::open(&config.state_dir.join("mask.key"))
        .context("the masks' key cannot be read or made")?;
    let authority = Arc::new(
        Authority::open(&config.state_dir.join("ca"))
            .context("the certificate authority cannot be opened")?,
    );
    write_public(&config.ca_file(), &authority.certificate_pem())?;

    let interceptor = Arc::new(
        Interceptor::start(&InterceptConfig {
            pin_dir: config.intercept.pin_dir.clone(),
            cgroup_root: None,
            scope: scope(&config)?,
            recognise: recognise(&config),
            protected: config.addresses().into_iter().collect(),
            jobs: Vec::new(),
            port: config.intercept.port,
            gateway_cgroup: super::service::gateway_cgroup(),
            namespaces: config.intercept.namespaces == config::Namespaces::Serve,
        })
        .context("the kernel side cannot start; see `cordon run --help` for what it needs")?,
    );
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
    let jobs = Jobs::new(
        &config,
        Arc::new(super::control::Kernel(interceptor.clone())),
        ledger.clone(),
    )
    .context("the job cgroups cannot be used")?;

    if let Some(attempts) = interceptor
        .attempts()
        .context("the kernel's reports cannot be read")?
    {
        let watch = BypassWatch::new(jobs.clone(), gate.clone());
        tokio::spawn(async move {
            if let Err(error) = watch.run(attempts).await {
                tracing::error!(%error, "attempts to get past the gateway are not recorded any more");
            }
        });
    }

    let databases = databases(&config, &ledger)?;
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
    let (v4, v6) = interceptor
        .listen()
        .context("the proxy's port cannot be listened on")?;
    for listener in std::iter::once(v4).chain(v6) {
        tokio::spawn(acceptor.clone().run(
            tokio_listener(listener)?,
            interceptor.clone(),
            stopped.clone(),
        ));
    }
    if let Some(requests) = interceptor
        .namespaces()
        .context("the kernel's requests cannot be read")?
    {
        let namespaces = Namespaces::new(interceptor.clone(), acceptor.clone());
        tokio::spawn(namespaces.run(requests, stopped.clone()));
        tokio::spawn(follow_addresses(interceptor.clone())?);
    }
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
            let witnesses =
                super::witness::witnesses(configured, config.state_dir.join("evidence"))?;
            gate.witnessed_by(witnesses.clone());
            tokio::spawn(witnesses.clone().run());
            Some(witnesses)
        }
    };
    tokio::spawn(index_sessions(config.state_dir.join("evidence")));
    if let Some(keep) = config.evidence.keep {
        tokio::spawn(remove_old(log.clone(), keep));
    }
    let config = Arc::new(config);
    let policy_files = PolicyFiles::new(config.clone(), gate.clone());
    let control = Arc::new(Control::new(
        config.clone(),
        gate.clone(),
        jobs.clone(),
        served,
        policy_files.clone(),
    ));
    let admin = admin::listen(&config.control_socket())
        .with_context(|| format!("the control socket {}", config.control_socket().display()))?;
    tokio::spawn(admin::serve(
        admin,
        jobs.clone(),
        config.clone(),
        control.clone(),
    ));
    if let Some(settings) = config.console.clone() {
        let listener = console::listen(&settings)
            .await
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
    if let Scope::Cgroups(_) = config.intercept.scope {
        let interceptor = interceptor.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(5));
            loop {
                tick.tick().await;
                if let Err(error) = interceptor.refresh_scope() {
                    tracing::warn!(%error, "the scope's cgroups cannot be looked up");
                }
            }
        });
    }

    super::service::ready();
    println!("cordon: ready");
    std::io::stdout().flush().ok();
    tracing::info!(
        databases = config.databases.len(),
        port = config.intercept.port,
        "ready"
    );
    let following = tokio::spawn(policy_files.follow(signals.reload));
    wait_for_stop(signals.terminate, signals.interrupt).await;
    following.abort();
    super::service::stopping();

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

/// Keeps protected what is new of this host's addresses: jobs in other network namespaces could reach
/// a database of this host by them.
fn follow_addresses(
    interceptor: Arc<Interceptor>,
) -> anyhow::Result<impl Future<Output = ()> + Send> {
    let changes = AddressChanges::new().context("changes of addresses cannot be followed")?;
    // Whatever has changed since they were listed.
    interceptor.refresh_addresses()?;
    Ok(async move {
        while changes.changed().await.is_ok() {
            if let Err(error) = interceptor.refresh_addresses() {
                tracing::error!(%error, "new addresses of this host are not protected");
            }
        }
        tracing::error!("changes of this host's addresses are not followed any more");
    })
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
        dir: config.state_dir.join("evidence"),
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

fn databases(config: &Config, ledger: &Arc<super::control::Ledger>) -> anyhow::Result<Vec<Served>> {
    let mark = super::roles::mark(&config.state_dir)
        .context("the mark of this host's roles cannot be read or made")?;
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
                    mark: mark.clone(),
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

/// Which processes without a job are refused. What is left of ended jobs always is.
fn scope(config: &Config) -> anyhow::Result<intercept::Scope> {
    // Known from the start, so that it is there.
    CgroupRoot::find()
        .map(|root| root.folder(&config.jobs.cgroup))
        .and_then(std::fs::create_dir_all)
        .context("the parent of the job cgroups cannot be made")?;
    let paths = match &config.intercept.scope {
        Scope::Host => return Ok(intercept::Scope::Host),
        Scope::Cgroups(paths) => paths,
    };
    let paths = paths.iter().chain([&config.jobs.cgroup]);
    Ok(intercept::Scope::Cgroups(
        paths.map(|path| PathBuf::from(path.as_str())).collect(),
    ))
}

/// What is done about databases that nobody named. What is left of ended jobs is looked at too.
fn recognise(config: &Config) -> intercept::Recognise {
    let written = &config.intercept.recognise;
    intercept::Recognise {
        action: match written.action {
            config::RecogniseAction::Refuse => intercept::RecogniseAction::Refuse,
            config::RecogniseAction::Report => intercept::RecogniseAction::Report,
            config::RecogniseAction::Off => intercept::RecogniseAction::Off,
        },
        host: written.host,
        cgroups: vec![PathBuf::from(config.jobs.cgroup.as_str())],
        except: written.except.iter().copied().collect(),
    }
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

fn private_dir(path: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if !path.is_dir() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("the folder {} cannot be made", path.display()))?;
    }
    Ok(())
}

/// Replaces a file that everyone may read.
fn write_public(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let new = path.with_extension("new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644)))
        .and_then(|()| std::fs::rename(&new, path))
        .with_context(|| format!("the file {} cannot be written", path.display()))
}
