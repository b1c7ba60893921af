//! Finds the eBPF object that the crate embeds.

use std::{env, path::PathBuf};

const VARIABLE: &str = "CORDON_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let built = root.join("../gateway-ebpf/target/bpfel-unknown-none/release/cordon-ebpf");
    let object = env::var_os(VARIABLE).map_or(built, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(object) => println!("cargo::rustc-env={VARIABLE}={}", object.display()),
        Err(error) => println!(
            "cargo::error=the eBPF object {} cannot be read ({error}): run `cargo xtask build` \
             (or `cargo xtask ebpf`) first, or set {VARIABLE} to an object built elsewhere",
            object.display()
        ),
    }
}
