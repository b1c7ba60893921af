//! `cordon policy`: tools for those who write policies.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{config::Config, policy::Policy, session::hex};

/// Check policy files.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand, Debug)]
enum PolicyCommand {
    /// Check every file of a policy folder.
    Check {
        /// The folder; default: that of the configuration, whose names are checked too.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
        config: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// Every problem of the files, with its place.
pub fn run(args: &PolicyArgs) -> anyhow::Result<()> {
    let PolicyCommand::Check { dir, config } = &args.command;
    let policy = match dir {
        Some(dir) => Policy::load(dir)?,
        None => super::run::load_policy(&Config::load(config)?)?,
    };
    println!(
        "{} grants, digest {}",
        policy.grants().len(),
        hex(&policy.digest())
    );
    Ok(())
}
