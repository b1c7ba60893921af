//! `getpeername`: a redirected socket shows the address that was dialled.

use gateway_common::{ConnRecord, Counter};

use crate::{
    count::count,
    maps::{RECORDS, storage_get},
    sock_addr::SockAddr,
};

/// Replaces the proxy's address by the original one, so that clients which compare or print it
/// see what they asked for.
#[inline(always)]
pub fn show(call: &SockAddr) {
    // SAFETY: the socket is the context's own.
    let stored: *mut ConnRecord = unsafe { storage_get(&RECORDS, call.sk(), false) };
    if stored.is_null() {
        return;
    }
    // SAFETY: not null, and a `ConnRecord` owned by this socket.
    let original = unsafe { (*stored).original };
    call.set_endpoint(&original);
    count(Counter::PeernameShown);
}
