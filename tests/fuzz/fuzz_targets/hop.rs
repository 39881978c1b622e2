//! Any bytes as a message between nodes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mpreg_tests::fuzz_case::hop(bytes));
