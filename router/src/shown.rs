//! Values of functions, and why there are none, as JSON people and programs read.
//!
//! ```text
//!   "NAME":X            a value: JSON as it is, anything else that is text as a string
//!   "NAME_hex":DIGITS   bytes that are no text
//!   {"code":WORD, "reason":TEXT, "target":TEXT, "path":[NODE], "may_have_run":BOOL}
//! ```
//!
//! Invariant: what is written is one line, and part of a JSON object, whatever a function answered.

use core::fmt::{self, Write as _};
use std::borrow::Cow;

use mpreg_proto::call::Failure;
use mpreg_proto::envelope::Encoding;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// A member of a JSON object.
pub struct Shown<'a> {
    pub name: &'a str,
    pub encoding: Encoding,
    pub bytes: &'a [u8],
}

/// A call without a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub code: Cow<'static, str>,
    pub reason: String,
    /// The function, and where it was to run.
    pub target: String,
    /// The nodes the call, or its refusal, came through.
    pub path: Vec<String>,
    pub may_have_run: bool,
}

impl From<&Failure> for Failed {
    fn from(failure: &Failure) -> Self {
        Self {
            code: Cow::Borrowed(failure.error.word()),
            reason: failure.text.clone(),
            target: failure.target.to_string(),
            path: failure.path.iter().map(ToString::to_string).collect(),
            may_have_run: failure.may_have_run,
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, encoding, bytes } = self;
        let Ok(text) = core::str::from_utf8(bytes) else {
            write!(f, "\"{name}_hex\":\"")?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            return f.write_char('"');
        };
        write!(f, "\"{name}\":")?;
        let is_json = *encoding == Encoding::Json;
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
    fn a_value_is_shown_on_one_line_and_as_what_it_says_it_is() {
        let shown = |encoding, bytes: &[u8]| Shown { name: "result", encoding, bytes }.to_string();
        let json = b"{\"b\":\n  \"x\\n\",\n\"a\":1.0}\n";
        assert_eq!(shown(Encoding::Json, json), r#""result":{"b":   "x\n", "a":1.0}"#);
        assert_eq!(shown(Encoding::Text, b"7\n"), r#""result":"7\n""#, "text stays text");
        assert_eq!(shown(Encoding::Json, b"{"), r#""result":"{""#, "it says so, and is not");
        assert_eq!(shown(Encoding::Text, b"\x00\xff"), r#""result_hex":"00ff""#);
        assert_eq!(shown(Encoding::Bytes, b""), r#""result":"""#);
    }
}
