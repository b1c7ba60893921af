//! `cordon policy schema`: the JSON Schema of policy files, for editors.

use std::process::ExitCode;

use clap::Args;

use crate::{cli::client::print_json, policy::schema};

/// Print the JSON Schema of policy files, for editors.
#[derive(Args, Debug)]
pub struct SchemaArgs {}

/// Runs the command.
pub fn run() -> anyhow::Result<ExitCode> {
    print_json(&schema())?;
    Ok(ExitCode::SUCCESS)
}
