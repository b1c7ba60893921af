//! The daemon.

use super::{super::client, finding::Finding};
use crate::{
    admin::{Request, Response, StatusView},
    config::Config,
};

const AREA: &str = "daemon";

/// The daemon's state, or why it does not tell.
pub fn ask(config: &Config) -> anyhow::Result<StatusView> {
    match client::ask(&config.control_socket(), &Request::Status)? {
        Response::Status(status) => Ok(status),
        _ => Err(client::unexpected()),
    }
}

/// Looks at it.
pub fn check(daemon: &anyhow::Result<StatusView>) -> Vec<Finding> {
    let status = match daemon {
        Ok(status) => status,
        Err(error) => {
            return vec![Finding::problem(
                AREA,
                "runs",
                format!("{error:#}"),
                "start it: `systemctl start cordon`, or look why it ended: `journalctl -u cordon`. Until then jobs are refused",
            )];
        }
    };
    let own = env!("CARGO_PKG_VERSION");
    let runs = if status.version == own {
        Finding::ok(
            AREA,
            "runs",
            format!(
                "version {own}, process {}, {} job(s), {} session(s)",
                status.pid, status.jobs, status.sessions
            ),
        )
    } else {
        Finding::warning(
            AREA,
            "runs",
            format!(
                "the daemon is version {}, this command {own}",
                status.version
            ),
            "`systemctl restart cordon` when no job runs",
        )
    };
    let policy = match &status.policy_error {
        None => Finding::ok(
            AREA,
            "policy in force",
            format!("since {}", status.policy_since),
        ),
        Some(error) => Finding::problem(
            AREA,
            "policy in force",
            format!(
                "the files of now were refused at {}: {}",
                error.at,
                error.problems.join("; ")
            ),
            "correct them (`cordon policy check`); the last good ones stay in force",
        ),
    };
    vec![runs, policy]
}
