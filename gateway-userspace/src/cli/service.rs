//! What systemd is told of the daemon, and where it has put it.

use std::{path::PathBuf, sync::mpsc, time::Duration};

use sd_notify::NotifyState;

/// The gateway's cgroup where nobody has given it one.
const OWN_CGROUP: &str = "cordon.gateway";

/// Databases are protected, and jobs are served.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// How often the watchdog wants to hear that sessions are served; `None`: there is none.
pub fn beat() -> Option<Duration> {
    let mut microseconds = 0;
    let enabled = sd_notify::watchdog_enabled(false, &mut microseconds);
    (enabled && microseconds > 0).then(|| Duration::from_micros(microseconds / 3))
}

/// Answers the watchdog. Telling may block while systemd does not listen: that must hold up nobody.
pub struct Beats(mpsc::SyncSender<()>);

impl Beats {
    /// Starts the thread that tells.
    pub fn start() -> Self {
        // One beat waits; a thread that is behind has told enough.
        let (beat, beats) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            while beats.recv().is_ok() {
                tell(&[NotifyState::Watchdog]);
            }
        });
        Self(beat)
    }

    /// The daemon lives.
    pub fn beat(&self) {
        let _full_or_sent = self.0.try_send(()).is_ok();
    }
}

/// The daemon stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells systemd, if it has started this process.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// The cgroup that the gateway lives in, counted from the cgroup v2 root: that of the unit, if
/// systemd has started this very process as one, so that the unit's limits hold; else one of its
/// own.
pub fn gateway_cgroup() -> PathBuf {
    let started = std::env::var("SYSTEMD_EXEC_PID").ok();
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    unit_cgroup(started.as_deref(), std::process::id(), &cgroups)
        .unwrap_or_else(|| PathBuf::from(OWN_CGROUP))
}

/// The variable is inherited: in a child of a unit's process (a CI runner's, say) it names another
/// process, whose cgroup is shared with jobs.
fn unit_cgroup(started: Option<&str>, pid: u32, cgroups: &str) -> Option<PathBuf> {
    if started?.parse() != Ok(pid) {
        return None;
    }
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.ends_with(".service").then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "1:cpu:/\n0::/system.slice/cordon.service\n";

    #[test]
    fn the_daemon_stays_in_its_units_cgroup() {
        assert_eq!(
            unit_cgroup(Some("7"), 7, UNIT),
            Some(PathBuf::from("/system.slice/cordon.service"))
        );
    }

    #[test]
    fn a_daemon_that_systemd_did_not_start_itself_gets_a_cgroup_of_its_own() {
        assert_eq!(unit_cgroup(Some("6"), 7, UNIT), None, "a runner's child");
        assert_eq!(unit_cgroup(None, 7, UNIT), None);
        assert_eq!(unit_cgroup(Some("7"), 7, "0::/\n"), None, "a hybrid host");
        assert_eq!(
            unit_cgroup(Some("7"), 7, "0::/user.slice/session-1.scope\n"),
            None
        );
    }
}
