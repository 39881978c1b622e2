//! Any bytes as what a WebSocket client says.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mpreg_tests::fuzz_case::websocket(bytes));
