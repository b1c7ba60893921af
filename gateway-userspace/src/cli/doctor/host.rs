//! Kernel, privileges, cgroups: what the programs need.

use std::path::Path;

use super::finding::Finding;
use crate::{identity::CgroupRoot, intercept};

const AREA: &str = "host";

/// The kernel that has the newest helper used, `bpf_set_retval`.
const OLDEST: (u32, u32) = (5, 18);

/// Capabilities that the daemon needs, by their numbers in `capabilities(7)`.
const CAPABILITIES: [(u32, &str); 9] = [
    (0, "CAP_CHOWN"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (12, "CAP_NET_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (23, "CAP_SYS_NICE"),
    (39, "CAP_BPF"),
];

/// Looks at all of it.
pub fn check() -> Vec<Finding> {
    vec![kernel(), privileges(), cgroups(), bpffs(), load()]
}

fn kernel() -> Finding {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let (major, minor) = OLDEST;
    match version(&release) {
        Some(found) if found >= OLDEST => Finding::ok(AREA, "kernel", release),
        Some(_) | None => Finding::problem(
            AREA,
            "kernel",
            format!("Linux {release}"),
            format!(
                "boot Linux {major}.{minor} or newer: older ones cannot tell a job why its connect fails"
            ),
        ),
    }
}

/// Major and minor of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn privileges() -> Finding {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lacking = lacking(&status);
    if lacking.is_empty() {
        return Finding::ok(AREA, "privileges", "all that is needed");
    }
    Finding::problem(
        AREA,
        "privileges",
        format!("this process lacks {}", lacking.join(", ")),
        "run `cordon doctor` as root, with the capabilities of the daemon's unit",
    )
}

fn lacking(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default();
    CAPABILITIES
        .iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect()
}

fn cgroups() -> Finding {
    match CgroupRoot::find() {
        Ok(root) => Finding::ok(AREA, "cgroup v2", root.mount().display().to_string()),
        Err(error) => Finding::problem(
            AREA,
            "cgroup v2",
            error.to_string(),
            "boot with `systemd.unified_cgroup_hierarchy=1`, or `mount -t cgroup2 none /sys/fs/cgroup/unified`",
        ),
    }
}

fn bpffs() -> Finding {
    if intercept::is_bpffs(Path::new("/sys/fs/bpf")) {
        return Finding::ok(AREA, "bpffs", "/sys/fs/bpf");
    }
    Finding::warning(
        AREA,
        "bpffs",
        "/sys/fs/bpf is no bpffs",
        "`mount -t bpf bpf /sys/fs/bpf`; the daemon does so as it starts, unless its unit may not mount",
    )
}

/// Only trying tells what a kernel can do: lists of features lie.
fn load() -> Finding {
    match intercept::probe() {
        Ok(()) => Finding::ok(AREA, "programs load", "the kernel has verified all of them"),
        Err(error) => Finding::problem(
            AREA,
            "programs load",
            format!("{:#}", anyhow::Error::from(error)),
            "run it as root, on a kernel that fits; a kernel in lockdown mode `confidentiality` refuses them",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert!(version("5.4.0").is_some_and(|found| found < OLDEST));
        assert!(version("5.18.1").is_some_and(|found| found >= OLDEST));
        assert!(version("10.0").is_some_and(|found| found >= OLDEST));
        assert_eq!(version("strange"), None);
    }

    #[test]
    fn what_a_process_lacks_is_named() {
        assert!(lacking("Name:\tx\nCapEff:\t000001ffffffffff\n").is_empty());
        assert_eq!(
            lacking("CapEff:\t00000000002010e1\n"),
            ["CAP_SYS_PTRACE", "CAP_SYS_NICE", "CAP_BPF"]
        );
        assert_eq!(lacking("").len(), CAPABILITIES.len());
    }
}
