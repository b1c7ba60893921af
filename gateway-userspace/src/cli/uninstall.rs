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
        for child in children.flatten() {
            // A cgroup with processes stays; so does its parent.
            let _busy = std::fs::remove_dir(child.path());
        }
        let _busy = std::fs::remove_dir(&folder);
    }
    println!("removed; connections to databases are no longer intercepted");
    Ok(())
}
