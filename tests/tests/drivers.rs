//! The same ordinary work through real drivers, directly and through Cordon under a policy that
//! allows everything, in every mode of TLS: what the program sees must be the same.
//!
//! The drivers' own test suites run by `cargo xtask test-drivers`.

use std::{path::Path, process::Command, sync::Arc};

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Cluster, Daemon, Issuer, Output, Setup, canary,
    host::{self, Scratch},
    policies, tools,
};
use serde_json::{Value, json};

const LOGIN: &str = "agent_rw";

/// One driver with its script.
#[derive(Clone, Copy, Debug)]
enum Driver {
    Psql,
    Psycopg2,
    Psycopg(&'static str),
    Asyncpg,
    /// Over this driver of its.
    Sqlalchemy(&'static str),
    NodePostgres,
    Pgjdbc,
    TokioPostgres,
    Sqlx,
}

const DRIVERS: [Driver; 11] = [
    Driver::Psql,
    Driver::Psycopg2,
    Driver::Psycopg("plain"),
    Driver::Psycopg("prepared"),
    Driver::Psycopg("binary"),
    Driver::Asyncpg,
    Driver::Sqlalchemy("psycopg"),
    Driver::NodePostgres,
    Driver::Pgjdbc,
    Driver::TokioPostgres,
    Driver::Sqlx,
];

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Disable,
    Require,
    VerifyFull,
}

impl Tls {
    const ALL: [Self; 3] = [Self::Disable, Self::Require, Self::VerifyFull];

    /// In libpq's variables, which the scripts of other drivers read as well.
    fn environment(self, ca: &Path) -> Vec<(&'static str, String)> {
        let mode = match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        };
        let mut variables = vec![("PGSSLMODE", mode.to_owned())];
        if self == Self::VerifyFull {
            variables.push(("PGSSLROOTCERT", ca.display().to_string()));
        }
        variables
    }
}

impl Driver {
    /// The command line, with the script put where every user may read it.
    fn argv(self, scratch: &Scratch) -> Result<Vec<String>> {
        let share = |name: &str, text: &str| -> Result<String> {
            let folder = scratch.path().join(host::unique());
            std::fs::create_dir(&folder)?;
            std::fs::write(folder.join(name), text)?;
            Ok(folder.join(name).display().to_string())
        };
        let python = || Ok::<_, anyhow::Error>(tools::python_with_drivers()?.display().to_string());
        Ok(match self {
            Self::Psql => {
                let script = share(
                    "work.sql",
                    include_str!("../fixtures/drivers/psql_work.sql"),
                )?;
                let psql = tools::postgres("psql")?.display().to_string();
                // `-f -` on a shell's redirection, so that messages name no path.
                let words = [
                    "/bin/sh",
                    "-c",
                    "exec \"$0\" -X -q -f - < \"$1\"",
                    &psql,
                    &script,
                ];
                words.map(str::to_owned).to_vec()
            }
            Self::Psycopg2 => vec![
                python()?,
                share(
                    "work.py",
                    include_str!("../fixtures/drivers/psycopg2_work.py"),
                )?,
            ],
            Self::Psycopg(mode) => {
                let script = share(
                    "work.py",
                    include_str!("../fixtures/drivers/psycopg_work.py"),
                )?;
                vec![python()?, script, mode.to_owned()]
            }
            Self::Asyncpg => vec![
                python()?,
                share(
                    "work.py",
                    include_str!("../fixtures/drivers/asyncpg_work.py"),
                )?,
            ],
            Self::Sqlalchemy(driver) => {
                let script = share(
                    "work.py",
                    include_str!("../fixtures/drivers/sqlalchemy_work.py"),
                )?;
                vec![python()?, script, driver.to_owned()]
            }
            Self::NodePostgres => {
                let modules = tools::node_with_drivers()?.display().to_string();
                let script = share("work.js", include_str!("../fixtures/drivers/node_work.js"))?;
                vec![
                    "/usr/bin/env".to_owned(),
                    format!("NODE_PATH={modules}"),
                    tools::program("node")?.display().to_string(),
                    script,
                ]
            }
            Self::Pgjdbc => {
                let script = share(
                    "JdbcWork.java",
                    include_str!("../fixtures/drivers/JdbcWork.java"),
                )?;
                let java = tools::program("java")?.display().to_string();
                let words = [
                    java.as_str(),
                    "-XX:+UseSerialGC",
                    "-XX:TieredStopAtLevel=1",
                    "-Dfile.encoding=UTF-8",
                    "-cp",
                    tools::PGJDBC,
                    &script,
                ];
                words.map(str::to_owned).to_vec()
            }
            Self::TokioPostgres => {
                let copy = scratch.path().join("driver_tokio_postgres");
                if !copy.exists() {
                    std::fs::copy(env!("CARGO_BIN_EXE_driver_tokio_postgres"), &copy)?;
                }
                vec![copy.display().to_string()]
            }
            Self::Sqlx => {
                let copy = scratch.path().join("driver_sqlx");
                if !copy.exists() {
                    let manifest = concat!(
                        env!("CARGO_MANIFEST_DIR"),
                        "/fixtures/drivers/sqlx/Cargo.toml"
                    );
                    let built = tools::built_apart("driver-sqlx", Path::new(manifest))?;
                    std::fs::copy(built, &copy)?;
                }
                vec![copy.display().to_string()]
            }
        })
    }

    /// What the program saw, without what differs from run to run.
    fn seen(self, output: Output) -> Result<Value> {
        Ok(match self {
            Self::Psql => {
                // Where in the server's source an error was raised is not part of what is promised:
                // some of them Cordon finds itself.
                let lines = |text: &str| {
                    text.lines()
                        .filter(|line| !line.starts_with("LOCATION:"))
                        .map(without_pid)
                        .collect::<Vec<_>>()
                };
                json!({ "stdout": lines(&output.stdout), "stderr": lines(&output.stderr), "code": output.code })
            }
            _ => output.success()?.json()?,
        })
    }

