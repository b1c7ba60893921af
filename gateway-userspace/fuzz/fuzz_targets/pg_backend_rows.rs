#![no_main]
//! What a server answers: see `cordon::fuzzing::pg_backend_rows`.

use cordon::fuzzing::pg_backend_rows;

libfuzzer_sys::fuzz_target!(|input: &[u8]| pg_backend_rows(input));
