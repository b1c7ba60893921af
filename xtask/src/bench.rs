//! `cargo xtask bench`: what it costs to understand statements, and what the programs in the kernel
//! cost.

use anyhow::Result;
use clap::Args;

use crate::{
    build,
    step::{cargo, run, step},
};

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub struct Bench {
    /// Only benchmarks with this in their name; `intercept`: instead, the programs in the kernel.
    filter: Option<String>,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

impl Bench {
    /// Builds and runs the benchmarks.
    pub fn run(&self) -> Result<()> {
        // The daemon's crate embeds the object.
        build::ebpf(self.no_install)?;
        if self.filter.as_deref() == Some("intercept") {
            return intercept();
        }
        let mut command = cargo();
        command.args(["bench", "--package", "cordon", "--features", "bench"]);
        command.args(["--bench", "analysis", "--"]);
        command.args(&self.filter);
        step("measure", || run(&mut command))
    }
}

/// Not optimised: what is measured happens in the kernel, and the tests have it built.
fn intercept() -> Result<()> {
    cordon_tests::host::require_root()?;
    let mut command = cargo();
    command.args(["bench", "--workspace", "--profile", "dev"]);
    command.args(["--bench", "intercept"]);
    step("measure", || run(&mut command))
}
