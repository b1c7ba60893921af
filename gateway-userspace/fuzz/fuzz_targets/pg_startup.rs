#![no_main]
//! What a client says before its session is open: see `cordon::fuzzing::pg_startup`.

use cordon::fuzzing::{mutate_wire, pg_startup};

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max: usize, seed: u32| {
    // One change in four is of bytes alone, which libFuzzer knows how to guide.
    if seed % 4 == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max);
    }
    let input = mutate_wire(&data[..size], u64::from(seed));
    let len = input.len().min(max);
    data[..len].copy_from_slice(&input[..len]);
    len
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| pg_startup(input));
