//! `cordon run`: the daemon. This process is its warden, which starts the gateway and serves it; see
//! [`crate::warden`].

use std::{
    fs::Permissions,
    io::Write,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, process::ExitStatusExt},
    },
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use rustix::{fs::Mode, process::Signal as Number};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{fit::load_policy, service};
use crate::{
    admin,
    config::{self, Config, Scope},
    console,
    identity::CgroupRoot,
    intercept::{self, AddressChanges, Attempts, InterceptConfig, Interceptor},
    transport::AuthorityKey,
    warden::{self, Events, Gateway, Hello, Keys, Listeners, NamespaceWatch, Said, Warden},
};

/// How often the scope's cgroups are looked up: a service that is restarted has a new one.
const SCOPE_EVERY: Duration = Duration::from_secs(5);

/// Run the daemon.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
}

/// Runs until a signal says stop, or the gateway ends.
///
/// # Errors
/// If the configuration, the policy or the kernel side cannot be used, or the gateway fails.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    crate::telemetry::init();
    // What others may read is said of each file; whoever starts the daemon must not narrow it. The
    // gateway, another user, would not see the cgroups of jobs.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let config = Config::load(&args.config)?;
    // Before anything is touched; the gateway reads it itself.
    load_policy(&config)?;
    // One thread, whose end is the gateway's end.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?
        .block_on(serve(args.config.clone(), config))
}

