//! Whether the daemon listens.

use gateway_common::Endpoint;

use crate::{
    destination::with_listener,
    maps::{LISTENERS, storage_get},
};

/// Whether the socket that listens at `at` carries the daemon's mark. A process that took the
/// port while the daemon was away has no mark.
#[inline(always)]
pub fn is_ours<C>(ctx: *mut C, at: &Endpoint) -> bool {
    with_listener(ctx, at, |sk| {
        // SAFETY: `sk` is held during the closure, and the result only compared with null.
        let mark: *mut u64 = unsafe { storage_get(&LISTENERS, sk, false) };
        !mark.is_null()
    })
    .unwrap_or(false)
}
