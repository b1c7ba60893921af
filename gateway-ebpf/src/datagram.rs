//! `sendto` and `sendmsg` of datagram sockets that are not connected.

use gateway_common::Counter;

use crate::{
    caller::{self, Standing},
    count::count,
    destination,
    sock_addr::{EACCES, SockAddr, Verdict},
};

/// Refuses datagrams to protected destinations.
#[inline(always)]
pub fn send(call: &SockAddr) -> Verdict {
    let to = destination::effective(&call.endpoint());
    if !destination::is_protected::<()>(call.ctx(), &to) {
        return Verdict::Pass;
    }
    let Some(settings) = caller::settings() else {
        count(Counter::RefusedNoSettings);
        return Verdict::Refuse(EACCES);
    };
    if caller::is_gateway(settings) {
        return Verdict::Pass;
    }
    match caller::standing(settings) {
        Standing::Outside => Verdict::Pass,
        Standing::Job(_) | Standing::NoJob => {
            count(Counter::RefusedDatagram);
            Verdict::Refuse(EACCES)
        }
    }
}
