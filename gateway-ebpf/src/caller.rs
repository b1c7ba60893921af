//! Who makes the call.

use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
};
use gateway_common::{MAX_CGROUP_LEVEL, SCOPE_CGROUPS, Settings};

use crate::maps::{JOBS, SCOPE, SETTINGS};

/// Where a process stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Below this registered job cgroup.
    Job(u64),
    /// In scope, but in no job.
    NoJob,
    /// Not in scope.
    Outside,
}

/// The daemon's settings, or `None` if they cannot be read: then everything is refused.
#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

/// Whether the caller is the gateway. Process and cgroup must both match: a process that moves
/// itself into the gateway's cgroup is not the gateway.
#[inline(always)]
pub fn is_gateway(settings: &Settings) -> bool {
    // SAFETY: helpers without arguments.
    let (tgid, cgroup) = unsafe {
        (
            (bpf_get_current_pid_tgid() >> 32) as u32,
            bpf_get_current_cgroup_id(),
        )
    };
    tgid != 0 && tgid == settings.gateway_tgid && cgroup == settings.gateway_cgroup_id
}

/// Where the caller stands.
#[inline(always)]
pub fn standing(settings: &Settings) -> Standing {
    // SAFETY: a helper without pointers.
    walk(settings, |level| unsafe {
        bpf_get_current_ancestor_cgroup_id(level)
    })
}

/// Walks from the root of the cgroup tree; `ancestor` gives the id at a level, 0 below the
/// process's own. The outermost job wins, so that nothing below a job can be another one.
#[inline(always)]
pub fn walk(settings: &Settings, ancestor: impl Fn(i32) -> u64) -> Standing {
    let mut in_scope = settings.scope != SCOPE_CGROUPS;
    for level in 1..=MAX_CGROUP_LEVEL {
        let id = ancestor(level as i32);
        if id == 0 {
            break;
        }
        // SAFETY: the values are not used, so it does not matter if they are replaced meanwhile.
        unsafe {
            if JOBS.get(id).is_some() {
                return Standing::Job(id);
            }
            if SCOPE.get(id).is_some() {
                in_scope = true;
            }
        }
    }
    if in_scope {
        Standing::NoJob
    } else {
        Standing::Outside
    }
}
