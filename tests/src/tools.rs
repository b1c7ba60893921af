//! Where the programs are that the tests start.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// Where Debian's package puts the database's programs.
const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// Versions of the Python drivers under test.
const PYTHON_DRIVERS: &[&str] = &["psycopg[binary]==3.2.13", "asyncpg==0.31.0"];

/// The interpreter of the distribution, without drivers.
pub const PYTHON: &str = "/usr/bin/python3";

/// A program of the database's package.
pub fn postgres(program: &str) -> Result<PathBuf> {
    let path = Path::new(POSTGRES_BIN).join(program);
    ensure!(
        path.exists(),
        "{} is missing; apt-get install postgresql",
        path.display()
    );
    Ok(path)
}

/// Cargo's folder for this profile: `target/debug`.
pub fn profile_dir() -> Result<PathBuf> {
    let own = env::current_exe().context("finding the running program")?;
    let folder = own.parent().context("the running program has no folder")?;
    let folder = if folder.ends_with("deps") {
        folder.parent().context("deps has no parent")?
    } else {
        folder
    };
    Ok(folder.to_path_buf())
}

/// A folder below Cargo's target folder for what is dear to make and the same for every run.
pub(crate) fn kept_dir() -> Result<PathBuf> {
    let folder = profile_dir()?
        .parent()
        .context("no target folder")?
        .join("cordon-tests");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// The product: `CORDON_BIN`, or `cordon` next to the tests.
pub fn cordon() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CORDON_BIN") {
        let path = PathBuf::from(path);
        ensure!(
            path.exists(),
            "CORDON_BIN names {}, which does not exist",
            path.display()
        );
        return Ok(path);
    }
    let path = profile_dir()?.join("cordon");
    ensure!(
        path.exists(),
        "{} is not built; run `cargo xtask build` first",
        path.display()
    );
    Ok(path)
}

/// A Python with the drivers, made once below Cargo's target folder.
pub fn python_with_drivers() -> Result<PathBuf> {
    python_with("venv", PYTHON_DRIVERS)
}

/// A Python environment of that name with these packages, made once below Cargo's target folder.
pub(crate) fn python_with(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let base = kept_dir()?;
    let lock = File::create(base.join(format!("{name}.lock")))?;
    lock.lock()
        .context("waiting for another process to make the Python environment")?;

    let venv = base.join(name);
    let python = venv.join("bin/python3");
    let stamp = venv.join("drivers.txt");
    let wanted = packages.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) && python.exists() {
        return Ok(python);
    }
    if venv.exists() {
        fs::remove_dir_all(&venv)?;
    }
    run(
        Command::new(PYTHON).args(["-m", "venv"]).arg(&venv),
        "apt-get install python3-venv",
    )?;
    run(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(packages),
        "the Python packages come from PyPI; a mirror can be named in PIP_INDEX_URL",
    )?;
    fs::write(stamp, wanted)?;
    Ok(python)
}

fn run(command: &mut Command, remedy: &str) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}; {remedy}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({remedy}):\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
