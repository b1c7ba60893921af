//! A store with the S3 interface: a real server, with its objects in a folder.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{
    host::{self, Scratch, eventually},
    reaper, tools,
};

const BUCKET: &str = "evidence";

/// A running (or stopped) server.
#[derive(Debug)]
pub struct ObjectStore {
    server: Option<Child>,
    port: u16,
    scratch: Scratch,
}

impl ObjectStore {
    /// Starts the server with one bucket.
    pub fn start() -> Result<Self> {
        let scratch = Scratch::new("store")?;
        fs::create_dir_all(scratch.path().join("objects").join(BUCKET))?;
        for (name, secret) in [("access", "cordon-test"), ("secret", "not-a-secret")] {
            let path = scratch.path().join(name);
            fs::write(&path, format!("{secret}\n"))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        let mut store = Self {
            server: None,
            port: host::free_port()?,
            scratch,
        };
        store.restart()?;
        Ok(store)
    }

    /// Starts it again after [`ObjectStore::stop`].
    pub fn restart(&mut self) -> Result<()> {
        let objects = self.objects().display().to_string();
        let log = fs::File::create(self.scratch.path().join("log"))?;
        let server = Command::new(tools::object_store()?)
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args([
                "--access-key",
                "cordon-test",
                "--secret-key",
                "not-a-secret",
            ])
            .arg(&objects)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the store")?;
        let pid = self.scratch.path().join("pid");
        fs::write(&pid, server.id().to_string())?;
        reaper::at_exit(&reaper::end_process(&pid, &objects, "KILL"))?;
        self.server = Some(server);
        eventually("the store to listen", || {
            Ok(TcpStream::connect(("127.0.0.1", self.port)).ok().map(drop))
        })
    }

    /// Kills the server; its objects stay.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// The folder of the buckets.
    pub fn objects(&self) -> PathBuf {
        self.scratch.path().join("objects")
    }

    /// The objects' files.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        crate::daemon::files_below(&self.objects().join(BUCKET))
    }

    /// Lines for [`crate::Setup::evidence`] that ship to it.
    pub fn ship(&self, backlog: &str) -> String {
        let here = self.scratch.path().display();
        format!(
            "  ship:\n    endpoint: http://127.0.0.1:{}\n    bucket: {BUCKET}\n    prefix: hosts/one\n    \
             access_key_file: {here}/access\n    secret_key_file: {here}/secret\n    every: 1s\n    \
             backlog: {backlog}\n",
            self.port
        )
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
