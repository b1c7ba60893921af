//! Counts what happened, per cause.

use gateway_common::Counter;

use crate::maps::COUNTERS;

/// Adds one to `counter` on this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a valid pointer into this CPU's slot, which only this CPU writes. A program of
        // another context may interrupt between read and write; a lost count is acceptable.
        unsafe { *slot = (*slot).wrapping_add(1) };
    }
}
