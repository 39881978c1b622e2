//! Bytes to frames, frames to runs.

use mpreg_fabric::fact::EndReason;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::shard::Input;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Data, Decoded, Frame, Kind, decode, peek};
use mpreg_proto::hello::Hello;
use mpreg_proto::limits::HELLO_BYTES;

use super::Switch;
use super::run::Run;
use crate::limits::RECEIVE_BUFFER_BYTES;
use crate::link::{Link, Stage};
use crate::outbound::Lane;
use crate::transport::{self, TransportError};

/// Bytes that show a frame's length and kind.
const PEEK_BYTES: usize = 5;

impl Switch {
    /// Takes what a link received.
    pub fn take(&mut self, session: SessionIx, bytes: &[u8]) {
        if self.is_peer(session) {
            return self.take_peer(session, bytes);
        }
        self.probe.bytes_in.add(bytes.len() as u64);
        self.machine.heard(session, self.now);
        let Some(link) = self.opened(session) else { return };
        let is_nats = link.nats.is_some();
        if link.transport.is_plain() {
            self.take_plain(session, is_nats, bytes);
        } else {
            self.take_sealed(session, is_nats, bytes);
        }
    }

    fn take_plain(&mut self, session: SessionIx, is_nats: bool, bytes: &[u8]) {
        if is_nats { self.take_nats(session, bytes) } else { self.take_native(session, bytes) }
    }

    /// Takes bytes that TLS or WebSocket carry.
    fn take_sealed(&mut self, session: SessionIx, is_nats: bool, bytes: &[u8]) {
        if let Some(&first) = bytes.first() {
            self.introduce_late(session, transport::is_tls_record(first));
        }
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let received = self.unseal(session, bytes, &mut plain);
        self.take_plain(session, is_nats, &plain);
        plain.shrink_to(2 * RECEIVE_BUFFER_BYTES);
        self.plain = plain;
        if let Err(error) = received {
            tracing::debug!(session = session.0, %error, "transport ended");
            self.tell(Input::Lost { session, reason: EndReason::PeerClosed });
        }
    }

    /// Appends to `plain` what bytes carry that a link received.
    pub(super) fn unseal(
        &mut self,
        session: SessionIx,
        bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        let Some(link) = self.opened(session) else { return Ok(()) };
        let was_established = link.transport.is_established();
        let received = link.transport.receive(bytes, plain, &mut link.wire);
        if !link.wire.is_empty() || !was_established {
            self.mark_dirty(session);
        }
        received
    }

    fn take_native(&mut self, session: SessionIx, bytes: &[u8]) {
        let mut rest = bytes;
        if self.opened(session).is_some_and(|link| !link.is_greeted) {
            rest = self.take_hello(session, rest);
            if self.opened(session).is_none_or(|link| !link.is_greeted) {
                return;
            }
        }
        if self.opened(session).is_some_and(|link| !link.partial.is_empty()) {
            rest = self.complete_partial(session, rest);
        }
        if rest.is_empty() || self.opened(session).is_none() {
            return;
        }
        let taken = self.take_frames(session, rest);
        if taken < rest.len() {
            self.keep_partial(session, &rest[taken..]);
        }
    }

    /// The link, while its session is not over.
    pub(super) fn opened(&mut self, session: SessionIx) -> Option<&mut Link> {
        self.link_mut(session).filter(|link| link.stage == Stage::Opened)
    }

    pub(super) fn refuse(&mut self, session: SessionIx, code: ErrorCode) {
        self.tell(Input::Refused { session, code });
    }

