//! `cargo xtask test-recording` and `bench-evidence`: what recordings cost.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use cordon_tests::{Setup, Stand, policies, tools};

use crate::{
    build,
    ensure::ensure_packages,
    step::{self, bold, cargo, step},
    test::PACKAGES,
};

/// Arguments of `cargo xtask test-recording`.
#[derive(Args)]
pub struct TestRecording {
    /// Size of the session, in MiB.
    #[arg(long, default_value_t = 1024)]
    megabytes: u64,
    /// Take this program instead of building one; `cordon-verify` is beside it.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Records a session of this size with an optimised daemon, and reads it back.
pub fn test(args: &TestRecording) -> Result<()> {
    cordon_tests::host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    let daemon = daemon(args.binary.as_deref(), args.no_install)?;
    let mut command = cargo();
    command
        .args([
            "test",
            // As `cargo xtask test` builds it: another choice of packages means other features.
            "--workspace",
            "--test",
            "recording_large",
        ])
        .args(["--", "--nocapture"])
        .env("CORDON_BIN", daemon)
        .env("CORDON_RECORDING_MB", args.megabytes.to_string());
    step("record a large session", || step::run(&mut command))
}

/// An optimised daemon: the given one, or one that is built now.
fn daemon(given: Option<&Path>, no_install: bool) -> Result<PathBuf> {
    match given {
        Some(given) => given
            .canonicalize()
            .with_context(|| format!("{} cannot be found", given.display())),
        None => build::daemon(true, no_install),
    }
}

/// Arguments of `cargo xtask bench-evidence`.
#[derive(Args)]
pub struct BenchEvidence {
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each is made; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Take this program instead of building one; `cordon-verify` is beside it.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// What is compared: a name and the lines below `evidence:`.
const CASES: [(&str, &str); 4] = [
    ("off, fsync of writes", "  recording: off\n  fsync: risky\n"),
    (
        "digests, fsync of writes",
        "  recording: digests\n  fsync: risky\n",
    ),
    (
        "full, fsync of writes",
        "  recording: full\n  fsync: risky\n",
    ),
    ("full, fsync of all", "  recording: full\n  fsync: always\n"),
];

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    per_second: f64,
    latency_ms: f64,
    cpu_us: f64,
}

/// Measures statements per second, latency and the daemon's CPU time with and without recordings.
pub fn bench(args: &BenchEvidence) -> Result<()> {
    cordon_tests::host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    let daemon = daemon(args.binary.as_deref(), args.no_install)?;
    let mut cases = CASES
        .iter()
        .map(|(name, evidence)| Ok((*name, stand(&daemon, evidence)?, Vec::new())))
        .collect::<Result<Vec<_>>>()?;
    // All in each round, so that what changes on the host changes for all.
    for round in 1..=args.rounds {
        step(&format!("round {round} of {}", args.rounds), || {
            for (_, stand, measured) in &mut cases {
                measured.push(measure(stand, args.seconds)?);
            }
            Ok(())
        })?;
    }
    let cases: Vec<(&str, Measured)> = cases
        .into_iter()
        .map(|(name, _, mut measured)| {
            measured.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
            let median = measured.get(measured.len() / 2).copied();
            (name, median.unwrap_or_default())
        })
        .collect();
    let base = cases.first().map(|(_, first)| *first).unwrap_or_default();
    println!(
        "\n{}",
        bold(&format!(
            "{:<26} {:>8} {:>7} {:>10} {:>7} {:>10} {:>7}",
            "recording", "per s", "ratio", "latency ms", "ratio", "CPU us", "ratio"
        ))
    );
    for (name, measured) in &cases {
        println!(
            "{name:<26} {:>8.0} {:>7.2} {:>10.3} {:>7.2} {:>10.1} {:>7.2}",
            measured.per_second,
            measured.per_second / base.per_second,
            measured.latency_ms,
            measured.latency_ms / base.latency_ms,
            measured.cpu_us,
            measured.cpu_us / base.cpu_us,
        );
    }
    Ok(())
}

/// Everything to measure with, and the script of what is sent.
fn stand(daemon: &Path, evidence: &str) -> Result<(Stand, String)> {
    let stand = Stand::start(&Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        evidence: evidence.to_owned(),
        binary: Some(daemon.to_owned()),
        ..Setup::default()
    })?;
    let script = "\\set id random(1, 5)\nSELECT id, note FROM public.orders WHERE id = :id;\n";
    let script = stand.job().share("bench.sql", script.as_bytes())?;
    Ok((stand, script))
}

fn measure((stand, script): &(Stand, String), seconds: u64) -> Result<Measured> {
    let pgbench = tools::postgres("pgbench")?.display().to_string();
    let time = seconds.to_string();
    let command = [
        pgbench.as_str(),
        "-n",
        "-M",
        "prepared",
        "-c",
        "4",
        "-j",
        "1",
        "-T",
        &time,
        "-f",
        script,
    ];
    let before = stand.daemon.cpu_ms()?;
    let output = stand.job().run(&command)?.success()?;
    let cpu = stand.daemon.cpu_ms()? - before;
    let number = |key: &str| -> Result<f64> {
        let line = output.stdout.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split('=').nth(1))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|text| text.parse().ok())
            .with_context(|| format!("pgbench does not say {key}: {}", output.stdout))
    };
    let per_second = number("tps")?;
    Ok(Measured {
        per_second,
        latency_ms: number("latency average")?,
        #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
        cpu_us: cpu as f64 * 1_000.0 / (per_second * seconds as f64),
    })
}
