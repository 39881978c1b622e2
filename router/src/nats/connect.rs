//! What CONNECT says.
//!
//! Options nobody here reads (`lang`, `version`) are kept for the lists operators ask for; others are
//! skipped, as clients send more every year.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::limits::TEXT_BYTES_MAX;

/// The JSON of CONNECT. Without it: verbose and pedantic, as those who type by hand expect.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Options {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    pub protocol: i64,
    pub name: String,
    pub lang: String,
    pub version: String,
    pub user: String,
    pub pass: String,
    pub auth_token: String,
    pub nkey: String,
    pub sig: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            user: String::new(),
            pass: String::new(),
            auth_token: String::new(),
            nkey: String::new(),
            sig: String::new(),
        }
    }
}

impl Options {
    /// `None`: not JSON, or a known option of a wrong type.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let mut said: Map<String, Value> = serde_json::from_slice(json).ok()?;
        // Some libraries write null where others leave an option out.
        said.retain(|_, value| !value.is_null());
        let mut options: Self = serde_json::from_value(Value::Object(said)).ok()?;
        for text in [&mut options.name, &mut options.lang, &mut options.version] {
            let mut end = text.len().min(TEXT_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.shrink_to_fit();
        }
        Some(options)
    }

    /// What nats-server says before it closes, where options do not go together.
    pub fn contradiction(&self) -> Option<&'static str> {
        if !(0..=1).contains(&self.protocol) {
            Some("invalid client protocol")
        } else if self.no_responders && !self.headers {
            Some("no responders requires headers support")
        } else {
            None
        }
    }

    /// Forgets what proves who the client is, once that is decided.
    pub fn drop_secrets(&mut self) {
        let Self { pass, auth_token, sig, .. } = self;
        [pass, auth_token, sig].into_iter().for_each(|secret| *secret = String::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_somebody_typing() {
        let options = Options::parse(b"{}").unwrap();
        assert!(options.verbose && options.pedantic && options.echo);
        assert!(!options.headers && !options.no_responders);
        let said = br#"{"verbose":false,"echo":false,"headers":true,"user":null,"pedantic":null,"new":{"a":[1]},"name":"n"}"#;
        let options = Options::parse(said).unwrap();
        assert!(!options.verbose && !options.echo && options.headers && options.pedantic);
        assert_eq!(options.name, "n");
    }

    #[test]
    fn options_that_do_not_go_together_are_named() {
        let contradiction = |json: &[u8]| Options::parse(json).unwrap().contradiction();
        assert_eq!(contradiction(b"{\"no_responders\":true,\"headers\":true}"), None);
        assert_eq!(contradiction(b"{\"protocol\":1}"), None);
        let text = Some("no responders requires headers support");
        assert_eq!(contradiction(b"{\"no_responders\":true}"), text);
        for json in [&b"{\"protocol\":2}"[..], b"{\"protocol\":-1}"] {
            assert_eq!(contradiction(json), Some("invalid client protocol"));
        }
    }

    #[test]
    fn what_is_no_json_is_refused_and_long_names_are_cut() {
        for bad in [&b""[..], b"{", b"[]", b"{\"verbose\":1}", b"null", b"{\"name\":\"\xff\"}"] {
            assert!(Options::parse(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
        let long = format!("{{\"name\":\"{}\"}}", "\u{e9}".repeat(TEXT_BYTES_MAX));
        assert_eq!(Options::parse(long.as_bytes()).unwrap().name, "\u{e9}".repeat(32));
    }
}
