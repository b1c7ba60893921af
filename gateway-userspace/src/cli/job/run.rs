//! `cordon job run`: a command as a job, from its first instruction to its last process.

use std::{
    ffi::OsString,
    io::IsTerminal,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, Command, ExitCode, ExitStatus},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::signal::unix::{SignalKind, signal};

use super::TokenArgs;
use crate::{
    admin::{Client, Request, Response},
    cli::client::{self, ControlArgs},
};

/// How long to wait for the daemon to say that the job has ended.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How much later than the daemon this process may learn that the command has ended.
const EXIT_LAG: Duration = Duration::from_secs(1);

/// Arguments of `cordon job run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    token: TokenArgs,
    /// User to run the command as; the caller if not given. Only root may name one.
    #[arg(long)]
    user: Option<String>,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command and returns its exit status: 128 and the signal's number if one ended it.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let token = args.token.read()?;
    let runtime = client::runtime()?;
    let status = runtime.block_on(async {
        let mut daemon = Client::connect(&args.control.control)?;
        let mut child = Paused::spawn(args)?;
        let request = Request::JobStart {
            token: token.to_string(),
            asserted: args.token.asserted.clone(),
            worker: false,
            pid: child.child.id(),
            bound: true,
        };
        match client::accepted(daemon.call(&request).await?)? {
            Response::Job(_) => {}
            _ => return Err(client::unexpected()),
        }
        child.resume()?;
        let status = supervise(child, &mut daemon).await?;
        // The job has ended, sessions and all, when this command has.
        if tokio::time::timeout(END_PATIENCE, daemon.finish())
            .await
            .is_err()
        {
            eprintln!("cordon: the daemon does not confirm the end of the job");
        }
        Ok(status)
    })?;
    Ok(exit_code(status))
}

/// Waits for the command's end and hands on signals meanwhile.
async fn supervise(mut command: Paused, daemon: &mut Client) -> anyhow::Result<ExitStatus> {
    let handle = command
        .handle
        .try_clone()
        .context("cannot hold on to the command")?;
    // At a terminal its signals go to the command directly.
    let at_terminal = std::io::stdin().is_terminal();
    let kinds = [
        (SignalKind::terminate(), Signal::TERM, true),
        (SignalKind::hangup(), Signal::HUP, true),
        (SignalKind::user_defined1(), Signal::USR1, true),
        (SignalKind::user_defined2(), Signal::USR2, true),
        (SignalKind::interrupt(), Signal::INT, !at_terminal),
        (SignalKind::quit(), Signal::QUIT, !at_terminal),
    ];
    let mut forwards = Vec::new();
    for (kind, to, forwarded) in kinds {
        let mut received = signal(kind).context("cannot catch signals")?;
        let handle = handle
            .try_clone()
            .context("cannot hold on to the command")?;
        forwards.push(tokio::spawn(async move {
            while received.recv().await.is_some() {
                if forwarded {
                    // Gone already: the end is being reported.
                    let _ = pidfd_send_signal(&handle, to);
                }
            }
        }));
    }
    let mut exited = tokio::task::spawn_blocking(move || command.child.wait());
    let status = tokio::select! {
        status = &mut exited => status,
        // Most often because the command has ended, which is told here a moment later.
        () = daemon.closed() => {
            if let Ok(status) = tokio::time::timeout(EXIT_LAG, &mut exited).await {
                status
            } else {
                eprintln!("cordon: the job has ended before its command; databases are out of its reach");
                exited.await
            }
        }
    };
    for forward in forwards {
        forward.abort();
    }
    status
        .context("cannot wait for the command")?
        .context("cannot wait for the command")
}

/// A command that has not begun yet: it waits, stopped, to be put into a job.
struct Paused {
    child: Child,
    handle: OwnedFd,
    resumed: bool,
}

impl Paused {
    fn spawn(args: &RunArgs) -> anyhow::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["job", "exec-when-ready", "--parent"])
            .arg(std::process::id().to_string());
        if let Some(user) = &args.user {
            command.arg("--user").arg(user);
        }
        command.arg("--").args(&args.command);
        // Used up by this job; of no use to the command.
        command.env_remove(&args.token.token_env);
        let child = command
            .spawn()
            .context("cannot start a process for the command")?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("the process has no number")?;
        // A child that is not waited for keeps its number, so this is that child.
        let handle =
            pidfd_open(pid, PidfdFlags::empty()).context("cannot hold on to the command")?;
        let mut paused = Self {
            child,
            handle,
            resumed: false,
        };
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = loop {
            match waitid(WaitId::Pid(pid), options) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.context("cannot wait for the process of the command")?,
            }
        };
        if status.is_some_and(|status| status.stopped()) {
            return Ok(paused);
        }
        let status = paused
            .child
            .wait()
            .context("cannot wait for the process of the command")?;
        // It has said why.
        bail!("the command was not started ({status})");
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        self.resumed = true;
        pidfd_send_signal(&self.handle, Signal::CONT).context("cannot let the command begin")
    }
}

impl Drop for Paused {
    /// A command whose job was refused never begins.
    fn drop(&mut self) {
        if !self.resumed {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
