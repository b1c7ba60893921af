//! `build` and `ebpf`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    ensure::{self, ensure_packages},
    step::{cargo, command, root, run, step, succeeds},
    tools::Tool,
};

/// The target of the eBPF programs.
pub const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "gateway-ebpf/target/bpfel-unknown-none/release/cordon-ebpf";

/// Debian's compiler, which has a prebuilt core library for the BPF target. It stands beside the
/// toolchain of rustup, and is called by its path for the eBPF object alone.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
const LLVM: &str = "/usr/lib/llvm-22";

const LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.13.0",
    args: &["--no-default-features", "--features", "llvm-22"],
    env: &[("LLVM_PREFIX", LLVM)],
};

/// Packages to build the eBPF object with.
const EBPF_PACKAGES: &[(&str, &str)] = &[
    ("rustc-web", DEBIAN_RUSTC),
    ("libstd-rust-web-dev-bpf", DEBIAN_CORE),
    ("gcc", "cc"),
];
/// Packages to build the linker with.
const LINKER_PACKAGES: &[(&str, &str)] = &[("llvm-22-dev", "/usr/lib/llvm-22/bin/llvm-config")];
/// Packages to build the daemon with; libclang makes the bindings of PostgreSQL's parser.
const DAEMON_PACKAGES: &[(&str, &str)] = &[
    ("gcc", "cc"),
    ("make", "make"),
    ("libclang-dev", "/usr/share/doc/libclang-dev"),
];

/// Arguments of `cargo xtask build`.
#[derive(Args)]
pub struct Build {
    /// Build with optimisations.
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    ebpf: Ebpf,
}

/// Arguments of `cargo xtask ebpf`.
#[derive(Args, Clone, Copy)]
pub struct Ebpf {
    /// Do not install anything; say what is missing.
    #[arg(long)]
    pub no_install: bool,
}

impl Build {
    /// Builds everything.
    pub fn run(&self) -> Result<()> {
        daemon(self.release, self.ebpf.no_install).map(drop)
    }
}

impl Ebpf {
    /// Builds the object.
    pub fn run(self) -> Result<()> {
        ebpf(self.no_install).map(drop)
    }
}

/// What the daemon is built with: the packages, and the object that it embeds.
pub fn prepare(no_install: bool) -> Result<()> {
    ebpf(no_install)?;
    ensure_packages(DAEMON_PACKAGES, no_install)
}

/// Builds the object and the daemon. Gives the path of the `cordon` binary.
pub fn daemon(release: bool, no_install: bool) -> Result<PathBuf> {
    prepare(no_install)?;
    let profile = if release { "release" } else { "debug" };
    step(&format!("build cordon ({profile})"), || {
        let mut build = cargo();
        build.args(["build", "--bin", "cordon", "--bin", "cordon-verify"]);
        if release {
            build.args([
                "--release",
                "--package",
                "cordon",
                "--package",
                "cordon-verify",
            ]);
        } else {
            // With the features of the whole workspace, so that the tests find built what it is
            // made of.
            build.arg("--workspace");
        }
        run(&mut build)
    })?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir));
    let binary = target.join(profile).join("cordon");
    println!("{}", binary.display());
    Ok(binary)
}

/// Builds the eBPF object if its sources are newer. Gives its path.
pub fn ebpf(no_install: bool) -> Result<PathBuf> {
    let object = root().join(OBJECT);
    if is_current(&object)? {
        return Ok(object);
    }
    let build = toolchain(no_install)?;
    step("build the eBPF object", || {
        let Toolchain { mut cargo, linker } = build;
        cargo
            .current_dir(root().join("gateway-ebpf"))
            .args([
                "build",
                "--release",
                "--locked",
                "--target",
                TARGET,
                "--target-dir",
                "target",
            ])
            .env("RUSTFLAGS", rustflags(&linker));
        run(&mut cargo)
    })?;
    // Cargo leaves the object's time as it was when nothing in it changed.
    fs::File::options()
        .append(true)
        .open(&object)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(|| format!("reading {}", object.display()))?;
    Ok(object)
}

/// What compiles and links for the BPF target.
pub struct Toolchain {
    /// Cargo with the compiler set.
    pub cargo: std::process::Command,
    /// The linker.
    pub linker: PathBuf,
}

/// Finds or installs a toolchain for the BPF target.
pub fn toolchain(no_install: bool) -> Result<Toolchain> {
    let debian = ensure::find("apt-get").is_some();
    if debian {
        ensure_packages(EBPF_PACKAGES, no_install)?;
        if LINKER.find().is_none() {
            ensure_packages(LINKER_PACKAGES, no_install)?;
        }
    }
    let linker = LINKER.ensure(no_install)?;
    let mut cargo = if debian {
        let mut cargo = cargo();
        // The bootstrap switch opens the unstable features of a stable compiler.
        cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
        cargo
    } else {
        if !succeeds(command("rustup").args(["run", "nightly", "rustc", "--version"])) {
            bail!(
                "the eBPF object needs a nightly toolchain here:\n  \
                 rustup toolchain install nightly --component rust-src"
            );
        }
        let mut cargo = command("rustup");
        cargo.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
        cargo.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
        cargo
    };
    cargo
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    Ok(Toolchain { cargo, linker })
}

/// Debug information carries the types of the maps; the linker turns it to BTF.
pub fn rustflags(linker: &Path) -> String {
    format!(
        "-C debuginfo=2 -C link-arg=--btf -C linker={}",
        linker.display()
    )
}

/// Whether the object is newer than all it is made of.
fn is_current(object: &Path) -> Result<bool> {
    let Ok(built) = fs::metadata(object).and_then(|metadata| metadata.modified()) else {
        return Ok(false);
    };
    let sources = [
        "gateway-ebpf/Cargo.toml",
        "gateway-ebpf/Cargo.lock",
        "gateway-ebpf/src",
        "gateway-common/Cargo.toml",
        "gateway-common/src",
    ];
    for source in sources {
        if newest(&root().join(source))? > built {
            return Ok(false);
        }
    }
    Ok(true)
}

fn newest(path: &Path) -> Result<SystemTime> {
    let read = || -> std::io::Result<SystemTime> {
        let metadata = fs::metadata(path)?;
        let mut newest = metadata.modified()?;
        if metadata.is_dir() {
            for entry in fs::read_dir(path)? {
                newest = newest.max(fs::metadata(entry?.path())?.modified()?);
            }
        }
        Ok(newest)
    };
    read().with_context(|| format!("reading {}", path.display()))
}
