//! The process that becomes a job's command: stops itself, is moved into the job, goes on.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};
use clap::Args;
use nix::unistd::{User, getgrouplist};
use rustix::{
    process::{
        Gid, Pid, Signal, Uid, getpid, getppid, kill_process, set_parent_process_death_signal,
    },
    thread::{set_thread_gid, set_thread_groups, set_thread_uid},
};

/// Arguments of the hidden command.
#[derive(Args, Debug)]
pub(super) struct ExecArgs {
    /// Process that waits for this one.
    #[arg(long)]
    parent: i32,
    /// User to become.
    #[arg(long)]
    user: Option<String>,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Exit status for a command that cannot be run, as shells use it.
const CANNOT_RUN: u8 = 126;
/// Exit status for a command that does not exist, as shells use it.
const NOT_FOUND: u8 = 127;

/// Becomes the command. This process has one thread only, so what is set for the thread is set
/// for the process.
pub(super) fn run(args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let account = args.user.as_deref().map(Account::find).transpose()?;
    // If the waiting process dies, nobody lets this one go on.
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot follow the parent's death")?;
    if getppid().map(Pid::as_raw_pid) != Some(args.parent) {
        bail!("the process that waits for this one is gone");
    }
    kill_process(getpid(), Signal::STOP).context("cannot stop to wait for the job")?;
    // Whoever may signal this process can wake it too early; then it runs nothing.
    let job = own_job().context("this process was woken before it was put into a job")?;
    set_parent_process_death_signal(None).context("cannot end following the parent's death")?;
    let mut parts = args.command.iter();
    let program = parts.next().context("there is no command")?;
    let mut command = Command::new(program);
    command.args(parts).env("CORDON_JOB", job);
    if let Some(account) = account {
        account.become_it()?;
        command
            .env("HOME", account.home)
            .env("SHELL", account.shell)
            .env("USER", &account.name)
            .env("LOGNAME", &account.name);
    }
    let error = command.exec();
    eprintln!("cordon: cannot run {}: {error}", program.display());
    let code = if error.kind() == std::io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        CANNOT_RUN
    };
    Ok(ExitCode::from(code))
}

/// The id of the job this process is in, which is the name of its cgroup.
fn own_job() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.rsplit('/')
        .next()
        .filter(|name| name.starts_with("job-"))
        .map(str::to_owned)
}

struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    home: PathBuf,
    shell: PathBuf,
}

impl Account {
    fn find(name: &str) -> anyhow::Result<Self> {
        let user = User::from_name(name)
            .with_context(|| format!("cannot look up the user {name}"))?
            .with_context(|| format!("there is no user {name} on this host"))?;
        let c_name = std::ffi::CString::new(name).context("a user name contains no NUL")?;
        let groups = getgrouplist(&c_name, user.gid)
            .with_context(|| format!("cannot look up the groups of {name}"))?;
        Ok(Self {
            name: user.name,
            uid: Uid::from_raw(user.uid.as_raw()),
            gid: Gid::from_raw(user.gid.as_raw()),
            groups: groups
                .into_iter()
                .map(|gid| Gid::from_raw(gid.as_raw()))
                .collect(),
            home: user.dir,
            shell: user.shell,
        })
    }

    /// Groups first: without root's rights they cannot be set.
    fn become_it(&self) -> anyhow::Result<()> {
        let failed = || {
            format!(
                "cannot become the user {}; only root may run jobs as others",
                self.name
            )
        };
        set_thread_groups(&self.groups).with_context(failed)?;
        set_thread_gid(self.gid).with_context(failed)?;
        set_thread_uid(self.uid).with_context(failed)
    }
}
