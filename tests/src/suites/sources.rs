//! Where the suites come from: source packages of `PyPI`, Debian and crates.io, got once and kept in
//! Cargo's target folder.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{output::Output, tools};

/// Runs a command; `what` is said if it fails.
pub(super) fn run(command: &mut Command, what: &str) -> Result<String> {
    let output: Output = command
        .output()
        .with_context(|| format!("{what}: starting {command:?}"))?
        .into();
    ensure!(output.code == Some(0), "{what}: {}", output.all());
    Ok(output.stdout)
}

/// A folder that `fill` fills once. Every user may read it.
pub(super) fn kept(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let base = tools::kept_dir()?.join("suites");
    fs::create_dir_all(&base)?;
    let lock = File::create(base.join(format!("{name}.lock")))?;
    lock.lock()
        .context("waiting for another process to get the sources")?;
    let kept = base.join(name);
    if kept.exists() {
        return Ok(kept);
    }
    let partial = base.join(format!("{name}.partial"));
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    fill(&partial)?;
    run(
        Command::new("chmod").args(["-R", "a+rX"]).arg(&partial),
        "opening the sources",
    )?;
    fs::rename(&partial, &kept)?;
    Ok(kept)
}

/// Unpacks an archive, without its outermost folder.
fn unpack(archive: &Path, into: &Path) -> Result<()> {
    run(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(archive)
            .arg("--directory")
            .arg(into)
            .arg("--strip-components=1"),
        "unpacking",
    )?;
    Ok(())
}

/// The file in `folder` whose name contains this.
fn file_with(folder: &Path, part: &str) -> Result<PathBuf> {
    fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|name| name.contains(part))
        })
        .with_context(|| format!("no {part} in {}", folder.display()))
}

/// The source package of `PyPI`.
pub(super) fn pypi(python: &Path, package: &str, version: &str) -> Result<PathBuf> {
    kept(&format!("{package}-{version}"), |folder| {
        let download = folder.join("download");
        run(
            Command::new(python)
                .args(["-m", "pip", "download", "--quiet", "--no-deps"])
                .args(["--disable-pip-version-check", "--no-binary", ":all:"])
                .arg("--dest")
                .arg(&download)
                .arg(format!("{package}=={version}")),
            "the suite comes with the source package of PyPI",
        )?;
        unpack(&file_with(&download, ".tar.gz")?, folder)
    })
}

/// The upstream archive of a Debian source package. The other parts of the package are not needed,
/// and are not everywhere.
pub(super) fn debian(release: &str, package: &str, version: &str) -> Result<PathBuf> {
    kept(&format!("{package}-{version}"), |folder| {
        let download = folder.join("download");
        fs::create_dir_all(download.join("lists/partial"))?;
        let list = download.join("sources.list");
        fs::write(
            &list,
            format!(
                "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                 http://deb.debian.org/debian {release} main\n"
            ),
        )?;
        let apt = || {
            let mut apt = Command::new("apt-get");
            apt.current_dir(&download)
                .args(["--quiet=2", "-o", "Dir::Etc::sourceparts=-"])
                .args(["-o", "APT::Sandbox::User=root", "-o"])
                .arg(format!("Dir::Etc::sourcelist={}", list.display()))
                .arg("-o")
                .arg(format!(
                    "Dir::State::lists={}",
                    download.join("lists").display()
                ));
            apt
        };
        let why = "the suite comes with Debian's source package";
        run(apt().arg("update"), why)?;
        let output: Output = apt()
            .args(["source", "--download-only", "--tar-only"])
            .arg(format!("{package}={version}"))
            .output()?
            .into();
        let archive = file_with(&download, ".orig.tar.").with_context(|| output.all())?;
        unpack(&archive, folder)?;
        fs::remove_dir_all(&download)?;
        Ok(())
    })
}

/// The sources of a crate. Cargo fetches them as a dependency of a package made for it.
pub(super) fn crates_io(name: &str, version: &str) -> Result<PathBuf> {
    kept(&format!("{name}-{version}"), |folder| {
        let asking = folder.join("asking");
        fs::create_dir_all(asking.join("src"))?;
        fs::write(asking.join("src/lib.rs"), "")?;
        fs::write(
            asking.join("Cargo.toml"),
            format!(
                "[package]\nname = \"asking\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
                 [dependencies]\n{name} = {{ version = \"={version}\", default-features = false }}\n[workspace]\n"
            ),
        )?;
        let metadata = run(
            Command::new("cargo")
                .args(["metadata", "--format-version=1", "--quiet"])
                .current_dir(&asking),
            "the suite comes with the crate",
        )?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
        let manifest = metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["name"] == name && package["version"] == version)
            .and_then(|package| package["manifest_path"].as_str())
            .context("cargo does not know the crate")?;
        let sources = Path::new(manifest)
            .parent()
            .context("a manifest without a folder")?;
        run(
            Command::new("cp")
                .args(["-r", "--no-preserve=mode"])
                .arg(sources.join("."))
                .arg(folder),
            "copying the crate",
        )?;
        fs::remove_dir_all(asking)?;
        Ok(())
    })
}
