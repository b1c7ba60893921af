//! The suites of the Rust drivers, built from the crates' own sources.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    Prepared,
    place::{Needs, Place, Run},
    record::Results,
    sources,
};
use crate::{output::Output, tools};

const TOKIO_POSTGRES: &str = "0.7.18";
const SQLX: &str = "0.8.6";

/// Written into tokio-postgres' tests.
const TOKIO_POSTGRES_PORT: u16 = 5433;
/// The server that its tests expect.
const TOKIO_POSTGRES_HBA: &str = "host all pass_user 127.0.0.1/32 password\n\
     host all md5_user 127.0.0.1/32 md5\n\
     host all scram_user 127.0.0.1/32 scram-sha-256\n\
     host all postgres 127.0.0.1/32 trust\n";
const TOKIO_POSTGRES_SCHEMA: &str = "\
    CREATE ROLE pass_user LOGIN PASSWORD 'password'; \
    SET password_encryption TO 'md5'; CREATE ROLE md5_user LOGIN PASSWORD 'password'; RESET password_encryption; \
    CREATE ROLE scram_user LOGIN PASSWORD 'password'; \
    CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree";

/// `sqlx-test`, which its tests use and which is not published: what they need of it, anew.
const SQLX_TEST: &str = include_str!("../../fixtures/suites/sqlx_test.rs");
const SQLX_TESTS: [&str; 9] = [
    "postgres",
    "postgres-types",
    "postgres-describe",
    "postgres-macros",
    "postgres-derives",
    "postgres-error",
    "postgres-test-attr",
    "postgres-migrate",
    "postgres-query-builder",
];

/// tokio-postgres' tests, with the optional types.
pub(super) fn tokio_postgres() -> Result<Prepared> {
    let upstream = sources::crates_io("tokio-postgres", TOKIO_POSTGRES)?;
    let folder = sources::kept("tokio-postgres-tests", |folder| {
        copy(&upstream, folder)?;
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        fs::write(
            folder.join("Cargo.toml"),
            format!("{manifest}\n[workspace]\n"),
        )?;
        Ok(())
    })?;
    let features = "array-impls,with-bit-vec-0_8,with-chrono-0_4,with-eui48-1,with-geo-types-0_7,with-serde_json-1,with-time-0_3,with-uuid-1";
    let programs = build(&folder, &["--features", features, "--test", "test"], &[])?;
    Ok(Prepared {
        version: TOKIO_POSTGRES.to_owned(),
        needs: Needs {
            database: "postgres",
            schema: TOKIO_POSTGRES_SCHEMA.to_owned(),
            port: Some(TOKIO_POSTGRES_PORT),
            hba: TOKIO_POSTGRES_HBA,
        },
        run: Box::new(move |place, way| tests(place, way, &folder, &programs, &[])),
    })
}

