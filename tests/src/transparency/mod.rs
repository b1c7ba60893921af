//! `PostgreSQL`'s own regression suite, run by psql directly and through Cordon under a policy that
//! allows everything: what psql prints must be the same.
//!
//! Each script runs twice from the same state of the database: through Cordon in a copy, then
//! directly in the original, whose result the next script starts from.

mod report;
mod script;

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result};

pub use self::report::{Outcome, Report};
use crate::{
    Cluster, Daemon, Issuer, Setup,
    agreement::corpora::{regression_suite, schedule},
    host::Scratch,
    tools,
};

/// The scripts that a sample takes.
pub const SAMPLE: &[&str] = &[
    "boolean", "int4", "text", "strings", "date", "select", "join", "with", "portals",
];

/// Makes what the others need, with files of the server's: it runs directly only.
const SETUP: &str = "test_setup";
const DATABASE: &str = "regression";
const LOGIN: &str = "postgres";
const PASSWORD: &str = "transparency";

const POLICY: &str = r#"
version: 1
grants:
  - name: everything
    why: For comparing with a direct connection; nothing is refused, held or masked.
    who: { issuer: test, assurance: oidc-verified, claims: { repository_id: "123456" } }
    database: regression
    role: { login: postgres }
    allow:
      - all: "*.*"
      # Left out of `*`: what shows other sessions and stored values.
      - all: ["pg_catalog.*", "pg_toast.*", "information_schema.*"]
"#;

/// What to compare.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Scripts of the regression suite; all, in the schedule's order, if empty.
    pub scripts: Vec<String>,
    /// Say which script runs.
    pub progress: bool,
    /// Where the differences are kept, one file for each script that has any.
    pub differences: Option<PathBuf>,
}

/// A database behind a daemon, both of the suite's own.
struct Place {
    daemon: Daemon,
    cluster: Arc<Cluster>,
    /// What both sides read: scripts and data.
    shared: Scratch,
    environment: Vec<(String, String)>,
}

