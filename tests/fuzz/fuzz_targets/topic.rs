//! Any pattern against any topic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mpreg_tests::fuzz_case::topic(bytes));
