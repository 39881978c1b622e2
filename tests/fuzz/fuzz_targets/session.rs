//! Any script of clients against a shard.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mpreg_tests::fuzz_case::session(bytes));
