//! The same ordinary work through real drivers, directly and through Cordon under a policy that
//! allows everything: what the program sees must be the same.

use std::{process::Command, sync::Arc};

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
    Psycopg(&'static str),
    Asyncpg,
    TokioPostgres,
}

const DRIVERS: [Driver; 6] = [
    Driver::Psql,
    Driver::Psycopg("plain"),
    Driver::Psycopg("prepared"),
    Driver::Psycopg("binary"),
    Driver::Asyncpg,
    Driver::TokioPostgres,
];

impl Driver {
    /// The command line, with the script put where every user may read it.
    fn argv(self, scratch: &Scratch) -> Result<Vec<String>> {
        let share = |name: &str, text: &str| -> Result<String> {
            Ok(scratch
                .share(&format!("{}-{name}", host::unique()), text.as_bytes())?
                .display()
                .to_string())
        };
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
            Self::Psycopg(mode) => {
                let script = share(
                    "psycopg.py",
                    include_str!("../fixtures/drivers/psycopg_work.py"),
                )?;
                vec![python()?, script, mode.to_owned()]
            }
            Self::Asyncpg => vec![
                python()?,
                share(
                    "asyncpg.py",
                    include_str!("../fixtures/drivers/asyncpg_work.py"),
                )?,
            ],
            Self::TokioPostgres => {
                let copy = scratch.path().join("driver_tokio_postgres");
                if !copy.exists() {
                    std::fs::copy(env!("CARGO_BIN_EXE_driver_tokio_postgres"), &copy)?;
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
            Self::Psycopg(_) | Self::Asyncpg | Self::TokioPostgres => output.success()?.json()?,
        })
    }

    fn directly(self, cluster: &Cluster) -> Result<Value> {
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
            .current_dir("/");
        self.seen(command.output()?.into())
    }

    fn through(self, daemon: &Daemon) -> Result<Value> {
        let argv = self.argv(daemon.scratch())?;
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        self.seen(daemon.job().env("PGUSER", LOGIN).run(&argv)?)
    }
}

fn python() -> Result<String> {
    Ok(tools::python_with_drivers()?.display().to_string())
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

fn same_directly_and_through_cordon(driver: Driver) -> Result<()> {
    let cluster = Arc::new(Cluster::start()?);
    // First, while no hook is there.
    let direct = driver.directly(&cluster)?;
    let issuer = Arc::new(Issuer::start()?);
    let setup = Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        ..Setup::default()
    };
    let mut daemon = Daemon::start(&cluster, &issuer, &setup)?;
    let through = driver.through(&daemon)?;
    same(
        &format!("{driver:?}, directly and through Cordon"),
        &direct,
        &through,
    )?;
    daemon.require_alive()?;
    daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn every_script_gives_the_same_twice_without_cordon() -> Result<()> {
    let cluster = Cluster::start()?;
    for driver in DRIVERS {
        let first = driver
            .directly(&cluster)
            .with_context(|| format!("{driver:?}"))?;
        let second = driver.directly(&cluster)?;
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

#[test]
fn psql_sees_no_difference() -> Result<()> {
    same_directly_and_through_cordon(Driver::Psql)
}

#[test]
fn psycopg_without_prepared_statements_sees_no_difference() -> Result<()> {
    same_directly_and_through_cordon(Driver::Psycopg("plain"))
}

#[test]
fn psycopg_with_prepared_statements_sees_no_difference() -> Result<()> {
    same_directly_and_through_cordon(Driver::Psycopg("prepared"))
}

#[test]
fn psycopg_with_binary_results_sees_no_difference() -> Result<()> {
    same_directly_and_through_cordon(Driver::Psycopg("binary"))
}

#[test]
fn asyncpg_sees_no_difference() -> Result<()> {
    same_directly_and_through_cordon(Driver::Asyncpg)
}

#[test]
fn tokio_postgres_sees_no_difference() -> Result<()> {
    same_directly_and_through_cordon(Driver::TokioPostgres)
}
