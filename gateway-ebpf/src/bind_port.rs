//! `bind`: the proxy's port is the warden's, who hands its listeners to the gateway.

use gateway_common::Counter;

use crate::{
    caller,
    count::count,
    sock_addr::{EACCES, SockAddr, Verdict},
};

/// Refuses the proxy's port to everybody else. Not the only defence: `listen` without `bind`
/// takes a port without asking, which is why the port lies outside the ephemeral range and the
/// listener carries a mark.
#[inline(always)]
pub fn bind(call: &SockAddr) -> Verdict {
    let Some(settings) = caller::settings() else {
        return Verdict::Pass;
    };
    if settings.proxy_port != u32::from(call.port()) || caller::is_warden(settings) {
        return Verdict::Pass;
    }
    count(Counter::RefusedBind);
    Verdict::Refuse(EACCES)
}
