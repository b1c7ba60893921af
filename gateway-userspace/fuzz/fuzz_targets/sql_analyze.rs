#![no_main]
//! Statements, mutated word by word: see `cordon::fuzzing::sql_analyze`.

use cordon::fuzzing::{mutate_sql, sql_analyze};

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max: usize, seed: u32| {
    // One change in eight is of bytes.
    if seed % 8 == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max);
    }
    let text = String::from_utf8_lossy(&data[..size]).into_owned();
    let text = mutate_sql(&text, u64::from(seed));
    let len = text.len().min(max);
    data[..len].copy_from_slice(&text.as_bytes()[..len]);
    len
});

libfuzzer_sys::fuzz_target!(|text: &str| sql_analyze(text));
