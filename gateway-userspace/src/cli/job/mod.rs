//! `cordon job`: start, end and list jobs, or run a command as one.

mod exec;
mod github;
mod run;

use std::{fs::File, io::Read, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::client::{self, ControlArgs, OutputArgs};
use crate::admin::{JobView, Request, Response};

/// Start, end and list jobs, or run a command as one.
#[derive(Args, Debug)]
pub struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Subcommand, Debug)]
enum JobCommand {
    /// Run a command as a job. The job ends with the command, and what it left running is killed.
    Run(run::RunArgs),
    /// Make a running process, and the children it will have, a job.
    Start {
        #[command(flatten)]
        control: ControlArgs,
        #[command(flatten)]
        token: TokenArgs,
        /// The process; the one that called this command if not given.
        #[arg(long, conflicts_with = "worker")]
        pid: Option<u32>,
        /// From a hook of a runner: make the runner's process above it the job, with all that is
        /// below. The job ends when that process does.
        #[arg(long)]
        worker: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// End a job: its sessions close, and it has no more access.
    End {
        #[command(flatten)]
        control: ControlArgs,
        /// Id of the job.
        #[arg(required_unless_present = "own", conflicts_with = "own")]
        job: Option<String>,
        /// The job that this command runs in.
        #[arg(long)]
        own: bool,
    },
    /// List the live jobs, or show one.
    Status {
        #[command(flatten)]
        control: ControlArgs,
        /// Id of the job; all if not given.
        job: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Used by `run`: waits until it is in a job, then becomes the command.
    #[command(hide = true)]
    ExecWhenReady(exec::ExecArgs),
}

/// Where the job's token is. Never an argument: those are visible to all of the host.
#[derive(Args, Debug)]
struct TokenArgs {
    /// File that holds the token.
    #[arg(long, value_name = "FILE", conflicts_with = "token_env")]
    token_file: Option<PathBuf>,
    /// Environment variable that holds the token.
    #[arg(long, value_name = "VARIABLE", default_value = "CORDON_TOKEN")]
    token_env: String,
    /// Request a token with this audience from GitHub Actions, as the job at hand.
    #[arg(long, value_name = "AUDIENCE", conflicts_with_all = ["token_file", "token_env"])]
    github_token: Option<String>,
    /// No token: the runner's word is enough for jobs of this configured issuer.
    #[arg(long, value_name = "ISSUER", conflicts_with_all = ["token_file", "token_env", "github_token"])]
    asserted: Option<String>,
}

const MAX_TOKEN_FILE: u64 = 64 * 1024;

impl TokenArgs {
    fn read(&self) -> anyhow::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        if self.asserted.is_some() {
            return Ok(text);
        }
        if let Some(audience) = &self.github_token {
            return github::request_token(audience);
        }
        match &self.token_file {
            Some(path) => {
                let file = File::open(path)
                    .with_context(|| format!("cannot read the token file {}", path.display()))?;
                file.take(MAX_TOKEN_FILE)
                    .read_to_string(&mut text)
                    .with_context(|| format!("cannot read the token file {}", path.display()))?;
            }
            None => match std::env::var(&self.token_env) {
                Ok(token) => *text = token,
                Err(_) => bail!(
                    "there is no token: the variable {} is not set; use --token-file or --token-env",
                    self.token_env
                ),
            },
        }
        let token = Zeroizing::new(text.trim().to_owned());
        if token.is_empty() {
            bail!("the token is empty; the job's step that requests it may have failed");
        }
        Ok(token)
    }
}

/// Runs `cordon job`. Must be called before anything else starts threads.
///
/// # Errors
/// If the daemon cannot be asked or refuses, or the command cannot be run.
pub fn run(args: JobArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        JobCommand::Run(args) => run::run(&args),
        JobCommand::ExecWhenReady(args) => exec::run(&args),
        JobCommand::Start {
            control,
            token,
            pid,
            worker,
            output,
        } => {
            let caller =
                || rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
            let pid = if worker {
                // What is above this very process is what counts.
                std::process::id()
            } else {
                pid.or_else(caller).context(
                    "the process that called this command is not visible; name one with --pid",
                )?
            };
            let text = token.read()?;
            let request = Request::JobStart {
                token: text.to_string(),
                asserted: token.asserted.clone(),
                worker,
                pid,
                bound: false,
            };
            let Response::Job(job) = client::ask(&control.control, &request)? else {
                return Err(client::unexpected());
            };
            if output.wants_json() {
                client::print_json(&job)?;
            } else {
                print(&[job])?;
            }
            Ok(ExitCode::SUCCESS)
        }
        JobCommand::End {
            control,
            job,
            own: _,
        } => {
            let request = job.map_or(Request::JobEndOwn, |job| Request::JobEnd { job });
            match client::ask(&control.control, &request)? {
                Response::Done => Ok(ExitCode::SUCCESS),
                _ => Err(client::unexpected()),
            }
        }
        JobCommand::Status {
            control,
            job,
            output,
        } => {
            let Response::Jobs { jobs } =
                client::ask(&control.control, &Request::JobStatus { job })?
            else {
                return Err(client::unexpected());
            };
            if output.wants_json() {
                client::print_json(&jobs)?;
            } else if jobs.is_empty() {
                println!("No jobs.");
            } else {
                print(&jobs)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(jobs: &[JobView]) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let (job, processes, sessions) = (
                job.clone(),
                job.processes.to_string(),
                job.sessions.to_string(),
            );
            vec![
                job.id,
                job.issuer,
                job.subject,
                processes,
                sessions,
                job.started,
            ]
        })
        .collect();
    client::print_table(
        &[
            "job",
            "issuer",
            "subject",
            "processes",
            "sessions",
            "started",
        ],
        &rows,
    )
}
