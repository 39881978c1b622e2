//! Any script of patterns and topics against the subscription index.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mpreg_tests::fuzz_case::subscription(bytes));
