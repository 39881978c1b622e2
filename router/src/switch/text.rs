//! Runs as NATS subscribers get them: `MSG subject sid tail`, where all but the sid is the same for
//! everyone.
//!
//! What a NATS client published has its tails at hand, in the bytes it was received in; those of frames
//! are rendered once, when the first NATS subscriber needs them.

use mpreg_proto::nats::{Publication, put_message, put_tail, put_with_tail};

use super::deliver::Run;
use crate::nats::Client;
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
}

#[derive(Clone, Copy)]
struct End {
    at: usize,
    is_headed: bool,
}

/// `MSG `, and the spaces around the sid; `HMSG` is a byte longer.
const HEAD_BYTES: usize = 6;

impl<'a> Texts<'a> {
    pub(super) fn of(run: &'a Run<'a>) -> Self {
        let heads = run.messages as usize * (HEAD_BYTES + run.topic.len());
        let (tails, ends) = (Vec::new(), Vec::new());
        let mut texts = Self { run, tails, ends, bytes: heads, has_headers: false };
        for Publication { headers, tail, .. } in run.publications {
            texts.bytes += tail.len() + usize::from(!headers.is_empty());
            texts.has_headers |= !headers.is_empty();
        }
        for data in run.each() {
            let is_headed = !data.headers().is_empty();
            put_tail(&mut texts.tails, data.reply(), data.headers(), data.payload());
            texts.ends.push(End { at: texts.tails.len(), is_headed });
            texts.bytes += usize::from(is_headed);
            texts.has_headers |= is_headed;
        }
        texts.bytes += texts.tails.len();
        texts
    }

    /// Queues the run for one subscription. How many bytes those were; `None` if there is no room.
    #[inline]
    pub(super) fn queue(
        &self,
        sid: &[u8],
        client: &Client,
        outbound: &mut Outbound,
        budget: &mut Budget,
        spares: &mut Spares,
    ) -> Option<usize> {
        if self.has_headers && !client.options.headers {
            return self.queue_without_headers(sid, outbound, budget, spares);
        }
        let Run { messages, topic, .. } = *self.run;
        let bytes = self.bytes + messages as usize * sid.len();
        if !outbound.has_room(bytes, Lane::Normal, budget) {
            return None;
        }
        let out = outbound.buffer(bytes, messages, Lane::Normal, budget, spares);
        let was = out.len();
        for Publication { headers, tail, .. } in self.run.publications {
            put_with_tail(out, !headers.is_empty(), topic, sid, tail);
        }
        let mut from = 0;
        for &End { at, is_headed } in &self.ends {
            put_with_tail(out, is_headed, topic, sid, &self.tails[from..at]);
            from = at;
        }
        debug_assert_eq!(out.len() - was, bytes, "as many as were accounted for");
        Some(bytes)
    }

    /// The same for one that did not say that it takes headers.
    fn queue_without_headers(
        &self,
        sid: &[u8],
        outbound: &mut Outbound,
        budget: &mut Budget,
        spares: &mut Spares,
    ) -> Option<usize> {
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
        Some(text.len())
    }
}
