//! What the programs need to know of the daemon.

/// Only processes below the scope cgroups (and jobs) are intercepted.
pub const SCOPE_CGROUPS: u32 = 0;
/// Every process on the host but the gateway is intercepted.
pub const SCOPE_HOST: u32 = 1;

/// Flows are not looked at.
pub const RECOGNISE_OFF: u32 = 0;
/// Flows that begin as a database's do are reported, and pass.
pub const RECOGNISE_REPORT: u32 = 1;
/// Flows that begin as a database's do are dropped and reported.
pub const RECOGNISE_REFUSE: u32 = 2;

/// The single entry of the settings map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// cgroup v2 id of the gateway.
    pub gateway_cgroup_id: u64,
    /// Cookie of the gateway's own network namespace.
    pub netns_cookie: u64,
    /// Process id (tgid) of the gateway: the one that may dial protected destinations.
    pub gateway_tgid: u32,
    /// Loopback port of the proxy, host byte order.
    pub proxy_port: u32,
    /// [`SCOPE_HOST`] or [`SCOPE_CGROUPS`].
    pub scope: u32,
    /// [`RECOGNISE_REFUSE`], [`RECOGNISE_REPORT`] or [`RECOGNISE_OFF`].
    pub recognise: u32,
    /// 1 if flows of every process of the host are looked at, 0 for those of jobs and of the
    /// cgroups in the scope map.
    pub recognise_host: u32,
    /// Changes with the protected destinations: what was found unprotected before is looked up
    /// again.
    pub epoch: u32,
    /// 1 if jobs in other network namespaces are served, 0 if they are refused.
    pub namespaces: u32,
    /// Process id (tgid) of the warden: the one that may take the proxy's port.
    pub warden_tgid: u32,
}
