//! Proof that both sides agree on every byte.

use crate::{
    Attempt, Caller, ConnKey, ConnRecord, Counter, Endpoint, NamespaceRequest, Settings, Way,
};

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
assert_layout!(Settings, 48, 8);
assert_layout!(NamespaceRequest, 24, 8);
assert_layout!(Caller, 40, 8);
assert_layout!(Attempt, 136, 8);

// The sums of the fields' sizes.
const _: () = assert!(size_of::<Endpoint>() == 16 + 2 + 2);
const _: () = assert!(size_of::<ConnKey>() == 8 + 2 * size_of::<Endpoint>());
const _: () = assert!(size_of::<ConnRecord>() == 5 * 8 + size_of::<Endpoint>() + 3 * 4 + 16);
const _: () = assert!(size_of::<Settings>() == 2 * 8 + 8 * 4);
const _: () = assert!(size_of::<NamespaceRequest>() == 2 * 8 + 2 * 4);
const _: () = assert!(size_of::<Caller>() == 2 * 8 + 2 * 4 + 16);
const _: () = assert!(
    size_of::<Attempt>() == 3 * 8 + size_of::<Caller>() + 3 * size_of::<Endpoint>() + 3 * 4
);

// A way is its code.
const _: () = {
    let mut index = 0;
    while index < Way::ALL.len() {
        let way = Way::ALL[index];
        assert!(
            matches!(Way::from_code(way as u32), Some(same) if same as u32 == way as u32),
            "a way is its code"
        );
        index += 1;
    }
};

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
    use super::{Attempt, ConnKey, ConnRecord, Endpoint, NamespaceRequest, Settings};

    macro_rules! pod {
        ($($type:ty),+) => {
            $(
                // SAFETY: `repr(C)`, `Copy`, integers only, without padding (asserted above), and
                // every bit pattern is valid.
                unsafe impl aya::Pod for $type {}
            )+
        };
    }

    pod!(
        Attempt,
        Endpoint,
        ConnKey,
        ConnRecord,
        Settings,
        NamespaceRequest
    );
}
