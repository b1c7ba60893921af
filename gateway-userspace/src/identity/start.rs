//! What is asked for when a job is started, who it is, and why it is not.

use std::time::SystemTime;

use super::{
    Environment, JobIdentity, Starter, Target, TokenError, Tokens,
    jwks::shown,
    preset::{self, Mismatch},
    replay::{UseError, UsedTokens},
};

/// Why a job was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Who asks may not.
    #[error("{0}")]
    NotAllowed(String),
    /// No such process, or not any more.
    #[error("the process cannot become a job: {0}")]
    Process(String),
    /// The process is in a job's cgroup, of a live job or of one that has ended.
    #[error("process {pid} belongs to {job} already; a process can be in one job only, once")]
    InJob {
        /// The process.
        pid: u32,
        /// The other job.
        job: String,
    },
    /// The token is not accepted.
    #[error("the token is refused: {0}")]
    Token(#[from] TokenError),
    /// The token has started a job before.
    #[error("the token has been used before; each token starts one job, so request a new one")]
    Replayed,
    /// It could go round by the Unix socket of a protected database.
    #[error(
        "the job could reach the protected database's Unix socket {socket} without Cordon; close it (PostgreSQL: `unix_socket_permissions = 0700`, or `unix_socket_directories` out of the jobs' reach), or set `intercept.unix_sockets: report`"
    )]
    LocalDatabase {
        /// Its path.
        socket: String,
    },
    /// Of another job, or of none that can be told.
    #[error("{0}")]
    Environment(String),
    /// A part of Cordon's own does not work.
    #[error("cannot {doing}: {error}; this is a fault on the host, not of the token")]
    Fault {
        /// What was being done.
        doing: &'static str,
        /// What failed.
        error: String,
    },
}

/// What says who a job is.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// A token of its issuer.
    Token(&'a str),
    /// Its runner alone, whose CI system is that of the issuer of this configured name.
    Asserted(&'a str),
}

/// What is asked for when a job is started.
#[derive(Debug)]
pub struct Start<'a> {
    /// Who it is.
    pub proof: Proof<'a>,
    /// The process that becomes the job.
    pub target: &'a Target,
    /// Who asks.
    pub starter: &'a Starter,
    /// It ends with the connection that started it, and its processes with it.
    pub bound: bool,
    /// The process is a runner's worker: all that is below it comes along, and the job ends with it.
    pub worker: bool,
    /// What the runner has told the job's first process.
    pub environment: &'a Environment,
}

impl Start<'_> {
    /// Who a job is by its token, which is used up; and when the token ends it, if it does.
    pub(super) async fn verified(
        &self,
        tokens: &Tokens,
        used: &UsedTokens,
        id: String,
        token: &str,
        now: SystemTime,
    ) -> Result<(JobIdentity, Option<SystemTime>), StartError> {
        let token = tokens.verify(token, now).await?;
        if let Some(preset) = token.preset {
            preset::check_environment(preset, &token.claims, self.environment, self.worker)
                .map_err(|mismatch| elsewhere(&mismatch))?;
        }
        used.consume(token.once, token.expires, now)
            .map_err(|error| match error {
                UseError::Replayed => StartError::Replayed,
                UseError::Full => fault(
                    "remember the token",
                    "too many unexpired tokens are remembered",
                ),
                UseError::Journal(error) => fault("remember the token", error),
            })?;
        let deadline = token.ends_job.then_some(token.expires);
        Ok((JobIdentity::from_token(id, token), deadline))
    }

    /// Who a job is by its runner's word.
    pub(super) fn asserted(
        &self,
        tokens: &Tokens,
        id: String,
        issuer: &str,
    ) -> Result<JobIdentity, StartError> {
        let known = tokens.issuer(issuer).filter(|issuer| issuer.asserted);
        let Some((issuer, preset)) = known.and_then(|issuer| Some((issuer, issuer.preset?))) else {
            return Err(StartError::NotAllowed(format!(
                "the runner's word is not accepted for jobs of {issuer:?}; have the job request a token, or set `asserted: true` at the issuer"
            )));
        };
        let claims =
            preset::asserted(preset, self.environment).map_err(|mismatch| elsewhere(&mismatch))?;
        Ok(JobIdentity::asserted(id, issuer.name.clone(), claims))
    }
}

fn elsewhere(mismatch: &Mismatch) -> StartError {
    StartError::Environment(match mismatch {
        Mismatch::Differs {
            claim,
            variable,
            token,
            runner,
        } => format!(
            "the token is of another job: its claim {claim} is `{}`, while the runner's {variable} is `{}`",
            shown(token),
            shown(runner)
        ),
        Mismatch::Unnamed(variable) => format!(
            "which job this is cannot be told: {variable} is not in the environment; start it from the runner's own hook"
        ),
        Mismatch::Missing(claim) | Mismatch::Type(claim) => {
            format!("which job this is cannot be told: {claim}")
        }
        Mismatch::Suspect(what) => (*what).to_owned(),
    })
}

/// A part of Cordon's own that does not work.
pub(super) fn fault(doing: &'static str, error: impl std::fmt::Display) -> StartError {
    StartError::Fault {
        doing,
        error: error.to_string(),
    }
}
