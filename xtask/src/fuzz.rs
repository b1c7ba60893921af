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
    seed(&fuzz.join("seeds/statements.sql"), &corpus)?;
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
    step(
        &format!("fuzz {} for {} minutes", args.target, args.minutes),
        || {
            let mut fuzzing = command_of("run");
            fuzzing
                .arg(&corpus)
                .arg("--")
                .arg(format!("-max_total_time={}", args.minutes * 60))
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
    )
}

/// Puts each seed into a file of its own.
fn seed(seeds: &Path, corpus: &Path) -> Result<()> {
    let text = fs::read_to_string(seeds).with_context(|| format!("reading {}", seeds.display()))?;
    for (number, seed) in text.split("\n;\n").enumerate() {
        fs::write(corpus.join(format!("seed-{number:04}")), seed.trim())?;
    }
    Ok(())
}
