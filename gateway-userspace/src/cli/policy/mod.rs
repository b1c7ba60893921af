//! `cordon policy`: tools for those who write policies.

mod arguments;
mod catalog;
mod check;
mod diff;
mod explain;
mod job;
mod recorded;
mod schema;
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

// Each is described where its arguments are.
#[derive(Subcommand, Debug)]
enum PolicyCommand {
    Check(check::CheckArgs),
    Explain(Box<explain::ExplainArgs>),
    Test(test::TestArgs),
    Suggest(suggest::SuggestArgs),
    Diff(diff::DiffArgs),
    Catalog(catalog::CatalogCommand),
    Schema(schema::SchemaArgs),
}

/// Runs the command. What cannot be done exits with 2, so that it is not taken for an answer.
pub fn run(args: PolicyArgs) -> ExitCode {
    let outcome = match args.command {
        PolicyCommand::Check(args) => check::run(&args),
        PolicyCommand::Explain(args) => explain::run(&args),
        PolicyCommand::Test(args) => test::run(&args),
        PolicyCommand::Suggest(args) => suggest::run(&args),
        PolicyCommand::Diff(args) => diff::run(&args),
        PolicyCommand::Catalog(args) => catalog::run(&args),
        PolicyCommand::Schema(schema::SchemaArgs {}) => schema::run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("cordon: {error:#}");
        ExitCode::from(UNUSABLE)
    })
}