/// sqlx' tests for `PostgreSQL`.
pub(super) fn sqlx() -> Result<Prepared> {
    let upstream = sources::crates_io("sqlx", SQLX)?;
    let folder = sources::kept("sqlx-tests", |folder| {
        copy(&upstream, folder)?;
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        fs::write(folder.join("Cargo.toml"), sqlx_manifest(&manifest))?;
        // The compiler of this project builds it.
        fs::remove_file(folder.join("rust-toolchain.toml"))?;
        fs::create_dir_all(folder.join("sqlx-test/src"))?;
        fs::write(
            folder.join("sqlx-test/Cargo.toml"),
            "[package]\nname = \"sqlx-test\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
             [dependencies]\nsqlx = { path = \"..\", default-features = false }\npaste = \"1\"\n",
        )?;
        Ok(())
    })?;
    let library = folder.join("sqlx-test/src/lib.rs");
    // Where it is as it should be, nothing has to be built again.
    if fs::read_to_string(&library).ok().as_deref() != Some(SQLX_TEST) {
        fs::write(library, SQLX_TEST)?;
    }
    let schema = fs::read_to_string(folder.join("tests/postgres/setup.sql"))?;
    Ok(Prepared {
        version: SQLX.to_owned(),
        needs: Needs {
            database: "sqlx",
            schema,
            port: None,
            hba: "",
        },
        run: Box::new(move |place, way| {
            let url = [("DATABASE_URL", place.url("postgres"))];
            // Its macros ask the database as they are built: directly, before Cordon is there.
            let mut arguments = vec![
                "--features",
                "postgres,runtime-tokio,macros,migrate,_unstable-all-types",
            ];
            for test in SQLX_TESTS {
                arguments.extend(["--test", test]);
            }
            let programs = match way {
                Run::Directly => build(&folder, &arguments, &url)?,
                Run::Through(_) => built(&folder)?,
            };
            tests(place, way, &folder, &programs, &url)
        }),
    })
}

/// Its manifest with `sqlx-test`, and without what only other tests need and what does not build
/// everywhere.
fn sqlx_manifest(manifest: &str) -> String {
    const WITHOUT: [&str; 4] = ["async-std", "criterion", "libsqlite3-sys", "trybuild"];
    let mut text = String::new();
    let mut left_out = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            left_out = WITHOUT
                .iter()
                .any(|name| line == format!("[dev-dependencies.{name}]"))
                || line == "[[bench]]";
        }
        if !left_out {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str("\n[dev-dependencies.sqlx-test]\npath = \"sqlx-test\"\n\n[workspace]\nmembers = [\"sqlx-test\"]\n");
    text
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    sources::run(
        Command::new("cp").arg("-r").arg(from.join(".")).arg(to),
        "copying the sources",
    )?;
    Ok(())
}

/// Test programs with their names.
type Programs = Vec<(String, PathBuf)>;

/// Builds the tests; notes what was built.
fn build(folder: &Path, arguments: &[&str], environment: &[(&str, String)]) -> Result<Programs> {
    let target = tools::kept_dir()?.join("suites/target");
    let mut command = Command::new("cargo");
    command
        .args([
            "test",
            "--no-run",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ])
        .args(arguments)
        .arg("--target-dir")
        .arg(target)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        // As sqlx' own continuous integration names the server's version.
        .env("RUSTFLAGS", "--cfg postgres_15 --cap-lints=allow")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(folder);
    let output: Output = command.output().context("starting cargo")?.into();
    ensure!(
        output.code == Some(0),
        "building the suite: {}",
        output.stderr
    );
    let messages = output.stdout;
    let mut programs = Programs::new();
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if let (true, Some(program), Some(name)) = (
            message["profile"]["test"] == true,
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
        ) {
            programs.push((name.to_owned(), PathBuf::from(program)));
        }
    }
    ensure!(!programs.is_empty(), "no test was built");
    programs.sort();
    let listed: Vec<_> = programs
        .iter()
        .map(|(name, program)| format!("{name}\t{}\n", program.display()))
        .collect();
    fs::write(folder.join("programs.txt"), listed.concat())?;
    Ok(programs)
}

/// What was built before.
fn built(folder: &Path) -> Result<Programs> {
    fs::read_to_string(folder.join("programs.txt"))?
        .lines()
        .map(|line| {
            let (name, program) = line.split_once('\t').context("a line of programs.txt")?;
            Ok((name.to_owned(), PathBuf::from(program)))
        })
        .collect()
}

fn tests(
    place: &Place,
    way: Run<'_>,
    folder: &Path,
    programs: &Programs,
    environment: &[(&str, String)],
) -> Result<Results> {
    let mut results = Results::default();
    for (name, program) in programs {
        let program = program.display().to_string();
        let argv = ["/usr/bin/timeout", "900", &program, "--test-threads=1"];
        let printed = place.run(way, folder, &argv, environment)?;
        results.note_libtest(name, &printed);
    }
    Ok(results)
}
