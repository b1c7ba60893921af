//! `cordon completions` and `cordon man`, for packaging.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap_complete::Shell;

/// Print a completion script for a shell.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Write the man pages to a folder.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The folder; it must exist.
    folder: PathBuf,
}

/// Prints the completion script.
pub fn completions(args: &CompletionsArgs, mut command: clap::Command) {
    clap_complete::generate(args.shell, &mut command, "cordon", &mut std::io::stdout());
}

/// Writes one page for each command.
///
/// # Errors
/// If the folder cannot be written.
pub fn man(args: &ManArgs, command: clap::Command) -> anyhow::Result<()> {
    clap_mangen::generate_to(command, &args.folder).with_context(|| {
        format!(
            "the man pages cannot be written to {}",
            args.folder.display()
        )
    })
}
