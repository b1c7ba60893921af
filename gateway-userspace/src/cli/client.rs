//! What commands that ask the daemon share: where it is, how answers are shown.

use std::{
    io::{IsTerminal, Write, stdout},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use crate::admin::{Client, Request, Response};

/// Where the daemon is.
#[derive(Args, Clone, Debug)]
pub struct ControlArgs {
    /// The daemon's control socket.
    #[arg(
        long,
        value_name = "SOCKET",
        env = "CORDON_CONTROL",
        default_value = "/run/cordon/control.sock"
    )]
    pub control: PathBuf,
}

/// How answers are shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputArgs {
    /// Print JSON. Also when the output is not a terminal.
    #[arg(long)]
    pub json: bool,
}

impl OutputArgs {
    /// Whether to print JSON.
    pub fn wants_json(self) -> bool {
        self.json || !stdout().is_terminal()
    }
}

/// A runtime for a command: one thread, which is all it needs.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Asks the daemon one thing. A refusal is an error.
pub fn ask(control: &Path, request: &Request) -> anyhow::Result<Response> {
    runtime()?.block_on(async { accepted(Client::connect(control)?.call(request).await?) })
}

/// Makes a refusal an error.
pub fn accepted(response: Response) -> anyhow::Result<Response> {
    match response {
        Response::Error { message } => bail!("{}", plain(&message)),
        Response::Done
        | Response::Job(_)
        | Response::Jobs { .. }
        | Response::Approvals { .. }
        | Response::Requests { .. }
        | Response::Status(_)
        | Response::EvidenceKey { .. }
        | Response::Catalog(_)
        | Response::DatabaseChecks { .. } => Ok(response),
    }
}

/// The error for an answer to another question.
pub fn unexpected() -> anyhow::Error {
    anyhow::anyhow!(
        "the daemon's answer does not fit the question; are the daemon and this command of the same version?"
    )
}

/// Prints a value as JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).context("cannot write to standard output")?;
    writeln!(out).context("cannot write to standard output")
}

/// Prints rows below a bold heading, columns aligned.
pub fn print_table(heading: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| plain(cell)).collect())
        .collect();
    let widths: Vec<usize> = heading
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.chain([title.len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut out = stdout().lock();
    let title = line(&mut heading.iter().copied());
    let title = if stdout().is_terminal() {
        format!("\x1b[1m{title}\x1b[0m")
    } else {
        title
    };
    writeln!(out, "{title}")?;
    for row in &rows {
        writeln!(out, "{}", line(&mut row.iter().map(String::as_str)))?;
    }
    Ok(())
}

/// Text that can do nothing to a terminal: control characters and those that turn the direction
/// of writing are shown as escapes.
pub fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c\nd"), "a\\u{1b}[2Jb\\u{202e}c\\nd");
        assert_eq!(plain("Zürich 東京"), "Zürich 東京");
    }
}
