//! Cleans up after a test process however it ends.
//!
//! A shell waits at the end of a pipe that only this process holds. When the pipe closes (normal
//! exit, panic, interrupt, kill) it runs what was registered, last first. What a fixture's `Drop`
//! has already removed is not there any more, so each command must bear that.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};

static PIPE: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Registers one shell command.
pub fn at_exit(command: &str) -> Result<()> {
    ensure!(!command.contains('\n'), "a clean-up command is one line");
    let mut pipe = PIPE.lock().unwrap_or_else(PoisonError::into_inner);
    if pipe.is_none() {
        *pipe = Some(start()?);
    }
    if let Some(stdin) = pipe.as_mut() {
        writeln!(stdin, "{command}").context("the clean-up process is gone")?;
    }
    Ok(())
}

fn start() -> Result<ChildStdin> {
    let mut child = Command::new("sh")
        .args(["-c", "commands=$(tac); eval \"$commands\""])
        .current_dir("/")
        // Its own process group: an interrupt at the terminal must not end it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("starting the clean-up process")?;
    child
        .stdin
        .take()
        .context("the clean-up process has no stdin")
}

/// A command that ends the process whose id is the first line of `pid_file`, if it still is the
/// one that was started with `argument` on its command line.
pub fn end_process(pid_file: &Path, argument: &str, signal: &str) -> String {
    let pid_file = pid_file.display();
    format!(
        "p=$(head -n1 {pid_file} 2>/dev/null); \
         if [ -n \"$p\" ] && tr '\\0' ' ' 2>/dev/null </proc/$p/cmdline | grep -qF {argument}; then \
         kill -{signal} $p; for i in $(seq 200); do kill -0 $p 2>/dev/null || break; sleep 0.05; done; fi"
    )
}
