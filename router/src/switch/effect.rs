//! What the machine wants, done.

use mpreg_fabric::fact::EndReason;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::shard::{Effect, Input};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Frame;

use super::Switch;
use crate::link::Stage;
use crate::outbound::Lane;

impl Switch {
    /// Performs every effect, in order, and those that follow from them.
    pub(super) fn perform(&mut self) {
        loop {
            self.end_overrun();
            if self.effects.is_empty() {
                return;
            }
            let mut batch = std::mem::take(&mut self.effects);
            for effect in batch.drain(..) {
                self.perform_one(effect);
            }
            if self.effects.is_empty() {
                self.effects = batch;
            }
        }
    }

    /// Ends the sessions that asked to be ended when their queue is full, and found it so.
    fn end_overrun(&mut self) {
        while let Some(session) = self.overrun.pop() {
            let input = Input::Refused { session, code: ErrorCode::SlowConsumer };
            self.machine.handle(input, self.now, &mut self.effects);
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Greet { session, hello } => self.queue_control(session, &hello.to_bytes()),
            Effect::Open { session, echo, queue_bytes } => {
                if let Some(link) = self.link_mut(session) {
                    link.is_open = true;
                    link.echo = echo;
                    link.outbound.set_limit(queue_bytes as usize);
                }
            }
            Effect::Say { session, frame } => self.say(session, frame),
            Effect::End { session, reason } => self.end(session, reason),
            Effect::AwaitEmpty { session } => {
                if let Some(link) = self.link_mut(session) {
                    link.awaits_empty = true;
                }
                self.drain_calls(session);
                self.mark_dirty(session);
            }
            Effect::Freed { session } => {
                self.probe.sessions.set(self.probe.sessions.get().saturating_sub(1));
                self.free.push(session);
            }
            Effect::Handoff { to, handoff } => self.mesh.stage(to, handoff),
            Effect::Forward { held } => self.forward_held(&held),
            Effect::Wanted { name, members } => {
                if let Some(fabric) = &mut self.fabric {
                    fabric.reporter.want(name, members);
                }
            }
            Effect::Refused { code } => self.probe.refused(code),
        }
    }

    /// Queues a control frame: at once, or behind the messages it speaks of.
    pub(super) fn say(&mut self, session: SessionIx, frame: Frame<'_>) {
        if self.link_mut(session).is_some_and(|link| link.nats.is_some()) {
            return self.say_nats(session, frame);
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        frame.put(&mut bytes);
        if matches!(frame, Frame::Unsubscribed { .. } | Frame::Drained | Frame::GoingAway) {
            self.settle_session(session);
            let Self { links, budget, spares, .. } = self;
            if let Some(Some(link)) = links.get_mut(session.0 as usize) {
                link.outbound.say_last(&bytes, budget, spares);
                self.mark_dirty(session);
            }
        } else {
            self.queue_control(session, &bytes);
        }
        self.scratch = bytes;
    }

    pub(super) fn queue_control(&mut self, session: SessionIx, bytes: &[u8]) {
        let Self { links, budget, spares, .. } = self;
        let Some(Some(link)) = links.get_mut(session.0 as usize) else { return };
        if link.stage == Stage::Shut {
            return;
        }
        let lane = if link.nats.is_some() { Lane::Normal } else { Lane::Urgent };
        if link.outbound.say(bytes, lane, budget, spares) {
            self.mark_dirty(session);
        } else if link.stage == Stage::Opened {
            let input = Input::Refused { session, code: ErrorCode::SlowConsumer };
            self.machine.handle(input, self.now, &mut self.effects);
        }
    }

    fn end(&mut self, session: SessionIx, reason: EndReason) {
        self.end_calls(session);
        self.settle_session(session);
        self.start_going(session, reason);
        tracing::debug!(session = session.0, reason = reason.word(), "session ended");
    }
}
