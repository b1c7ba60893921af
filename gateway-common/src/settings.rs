//! What the programs need to know of the daemon.

/// Only processes below the scope cgroups (and jobs) are intercepted.
pub const SCOPE_CGROUPS: u32 = 0;
/// Every process on the host but the gateway is intercepted.
pub const SCOPE_HOST: u32 = 1;

/// The single entry of the settings map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// cgroup v2 id of the gateway.
    pub gateway_cgroup_id: u64,
    /// Process id (tgid) of the gateway.
    pub gateway_tgid: u32,
    /// Loopback port of the proxy, host byte order.
    pub proxy_port: u32,
    /// [`SCOPE_HOST`] or [`SCOPE_CGROUPS`].
    pub scope: u32,
    /// Always zero.
    pub zero: u32,
}
