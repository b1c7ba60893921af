//! `cordon policy`: tools for those who write policies.

mod arguments;
mod catalog;
mod check;
mod diff;
mod explain;
mod job;
mod recorded;
mod suggest;
mod test;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// What went wrong is no answer: files that cannot be read, statements that are not SQL.
const UNUSABLE: u8 = 2;

/// Check, explain, test, suggest and compare policies.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand, Debug)]
enum PolicyCommand {
    /// Check every file of a policy folder.
    Check(check::CheckArgs),
    /// Explain what the policy says to a statement of a job, and why.
    Explain(Box<explain::ExplainArgs>),
    /// Run the test cases next to a policy.
    Test(test::TestArgs),
    /// Write the narrowest policy under which recorded sessions would have run.
    Suggest(suggest::SuggestArgs),
    /// Show what another policy would have changed in recorded sessions.
    Diff(diff::DiffArgs),
    /// Read the catalog of a database and keep it in a file for the other tools.
    Catalog(catalog::CatalogCommand),
}

/// Runs the command. What cannot be done exits with 2, so that it is not taken for an answer.
///
/// # Errors
/// None: they are printed.
pub fn run(args: PolicyArgs) -> anyhow::Result<ExitCode> {
    let outcome = match args.command {
        PolicyCommand::Check(args) => check::run(&args),
        PolicyCommand::Explain(args) => explain::run(&args),
        PolicyCommand::Test(args) => test::run(&args),
        PolicyCommand::Suggest(args) => suggest::run(&args),
        PolicyCommand::Diff(args) => diff::run(&args),
        PolicyCommand::Catalog(args) => catalog::run(&args),
    };
    Ok(outcome.unwrap_or_else(|error| {
        eprintln!("cordon: {error:#}");
        ExitCode::from(UNUSABLE)
    }))
}
