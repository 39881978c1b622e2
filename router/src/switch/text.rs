//! Runs as NATS subscribers get them: `MSG subject sid tail`, where all but the sid is the same for
//! everyone.
//!
//! What a NATS client published has its tails at hand, in the bytes it was received in; those of frames
//! are rendered once, when the first NATS subscriber needs them.
//!
//! Clients number their subscriptions from 1, so subscribers of one topic often have the same number,
//! and with it the same text. A long run is written once for each number and referenced.

use bytes::Bytes;
use mpreg_proto::id::Sid;
use mpreg_proto::nats::{Publication, put_message, put_tail, put_with_tail};

use super::run::Run;
use crate::arena::Arena;
use crate::limits::SHARED_RUN_BYTES_MIN;
use crate::link::Link;
use crate::nats::sid::is_number;
use crate::outbound::{Budget, Lane, Outbound, Spares};

/// A run, ready to be written for any sid.
pub(super) struct Texts<'a> {
    run: &'a Run<'a>,
    /// Tails of frames, one behind the other, and where each ends.
    tails: Vec<u8>,
    ends: Vec<End>,
    /// Of all messages, but for their sids.
    bytes: usize,
    has_headers: bool,
    /// Of headers and of payload, for the counts of connections.
    headers_bytes: usize,
    payload_bytes: usize,
    /// What was written last to be referenced, and for which number.
    shared: Option<(Sid, Bytes)>,
}

/// How a run was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    Copied(usize),
    Referenced(usize),
}

#[derive(Clone, Copy)]
struct End {
    at: usize,
    is_headed: bool,
}

/// `MSG `, and the spaces around the sid; `HMSG` is a byte longer.
const HEAD_BYTES: usize = 6;

impl Queued {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Copied(bytes) | Self::Referenced(bytes) => bytes,
        }
    }
}

impl<'a> Texts<'a> {
    pub(super) fn of(run: &'a Run<'a>) -> Self {
        let heads = run.messages as usize * (HEAD_BYTES + run.topic.len());
        let (tails, ends) = (Vec::new(), Vec::new());
        let mut texts = Self {
            run,
            tails,
            ends,
            bytes: heads,
            has_headers: false,
            headers_bytes: 0,
            payload_bytes: 0,
            shared: None,
        };
        for Publication { headers, payload, tail, .. } in run.publications {
            texts.headers_bytes += headers.len();
            texts.payload_bytes += payload.len();
            texts.bytes += tail.len() + usize::from(!headers.is_empty());
            texts.has_headers |= !headers.is_empty();
        }
        for data in run.each() {
            let is_headed = !data.headers().is_empty();
            texts.headers_bytes += data.headers().len();
            texts.payload_bytes += data.payload().len();
            put_tail(&mut texts.tails, data.reply(), data.headers(), data.payload());
            texts.ends.push(End { at: texts.tails.len(), is_headed });
            texts.bytes += usize::from(is_headed);
            texts.has_headers |= is_headed;
        }
        texts.bytes += texts.tails.len();
        texts
    }

    /// Queues the run for one subscription; `None` if there is no room.
    #[inline]
    pub(super) fn queue(
        &mut self,
        sid: Sid,
        has_several: bool,
        link: &mut Link,
        budget: &mut Budget,
        spares: &mut Spares,
        arena: &mut Arena,
    ) -> Option<Queued> {
        let Link { nats: Some(client), outbound, .. } = link else { return None };
        let messages = self.run.messages;
        let written = client.sids.written(sid);
        if self.has_headers && !client.options.headers {
            let queued =
                self.queue_without_headers(written.as_bytes(), outbound, budget, spares)?;
            client.traffic.sent(messages.into(), self.payload_bytes);
            return Some(queued);
        }
        let bytes = self.bytes + messages as usize * written.as_bytes().len();
        if !outbound.has_room(bytes, Lane::Normal, budget) {
            return None;
        }
        client.traffic.sent(messages.into(), self.headers_bytes + self.payload_bytes);
        let is_worth_sharing = has_several && SHARED_RUN_BYTES_MIN <= bytes && is_number(sid);
        if is_worth_sharing && outbound.may_share() {
            let text = match self.shared.take_if(|(known, _)| *known == sid) {
                Some((_, text)) => text,
                None => arena.write(|out| self.put(written.as_bytes(), out)),
            };
            outbound.reference(text.clone(), messages, Lane::Normal, budget);
            self.shared = Some((sid, text));
            return Some(Queued::Referenced(bytes));
        }
        let out = outbound.buffer(bytes, messages, Lane::Normal, budget, spares);
        let was = out.len();
        self.put(written.as_bytes(), out);
        debug_assert_eq!(out.len() - was, bytes, "as many as were accounted for");
        Some(Queued::Copied(bytes))
    }

    #[inline]
    fn put(&self, sid: &[u8], out: &mut Vec<u8>) {
        let Run { publications, topic, .. } = *self.run;
        for Publication { headers, tail, .. } in publications {
            put_with_tail(out, !headers.is_empty(), topic, sid, tail);
        }
        let mut from = 0;
        for &End { at, is_headed } in &self.ends {
            put_with_tail(out, is_headed, topic, sid, &self.tails[from..at]);
            from = at;
        }
    }

    /// The same for one that did not say that it takes headers.
    fn queue_without_headers(
        &self,
        sid: &[u8],
        outbound: &mut Outbound,
        budget: &mut Budget,
        spares: &mut Spares,
    ) -> Option<Queued> {
        let Run { messages, topic, .. } = *self.run;
        let mut text = Vec::new();
        for Publication { reply, payload, .. } in self.run.publications {
            put_message(&mut text, topic, reply, &[], payload, sid);
        }
        for data in self.run.each() {
            put_message(&mut text, topic, data.reply(), &[], data.payload(), sid);
        }
        if !outbound.has_room(text.len(), Lane::Normal, budget) {
            return None;
        }
        outbound.copy(&text, messages, Lane::Normal, budget, spares);
        Some(Queued::Copied(text.len()))
    }
}
