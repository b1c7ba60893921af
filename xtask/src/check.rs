//! `check`: everything that can be said without running the product.

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    arch, build,
    ensure::{self, ensure_packages},
    step::{cargo, command, red, root, run, step, succeeds, yellow},
    tools::Tool,
};

const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    // Without optimisation it is built in a third of the time, and runs as long as needed.
    args: &["--debug"],
    env: &[],
};

/// Debian's clippy, which belongs to the compiler of the eBPF programs.
const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

/// The one check that runs the product's code.
const UNIT_TESTS: &str = "unit tests";

/// The workspaces.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "gateway-ebpf/Cargo.toml"];

/// Arguments of `cargo xtask check`.
#[derive(Args)]
pub struct Check {
    /// Leave the unit tests to `cargo xtask test`.
    #[arg(long)]
    no_tests: bool,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

impl Check {
    /// Runs all checks, also after one has failed.
    pub fn run(&self) -> Result<()> {
        let no_install = self.no_install;
        // The daemon embeds the object, so that nothing compiles without it.
        build::ebpf(no_install)?;
        let checks: [(&str, &dyn Fn() -> Result<()>); 8] = [
            ("format", &format),
            ("dependency rule of the modules", &arch::run),
            ("clippy", &clippy),
            ("clippy of the eBPF programs", &|| ebpf_clippy(no_install)),
            ("documentation", &documentation),
            ("dependencies: bans, licences, sources", &|| {
                deny(no_install)
            }),
            ("dependencies: advisories", &|| advisories(no_install)),
            (UNIT_TESTS, &unit_tests),
        ];
        let failed: Vec<&str> = checks
            .into_iter()
            .filter(|(name, _)| !(self.no_tests && *name == UNIT_TESTS))
            .filter_map(|(name, check)| match step(name, check) {
                Ok(()) => None,
                Err(error) => {
                    eprintln!("{} {error:#}", red("error:"));
                    Some(name)
                }
            })
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", failed.join("; "));
    }
}

fn format() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo()
        .current_dir(root().join("gateway-ebpf"))
        .args(["fmt", "--check"]))
}

/// The kernel's crate and the user's are linted apart, because features of the shared one unify.
fn clippy() -> Result<()> {
    run(cargo().args([
        "clippy",
        "--quiet",
        "--package",
        "gateway-common",
        "--",
        "-Dwarnings",
    ]))?;
    run(cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-Dwarnings",
    ]))
}

/// The pinned toolchain has no core library for the BPF target: the programs are linted by the
/// clippy that belongs to their own compiler.
fn ebpf_clippy(no_install: bool) -> Result<()> {
    let build::Toolchain { mut cargo, linker } = build::toolchain(no_install)?;
    cargo
        .current_dir(root().join("gateway-ebpf"))
        .env("RUSTFLAGS", build::rustflags(&linker));
    if ensure::find("apt-get").is_some() {
        ensure_packages(&[("rust-web-clippy", DEBIAN_CLIPPY)], no_install)?;
        // What `cargo clippy` does, with this driver in place of rustup's.
        cargo
            .args(["check", "--quiet"])
            .env("RUSTC_WORKSPACE_WRAPPER", DEBIAN_CLIPPY)
            .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__")
            .env("CLIPPY_CONF_DIR", root());
    } else {
        cargo
            .args(["clippy", "--quiet"])
            .env("CLIPPY_ARGS", "-Dwarnings");
    }
    run(cargo
        .args(["--release", "--locked", "--target", build::TARGET])
        .args(["--target-dir", "target/clippy"]))
}

fn documentation() -> Result<()> {
    run(cargo()
        .args([
            "doc",
            "--quiet",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ])
        .env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn deny(no_install: bool) -> Result<()> {
    let deny = CARGO_DENY.ensure(no_install)?;
    for manifest in MANIFESTS {
        run(command(&deny)
            .args(["--log-level", "error", "--manifest-path", manifest])
            .args([
                "--config",
                "deny.toml",
                "check",
                "bans",
                "licenses",
                "sources",
            ]))?;
    }
    Ok(())
}

/// Advisories need a database from the network; without it they are not checked, and the check
/// says so.
fn advisories(no_install: bool) -> Result<()> {
    let deny = CARGO_DENY.ensure(no_install)?;
    let mut fetch = command("timeout");
    fetch
        .arg("60")
        .arg(&deny)
        .args(["--config", "deny.toml", "fetch", "db"]);
    if !succeeds(&mut fetch) {
        println!(
            "{} the advisory database cannot be fetched here: advisories were NOT checked",
            yellow("note:")
        );
        return Ok(());
    }
    for manifest in MANIFESTS {
        run(command(&deny)
            .args(["--log-level", "error", "--manifest-path", manifest])
            .args([
                "--config",
                "deny.toml",
                "check",
                "--disable-fetch",
                "advisories",
            ]))?;
    }
    Ok(())
}

fn unit_tests() -> Result<()> {
    // Without a server: `cargo xtask test` runs those that want one, and insists on it.
    run(cargo()
        .args(["test", "--quiet", "--workspace", "--lib", "--bins"])
        .env_remove("CI")
        .env_remove("CORDON_TEST_POSTGRES"))
}
