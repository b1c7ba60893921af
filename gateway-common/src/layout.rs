//! Proof that both sides agree on every byte.

use crate::{ConnKey, ConnRecord, Counter, Endpoint, Settings};

/// Asserts that a struct is exactly the sum of its fields: no hidden padding, which the kernel
/// would compare in keys and leak in values.
macro_rules! assert_layout {
    ($type:ty, $size:literal, $align:literal) => {
        const _: () = assert!(size_of::<$type>() == $size, "size");
        const _: () = assert!(align_of::<$type>() == $align, "alignment");
    };
}

assert_layout!(Endpoint, 20, 2);
assert_layout!(ConnKey, 48, 8);
assert_layout!(ConnRecord, 88, 8);
assert_layout!(Settings, 24, 8);

// The sums of the fields' sizes.
const _: () = assert!(size_of::<Endpoint>() == 16 + 2 + 2);
const _: () = assert!(size_of::<ConnKey>() == 8 + 2 * size_of::<Endpoint>());
const _: () = assert!(size_of::<ConnRecord>() == 5 * 8 + size_of::<Endpoint>() + 3 * 4 + 16);
const _: () = assert!(size_of::<Settings>() == 8 + 4 * 4);

// Counters are dense, so that their index is their place in the array.
const _: () = {
    let mut index = 0;
    while index < Counter::ALL.len() {
        assert!(
            Counter::ALL[index] as usize == index,
            "counter indices are dense"
        );
        index += 1;
    }
};

#[cfg(feature = "user")]
mod user {
    use super::{ConnKey, ConnRecord, Endpoint, Settings};

    macro_rules! pod {
        ($($type:ty),+) => {
            $(
                // SAFETY: `repr(C)`, `Copy`, integers only, without padding (asserted above), and
                // every bit pattern is valid.
                unsafe impl aya::Pod for $type {}
            )+
        };
    }

    pod!(Endpoint, ConnKey, ConnRecord, Settings);
}
