//! Steps: one line each, with the time it took.

use std::{
    ffi::OsStr,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// The workspace's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Prints what a part of the work is about to do, runs it, and prints how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("{} {what}", bold("==>"));
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(_) => println!("{} {what} ({seconds:.1} s)", green("ok ")),
        Err(_) => println!("{} {what} ({seconds:.1} s)", red("failed")),
    }
    result
}

/// A command in the workspace's root that shows its output.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs this program.
///
/// What `cargo run` tells this program about its own package is taken away: build scripts that watch
/// these variables (ring's does) would run again, with all that depends on them, whenever a build by
/// hand follows one from here.
pub fn cargo() -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let of_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if of_package {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Runs a command; a failure is an error that names it.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    std::io::stdout()
        .flush()
        .context("writing to standard output")?;
    let status = command
        .status()
        .with_context(|| format!("running `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command silently, and gives whether it succeeded.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as one would type it.
pub fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    std::iter::once(program.file_name().unwrap_or(command.get_program()))
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Bold, on a terminal.
pub fn bold(text: &str) -> String {
    paint("1", text)
}

/// Green, on a terminal.
pub fn green(text: &str) -> String {
    paint("32", text)
}

/// Yellow, on a terminal.
pub fn yellow(text: &str) -> String {
    paint("33", text)
}

/// Red, on a terminal.
pub fn red(text: &str) -> String {
    paint("31", text)
}

fn paint(code: &str, text: &str) -> String {
    let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let wanted = std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal();
    if forced || wanted {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