async fn serve(file: PathBuf, config: Config) -> anyhow::Result<()> {
    // Before anything else: a signal that comes meanwhile must not cut the start short.
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        reload: signal(SignalKind::hangup())?,
    };
    let user = warden::gateway_user(&config)?;
    let interceptor = Arc::new(
        Interceptor::start(&InterceptConfig {
            pin_dir: config.intercept.pin_dir.clone(),
            cgroup_root: None,
            scope: scope(&config)?,
            recognise: recognise(&config),
            protected: config.addresses().into_iter().collect(),
            jobs: Vec::new(),
            port: config.intercept.port,
            gateway_cgroup: service::gateway_cgroup(),
            namespaces: config.intercept.namespaces == config::Namespaces::Serve,
        })
        .context("the kernel side cannot start; see `cordon run --help` for what it needs")?,
    );
    // Behind the lock of the programs: no gateway of another daemon runs any more.
    let keys = warden::prepare(&config, user)?;
    let listeners = listeners(&config, &interceptor)?;
    let lock = interceptor.lock()?;
    let mut gateway = Gateway::start().context("the gateway cannot be started")?;
    interceptor.exempt(gateway.pid())?;
    let (said, mut heard) = mpsc::unbounded_channel();
    greet(
        file,
        &config,
        keys,
        &gateway,
        &interceptor,
        listeners,
        &lock,
        said,
    )?;
    follow(&config, &interceptor, &gateway.events())?;
    let beats = service::Beats::start();
    // Until then a signal would end the gateway instead of telling it something.
    let (mut ready, mut reload) = (false, false);
    loop {
        tokio::select! {
            // None any more when the gateway is about to have ended.
            Some(said) = heard.recv() => match said {
                Said::Ready => {
                    ready = true;
                    if reload {
                        gateway.signal(Number::HUP);
                    }
                    service::ready();
                    println!("cordon: ready");
                    std::io::stdout().flush().ok();
                }
                Said::Alive => beats.beat(),
            },
            ended = gateway.ended() => {
                let status = ended.context("the gateway cannot be waited for")?;
                bail!("the gateway ended with {status}; protected databases stay out of reach until the next start");
            }
            _ = signals.reload.recv() => if ready {
                gateway.signal(Number::HUP);
            } else {
                reload = true;
            },
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    service::stopping();
    gateway.signal(Number::TERM);
    let status = gateway
        .ended()
        .await
        .context("the gateway cannot be waited for")?;
    if status.success() || !ready && status.signal() == Some(Number::TERM.as_raw()) {
        Ok(())
    } else {
        bail!("the gateway ended with {status}")
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

fn listeners(config: &Config, interceptor: &Interceptor) -> anyhow::Result<Listeners> {
    let (v4, v6) = interceptor
        .listen()
        .context("the proxy's port cannot be listened on")?;
    let socket = config.control_socket();
    Ok(Listeners {
        proxies: std::iter::once(v4).chain(v6).collect(),
        control: admin::bind(&socket)
            .with_context(|| format!("the control socket {}", socket.display()))?,
        console: config
            .console
            .as_ref()
            .map(console::bind)
            .transpose()
            .context("the console cannot listen; correct `console` in the configuration")?,
    })
}

#[expect(clippy::too_many_arguments, reason = "the parts meet here")]
fn greet(
    file: PathBuf,
    config: &Config,
    keys: Keys,
    gateway: &Gateway,
    interceptor: &Arc<Interceptor>,
    listeners: Listeners,
    lock: &OwnedFd,
    said: mpsc::UnboundedSender<Said>,
) -> anyhow::Result<()> {
    let hello = Hello {
        config: std::path::absolute(file)?,
        databases: config
            .databases
            .iter()
            .map(|database| {
                let addresses = (database.addrs.clone(), database.aliases.clone());
                (database.name.clone(), addresses)
            })
            .collect(),
        authority: (
            keys.authority.certificate().to_vec(),
            keys.authority.public().to_vec(),
        ),
        proxies: listeners.proxies.len(),
        console: listeners.console.is_some(),
        beat: service::beat(),
    };
    let warden = Warden::new(config.clone(), keys, interceptor.clone(), said)
        .context("the job cgroups cannot be used")?;
    let greeted = gateway.greet(&hello, &listeners, lock, &warden);
    // They are the gateway's alone.
    drop(listeners);
    greeted.context("the gateway ended before it began; its log says why")
}

/// Tells the gateway what the kernel reports, and keeps the kernel's sets up to date.
fn follow(
    config: &Config,
    interceptor: &Arc<Interceptor>,
    events: &Arc<Events>,
) -> anyhow::Result<()> {
    if let Some(attempts) = interceptor
        .attempts()
        .context("the kernel's reports cannot be read")?
    {
        tokio::spawn(report(attempts, events.clone()));
    }
    if let Some(requests) = interceptor
        .namespaces()
        .context("the kernel's requests cannot be read")?
    {
        let namespaces = NamespaceWatch::new(interceptor.clone(), events.clone());
        tokio::spawn(namespaces.run(requests));
        tokio::spawn(follow_addresses(interceptor.clone())?);
    }
    if let Scope::Cgroups(_) = config.intercept.scope {
        let interceptor = interceptor.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(SCOPE_EVERY);
            loop {
                tick.tick().await;
                if let Err(error) = interceptor.refresh_scope() {
                    tracing::warn!(%error, "the scope's cgroups cannot be looked up");
                }
            }
        });
    }
    Ok(())
}

/// Hands on attempts to get past the gateway. While it does not take them, they wait in the kernel.
async fn report(attempts: Attempts, events: Arc<Events>) {
    let told = async {
        let mut attempts = attempts.into_stream()?;
        loop {
            let event = warden::Event::Bypass(attempts.next().await?.into());
            let events = events.clone();
            tokio::task::spawn_blocking(move || events.tell(&event)).await??;
        }
    };
    let Err::<std::convert::Infallible, std::io::Error>(error) = told.await;
    tracing::error!(%error, "attempts to get past the gateway are not recorded any more");
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

/// Which processes without a job are refused. What is left of ended jobs always is.
fn scope(config: &Config) -> anyhow::Result<intercept::Scope> {
    // Known from the start, so that it is there; the gateway lists what is in it, whoever made it.
    CgroupRoot::find()
        .map(|root| root.folder(&config.jobs.cgroup))
        .and_then(|folder| {
            std::fs::create_dir_all(&folder)?;
            std::fs::set_permissions(folder, Permissions::from_mode(0o755))
        })
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
