//! Values of functions on the command line.

use mpreg_client::{Encoding, Value};
use serde::de::IgnoredAny;

/// A value of which only the bytes are known: JSON if they read as such, then text, then bytes.
pub(super) fn value(payload: Vec<u8>) -> Value {
    let encoding = if serde_json::from_slice::<IgnoredAny>(&payload).is_ok() {
        Encoding::Json
    } else if core::str::from_utf8(&payload).is_ok() {
        Encoding::Text
    } else {
        Encoding::Bytes
    };
    Value { encoding, payload: payload.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_what_they_read_as() {
        for (payload, want) in [
            (&b"{\"a\": [1]}"[..], Encoding::Json),
            (b"7", Encoding::Json),
            (b"seven", Encoding::Text),
            (b"", Encoding::Text),
            (b"\xff", Encoding::Bytes),
        ] {
            assert_eq!(value(payload.to_vec()).encoding, want, "{payload:?}");
        }
    }
}