/// Runs the suite both ways.
pub fn run(selection: &Selection) -> Result<Report> {
    let suite = regression_suite()?;
    let place = Place::start(&suite)?;
    let scripts = if selection.scripts.is_empty() {
        schedule(&suite)?
    } else {
        selection.scripts.clone()
    };
    if let Some(folder) = &selection.differences {
        fs::create_dir_all(folder)?;
    }
    let mut report = Report::default();
    let start = Instant::now();
    place.directly(SETUP)?;
    for script in scripts.iter().filter(|script| *script != SETUP) {
        let started = Instant::now();
        let outcome = place.both(script)?;
        if selection.progress {
            eprintln!(
                "{script}: {} of {} lines differ, {:.1} s",
                outcome.differing,
                outcome.lines,
                started.elapsed().as_secs_f64()
            );
        }
        if let Some(folder) = &selection.differences
            && outcome.differing > 0
        {
            fs::write(folder.join(format!("{script}.diff")), &outcome.diff)?;
        }
        report.outcomes.push(outcome);
    }
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

impl Place {
    fn start(suite: &Path) -> Result<Self> {
        let cluster = Arc::new(Cluster::start()?);
        cluster.admin_in(
            "postgres",
            &format!("ALTER ROLE {LOGIN} PASSWORD '{PASSWORD}'"),
        )?;
        cluster.admin_in(
            "postgres",
            &format!("CREATE DATABASE {DATABASE} TEMPLATE template0"),
        )?;
        // As the suite's own driver sets it.
        for setting in [
            "lc_messages TO 'C'",
            "lc_monetary TO 'C'",
            "lc_numeric TO 'C'",
            "lc_time TO 'C'",
            "bytea_output TO 'hex'",
            "timezone_abbreviations TO 'Default'",
        ] {
            cluster.admin_in(
                "postgres",
                &format!("ALTER DATABASE {DATABASE} SET {setting}"),
            )?;
        }
        let setup = Setup {
            policy: POLICY.to_owned(),
            database: Some((DATABASE.to_owned(), LOGIN.to_owned(), PASSWORD.to_owned())),
            ..Setup::default()
        };
        let daemon = Daemon::start(&cluster, &Arc::new(Issuer::start()?), &setup)?;
        let shared = Scratch::new("regress")?;
        for folder in ["data", "results", "sql"] {
            fs::create_dir(shared.path().join(folder))?;
            fs::set_permissions(shared.path().join(folder), Permissions::from_mode(0o777))?;
        }
        for folder in ["data", "sql"] {
            for file in fs::read_dir(suite.join(folder))? {
                let file = file?;
                let name = file.file_name().to_string_lossy().into_owned();
                let mut content = fs::read(file.path())?;
                if folder == "sql" && name != format!("{SETUP}.sql") {
                    content = script::adapted(&content, shared.path());
                }
                shared.share(&format!("{folder}/{name}"), &content)?;
            }
        }
        let postgres = tools::postgres("postgres")?;
        let library = postgres
            .ancestors()
            .nth(2)
            .context("no library folder")?
            .join("lib");
        let of = |path: &Path| path.display().to_string();
        let mut environment = cluster.client_env(LOGIN, PASSWORD);
        environment.retain(|(name, _)| name != "PGDATABASE");
        for (name, value) in [
            ("PGDATABASE", DATABASE.to_owned()),
            ("PGTZ", "PST8PDT".to_owned()),
            ("PGDATESTYLE", "Postgres, MDY".to_owned()),
            ("PGOPTIONS", "-c intervalstyle=postgres_verbose".to_owned()),
            ("PG_ABS_SRCDIR", of(shared.path())),
            ("PG_ABS_BUILDDIR", of(shared.path())),
            ("PG_LIBDIR", of(&library)),
            ("PG_DLSUFFIX", ".so".to_owned()),
        ] {
            environment.push((name.to_owned(), value));
        }
        Ok(Self {
            daemon,
            cluster,
            shared,
            environment,
        })
    }

    fn admin(&self, sql: &str) -> Result<String> {
        self.cluster.admin_in("postgres", sql)
    }

    /// Through Cordon in a copy of the database, then directly.
    fn both(&self, script: &str) -> Result<Outcome> {
        let roles = self.roles()?;
        self.admin(&format!("ALTER DATABASE {DATABASE} RENAME TO original"))?;
        self.admin(&format!("CREATE DATABASE {DATABASE} TEMPLATE original"))?;
        self.copy_settings()?;
        let started = Instant::now();
        let through = self.through(script)?;
        let through_seconds = started.elapsed().as_secs_f64();
        self.drop_subscriptions()?;
        self.admin(&format!("DROP DATABASE {DATABASE} WITH (FORCE)"))?;
        self.admin(&format!("ALTER DATABASE original RENAME TO {DATABASE}"))?;
        for role in self.roles()?.difference(&roles) {
            // A script that was stopped short has left it.
            self.admin(&format!("DROP ROLE \"{role}\""))?;
        }
        let started = Instant::now();
        let directly = self.directly(script)?;
        Outcome::compare(
            script,
            &directly,
            &through,
            started.elapsed().as_secs_f64(),
            through_seconds,
        )
    }

    /// A database with subscriptions cannot be dropped. Theirs lead nowhere.
    fn drop_subscriptions(&self) -> Result<()> {
        let rows = self.cluster.admin_in(
            DATABASE,
            "SELECT format('ALTER SUBSCRIPTION %1$I DISABLE; ALTER SUBSCRIPTION %1$I SET (slot_name = NONE); DROP SUBSCRIPTION %1$I', subname) \
             FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )?;
        for row in rows.lines() {
            for sql in row.split("; ") {
                self.cluster.admin_in(DATABASE, sql)?;
            }
        }
        Ok(())
    }

    fn roles(&self) -> Result<BTreeSet<String>> {
        let rows = self.admin("SELECT rolname FROM pg_roles")?;
        Ok(rows.lines().map(str::to_owned).collect())
    }

    /// Settings of a database are not part of its template.
    fn copy_settings(&self) -> Result<()> {
        self.admin(&format!(
            "INSERT INTO pg_db_role_setting SELECT d.oid, s.setrole, s.setconfig FROM pg_db_role_setting s \
             JOIN pg_database o ON o.oid = s.setdatabase AND o.datname = 'original', pg_database d WHERE d.datname = '{DATABASE}'"
        ))?;
        Ok(())
    }

    fn directly(&self, script: &str) -> Result<Vec<u8>> {
        let argv = self.argv()?;
        let (program, rest) = argv.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command
            .args(rest)
            .env_clear()
            .envs(self.environment.clone())
            .current_dir(self.shared.path());
        self.output_of(command, script)
    }

    fn through(&self, script: &str) -> Result<Vec<u8>> {
        let mut job = self.daemon.job();
        for (name, value) in &self.environment {
            job = job.env(name, value);
        }
        let argv = self.argv()?;
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let mut command = job.command(&argv)?;
        command.current_dir(self.shared.path());
        self.output_of(command, script)
    }

    /// As `pg_regress` starts it.
    fn argv(&self) -> Result<Vec<String>> {
        let psql = tools::postgres("psql")?.display().to_string();
        Ok([
            psql.as_str(),
            "-X",
            "-a",
            "-q",
            "-v",
            "HIDE_TABLEAM=on",
            "-v",
            "HIDE_TOAST_COMPRESSION=on",
        ]
        .map(str::to_owned)
        .to_vec())
    }

    /// Both streams in one, in the order they were written.
    fn output_of(&self, mut command: Command, script: &str) -> Result<Vec<u8>> {
        let path = self.shared.path().join("sql").join(format!("{script}.sql"));
        let into = self.shared.path().join("out");
        let out = File::create(&into)?;
        command
            .stdin(File::open(&path).with_context(|| format!("opening {}", path.display()))?)
            .stderr(out.try_clone()?)
            .stdout(out);
        let results = self.shared.path().join("results");
        for file in fs::read_dir(&results)? {
            fs::remove_file(file?.path())?;
        }
        // psql ends with an error where the script's last statement fails.
        command.status().context("running psql")?;
        Ok(fs::read(&into)?)
    }
}