    fn directly(self, cluster: &Cluster, tls: Tls) -> Result<Value> {
        let scratch = Scratch::new("direct")?;
        let argv = self.argv(&scratch)?;
        let (program, rest) = argv.split_first().context("an empty command")?;
        let [password, _] = canary::GATEWAY_PASSWORDS else {
            unreachable!("two logins")
        };
        let mut command = Command::new(program);
        command
            .args(rest)
            .env_clear()
            .envs(cluster.client_env(LOGIN, password))
            .envs(tls.environment(&cluster.ca_file()))
            .current_dir("/");
        self.seen(command.output()?.into())
    }

    fn through(self, daemon: &Daemon, tls: Tls, ca: &Path) -> Result<Output> {
        let argv = self.argv(daemon.scratch())?;
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let mut job = daemon.job().env("PGUSER", LOGIN);
        for (name, value) in tls.environment(ca) {
            job = job.env(name, &value);
        }
        job.run(&argv)
    }
}

/// Notifications name the process that sent them.
fn without_pid(line: &str) -> String {
    match line.split_once("server process with PID ") {
        Some((head, _)) => format!("{head}server process"),
        None => line.to_owned(),
    }
}

/// Every place where two documents differ.
fn differences(path: &str, left: &Value, right: &Value, into: &mut Vec<String>) {
    match (left, right) {
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                into.push(format!("{path}: {} elements, then {}", a.len(), b.len()));
            }
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                let name = a["step"]
                    .as_str()
                    .map_or_else(|| index.to_string(), |step| format!("<{step}>"));
                differences(&format!("{path}/{name}"), a, b, into);
            }
        }
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let missing = Value::Null;
                differences(
                    &format!("{path}/{key}"),
                    a.get(key).unwrap_or(&missing),
                    b.get(key).unwrap_or(&missing),
                    into,
                );
            }
        }
        _ if left == right => {}
        _ => {
            let short = |value: &Value| value.to_string().chars().take(300).collect::<String>();
            into.push(format!(
                "{path}: {}\n      then {}",
                short(left),
                short(right)
            ));
        }
    }
}

fn same(what: &str, left: &Value, right: &Value) -> Result<()> {
    let mut found = Vec::new();
    differences("", left, right, &mut found);
    let shown: Vec<_> = found.iter().take(25).map(String::as_str).collect();
    ensure!(
        found.is_empty(),
        "{what}: {} differences:\n{}",
        found.len(),
        shown.join("\n")
    );
    Ok(())
}

/// In every mode of TLS; the strictest one fails where another CA has signed.
fn same_directly_and_through_cordon(driver: Driver) -> Result<()> {
    let cluster = Arc::new(Cluster::start()?);
    // First, while no hook is there.
    let direct = driver.directly(&cluster, Tls::VerifyFull)?;
    let issuer = Arc::new(Issuer::start()?);
    let setup = Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        ..Setup::default()
    };
    let mut daemon = Daemon::start(&cluster, &issuer, &setup)?;
    for tls in Tls::ALL {
        let output = driver.through(&daemon, tls, &daemon.ca_file())?;
        let through = driver.seen(output)?;
        same(
            &format!("{driver:?}, directly and through Cordon, {tls:?}"),
            &direct,
            &through,
        )?;
    }
    let output = driver.through(&daemon, Tls::VerifyFull, &cluster.ca_file())?;
    ensure!(
        output.code != Some(0) && !output.stdout.contains("alive"),
        "{driver:?} does not verify who answers: {}",
        output.all()
    );
    daemon.require_alive()?;
    daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn every_script_gives_the_same_twice_without_cordon() -> Result<()> {
    let cluster = Cluster::start()?;
    for driver in DRIVERS {
        let first = driver
            .directly(&cluster, Tls::Disable)
            .with_context(|| format!("{driver:?}"))?;
        let second = driver.directly(&cluster, Tls::VerifyFull)?;
        same(&format!("{driver:?}, twice"), &first, &second)?;
        let text = first.to_string();
        // The scripts must do what they claim, or a comparison proves nothing.
        for needed in ["alive", "22012", "42P01", "23505"] {
            ensure!(
                text.contains(needed) || matches!(driver, Driver::Psql) && needed == "alive",
                "{driver:?} never came to {needed}: {text:.2000}"
            );
        }
    }
    Ok(())
}

macro_rules! no_difference {
    ($($name:ident: $driver:expr,)+) => {
        $(
            #[test]
            fn $name() -> Result<()> {
                same_directly_and_through_cordon($driver)
            }
        )+
    };
}

no_difference! {
    psql_sees_no_difference: Driver::Psql,
    psycopg2_sees_no_difference: Driver::Psycopg2,
    psycopg_without_prepared_statements_sees_no_difference: Driver::Psycopg("plain"),
    psycopg_with_prepared_statements_sees_no_difference: Driver::Psycopg("prepared"),
    psycopg_with_binary_results_sees_no_difference: Driver::Psycopg("binary"),
    asyncpg_sees_no_difference: Driver::Asyncpg,
    sqlalchemy_sees_no_difference: Driver::Sqlalchemy("psycopg"),
    node_postgres_sees_no_difference: Driver::NodePostgres,
    pgjdbc_sees_no_difference: Driver::Pgjdbc,
    tokio_postgres_sees_no_difference: Driver::TokioPostgres,
    sqlx_sees_no_difference: Driver::Sqlx,
}
