//! A witness of transparency logs: a real one, of another hand, with its state in a folder.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{
    Output,
    host::{self, Scratch, eventually},
    reaper, tools,
};

/// A running (or stopped) witness.
#[derive(Debug)]
pub struct Witness {
    program: PathBuf,
    server: Option<Child>,
    port: u16,
    scratch: Scratch,
    key: String,
}

impl Witness {
    /// Starts a witness of this name. It knows no log yet.
    pub fn start(name: &str) -> Result<Self> {
        let mut witness = Self {
            program: tools::witness()?,
            server: None,
            port: host::free_port()?,
            scratch: Scratch::new("witness")?,
            key: String::new(),
        };
        let listen = format!("127.0.0.1:{}", witness.port);
        let made = witness.run(&["init", "--name", name, "--listen", &listen])?;
        made.stdout.trim().clone_into(&mut witness.key);
        witness.restart()?;
        Ok(witness)
    }

    /// Its public key, as it publishes it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Lines for [`crate::Setup::evidence`] that have it asked.
    pub fn asked(&self) -> String {
        format!(
            "  witnesses: [{{ url: \"http://127.0.0.1:{}\", key: \"{}\" }}]\n  witness_every: 1s\n",
            self.port, self.key
        )
    }

    /// Trusts the log of this public key from now on.
    pub fn trust(&self, log_key: &str) -> Result<()> {
        let origin = log_key.split('+').next().unwrap_or_default();
        self.run(&["add-log", "--origin", origin, "--vkey", log_key])?;
        if let Some(server) = &self.server {
            let pid = i32::try_from(server.id())?;
            let pid = rustix::process::Pid::from_raw(pid).context("no process id")?;
            rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
        }
        Ok(())
    }

    /// What it kept of requests that showed it another history.
    pub fn contradictions(&self) -> Result<String> {
        Ok(self.run(&["evidence"])?.stdout)
    }

    /// Starts it again after [`Witness::stop`].
    pub fn restart(&mut self) -> Result<()> {
        let config = self.config();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.scratch.path().join("log"))?;
        let server = Command::new(&self.program)
            .args(["serve", "--config", &config])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the witness")?;
        let pid = self.scratch.path().join("pid");
        fs::write(&pid, server.id().to_string())?;
        reaper::at_exit(&reaper::end_process(&pid, &config, "KILL"))?;
        self.server = Some(server);
        eventually("the witness to listen", || {
            Ok(TcpStream::connect(("127.0.0.1", self.port)).ok().map(drop))
        })
    }

    /// Kills it; its state stays.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    fn config(&self) -> String {
        self.scratch
            .path()
            .join("witness.json")
            .display()
            .to_string()
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        let (command, rest) = args.split_first().context("no command")?;
        let output = Command::new(&self.program)
            .arg(command)
            .args(["--config", &self.config()])
            .args(rest)
            .output()?;
        Output::from(output).success()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
