//! The NATS client protocol as the forwarder speaks it: a copy per subscription, no queue groups.

use std::io::Read;

use mpreg_proto::nats::{self, Bounds, Command, Parsed, Publication, parse};
use mpreg_proto::topic::{Pattern, Topic};

use super::{Hub, Mischief, Socket, State};

const BOUNDS: Bounds = Bounds { control_line_bytes: 4096, payload_bytes: 1 << 20 };

pub(super) const INFO: &[u8] = b"INFO {\"server_id\":\"forwarder\",\"headers\":true}\r\n";

pub(super) fn read_commands(hub: &Hub, session: u64, stream: &mut Socket) {
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = Vec::new();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        let mut at = 0;
        while let Parsed::Command { command, length } =
            parse(&bytes[at..], BOUNDS).expect("a command")
        {
            at += length;
            hub.handle_command(session, command);
        }
        bytes.drain(..at);
    }
}

impl Hub {
    fn handle_command(&self, session: u64, command: Command<'_>) {
        let mut state = self.state.lock().unwrap();
        match command {
            Command::Connect { options } => {
                let options = String::from_utf8(options.to_vec()).unwrap();
                if !options.contains(self.password) {
                    state.say(session, b"-ERR 'Authorization Violation'\r\n");
                }
                // Such a server may ask at any time.
                state.say(session, b"PING\r\n");
            }
            Command::Ping => state.say(session, b"PONG\r\n"),
            Command::Subscribe { subject, group, sid } => {
                assert!(group.is_empty());
                let pattern = Pattern::parse(subject).unwrap().as_str().to_owned();
                assert!(!pattern.contains('#'), "no wildcard here");
                if let Some(member) = state.member(session) {
                    member.patterns.push(pattern);
                    assert_eq!(sid, member.patterns.len().to_string().as_bytes());
                }
            }
            Command::Publish(publication) => {
                state.forward_publication(session, &publication, self.mischief);
            }
            Command::Pong => (),
            Command::Unsubscribe { .. } | Command::Ok | Command::Error | Command::Info => {
                panic!("a generator does not send {command:?}")
            }
        }
    }
}

impl State {
    fn say(&mut self, session: u64, text: &[u8]) {
        if let Some(member) = self.member(session) {
            _ = member.outbound.try_send(text.to_vec());
        }
    }

    fn forward_publication(
        &mut self,
        session: u64,
        publication: &Publication<'_>,
        mischief: Mischief,
    ) {
        let Publication { subject, reply, payload, .. } = *publication;
        let topic = Topic::parse(subject).unwrap();
        let (mut heard, mut gone) = (false, Vec::new());
        for member in &mut self.members {
            let matching: Vec<_> = (0..member.patterns.len())
                .filter(|&at| {
                    Pattern::parse(member.patterns[at].as_bytes()).unwrap().matches(topic)
                })
                .collect();
            for at in matching {
                heard = true;
                self.deliveries += 1;
                let is_wrong =
                    matches!(mischief, Mischief::Misnumber(n) if self.deliveries.is_multiple_of(n));
                let sid = if is_wrong { at + 2 } else { at + 1 };
                let mut frame = Vec::new();
                let sid = sid.to_string();
                nats::put_message(&mut frame, subject, reply, b"", payload, sid.as_bytes());
                let last = frame.len() - b"\r\n".len() - 1;
                if !member.deliver(&frame, last, self.deliveries, mischief) {
                    gone.push(member.session);
                }
            }
        }
        self.members.retain(|member| !gone.contains(&member.session));
        if !heard && !reply.is_empty() {
            let mut nobody = Vec::new();
            let headers = b"NATS/1.0 503\r\n\r\n";
            nats::put_message(&mut nobody, reply, b"", headers, b"", b"1");
            self.say(session, &nobody);
        }
    }
}
