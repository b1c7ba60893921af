//! `cordon uninstall`: takes the programs out of the kernel.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use crate::{config::Config, identity::CgroupRoot, intercept::detach_all};

/// Remove the programs from the kernel; databases are no longer protected.
#[derive(Args, Debug)]
pub struct UninstallArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    config: PathBuf,
}

/// Removes pinned programs and empty job cgroups.
///
/// # Errors
/// If the daemon still runs, or the pins cannot be removed.
pub fn run(args: &UninstallArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    if std::os::unix::net::UnixStream::connect(config.control_socket()).is_ok() {
        bail!(
            "a daemon answers on {}; stop it first",
            config.control_socket().display()
        );
    }
    detach_all(&config.intercept.pin_dir).context("the programs cannot be removed")?;
    let folder = CgroupRoot::find()?.folder(&config.jobs.cgroup);
    if let Ok(children) = std::fs::read_dir(&folder) {
        // A cgroup with processes stays, and so does its parent; those that are just exiting get
        // a moment.
        let children: Vec<_> = children
            .flatten()
            .filter(|child| child.path().is_dir())
            .collect();
        for _ in 0..100 {
            for child in &children {
                let _busy_or_gone = std::fs::remove_dir(child.path());
            }
            if std::fs::remove_dir(&folder).is_ok() || !folder.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    println!("removed; connections to databases are no longer intercepted");
    Ok(())
}
