//! `cordon doctor`: what is missing for Cordon to hold, and how to mend it.
//!
//! It tries what can be tried: a process outside of the gateway dials every protected database, and
//! the daemon logs in at each.

mod daemon;
mod databases;
mod dial;
mod finding;
mod host;
mod programs;
mod reach;
mod report;
mod runners;
mod sockets;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};

use self::finding::{Finding, Report};
use super::{client::OutputArgs, fit::load_policy};
use crate::{
    config::{self, Config},
    warden,
};

/// Check this host: what is missing for Cordon to hold, and how to mend it.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Check these alone.
    #[arg(long, value_enum, value_name = "AREA")]
    only: Vec<Area>,
    #[command(flatten)]
    output: OutputArgs,
    /// Dial this address and tell what answers: what `doctor` runs outside of the gateway.
    #[arg(long, hide = true, requires = "dbname", requires = "cgroup")]
    dial: Option<SocketAddr>,
    #[arg(long, hide = true)]
    dbname: Option<String>,
    #[arg(long, hide = true)]
    cgroup: Option<PathBuf>,
}

/// What can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Area {
    /// Kernel, privileges, cgroups.
    Host,
    /// The configuration and the policy.
    Config,
    /// The daemon.
    Daemon,
    /// The programs in the kernel, and what a connect meets.
    Programs,
    /// The databases, as the daemon reaches them.
    Databases,
    /// What else is in reach of jobs: sockets, groups.
    Reach,
}

/// Checks, prints, and fails if there is a problem.
///
/// # Errors
/// If the result cannot be printed.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    if let (Some(address), Some(dbname), Some(cgroup)) = (args.dial, &args.dbname, &args.cgroup) {
        return dial::child(address, dbname, cgroup).map(|()| ExitCode::SUCCESS);
    }
    let report = Report::new(examine(args));
    report::print(&report, args.output.json)?;
    Ok(if report.healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let wants = |area| args.only.is_empty() || args.only.contains(&area);
    let mut findings = Vec::new();
    if wants(Area::Host) {
        findings.extend(host::check());
    }
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            findings.push(Finding::problem(
                "config",
                "configuration",
                format!("{:#}", anyhow::Error::from(error)),
                "correct the file; the rest is not checked until then. A daemon that runs goes on with what it has read",
            ));
            return findings;
        }
    };
    if wants(Area::Config) {
        findings.extend(configuration(args, &config));
    }
    let daemon = daemon::ask(&config);
    if wants(Area::Daemon) {
        findings.extend(daemon::check(&daemon));
    }
    if wants(Area::Programs) {
        findings.extend(programs::check(&config, daemon.is_ok()));
    }
    if wants(Area::Databases) {
        findings.extend(databases::check(&config, daemon.is_ok()));
    }
    if wants(Area::Reach) {
        findings.extend(reach::check(&config));
    }
    findings
}

fn configuration(args: &DoctorArgs, config: &Config) -> [Finding; 3] {
    let read = Finding::ok(
        "config",
        "configuration",
        format!(
            "{}: {} protected database(s)",
            args.config.display(),
            config.databases.len()
        ),
    );
    let policy = match load_policy(config) {
        Ok(policy) => {
            let observing: Vec<_> = policy
                .observing()
                .map(|grant| grant.name.as_str())
                .collect();
            if observing.is_empty() {
                let files = policy.files().len();
                Finding::ok("config", "policy", format!("{files} file(s) in force"))
            } else {
                Finding::warning(
                    "config",
                    "policy",
                    format!("grants that only observe: {}", observing.join(", ")),
                    "what they would refuse passes; remove `mode: observe` when they are ready",
                )
            }
        }
        Err(error) => Finding::problem(
            "config",
            "policy",
            format!("{error:#}"),
            "correct the policy's files (`cordon policy check`); until then the last good ones stay in force, and a daemon that is stopped does not start",
        ),
    };
    let user = match warden::gateway_user(config) {
        Ok(user) => Finding::ok("config", "gateway's user", format!("uid {}", user.uid)),
        Err(error) => Finding::problem(
            "config",
            "gateway's user",
            error.to_string(),
            "the daemon does not start until then",
        ),
    };
    [read, policy, user]
}
