//! Any bytes as link state.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mpreg_tests::fuzz_case::link_state(bytes));
