//! Any bytes as what NATS clients and servers say.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mpreg_tests::fuzz_case::nats(bytes));
