//! Fuzzes `pglens_wire_fuzz::frontend`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pglens_wire_fuzz::frontend(data));
