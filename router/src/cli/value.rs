//! Values of functions on the terminal or in a pipe.

use core::fmt::{self, Write as _};

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

/// A member of a JSON object: `"NAME":` and what the value is in JSON, or `"NAME_hex":` and its bytes in
/// hexadecimal digits where it is no text.
pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a Value,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value } = self;
        let Ok(text) = core::str::from_utf8(&value.payload) else {
            write!(f, "\"{name}_hex\":\"")?;
            value.payload.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            return f.write_char('"');
        };
        write!(f, "\"{name}\":")?;
        let is_json = value.encoding == Encoding::Json;
        if is_json && serde_json::from_str::<IgnoredAny>(text).is_ok() {
            // Strings have none, so these are between values.
            return f.write_str(&text.trim().replace(['\n', '\r'], " "));
        }
        f.write_str(&serde_json::to_string(text).expect("a string"))
    }
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

    #[test]
    fn a_value_is_shown_on_one_line_and_as_what_it_says_it_is() {
        let shown = |encoding, payload: &[u8]| {
            let value = Value { encoding, payload: payload.to_vec().into() };
            Shown { name: "result", value: &value }.to_string()
        };
        let json = b"{\"b\":\n  \"x\\n\",\n\"a\":1.0}\n";
        assert_eq!(shown(Encoding::Json, json), r#""result":{"b":   "x\n", "a":1.0}"#);
        assert_eq!(shown(Encoding::Text, b"7\n"), r#""result":"7\n""#, "text stays text");
        assert_eq!(shown(Encoding::Json, b"{"), r#""result":"{""#, "it says so, and is not");
        assert_eq!(shown(Encoding::Text, b"\x00\xff"), r#""result_hex":"00ff""#);
        assert_eq!(shown(Encoding::Bytes, b""), r#""result":"""#);
    }
}
