//! Calls of NATS clients: requests to `$MPREG.CALL.<function>`, and what they are answered.
//!
//! ```text
//!   PUB $MPREG.CALL.f r --> Input::Call --> home of f
//!   home --> Part, Result, Failed --> MSG r
//! ```
//!
//! An answer is for the subscriptions of the caller's own connection that its reply subject matches, as
//! the word that nobody responds is. If there is none, it is published, where the caller may.
//!
//! Invariants:
//! - A request with a reply subject is answered with a result, all of its parts, or an error.
//! - Nobody has the node publish where they may not.

use std::time::Duration;

use mpreg_fabric::call::{Caller, Effect, Input, Value};
use mpreg_fabric::call_graph::desk;
use mpreg_fabric::id::SessionIx;
use mpreg_proto::call::CallError;
use mpreg_proto::envelope::Encoding;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Publish;
use mpreg_proto::id::{SessionId, ShardIx};
use mpreg_proto::limits::TOPIC_BYTES_MAX;
use mpreg_proto::nats::Publication;
use mpreg_proto::topic::Dialect;

use super::Switch;
use super::run::Run;
use crate::nats::call::{
    Addressed, Asked, Wanted, failure_headers, read_reply, refusal_headers, result_headers,
};
use crate::nats::error_text;

impl Switch {
    /// Takes consecutive publications that are for the node itself.
    pub(super) fn take_addressed(
        &mut self,
        session: SessionIx,
        to: Addressed<'_>,
        publications: &[Publication<'_>],
    ) {
        (self.stall, self.link_stall) = (Duration::ZERO, Duration::ZERO);
        for message in publications {
            // What it was asked for itself, it may answer.
            if matches!(to, Addressed::Call(_)) && !self.may_publish(session, message.subject) {
                self.not_permitted(session, "Publish", message.subject, &[]);
                continue;
            }
            let Some(client) = self.client_mut(session) else { return };
            let ok = client.ok();
            self.tell_nats(session, ok);
            match to {
                Addressed::Call(name) => self.call_nats(session, name, message),
                Addressed::Job(job) => {
                    let reply = read_reply(message.headers, message.payload);
                    if let Some(id) = self.machine.session_id(session) {
                        self.replied_nats(id, job, reply);
                    }
                }
                Addressed::Info(question) => self.instance_said(session, question, message.payload),
            }
        }
        self.perform();
        self.pause_if_congested(session);
    }

    fn call_nats(&mut self, session: SessionIx, name: &[u8], message: &Publication<'_>) {
        let Publication { reply, headers, payload, .. } = *message;
        let Some(id) = self.machine.session_id(session) else { return };
        if TOPIC_BYTES_MAX < reply.len() {
            return self.tell_error(session, error_text(ErrorCode::BadTopic));
        }
        let Wanted { request, is_stream } = match Wanted::read(name, headers, payload) {
            Ok(wanted) => wanted,
            Err(text) => {
                let headers = refusal_headers(CallError::Malformed, &text, false);
                return self.answer_error(session, reply, &headers);
            }
        };
        let home = self.machine.home(name);
        let Some(client) = self.client_mut(session) else { return };
        let asked = Asked { reply: reply.into(), is_stream, home };
        let Some(number) = client.calls.begin(asked) else {
            let text = "the connection has as many calls as it may";
            let headers = refusal_headers(CallError::Overloaded, text, false);
            return self.answer_error(session, reply, &headers);
        };
        self.user(session, id);
        let caller = Caller { session: id, number };
        self.tell_home(home, id, Input::Call { caller, request });
    }

    /// Tells a NATS client of this shard what a home says.
    pub(super) fn tell_requester(
        &mut self,
        session: SessionIx,
        id: SessionId,
        effect: Effect,
        home: ShardIx,
    ) {
        match effect {
            Effect::Part { caller, value } => self.result_nats(session, caller, &value, false),
            Effect::Result { caller, value, .. } => {
                self.result_nats(session, caller, &value, true);
            }
            Effect::Failed { caller, failure } => {
                if let Some(asked) = self.end_request(session, caller) {
                    self.answer_error(session, &asked.reply, &failure_headers(&failure));
                }
            }
            Effect::Function(told) => self.tell_instance(session, id, told, home),
            Effect::Invoke { .. } => self.invoke_nats(session, effect),
            // There is no word for it: the job is answered in vain.
            Effect::Withdraw { .. }
            | Effect::Send { .. }
            | Effect::Count(_)
            | Effect::Measured { .. } => (),
        }
    }

    fn end_request(&mut self, session: SessionIx, caller: Caller) -> Option<Asked> {
        self.client_mut(session)?.calls.end(caller.number)
    }

    fn result_nats(&mut self, session: SessionIx, caller: Caller, value: &Value, is_last: bool) {
        let Some(client) = self.client_mut(session) else { return };
        let Some(asked) = client.calls.asked(caller.number).cloned() else { return };
        if is_last || !asked.is_stream {
            client.calls.end(caller.number);
        }
        if !is_last && !asked.is_stream {
            self.tell_graphs(desk::Input::Cancel(caller));
            self.hand_to(asked.home, Input::Cancel(caller));
            let text = "its result comes in parts: ask for it with Mpreg-Stream: true";
            let headers = refusal_headers(CallError::Malformed, text, true);
            return self.answer_error(session, &asked.reply, &headers);
        }
        let Value { encoding, bytes } = value;
        let headers = result_headers(*encoding, asked.is_stream, is_last);
        self.answer_request(session, &asked.reply, (&headers, bytes), *encoding);
    }

    /// Whoever takes no headers would take an error for a result, so it hears nothing.
    fn answer_error(&mut self, session: SessionIx, reply: &[u8], headers: &[u8]) {
        let takes_headers = self.client_mut(session).is_some_and(|client| client.options.headers);
        if takes_headers && !reply.is_empty() {
            self.answer_request(session, reply, (headers, &[]), Encoding::Bytes);
        }
    }

    fn answer_request(
        &mut self,
        session: SessionIx,
        reply: &[u8],
        (headers, payload): (&[u8], &[u8]),
        encoding: Encoding,
    ) {
        let mut frame = Vec::new();
        let publish = Publish { topic: reply, headers, payload, encoding, ..Publish::default() };
        let is_put = publish.put(&mut frame);
        let Some(run) = is_put.ok().and_then(|()| Run::checked(&frame)) else { return };
        let own = self.machine.own_members(session, reply);
        if !own.is_empty() {
            return own.into_iter().for_each(|member| self.deliver_to(member, &run));
        }
        if self.client_mut(session).is_some_and(|client| client.is_publisher(reply)) {
            self.forward(None, Dialect::Nats, &run);
        }
    }
}
