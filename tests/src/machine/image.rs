//! The disk that machines boot from, made once below Cargo's target folder.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::HOST;
use crate::{cluster::SERVER_NAME, output::Output, tools};

/// What the machine has besides Debian's smallest system.
const PACKAGES: &str = "systemd-sysv,dbus,udev,kmod,iproute2,procps,ca-certificates,\
    initramfs-tools,linux-image-cloud-amd64,nftables,openssh-server,postgresql-client";

/// Engines of containers, which debootstrap cannot put into an order.
const ENGINES: [&str; 6] = [
    "docker.io",
    "apparmor",
    "podman",
    "crun",
    "iptables",
    "uidmap",
];

/// Where the packages come from.
const MIRROR: &str = "http://deb.debian.org/debian";

/// A release of Debian, which has its own kernel and systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12: Linux 6.1, systemd 252.
    Bookworm,
    /// Debian 13: Linux 6.12, systemd 257.
    Trixie,
}

impl Release {
    /// Debian's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// A disk with a kernel to boot it.
#[derive(Debug)]
pub struct Image {
    folder: PathBuf,
}

impl Image {
    /// Makes it, or takes the one that is there.
    pub fn of(release: Release) -> Result<Self> {
        let base = tools::kept_dir()?;
        let lock = fs::File::create(base.join("machine.lock"))?;
        lock.lock()
            .context("waiting for another process to make the image")?;
        let own = include_bytes!("image.rs");
        let digest = ring::digest::digest(&ring::digest::SHA256, own);
        let digest = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..9).unwrap_or_default());
        let folder = base.join(format!("machine-{}-{digest}", release.name()));
        if !folder.exists() {
            let partial = base.join(format!("machine-{}.partial", release.name()));
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            fs::create_dir(&partial)?;
            make(&partial, release)?;
            fs::rename(&partial, &folder)?;
        }
        Ok(Self { folder })
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The kernel's first file system.
    pub fn initrd(&self) -> PathBuf {
        self.folder.join("initrd")
    }

    /// The raw disk, an ext4 file system.
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// The SSH key of the machine's root.
    pub fn key(&self) -> PathBuf {
        self.folder.join("key")
    }
}

fn make(folder: &Path, release: Release) -> Result<()> {
    let root = folder.join("root");
    run(Command::new(tools::program("debootstrap")?)
        .args(["--variant=minbase", &format!("--include={PACKAGES}")])
        .arg(release.name())
        .arg(&root)
        .arg(MIRROR))?;
    run(Command::new(tools::program("chroot")?)
        .arg(&root)
        .args(["apt-get", "install", "--yes", "--no-install-recommends"])
        .args(ENGINES)
        .args((release == Release::Trixie).then_some("docker-cli"))
        .env("DEBIAN_FRONTEND", "noninteractive"))?;
    let key = folder.join("key");
    run(Command::new(tools::program("ssh-keygen")?)
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key))?;
    let ssh = root.join("root/.ssh");
    fs::create_dir_all(&ssh)?;
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700))?;
    fs::copy(key.with_extension("pub"), ssh.join("authorized_keys"))?;
    let etc = root.join("etc");
    fs::write(etc.join("hostname"), "host\n")?;
    fs::write(
        etc.join("hosts"),
        format!("127.0.0.1 localhost host\n{HOST} {SERVER_NAME}\n"),
    )?;
    fs::write(
        etc.join("systemd/network/wired.network"),
        "[Match]\nName=e*\n[Network]\nDHCP=yes\n",
    )?;
    for (unit, target) in [
        ("systemd-networkd.service", "multi-user.target"),
        (
            "systemd-networkd-wait-online.service",
            "network-online.target",
        ),
    ] {
        let wants = etc.join(format!("systemd/system/{target}.wants"));
        fs::create_dir_all(&wants)?;
        symlink(format!("/lib/systemd/system/{unit}"), wants.join(unit))?;
    }
    for (prefix, name) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd")] {
        let found = fs::read_dir(root.join("boot"))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .with_context(|| format!("Debian's package has no {prefix}"))?;
        fs::copy(found, folder.join(name))?;
    }
    let disk = folder.join("disk");
    fs::File::create(&disk)?.set_len(3 << 30)?;
    run(Command::new(tools::program("mkfs.ext4")?)
        .args(["-q", "-d"])
        .arg(&root)
        .arg(&disk))?;
    fs::remove_dir_all(&root).context("removing the folder that the disk was made of")
}

fn run(command: &mut Command) -> Result<()> {
    let output: Output = command
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("starting {command:?}"))?
        .into();
    ensure!(
        output.code == Some(0),
        "{command:?} failed:\n{}",
        output.all()
    );
    Ok(())
}
