//! A machine of its own: a Debian with its own kernel and systemd as process 1, which can be booted
//! and rebooted. For what a set of namespaces cannot show: the unit in its sandbox, the order of a
//! boot, another kernel than this host's.
//!
//! It runs under software emulation, so that it also runs where this host is a virtual machine
//! itself. Its network is QEMU's own: it sees this host's loopback as [`HOST`], and nobody sees it
//! but through the port of its SSH.

mod image;

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

pub use image::{Image, Release};

use crate::{
    host::{self, Scratch, eventually},
    output::Output,
    reaper, tools,
};

/// This host's loopback, as the machine sees it.
pub const HOST: &str = "10.0.2.2";

/// The longest that a boot takes on a busy host.
const BOOT: Duration = Duration::from_mins(4);

/// What OpenSSH's client exits with if there is no connection.
const NO_CONNECTION: i32 = 255;

/// A machine that runs. Switched off on drop, and all that was written to its disk is gone.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    port: u16,
    key: PathBuf,
    scratch: Scratch,
}

impl Machine {
    /// Boots it, and waits until it can be logged in to.
    pub fn boot(image: &Image) -> Result<Self> {
        let scratch = Scratch::new("machine")?;
        let port = host::free_port()?;
        let pid_file = scratch.path().join("pid");
        let mut command = Command::new(tools::program("qemu-system-x86_64")?);
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
            .args(["-smp", "2", "-m", "1024", "-display", "none"])
            .arg("-serial")
            .arg(format!("file:{}", scratch.path().join("console").display()))
            .arg("-pidfile")
            .arg(&pid_file)
            .arg("-kernel")
            .arg(image.kernel())
            .arg("-initrd")
            .arg(image.initrd())
            .args(["-append", "root=/dev/vda rw console=ttyS0 panic=-1"])
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=virtio,snapshot=on",
                image.disk().display()
            ))
            .arg("-nic")
            .arg(format!(
                "user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:22"
            ))
            .current_dir("/")
            // Where it keeps what is written to its disk.
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::null())
            .stdout(fs::File::create(scratch.path().join("qemu"))?)
            .stderr(fs::File::create(scratch.path().join("qemu.err"))?);
        reaper::at_exit(&reaper::end_process(
            &pid_file,
            &scratch.path().display().to_string(),
            "KILL",
        ))?;
        let child = command.spawn().context("starting the machine")?;
        // OpenSSH wants a key that nobody else can read, also where the image is shared.
        let key = scratch.path().join("key");
        fs::copy(image.key(), &key).context("copying the key")?;
        let mut machine = Self {
            child,
            port,
            key,
            scratch,
        };
        machine.reached("")?;
        Ok(machine)
    }

    /// Runs a command of the machine's shell, as root.
    pub fn run(&self, command: &str) -> Result<Output> {
        self.feed(command, &[])
    }

    /// Writes a file, with the folders above it. `mode` is octal, as `chmod` takes it.
    pub fn write(&self, path: &str, content: &[u8], mode: &str) -> Result<()> {
        let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
        let command = format!(
            "mkdir -p {folder} && install -m {mode} /dev/null {path}.new && cat >{path}.new && mv {path}.new {path}"
        );
        self.feed(&command, content)?.success()?;
        Ok(())
    }

    /// Reboots, and waits until it can be logged in to again.
    pub fn reboot(&mut self) -> Result<()> {
        let before = self.boot_id()?;
        // The connection may end before the command does.
        self.run("systemctl reboot")?;
        self.reached(&before)
    }

    /// What the console has shown.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.scratch.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn feed(&self, command: &str, stdin: &[u8]) -> Result<Output> {
        let mut child = self
            .ssh(command)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting ssh")?;
        let mut pipe = child.stdin.take().context("ssh has no stdin")?;
        // A command that does not read its input is no error.
        let _ = pipe.write_all(stdin);
        drop(pipe);
        Ok(child.wait_with_output()?.into())
    }

    fn ssh(&self, command: &str) -> Result<Command> {
        let mut ssh = Command::new(tools::program("ssh")?);
        ssh.args(["-F", "none", "-q", "-T", "-i"])
            .arg(&self.key)
            .args(["-p", &self.port.to_string()])
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"])
            // Of a connection that a reboot has cut, nobody is told.
            .args(["-o", "ServerAliveInterval=5"])
            // The machine is reached by this host's loopback alone, and has a new key in each image.
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(["root@127.0.0.1", command]);
        Ok(ssh)
    }

    fn boot_id(&self) -> Result<String> {
        let id = self.run("cat /proc/sys/kernel/random/boot_id")?;
        if id.code == Some(NO_CONNECTION) {
            return Ok(String::new());
        }
        Ok(id.success()?.stdout)
    }

    /// Waits until a boot other than `before` can be logged in to, and has come to its end.
    fn reached(&mut self, before: &str) -> Result<()> {
        let until = Instant::now() + BOOT;
        let reached = loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the machine ended with {status}: {}",
                    fs::read_to_string(self.scratch.path().join("qemu.err"))?
                );
            }
            let now = self.boot_id()?;
            if !now.is_empty() && now != before {
                break true;
            }
            if Instant::now() > until {
                break false;
            }
        };
        ensure!(
            reached,
            "the machine cannot be reached; its console:\n{}",
            self.console()
        );
        eventually("the boot to end", || {
            let state = self.run("systemctl is-system-running --wait")?;
            // `degraded` is a boot that has ended, too.
            Ok((state.code != Some(NO_CONNECTION)).then_some(()))
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its disk is thrown away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
