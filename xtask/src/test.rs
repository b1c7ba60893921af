//! `cargo xtask test`: everything that continuous integration runs, with a count per suite.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::{
    build,
    ensure::ensure_packages,
    step::{self, bold, cargo, green, red, step},
    tools::Tool,
};

/// Packages that the tests need, each with a file that proves it.
pub(crate) const PACKAGES: &[(&str, &str)] = &[
    ("postgresql", "/usr/lib/postgresql/15/bin/postgres"),
    (
        "postgresql-contrib",
        "/usr/share/postgresql/15/extension/dblink.control",
    ),
    ("python3", "/usr/bin/python3"),
    ("python3-venv", "/usr/share/doc/python3-venv"),
    ("coreutils", "stdbuf"),
    // To kill and fail what writes the evidence at its system calls.
    ("strace", "strace"),
    // To unpack PostgreSQL's source package.
    ("bzip2", "bzip2"),
    // To look at the unit.
    ("systemd", "systemd-analyze"),
    // Drivers.
    ("nodejs", "node"),
    ("npm", "npm"),
    ("openjdk-17-jdk-headless", "javac"),
    // The console, in a real browser.
    ("chromium", "/usr/bin/chromium"),
    ("chromium-driver", "/usr/bin/chromedriver"),
    ("curl", "/usr/bin/curl"),
    ("libpostgresql-jdbc-java", "/usr/share/java/postgresql.jar"),
];

/// A server with the S3 interface, for what is shipped.
const OBJECT_STORE: Tool = Tool {
    name: "s3s-fs",
    version: "0.14.1",
    // Without optimisation it is built in half the time, and is as fast as its tests need.
    args: &["--debug", "--features", "binary"],
    env: &[],
};

/// Suites whose tests disturb each other's measurements.
const SERIAL: &[&str] = &["memory"];

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub struct Test {
    /// Run only suites whose name contains one of these (`drivers`, `bypass`, `intercept`, `cordon` ...).
    suites: Vec<String>,
    /// Run only tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// One test program.
struct Suite {
    name: String,
    program: PathBuf,
    package: PathBuf,
}

#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Builds and runs the tests; fails if any does.
pub fn run(args: &Test) -> Result<()> {
    cordon_tests::host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    let store = OBJECT_STORE.ensure(args.no_install)?;
    build::daemon(false, args.no_install)?;
    let suites = step("build the tests", || suites(&args.suites))?;
    // The unit tests that ask a real server; the other suites start their own.
    let cluster = cordon_tests::Cluster::start().context("a PostgreSQL for the unit tests")?;
    let server = cluster.admin_url();
    let mut results = Vec::new();
    for suite in suites {
        if !args.suites.is_empty() && !args.suites.iter().any(|wanted| suite.name.contains(wanted))
        {
            continue;
        }
        let count = step(&format!("test {}", suite.name), || {
            run_suite(&suite, args.filter.as_deref(), &server, &store)
        });
        // A suite that ended without a result (a crash) counts as one failure.
        let count = count.unwrap_or_else(|error| {
            eprintln!("{} {error:#}", red("error:"));
            Count {
                failed: 1,
                ..Count::default()
            }
        });
        results.push((suite.name, count));
    }
    ensure!(!results.is_empty(), "no suite is named like that");
    if args.suites.is_empty() && args.filter.is_none() {
        step("examples in the documentation", || {
            step::run(cargo().args(["test", "--workspace", "--doc", "--quiet"]))
        })?;
    }
    report(&results)
}

fn report(results: &[(String, Count)]) -> Result<()> {
    println!(
        "\n{}",
        bold(&format!(
            "{:<28} {:>7} {:>7} {:>8}",
            "suite", "passed", "failed", "ignored"
        ))
    );
    let mut total = Count::default();
    for (name, count) in results {
        let line = format!(
            "{name:<28} {:>7} {:>7} {:>8}",
            count.passed, count.failed, count.ignored
        );
        println!("{}", if count.failed > 0 { red(&line) } else { line });
        total.passed += count.passed;
        total.failed += count.failed;
        total.ignored += count.ignored;
    }
    println!(
        "{:<28} {:>7} {:>7} {:>8}",
        "total", total.passed, total.failed, total.ignored
    );
    if total.failed > 0 {
        bail!("{} tests failed", total.failed);
    }
    ensure!(
        total.ignored == 0,
        "{} tests are ignored; a test runs or is not there",
        total.ignored
    );
    println!("{} {} tests passed", green("ok"), total.passed);
    Ok(())
}

/// The suites of `tests/tests` with one of these in their names; nothing if one of these is in no
/// such name.
fn named(wanted: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(step::root().join("tests/tests")).context("tests/tests")? {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .and_then(|stem| stem.to_str())
                .map(str::to_owned),
        );
    }
    if !wanted
        .iter()
        .all(|part| names.iter().any(|name| name.contains(part)))
    {
        return Ok(Vec::new());
    }
    names.retain(|name| wanted.iter().any(|part| name.contains(part)));
    names.sort();
    Ok(names)
}

