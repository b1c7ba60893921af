//! A command inside a job of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{cluster::PLACEHOLDER, daemon::Daemon, host, live::LivePsql, output::Output, tools};

/// Builds `cordon job run -- COMMAND`. Each command is a job of its own, with a token of its own.
#[derive(Clone, Debug)]
pub struct JobCommand<'d> {
    daemon: &'d Daemon,
    claims: Value,
    token: Option<String>,
    user: String,
    env: Vec<(String, String)>,
    inherit: bool,
}

impl<'d> JobCommand<'d> {
    pub(crate) fn new(daemon: &'d Daemon) -> Self {
        // The user is one that the database knows and that Cordon never logs in as: a backend of
        // this name is a connection that went around it.
        let env = daemon.cluster().client_env("app", PLACEHOLDER);
        Self {
            daemon,
            claims: json!({}),
            token: None,
            user: "nobody".to_owned(),
            env,
            inherit: false,
        }
    }

    /// Adds or replaces claims of the token.
    #[must_use]
    pub fn claims(mut self, claims: Value) -> Self {
        self.claims = claims;
        self
    }

    /// Uses this token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The user it runs as.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Sets a variable in the job's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(have, _)| have != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves the environment as `cordon job run` hands it on, instead of clearing it first.
    #[must_use]
    pub fn inherit_env(mut self) -> Self {
        self.inherit = true;
        self
    }

    /// Any command.
    pub fn command(&self, argv: &[&str]) -> Result<Command> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => self.daemon.issuer().issue(&self.claims)?,
        };
        let file = self.write_token(&token)?;
        let mut command = Command::new(self.daemon.cordon());
        command
            .args(["job", "run", "--control"])
            .arg(self.daemon.control())
            .arg("--token-file")
            .arg(file);
        command.args(["--user", &self.user, "--"]);
        if !self.inherit {
            command.args(["/usr/bin/env", "-i"]);
            command.args(
                self.env
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            );
        }
        command
            .args(argv)
            .env_clear()
            .envs(self.env.clone())
            .current_dir("/")
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command to its end.
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        Ok(self.command(argv)?.output()?.into())
    }

    /// A psql that takes its SQL from the arguments.
    pub fn psql_command(&self, args: &[&str]) -> Result<Command> {
        let psql = tools::postgres("psql")?.display().to_string();
        let mut argv = vec![psql.as_str(), "-X", "-v", "VERBOSITY=verbose"];
        argv.extend(args);
        self.command(&argv)
    }

    /// Runs one SQL string with `psql -c`; rows come unaligned, `|` between columns.
    pub fn sql(&self, sql: &str) -> Result<Output> {
        Ok(self
            .psql_command(&["-A", "-t", "-q", "-c", sql])?
            .output()?
            .into())
    }

    /// Runs SQL strings in one session, each a simple query of its own.
    pub fn sqls(&self, sqls: &[&str]) -> Result<Output> {
        let mut args = vec!["-A", "-t", "-q"];
        for sql in sqls {
            args.extend(["-c", sql]);
        }
        Ok(self.psql_command(&args)?.output()?.into())
    }

    /// Runs a Python program of the distribution's interpreter, standard library only.
    pub fn python(&self, program: &str, args: &[&str]) -> Result<Output> {
        self.python_with(Path::new(tools::PYTHON), program, args)
    }

    /// Runs a Python program with the drivers at hand.
    pub fn driver(&self, program: &str, args: &[&str]) -> Result<Output> {
        self.python_with(&tools::python_with_drivers()?, program, args)
    }

    fn python_with(&self, python: &Path, program: &str, args: &[&str]) -> Result<Output> {
        let file = self.daemon.scratch().share(
            &format!("program-{}.py", host::unique()),
            program.as_bytes(),
        )?;
        let (python, file) = (python.display().to_string(), file.display().to_string());
        let mut argv = vec![python.as_str(), file.as_str()];
        argv.extend(args);
        self.run(&argv)
    }

    /// Puts a file where the job can read it.
    pub fn share(&self, name: &str, content: &[u8]) -> Result<String> {
        let file = self.daemon.scratch().share(name, content)?;
        Ok(file.display().to_string())
    }

    /// A psql session that is driven line by line.
    pub fn live(&self) -> Result<LivePsql> {
        let psql = tools::postgres("psql")?.display().to_string();
        LivePsql::start(self.command(&LivePsql::argv(&psql))?)
    }

    fn write_token(&self, token: &str) -> Result<PathBuf> {
        let path = self
            .daemon
            .scratch()
            .path()
            .join("tokens")
            .join(host::unique());
        fs::write(&path, token)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }
}
