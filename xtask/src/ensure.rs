//! Debian packages: there already, or installed, or named.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::step::{command, run, step, succeeds};

/// Makes sure that every package is installed. A package comes with a proof: an absolute path, or
/// the name of a command, that exists once it is installed.
///
/// With `no_install`, or without the right to install, missing packages are an error that says how
/// to get them.
pub fn ensure_packages(packages: &[(&str, &str)], no_install: bool) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|(_, proof)| !is_there(proof))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if no_install {
        bail!("missing packages: {list}\n  apt-get install --yes {list}");
    }
    if !succeeds(command("apt-get").arg("--version")) {
        bail!("missing: {list}, and there is no apt-get here; see docs/building.md");
    }
    if !is_root() {
        bail!("missing packages: {list}\n  sudo apt-get install --yes {list}");
    }
    step(&format!("install {list}"), || {
        let install = || {
            run(command("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
                .args(&missing))
        };
        // The lists of a fresh machine are empty or old.
        run(command("apt-get").args(["update", "--quiet=2"])).and_then(|()| install())
    })?;
    match packages.iter().find(|(_, proof)| !is_there(proof)) {
        None => Ok(()),
        Some((package, proof)) => {
            bail!("{package} is installed, but {proof} is not there; see docs/building.md")
        }
    }
}

/// Whether a path exists, or a command can be found.
pub fn is_there(proof: &str) -> bool {
    if proof.starts_with('/') {
        Path::new(proof).exists()
    } else {
        find(proof).is_some()
    }
}

/// Where a command is, by `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == 0
    })
}
