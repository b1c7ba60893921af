//! `cordon status`.

use std::process::ExitCode;

use clap::Args;

use super::client::{self, ControlArgs, OutputArgs};
use crate::admin::{Request, Response};

/// Show the state of the daemon.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Asks the daemon and prints its state.
///
/// # Errors
/// If the daemon cannot be asked.
pub fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let StatusArgs { control, output } = args;
    let Response::Status(status) = client::ask(&control.control, &Request::Status)? else {
        return Err(client::unexpected());
    };
    if output.wants_json() {
        client::print_json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        vec!["version".to_owned(), status.version],
        vec!["process".to_owned(), status.pid.to_string()],
        vec!["policy".to_owned(), status.policy],
        vec!["policy in force since".to_owned(), status.policy_since],
        vec!["live jobs".to_owned(), status.jobs.to_string()],
        vec!["open sessions".to_owned(), status.sessions.to_string()],
        vec!["held statements".to_owned(), status.held.to_string()],
        vec![
            "disagreements with the database".to_owned(),
            status.disagreements.to_string(),
        ],
        vec![
            "evidence entries".to_owned(),
            status.evidence_entries.to_string(),
        ],
    ];
    if !status.witnesses.is_empty() {
        rows.push(vec![
            "of them witnessed".to_owned(),
            status.evidence_witnessed.to_string(),
        ]);
    }
    for witness in status.witnesses {
        let name = format!("witness {}", witness.name);
        let cosigned = match witness.time {
            Some(time) => format!("{} entries at {time}", witness.entries),
            None => "nothing cosigned since the daemon started".to_owned(),
        };
        rows.push(vec![name.clone(), cosigned]);
        rows.extend(witness.problem.map(|problem| vec![name, problem]));
    }
    rows.extend(
        status
            .observing
            .into_iter()
            .map(|grant| vec!["grant that only observes".to_owned(), grant]),
    );
    if let Some(error) = status.policy_error {
        rows.push(vec!["policy files refused".to_owned(), error.at]);
        rows.extend(
            error
                .problems
                .into_iter()
                .map(|problem| vec!["problem".to_owned(), problem]),
        );
    }
    rows.extend(
        status
            .databases
            .into_iter()
            .map(|(name, address)| vec![format!("database {name}"), address]),
    );
    client::print_table(&["what", "state"], &rows)?;
    Ok(ExitCode::SUCCESS)
}
