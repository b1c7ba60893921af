//! A database, an issuer and a daemon together.

use std::{
    process::Command,
    sync::{Arc, OnceLock},
};

use anyhow::{Result, anyhow};

use crate::{Cluster, Daemon, Issuer, JobCommand, Output, Setup, tools};

/// Everything a test needs. The daemon goes first on drop, then the database.
#[derive(Debug)]
pub struct Stand {
    /// The daemon.
    pub daemon: Daemon,
    /// The database behind it.
    pub cluster: Arc<Cluster>,
    /// The issuer it trusts.
    pub issuer: Arc<Issuer>,
}

impl Stand {
    /// Starts everything.
    pub fn start(setup: &Setup) -> Result<Self> {
        Self::start_with(setup, &[])
    }

    /// As [`Stand::start`], with further settings of the database server (`name=value`).
    pub fn start_with(setup: &Setup, settings: &[&str]) -> Result<Self> {
        let cluster = Arc::new(Cluster::start_with(settings)?);
        let issuer = Arc::new(Issuer::start()?);
        let daemon = Daemon::start(&cluster, &issuer, setup)?;
        Ok(Self {
            daemon,
            cluster,
            issuer,
        })
    }

    /// Starts everything under a policy.
    pub fn with_policy(policy: &str) -> Result<Self> {
        Self::start(&Setup {
            policy: policy.to_owned(),
            ..Setup::default()
        })
    }

    /// The stand under the shop's policy that the tests of one program share. For tests that
    /// change nothing another one looks at; the clean-up process removes it when the program ends.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Stand, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start(&Setup::default()).map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("the shared fixture did not start: {error}"))
    }

    /// A job of the tests' repository.
    pub fn job(&self) -> JobCommand<'_> {
        self.daemon.job()
    }

    /// psql of the shop's own user, with the database's own password, from the runner's cgroup and
    /// without a job.
    pub fn dial_without_job(&self) -> Result<Output> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.daemon.runner_cgroup().procs())
            .arg(tools::postgres("psql")?)
            .args(["-X", "-c", "SELECT 1"])
            .env_clear()
            .envs(self.cluster.client_env("app", "app-direct-2b7d"))
            .current_dir("/");
        Ok(command.output()?.into())
    }
}
