//! A server for one suite, and the two ways to it.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result};

use crate::{
    Cluster, Daemon, Issuer, Setup,
    host::{self, Scratch},
};

const LOGIN: &str = "postgres";
const PASSWORD: &str = "suites";
/// Who runs the tests.
const USER: &str = "nobody";
/// The longest that one suite may take, for `timeout`: a bound for hangs.
const LONGEST: &str = "3000";

/// What a suite needs of its server.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    /// The database it works in.
    pub database: &'static str,
    /// SQL for a fresh database.
    pub schema: String,
    /// A port that is written into the tests.
    pub port: Option<u16>,
    /// Lines before those of `pg_hba.conf`.
    pub hba: &'static str,
}

/// Which way a suite runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run<'d> {
    /// By itself.
    Directly,
    /// Inside a job.
    Through(&'d Daemon),
}

/// The server, and a folder that the tests may write to.
pub(super) struct Place {
    pub cluster: Arc<Cluster>,
    database: &'static str,
    roles: Vec<String>,
    home: Scratch,
}

impl Place {
    pub fn start(needs: &Needs) -> Result<Self> {
        let cluster = Arc::new(match needs.port {
            Some(port) => Cluster::start_at(port)?,
            None => Cluster::start()?,
        });
        if !needs.hba.is_empty() {
            cluster.trust(needs.hba)?;
        }
        cluster.admin_in(
            "template1",
            &format!("ALTER ROLE {LOGIN} PASSWORD '{PASSWORD}'"),
        )?;
        let home = Scratch::new("suite")?;
        let user = host::user(USER)?;
        std::os::unix::fs::chown(home.path(), Some(user.uid), Some(user.gid))?;
        let mut place = Self {
            cluster,
            database: needs.database,
            roles: Vec::new(),
            home,
        };
        place.roles = place.roles()?;
        place.afresh(needs)?;
        Ok(place)
    }

    fn roles(&self) -> Result<Vec<String>> {
        let rows = self
            .cluster
            .admin_in("template1", "SELECT rolname FROM pg_roles")?;
        Ok(rows.lines().map(str::to_owned).collect())
    }

    /// A new database, and nothing of what a run left.
    pub fn afresh(&self, needs: &Needs) -> Result<()> {
        let admin = |sql: &str| self.cluster.admin_in("template1", sql);
        let transactions =
            admin("SELECT database || ' ' || quote_literal(gid) FROM pg_prepared_xacts")?;
        for line in transactions.lines() {
            if let Some((database, gid)) = line.split_once(' ') {
                self.cluster
                    .admin_in(database, &format!("ROLLBACK PREPARED {gid}"))?;
            }
        }
        let kept = if self.database == "postgres" {
            "'shop'"
        } else {
            "'shop', 'postgres'"
        };
        let others = admin(&format!(
            "SELECT quote_ident(datname) FROM pg_database WHERE NOT datistemplate AND datname NOT IN ({kept})"
        ))?;
        for database in others.lines() {
            admin(&format!("DROP DATABASE {database} WITH (FORCE)"))?;
        }
        for role in self.roles()? {
            if !self.roles.contains(&role) {
                admin(&format!("DROP ROLE \"{role}\""))?;
            }
        }
        let database = self.database;
        admin(&format!("CREATE DATABASE {database} TEMPLATE template0"))?;
        if !needs.schema.is_empty() {
            self.cluster.admin_in(database, &needs.schema)?;
        }
        Ok(())
    }

    /// Cordon before the database.
    pub fn intercept(&mut self) -> Result<Daemon> {
        let database = self.database;
        let policy = format!(
            "version: 1\n\
             grants:\n  - name: everything\n    why: For comparing with a direct connection; nothing is refused, held or masked.\n    \
             who: {{ issuer: test, assurance: oidc-verified, claims: {{ repository_id: \"123456\" }} }}\n    \
             database: {database}\n    role: {{ login: {LOGIN} }}\n    \
             allow:\n      - all: \"*.*\"\n      - all: [\"pg_catalog.*\", \"pg_toast.*\", \"information_schema.*\"]\n"
        );
        let setup = Setup {
            policy,
            database: Some((database.to_owned(), LOGIN.to_owned(), PASSWORD.to_owned())),
            ..Setup::default()
        };
        Daemon::start(&self.cluster, &Arc::new(Issuer::start()?), &setup)
    }

    /// How the tests find the server.
    pub fn url(&self, scheme: &str) -> String {
        format!(
            "{scheme}://{LOGIN}:{PASSWORD}@127.0.0.1:{}/{}",
            self.cluster.port(),
            self.database
        )
    }

    /// A folder that is the tests' own.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs a command of the suite in `folder` to its end; gives what it printed.
    pub fn run(
        &self,
        way: Run<'_>,
        folder: &Path,
        argv: &[&str],
        environment: &[(&str, String)],
    ) -> Result<String> {
        let mut words = vec!["/usr/bin/timeout", "--kill-after=10", LONGEST];
        words.extend(argv);
        let mut env: Vec<(String, String)> = self
            .cluster
            .client_env(LOGIN, PASSWORD)
            .into_iter()
            .filter(|(name, _)| name != "PGDATABASE" && name != "HOME")
            .collect();
        let own = [
            ("PGDATABASE", self.database.to_owned()),
            ("HOME", self.home().display().to_string()),
            ("TMPDIR", self.home().display().to_string()),
        ];
        for (name, value) in own.iter().chain(environment) {
            env.retain(|(have, _)| have != name);
            env.push(((*name).to_owned(), value.clone()));
        }
        let mut command = match way {
            Run::Directly => {
                let user = host::user(USER)?;
                let (program, rest) = words.split_first().context("an empty command")?;
                let mut command = Command::new(program);
                command.args(rest).env_clear().envs(env);
                command.uid(user.uid).gid(user.gid);
                command
            }
            Run::Through(daemon) => {
                let mut job = daemon.job().user(USER);
                for (name, value) in &env {
                    job = job.env(name, value);
                }
                job.command(&words)?
            }
        };
        let both = self.home().with_extension("out");
        let out = File::create(&both)?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let status = command.status().context("starting the tests")?;
        let mut printed = String::from_utf8_lossy(&fs::read(&both)?).into_owned();
        fs::remove_file(&both)?;
        printed.push_str("\n--- ended with ");
        printed.push_str(&status.to_string());
        printed.push('\n');
        Ok(printed)
    }
}
