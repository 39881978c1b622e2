//! What NATS clients say, in the log: target `nats` at level `trace`, as nats-server writes it.
//!
//! ```text
//!   127.0.0.1:4000 - cid:5 - "v1.2:nats.js:name" - <<- [SUB foo 1]
//! ```
//!
//! Of CONNECT no more than its name is written, for it holds passwords. Publications are not
//! traced: their way has no room for the question whether they are.
//!
//! Invariant: what a client says is written without control characters, on one line.

use core::fmt;

use mpreg_proto::nats::Command;

use super::Client;

pub(crate) const TARGET: &str = "nats";

/// Writes down a command. Costs a load and a branch while nobody asks for it.
#[inline]
pub(crate) fn heard(client: &Client, command: &Command<'_>) {
    tracing::trace!(target: TARGET, "{} - <<- [{}]", Who(client), Line(command));
}

struct Who<'a>(&'a Client);

impl fmt::Display for Who<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Client { id, peer, options, .. } = self.0;
        match peer {
            Some(peer) => write!(to, "{peer} - cid:{id}")?,
            None => write!(to, "cid:{id}")?,
        }
        if options.version.is_empty() && options.lang.is_empty() {
            return Ok(());
        }
        let words = [&options.version, &options.lang, &options.name];
        let [version, lang, name] = words.map(|word| word.escape_debug());
        write!(to, " - \"v{version}:{lang}:{name}\"")
    }
}

struct Line<'a>(&'a Command<'a>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.0 {
            Command::Connect { .. } => to.write_str("CONNECT"),
            Command::Publish(publication) => {
                write!(to, "PUB {}", publication.subject.escape_ascii())
            }
            Command::Subscribe { subject, group: [], sid } => {
                write!(to, "SUB {} {}", subject.escape_ascii(), sid.escape_ascii())
            }
            Command::Subscribe { subject, group, sid } => {
                let [subject, group, sid] = [subject, group, sid].map(<[u8]>::escape_ascii);
                write!(to, "SUB {subject} {group} {sid}")
            }
            Command::Unsubscribe { sid, deliveries: 0 } => {
                write!(to, "UNSUB {}", sid.escape_ascii())
            }
            Command::Unsubscribe { sid, deliveries } => {
                write!(to, "UNSUB {} {deliveries}", sid.escape_ascii())
            }
            Command::Ping => to.write_str("PING"),
            Command::Pong => to.write_str("PONG"),
            Command::Ok => to.write_str("+OK"),
            Command::Error => to.write_str("-ERR"),
            Command::Info => to.write_str("INFO"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_line_without_control_characters() {
        let subscribe = |subject, group| Command::Subscribe { subject, group, sid: b"1" };
        for (command, want) in [
            (subscribe(b"foo", b""), "SUB foo 1"),
            (subscribe(b"foo", b"q"), "SUB foo q 1"),
            (subscribe(b"a\x1b[2J\n", b""), "SUB a\\x1b[2J\\n 1"),
            (Command::Unsubscribe { sid: b"1", deliveries: 0 }, "UNSUB 1"),
            (Command::Unsubscribe { sid: b"1", deliveries: 2 }, "UNSUB 1 2"),
            (Command::Connect { options: br#"{"pass":"secret"}"# }, "CONNECT"),
            (Command::Ping, "PING"),
        ] {
            assert_eq!(Line(&command).to_string(), want);
        }
    }

    #[test]
    fn who_said_it_is_named() {
        let mut client = Client::new(5, "127.0.0.1:4000".parse().ok(), None, false);
        assert_eq!(Who(&client).to_string(), "127.0.0.1:4000 - cid:5");
        client.options.lang = "py".to_owned();
        client.options.version = "1".to_owned();
        client.options.name = "a\n\"b".to_owned();
        let want = "127.0.0.1:4000 - cid:5 - \"v1:py:a\\n\\\"b\"";
        assert_eq!(Who(&client).to_string(), want);
    }
}