/// Builds the test programs of the workspace, or only those that are wanted, and lists them.
fn suites(wanted: &[String]) -> Result<Vec<Suite>> {
    let mut build = cargo();
    build.args([
        "test",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    for name in named(wanted)? {
        build.args(["--test", &name]);
    }
    let output = build
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo")?;
    ensure!(output.status.success(), "the tests do not build");
    let mut suites = Vec::new();
    for line in output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let message: Value = serde_json::from_slice(line).context("reading cargo's messages")?;
        if message["profile"]["test"] != true {
            continue;
        }
        let (Some(program), Some(manifest)) = (
            message["executable"].as_str(),
            message["manifest_path"].as_str(),
        ) else {
            continue;
        };
        let package = Path::new(manifest)
            .parent()
            .context("a manifest without a folder")?
            .to_owned();
        let target = message["target"]["name"].as_str().unwrap_or("?");
        let kind = message["target"]["kind"][0].as_str().unwrap_or("?");
        let name = if kind == "test" {
            target.to_owned()
        } else {
            format!("{target} ({kind})")
        };
        suites.push(Suite {
            name,
            program: PathBuf::from(program),
            package,
        });
    }
    // Quick ones first: unit tests, then whatever drives the product.
    suites.sort_by_key(|suite| {
        (
            !suite.name.ends_with(')'),
            suite.name == "memory",
            suite.name.clone(),
        )
    });
    Ok(suites)
}

fn run_suite(suite: &Suite, filter: Option<&str>, server: &str, store: &Path) -> Result<Count> {
    let mut command = Command::new(&suite.program);
    command
        .current_dir(&suite.package)
        .env("CARGO_MANIFEST_DIR", &suite.package)
        // A test that finds no server fails instead of being skipped.
        .env("CI", "1")
        .env("CORDON_TEST_POSTGRES", server)
        .env("CORDON_TEST_STORE", store)
        .args(filter);
    if SERIAL.contains(&suite.name.as_str()) {
        command.arg("--test-threads=1");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", suite.name))?;
    let stdout = child.stdout.take().context("no output")?;
    let mut count = None;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        writeln!(std::io::stdout(), "{line}")?;
        if let Some(result) = line.strip_prefix("test result: ") {
            count = Some(parse(result));
        }
    }
    let status = child.wait()?;
    let count =
        count.with_context(|| format!("{} ended without a result ({status})", suite.name))?;
    ensure!(
        status.success() || count.failed > 0,
        "{} ended with {status}",
        suite.name
    );
    Ok(count)
}

/// `ok. 3 passed; 0 failed; 0 ignored; ...`
fn parse(result: &str) -> Count {
    let number = |word: &str| {
        let part = result
            .split([';', '.'])
            .find(|part| part.trim_end().ends_with(word));
        part.and_then(|part| part.split_whitespace().next())
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    };
    Count {
        passed: number("passed"),
        failed: number("failed"),
        ignored: number("ignored"),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_result_line_of_a_suite_is_counted() {
        let count = parse(
            "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.31s",
        );
        assert_eq!((count.passed, count.failed, count.ignored), (12, 3, 1));
    }
}
