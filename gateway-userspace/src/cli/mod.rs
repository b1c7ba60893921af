//! The command line. Each command is a file; this one says which there are.

mod approvals;
mod catalog;
mod client;
mod control;
mod database;
mod doctor;
mod evidence;
mod fit;
mod gateway;
mod job;
mod logins;
mod policy;
mod refusals;
mod reload;
mod roles;
mod run;
mod service;
mod sessions;
mod shell;
mod status;
mod style;
mod table;
mod uninstall;
mod witness;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// A checkpoint between AI coding agents and databases on CI runner hosts.
#[derive(Parser, Debug)]
#[command(name = "cordon", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the daemon.
    Run(run::RunArgs),
    /// The part of the daemon that speaks with jobs and databases; `run` starts it.
    #[command(hide = true)]
    Gateway,
    /// Start, end and list jobs, or run a command as one.
    Job(job::JobArgs),
    /// List, show and answer held statements.
    Approvals(approvals::ApprovalsArgs),
    /// List, show and replay recorded sessions.
    Sessions(sessions::SessionsArgs),
    /// Verify the evidence log.
    Evidence(evidence::EvidenceArgs),
    /// Prepare databases for the roles of jobs.
    Database(database::DatabaseArgs),
    /// Check, explain, test, suggest and compare policies.
    Policy(policy::PolicyArgs),
    /// Show the state of the daemon.
    Status(status::StatusArgs),
    /// Check this host: what is missing for Cordon to hold, and how to mend it.
    Doctor(doctor::DoctorArgs),
    /// Remove the programs from the kernel; databases are no longer protected.
    Uninstall(uninstall::UninstallArgs),
    /// Print a completion script for a shell.
    Completions(shell::CompletionsArgs),
    /// Write the man pages to a folder.
    Man(shell::ManArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Run(args) => run::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Gateway => gateway::run().map(|()| ExitCode::SUCCESS),
        Command::Job(args) => job::run(args),
        Command::Approvals(args) => {
            let control = args.control.clone();
            approvals::run(args, &mut |request| client::ask(&control, &request))
        }
        Command::Sessions(args) => sessions::run(args),
        Command::Evidence(args) => evidence::run(args),
        Command::Database(args) => database::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Policy(args) => Ok(policy::run(args)),
        Command::Status(args) => status::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Uninstall(args) => uninstall::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Completions(args) => {
            shell::completions(&args, Cli::command());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(args) => shell::man(&args, Cli::command()).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("cordon: {error:#}");
        ExitCode::FAILURE
    })
}
