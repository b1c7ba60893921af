//! Who makes the call.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
    bpf_skb_ancestor_cgroup_id,
};
use gateway_common::{MAX_CGROUP_LEVEL, RECOGNISE_OFF, SCOPE_CGROUPS, Settings};

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
    is(settings, settings.gateway_tgid)
}

/// Whether the caller is the warden, in the gateway's cgroup, too.
#[inline(always)]
pub fn is_warden(settings: &Settings) -> bool {
    is(settings, settings.warden_tgid)
}

#[inline(always)]
fn is(settings: &Settings, wanted: u32) -> bool {
    // SAFETY: helpers without arguments.
    let (tgid, cgroup) = unsafe {
        (
            (bpf_get_current_pid_tgid() >> 32) as u32,
            bpf_get_current_cgroup_id(),
        )
    };
    tgid != 0 && tgid == wanted && cgroup == settings.gateway_cgroup_id
}

/// Whether everybody on the host is in scope.
#[inline(always)]
pub fn is_host_scope(settings: &Settings) -> bool {
    settings.scope != SCOPE_CGROUPS
}

/// Whether flows are looked at.
#[inline(always)]
pub fn recognises(settings: &Settings) -> bool {
    settings.recognise != RECOGNISE_OFF
}

/// Where the caller stands, towards protected destinations.
#[inline(always)]
pub fn standing(settings: &Settings) -> Standing {
    standing_in(is_host_scope(settings))
}

/// Where the caller stands; whether everybody else is in scope, `host` says.
#[inline(always)]
pub fn standing_in(host: bool) -> Standing {
    // SAFETY: a helper without pointers.
    walk(host, |level| unsafe {
        bpf_get_current_ancestor_cgroup_id(level)
    })
}

/// As [`standing_in`], of the cgroup in which a packet's socket was created.
#[inline(always)]
pub fn standing_of(skb: *mut __sk_buff, host: bool) -> Standing {
    // SAFETY: the context is valid for the program's run.
    walk(host, |level| unsafe {
        bpf_skb_ancestor_cgroup_id(skb, level)
    })
}

/// Walks from the root of the cgroup tree; `ancestor` gives the id at a level, 0 below the
/// process's own. The outermost job wins, so that nothing below a job can be another one.
#[inline(always)]
pub fn walk(host: bool, ancestor: impl Fn(i32) -> u64) -> Standing {
    let mut in_scope = host;
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
            if !in_scope && SCOPE.get(id).is_some() {
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
