//! A message on the terminal or in a pipe: one line of text, or one JSON object.

use core::fmt::{self, Write as _};

use mpreg_client::Message;
use mpreg_proto::envelope::Priority;
use serde::Serialize;

/// What is shown of a message.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a str>,
    priority: &'static str,
    /// The payload, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// The payload in hexadecimal digits, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
    #[serde(skip)]
    bytes: &'a [u8],
}

impl<'a> From<&'a Message> for Shown<'a> {
    fn from(message: &'a Message) -> Self {
        Self::new(message.topic(), message.reply_topic(), message.priority(), message.payload())
    }
}

impl<'a> Shown<'a> {
    fn new(topic: &'a str, reply: Option<&'a str>, priority: Priority, bytes: &'a [u8]) -> Self {
        let payload = core::str::from_utf8(bytes).ok();
        let payload_hex = payload.is_none().then(|| {
            bytes.iter().fold(String::new(), |mut digits, byte| {
                write!(digits, "{byte:02x}").expect("a string takes what is written to it");
                digits
            })
        });
        Self { topic, reply, priority: word(priority), payload, payload_hex, bytes }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("strings")
    }
}

/// Topic and payload on one line. What could move a cursor or break the line is escaped.
impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.topic)?;
        for c in String::from_utf8_lossy(self.bytes).chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn word(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical => "critical",
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
        Priority::Bulk => "bulk",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(payload: &[u8]) -> Shown<'_> {
        Shown::new("a.b", Some("_INBOX.1.2"), Priority::High, payload)
    }

    #[test]
    fn text_is_one_line_that_moves_no_cursor() {
        assert_eq!(shown("größe 1".as_bytes()).to_string(), "a.b größe 1");
        assert_eq!(shown(b"x\n\x1b[2J\ty").to_string(), r"a.b x\n\u{1b}[2J\ty");
        assert_eq!(shown(b"").to_string(), "a.b ");
        assert_eq!(shown(b"\xff").to_string(), "a.b \u{fffd}");
    }

    #[test]
    fn json_keeps_every_byte() {
        assert_eq!(
            shown(b"x\n").json(),
            r#"{"topic":"a.b","reply":"_INBOX.1.2","priority":"high","payload":"x\n"}"#
        );
        assert_eq!(
            shown(b"\x00\xff").json(),
            r#"{"topic":"a.b","reply":"_INBOX.1.2","priority":"high","payload_hex":"00ff"}"#
        );
        let plain = Shown::new("t", None, Priority::Bulk, b"");
        assert_eq!(plain.json(), r#"{"topic":"t","priority":"bulk","payload":""}"#);
    }
}