    /// Collects the 64 bytes of the hello; returns what follows it.
    fn take_hello<'a>(&mut self, session: SessionIx, bytes: &'a [u8]) -> &'a [u8] {
        let Some(link) = self.opened(session) else { return &[] };
        let missing = HELLO_BYTES - link.partial.len();
        let (some, rest) = bytes.split_at(missing.min(bytes.len()));
        let mut hello = [0; HELLO_BYTES];
        let had = link.partial.len();
        hello[..had].copy_from_slice(&link.partial);
        hello[had..had + some.len()].copy_from_slice(some);
        let known = had + some.len();
        if !Hello::may_begin_with(&hello[..known]) {
            self.refuse(session, ErrorCode::BadMagic);
            return &[];
        }
        if known < HELLO_BYTES {
            self.keep_partial(session, some);
            return &[];
        }
        self.drop_partial(session);
        if let Some(link) = self.opened(session) {
            link.is_greeted = true;
        }
        self.tell(Input::Hello { session, bytes: &hello });
        rest
    }

    /// Completes the frame that an earlier read began; returns what follows it.
    fn complete_partial<'a>(&mut self, session: SessionIx, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        loop {
            let Some(link) = self.opened(session) else { return &[] };
            let need = match peek(&link.partial) {
                Ok(known) => known.map_or(PEEK_BYTES, |(length, _)| length),
                Err(code) => {
                    self.refuse(session, code);
                    return &[];
                }
            };
            let missing = need - link.partial.len();
            let (some, after) = rest.split_at(missing.min(rest.len()));
            self.keep_partial(session, some);
            if some.len() < missing {
                return &[];
            }
            rest = after;
            if need != PEEK_BYTES {
                break;
            }
        }
        let Some(link) = self.opened(session) else { return &[] };
        let frame = std::mem::take(&mut link.partial);
        self.budget.used -= frame.len();
        self.take_frames(session, &frame);
        rest
    }

    /// Keeps the beginning of a frame. It grows as bytes come, whatever length it claims, in memory
    /// of its own: a buffer kept for reuse may be large, and a few bytes could pin it.
    pub(super) fn keep_partial(&mut self, session: SessionIx, bytes: &[u8]) {
        let Self { links, budget, .. } = self;
        let Some(Some(link)) = links.get_mut(session.0 as usize) else { return };
        if link.stage != Stage::Opened {
            return;
        }
        if !budget.has_room_for_part(bytes.len(), link.partial.len()) {
            if link.peer.is_some() {
                return self.fail(session, "no memory for a frame");
            }
            return self.refuse(session, ErrorCode::OutOfMemory);
        }
        link.partial.extend_from_slice(bytes);
        budget.used += bytes.len();
    }

    fn drop_partial(&mut self, session: SessionIx) {
        let Self { links, budget, .. } = self;
        if let Some(Some(link)) = links.get_mut(session.0 as usize) {
            budget.used -= link.partial.len();
            link.partial = Vec::new();
        }
    }

    /// Takes every whole frame; says how many bytes those were. All of them, once the session ends.
    fn take_frames(&mut self, session: SessionIx, bytes: &[u8]) -> usize {
        let is_open = self.opened(session).is_some_and(|link| link.is_open);
        let mut is_open = is_open;
        let mut run = Run::EMPTY;
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if let Some(length) = run.next_alike(rest) {
                at += length;
                run.grow(&bytes[run.from..at]);
                continue;
            }
            let (length, kind) = match peek(rest) {
                Ok(Some((length, kind))) if length <= rest.len() => (length, kind),
                Ok(_) => break,
                Err(code) => {
                    self.dispatch(session, &run);
                    self.refuse(session, code);
                    return bytes.len();
                }
            };
            let frame = &rest[..length];
            if kind == Kind::Data && is_open {
                match Data::parse(frame) {
                    Ok(data) => {
                        let lane = Lane::from(data.priority());
                        if !run.extend(data, lane, &bytes[run.from..at + length]) {
                            self.dispatch(session, &run);
                            run = Run::begin(data, lane, at);
                        }
                    }
                    Err(code) => {
                        self.dispatch(session, &run);
                        self.refuse(session, code);
                        return bytes.len();
                    }
                }
            } else {
                self.dispatch(session, &run);
                run = Run::EMPTY;
                self.take_control(session, frame);
                match self.opened(session) {
                    Some(link) => is_open = link.is_open,
                    None => return bytes.len(),
                }
            }
            at += length;
        }
        self.dispatch(session, &run);
        at
    }

    fn take_control(&mut self, session: SessionIx, frame: &[u8]) {
        match decode(frame) {
            Ok(Decoded::Frame { frame: Frame::Rpc(rpc), .. }) => {
                self.take_rpc(session, rpc);
                self.perform();
            }
            Ok(Decoded::Frame { frame, .. }) => self.tell(Input::Frame { session, frame }),
            Ok(Decoded::Need(_)) => self.refuse(session, ErrorCode::Malformed),
            Err(code) => self.refuse(session, code),
        }
    }
}
