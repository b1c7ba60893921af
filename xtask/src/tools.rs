//! Cargo-installed tools: found, or installed below the user's cache, where all checkouts share them.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{
    ensure,
    step::{cargo, command, root, run, step, succeeds},
};

/// A tool from crates.io.
pub struct Tool {
    /// Crate and command name.
    pub name: &'static str,
    /// Exact version.
    pub version: &'static str,
    /// Further arguments of `cargo install`.
    pub args: &'static [&'static str],
    /// Environment of `cargo install`.
    pub env: &'static [(&'static str, &'static str)],
}

impl Tool {
    /// The command's path; installs it if it is absent.
    pub fn ensure(&self, no_install: bool) -> Result<PathBuf> {
        if let Some(path) = self.find() {
            return Ok(path);
        }
        let mut install = cargo();
        install
            .args([
                "install",
                "--locked",
                "--quiet",
                self.name,
                "--version",
                self.version,
            ])
            .args(self.args)
            .envs(self.env.iter().copied())
            // Tools are for this machine, built with the default settings.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTC_BOOTSTRAP");
        if no_install {
            let env: Vec<String> = self
                .env
                .iter()
                .map(|(key, value)| format!("{key}={value} "))
                .collect();
            let env = env.concat();
            bail!(
                "missing tool: {} {}\n  {env}{}",
                self.name,
                self.version,
                crate::step::show(&install)
            );
        }
        install
            .arg("--root")
            .arg(self.folder())
            .arg("--target-dir")
            .arg(root().join("target/tools/build"));
        let into = self.folder().display().to_string();
        step(
            &format!("install {} {} into {into}", self.name, self.version),
            || run(&mut install),
        )?;
        match self.find() {
            Some(path) => Ok(path),
            None => bail!("{} was installed, but does not run", self.name),
        }
    }

    /// In its own folder, `PATH` or cargo's own folder, if it runs.
    pub fn find(&self) -> Option<PathBuf> {
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        [
            Some(self.folder().join("bin").join(self.name)),
            ensure::find(self.name),
            home.map(|home| home.join("bin").join(self.name)),
        ]
        .into_iter()
        .flatten()
        .find(|path| path.is_file() && succeeds(command(path).arg("--version")))
    }

    /// One for each version: checkouts may want different ones.
    fn folder(&self) -> PathBuf {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        let tools = cache.map_or_else(
            || root().join("target/tools"),
            |cache| cache.join("cordon-xtask"),
        );
        tools.join(format!("{}-{}", self.name, self.version))
    }
}
