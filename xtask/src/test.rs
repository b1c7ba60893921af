//! `cargo xtask test`: everything that continuous integration runs, with a count per suite.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use cordon_tests::tools::{self, CHOSEN_SERVER, Server};
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
    // To validate policies by the schema for editors.
    (
        "python3-jsonschema",
        "/usr/lib/python3/dist-packages/jsonschema/__init__.py",
    ),
    ("coreutils", "stdbuf"),
    // To kill and fail what writes the evidence at its system calls.
    ("strace", "strace"),
    // To unpack PostgreSQL's source package.
    ("bzip2", "bzip2"),
    // To look at the unit.
    ("systemd", "systemd-analyze"),
    // Network namespaces, as containers have them.
    ("iproute2", "/usr/sbin/ip"),
    // The host's own NAT.
    ("nftables", "/usr/sbin/nft"),
    // A container runtime.
    ("crun", "crun"),
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

/// Suites that measure: their tests run one after another, with nothing beside them.
const SERIAL: &[&str] = &["memory"];

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub struct Test {
    /// Run only suites whose name contains one of these (`drivers`, `bypass`, `intercept`, `cordon` ...).
    suites: Vec<String>,
    /// Run only tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Have the databases be of this release of PostgreSQL instead of Debian's: 16, 17, 18.
    #[arg(long, value_name = "MAJOR")]
    server: Option<u32>,
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
    build::prepare(args.no_install)?;
    if let Some(server) = args.server {
        tools::choose_server(server_of(server)?)?;
    }
    let suites = step("build cordon and its tests", || suites(&args.suites))?;
    // The unit tests that ask a real server; the other suites start their own.
    let cluster = cordon_tests::Cluster::start().context("a PostgreSQL for the unit tests")?;
    let server = cluster.admin_url();
    let wanted: Vec<Suite> = suites
        .into_iter()
        .filter(|suite| {
            args.suites.is_empty() || args.suites.iter().any(|part| suite.name.contains(part))
        })
        .collect();
    let run = |suite: &Suite, log: Option<&Path>| {
        run_suite(suite, args.filter.as_deref(), &server, &store, log)
    };
    let results = run_suites(wanted, &run);
    ensure!(!results.is_empty(), "no suite is named like that");
    if args.suites.is_empty() && args.filter.is_none() {
        step("examples in the documentation", || {
            step::run(cargo().args(["test", "--workspace", "--doc", "--quiet"]))
        })?;
    }
    report(&results)
}

fn server_of(major: u32) -> Result<PathBuf> {
    let known = Server::ALL;
    let server = known.iter().find(|server| server.major == major);
    let server = server.with_context(|| {
        let majors = known.map(|server| server.major.to_string());
        format!("there is no server {major} here, but {}", majors.join(", "))
    })?;
    step(&format!("install PostgreSQL {major}"), || server.ensure())
}

/// Runs a suite; its output goes to the file, if there is one.
type Run<'a> = dyn Fn(&Suite, Option<&Path>) -> Result<Count> + Sync + 'a;

/// Runs the suites, as many at a time as there are processors: most of them wait for servers.
fn run_suites(suites: Vec<Suite>, run: &Run<'_>) -> Vec<(String, Count)> {
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    let (alone, beside): (Vec<Suite>, Vec<Suite>) = suites
        .into_iter()
        .partition(|suite| SERIAL.contains(&suite.name.as_str()));
    let mut results = Vec::new();
    for (suites, lanes) in [(beside, lanes), (alone, 1)] {
        let lanes = lanes.min(suites.len());
        let (left, done) = (Mutex::new(suites.into_iter()), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..lanes {
                scope.spawn(|| {
                    loop {
                        let next = lock(&left).next();
                        let Some(suite) = next else { break };
                        let count = run_and_show(&suite, lanes > 1, run);
                        lock(&done).push((suite.name, count));
                    }
                });
            }
        });
        results.append(&mut lock(&done));
    }
    results.sort_by_key(|(name, _)| (!name.ends_with(')'), name.clone()));
    results
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one suite. `whole`: its output is shown at its end, because others run at the same time.
/// A suite that ended without a result (a crash) counts as one failure.
fn run_and_show(suite: &Suite, whole: bool, run: &Run<'_>) -> Count {
    let title = format!("test {}", suite.name);
    let log = whole.then(|| suite.program.with_extension("log"));
    let start = Instant::now();
    if !whole {
        println!("{} {title}", bold("==>"));
    }
    let result = run(suite, log.as_deref());
    let seconds = start.elapsed().as_secs_f64();
    let mut shown = Vec::new();
    if let Some(path) = log {
        shown.extend(format!("{} {title}\n", bold("==>")).into_bytes());
        shown.extend(std::fs::read(path).unwrap_or_default());
    }
    let word = match &result {
        Ok(count) if count.failed == 0 => green("ok "),
        Ok(_) | Err(_) => red("failed"),
    };
    shown.extend(format!("{word} {title} ({seconds:.1} s)\n").into_bytes());
    let count = result.unwrap_or_else(|error| {
        shown.extend(format!("{} {error:#}\n", red("error:")).into_bytes());
        Count {
            failed: 1,
            ..Count::default()
        }
    });
    // A closed standard output is no reason to stop.
    let _ = std::io::stdout().write_all(&shown);
    count
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

/// Builds the suite of this name, and gives its program.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    suites(&[name.to_owned()])?
        .into_iter()
        .find(|suite| suite.name == name)
        .map(|suite| suite.program)
        .with_context(|| format!("there is no suite {name}"))
}

/// Builds the programs and the test programs of the workspace, or only those tests that are
/// wanted, and lists the latter. All at once: asked for apart, the programs would be built of
/// dependencies with other features.
fn suites(wanted: &[String]) -> Result<Vec<Suite>> {
    let mut build = cargo();
    build.args([
        "build",
        "--workspace",
        "--bin",
        "cordon",
        "--bin",
        "cordon-verify",
        "--message-format=json-render-diagnostics",
    ]);
    let named = named(wanted)?;
    if named.is_empty() {
        build.arg("--tests");
    }
    for name in named {
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

fn run_suite(
    suite: &Suite,
    filter: Option<&str>,
    server: &str,
    store: &Path,
    log: Option<&Path>,
) -> Result<Count> {
    let mut command = Command::new(&suite.program);
    command
        .current_dir(&suite.package)
        .env("CARGO_MANIFEST_DIR", &suite.package)
        // A test that finds no server fails instead of being skipped.
        .env("CI", "1")
        .env("CORDON_TEST_POSTGRES", server)
        .env("CORDON_TEST_STORE", store)
        .envs(tools::chosen_server().map(|folder| (CHOSEN_SERVER, folder)))
        .args(filter);
    if SERIAL.contains(&suite.name.as_str()) {
        command.arg("--test-threads=1");
    }
    let Some(log) = log else {
        return run_live(suite, &mut command);
    };
    // A file, not a pipe: a process that a test leaves behind must not hold up the others.
    let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("starting {}", suite.name))?;
    let output = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    let count = String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| line.strip_prefix("test result: "))
        .map(parse)
        .next_back();
    ended(suite, count, status)
}

/// Runs a suite and shows its output as it comes.
fn run_live(suite: &Suite, command: &mut Command) -> Result<Count> {
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
    ended(suite, count, child.wait()?)
}

fn ended(suite: &Suite, count: Option<Count>, status: ExitStatus) -> Result<Count> {
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
