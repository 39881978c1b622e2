//! How a message finds those it is for.

use super::*;
use crate::message::Message;

impl Session {
    pub(super) fn deliver(
        &mut self,
        frame: Bytes,
        arrival: Arrival,
        out: &mut Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Disconnect> {
        let message = Message::new(frame, arrival.at).map_err(Disconnect::Malformed)?;
        let mut targets = std::mem::take(&mut self.targets);
        let found = self.find(&message, &mut targets);
        if let Some((&last, others)) = targets.split_last() {
            for &sid in others {
                self.hand_over(sid, message.clone(), arrival.chunk, out, effects);
            }
            self.hand_over(last, message, arrival.chunk, out, effects);
        } else if found == Ok(Found::Subscriptions) {
            self.counts.stray += 1;
        }
        targets.clear();
        self.targets = targets;
        found.map(|_| ()).map_err(Disconnect::Malformed)
    }

    /// Whom `message` is for. A reply is handed to its request here.
    fn find(&mut self, message: &Message, targets: &mut Vec<Sid>) -> Result<Found, ErrorCode> {
        let topic = message.topic().as_bytes();
        if let Some(sid) = self.addressed.take() {
            targets.push(sid);
            return Ok(Found::Subscriptions);
        }
        let Some(request) = self.requests.find(topic) else {
            targets.extend_from_slice(self.interest.find(topic)?);
            return Ok(Found::Subscriptions);
        };
        if self.interest.has_wildcards() {
            targets.extend(self.interest.walk(Topic::parse_as(topic, Dialect::Nats)?));
        }
        self.settle(request, Ok(message.clone()));
        Ok(Found::Request)
    }

    fn hand_over(
        &mut self,
        sid: Sid,
        message: Message,
        chunk: ChunkIx,
        out: &mut Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get_mut(&sid) else {
            self.counts.stray += 1;
            return;
        };
        // Replies are found by their topic; a router addresses none.
        let Sink::Inbox(inbox) = &entry.sink else { return };
        entry.received += 1;
        let is_last = entry.received_max == Some(entry.received);
        match inbox.push(message, chunk) {
            Pushed::Queued => (),
            Pushed::Dropped { count, dropped, run } => {
                self.counts.overrun += count;
                if run == Run::Begins {
                    effects.push(Effect::Emit(Event::Lagging { sid, dropped }));
                }
            }
            Pushed::Overrun => {
                self.counts.overrun += 1;
                self.forget(sid, out, effects);
                return;
            }
            Pushed::Over => self.counts.stray += 1,
        }
        if is_last {
            self.remove(sid, Ended::Unsubscribed, effects);
        }
    }

    pub(super) fn no_responders(&mut self, reply: &[u8], effects: &mut Vec<Effect>) {
        match self.requests.find(reply) {
            Some(request) => self.settle(request, Err(RequestError::NoResponders)),
            None => {
                let reply = String::from_utf8_lossy(reply).into_owned();
                effects.push(Effect::Emit(Event::NoResponders { reply }));
            }
        }
    }

    fn settle(&mut self, request: RequestIx, outcome: Outcome) {
        if self.requests.settle(request, outcome) == Settled::Late {
            self.counts.late_replies += 1;
        }
    }
}

/// Where a message belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Subscriptions,
    Request,
}
