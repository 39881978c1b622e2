//! Any 64 bytes are a hello or refused; strangers show early and answers are hellos themselves.

use mpreg_proto::error::ErrorCode;
use mpreg_proto::hello::{FUNCTIONS, Hello, Role};
use mpreg_proto::limits::HELLO_BYTES;

const NODE: u128 = 7;

/// Reads the front of `bytes` as a hello.
pub fn hello(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<HELLO_BYTES>() else {
        // Too short to parse, and already refusable if it cannot become one.
        let is_doomed = !Hello::may_begin_with(bytes);
        let mut longer = [0; HELLO_BYTES];
        longer[..bytes.len()].copy_from_slice(bytes);
        assert!(!is_doomed || Hello::parse(&longer) == Err(ErrorCode::BadMagic));
        return;
    };
    let hello = match Hello::parse(bytes) {
        Ok(hello) => hello,
        Err(code) => {
            assert_eq!(code == ErrorCode::BadMagic, !Hello::may_begin_with(bytes));
            return;
        }
    };
    assert_eq!(hello.to_bytes(), *bytes);
    (0..=bytes.len()).for_each(|cut| assert!(Hello::may_begin_with(&bytes[..cut])));
    if let Ok(answer) = hello.answer(NODE, FUNCTIONS) {
        assert_eq!((hello.role, answer.role, answer.id), (Role::Client, Role::Router, NODE));
        assert_eq!(answer.version_min, answer.version_max);
        assert!((hello.version_min..=hello.version_max).contains(&answer.version_min));
        assert_eq!(answer.features & !hello.features, 0, "only what both know");
        assert_eq!(Hello::parse(&answer.to_bytes()), Ok(answer));
    }
}
