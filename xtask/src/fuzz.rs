//! `cargo xtask fuzz`: hostile input, guided by coverage, for as long as one likes.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    build,
    step::{cargo, root, run, step},
    tools::Tool,
};

const CARGO_FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    args: &[],
    env: &[],
};

/// Kilobytes of the main thread's stack: that of the gateway's parser threads.
const STACK: u32 = 256 * 1024;

/// Arguments of `cargo xtask fuzz`.
#[derive(Args)]
pub struct Fuzz {
    /// The target.
    #[arg(default_value = "sql_analyze")]
    target: String,
    /// How long, in minutes.
    #[arg(long, default_value_t = 30)]
    minutes: u32,
    /// How long, in seconds, instead.
    #[arg(long)]
    seconds: Option<u32>,
    /// Processes side by side.
    #[arg(long, default_value_t = 2)]
    jobs: u32,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Builds the target and runs it; fails with the input that broke something.
pub fn execute(args: &Fuzz) -> Result<()> {
    let fuzz = root().join("gateway-userspace/fuzz");
    build::ebpf(args.no_install)?;
    let tool = CARGO_FUZZ.ensure(args.no_install)?;
    let folder = root().join("target/fuzz");
    let corpus = folder.join("corpus").join(&args.target);
    let artifacts = folder.join("artifacts").join(&args.target);
    fs::create_dir_all(&corpus).context("a folder for the corpus")?;
    fs::create_dir_all(&artifacts).context("a folder for what is found")?;
    let scratch = folder.join("tmp").join(&args.target);
    fs::create_dir_all(&scratch).context("a folder for what runs leave behind")?;
    seed(&fuzz.join("seeds").join(&args.target), &corpus)?;
    let seconds = args.seconds.unwrap_or(args.minutes * 60);
    let target_dir = folder.join("target");
    let command_of = |verb: &str| {
        let mut command = std::process::Command::new(&tool);
        command
            .args(["fuzz", verb, "--fuzz-dir"])
            .arg(&fuzz)
            // The sanitizers' memory checks find nothing in safe code, and cost half the speed.
            .args(["--sanitizer", "none", "--target-dir"])
            .arg(&target_dir)
            .arg(&args.target)
            // libFuzzer needs coverage counters, which are a compiler's option under test.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO", cargo().get_program());
        command
    };
    step("build the fuzz target", || run(&mut command_of("build")))?;
    let outcome = step(
        &format!("fuzz {} for {seconds} seconds", args.target),
        || {
            let mut fuzzing = command_of("run");
            fuzzing
                .env("TMPDIR", &scratch)
                .arg(&corpus)
                .arg("--")
                .arg(format!("-max_total_time={seconds}"))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .arg(format!("-fork={}", args.jobs))
                .args([
                    "-timeout=10",
                    "-rss_limit_mb=2048",
                    "-max_len=65536",
                    "-ignore_crashes=0",
                ]);
            let mut limited = std::process::Command::new("sh");
            limited
                .arg("-c")
                .arg(format!("ulimit -s {STACK} && exec \"$0\" \"$@\""))
                .arg(fuzzing.get_program())
                .args(fuzzing.get_args());
            for (key, value) in fuzzing.get_envs() {
                if let Some(value) = value {
                    limited.env(key, value);
                }
            }
            run(&mut limited)
        },
    );
    let _ = fs::remove_dir_all(&scratch);
    outcome
}

/// Copies the target's seeds; of statements each into a file of its own.
fn seed(seeds: &Path, corpus: &Path) -> Result<()> {
    let entries = fs::read_dir(seeds).with_context(|| format!("reading {}", seeds.display()))?;
    for entry in entries {
        let path = entry?.path();
        let seed = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_name().unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let text = String::from_utf8(seed).context("statements that are not UTF-8")?;
            for (number, seed) in text.split("\n;\n").enumerate() {
                fs::write(corpus.join(format!("seed-{number:04}")), seed.trim())?;
            }
        } else {
            fs::write(corpus.join(name), seed)?;
        }
    }
    Ok(())
}
