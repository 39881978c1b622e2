//! From a connection to a link, and its end: what [`Peers`] does with each connection in a turn.

use core::net::SocketAddr;

use mio::Token;
use mio::net::TcpStream;
use mpreg_fabric::dial::{CloseReason, LinkId};
use mpreg_fabric::fact::LinkEndReason;
use mpreg_fabric::time::Instant;
use mpreg_proto::id::NodeId;
use mpreg_proto::peer_hello::{Channel, PeerHello, Refusal};

use super::link::{Happening, Link, Side};
use super::name::PeerName;
use super::resolve::literal;
use super::socket::Socket;
use super::{Connection, Dial, Event, LinkUp, Peers, Wanted};
use crate::limits::{
    PEER_DIALS_MAX, PEER_LINKS_MAX, PEER_STRANGERS_MAX, PEER_STRANGERS_OF_ADDRESS_MAX,
};

impl Peers {
    pub(super) fn has_room_to_dial(&self) -> bool {
        let dialling = self.connections.iter().filter(|(_, connection)| {
            connection.dial.as_ref().is_some_and(|dial| dial.shard.is_none())
        });
        !self.is_stopping && dialling.count() + self.resolving < PEER_DIALS_MAX
    }

    pub(super) fn begin(&mut self, wanted: Wanted, now: Instant, out: &mut Vec<Event>) {
        self.probe.dials.add(1);
        match literal(&wanted.address) {
            Some(found) => {
                let dial = Dial { wanted, others: vec![found], shard: None };
                self.connect(dial, LinkEndReason::Unreachable, now, out);
            }
            None => {
                self.resolving += 1;
                self.resolver.ask(wanted);
            }
        }
    }

    /// Tries the next of the addresses. With none left, `why` is what came of it.
    pub(super) fn connect(
        &mut self,
        mut dial: Dial,
        mut why: LinkEndReason,
        now: Instant,
        out: &mut Vec<Event>,
    ) {
        while !dial.others.is_empty() && !self.is_stopping {
            let remote = dial.others.remove(0);
            match Socket::dial(remote).and_then(|socket| self.insert(socket, Side::Dialled, now)) {
                Ok(key) => {
                    self.connections[key].dial = Some(dial);
                    return;
                }
                Err(error) => {
                    tracing::debug!(%remote, %error, "dialling");
                    why = LinkEndReason::Unreachable;
                }
            }
        }
        tracing::debug!(address = %dial.wanted.address, end = why.word(), "not dialled");
        self.dial_failed(dial, why, out);
    }

    pub(super) fn welcome(&mut self, stream: TcpStream, remote: SocketAddr, now: Instant) {
        let strangers = self.connections.iter().map(|(_, connection)| connection);
        let strangers = strangers.filter(|connection| {
            connection.link.side() == Side::Accepted && !connection.link.is_up()
        });
        let (mut all, mut of_address) = (0, 0);
        for stranger in strangers {
            all += 1;
            of_address += usize::from(stranger.socket.remote().ip() == remote.ip());
        }
        if PEER_STRANGERS_MAX <= all || PEER_STRANGERS_OF_ADDRESS_MAX <= of_address {
            self.count(Side::Accepted, LinkEndReason::Refused(Refusal::TooManyLinks));
        } else if let Err(error) =
            self.insert(Socket::accepted(stream, remote), Side::Accepted, now)
        {
            tracing::warn!(%error, "a connection that was accepted is of no use");
            self.count(Side::Accepted, LinkEndReason::TransportFailed);
        }
    }

    fn insert(&mut self, mut socket: Socket, side: Side, now: Instant) -> std::io::Result<usize> {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        socket.register(&self.registry, Token(self.listener_token.0 + 1 + key))?;
        entry.insert(Connection {
            socket,
            link: Link::new(side, &self.credentials, self.timing, now),
            dial: None,
            name: None,
            link_id: None,
            hello: None,
            round_trip: None,
            wants_turn: false,
            was_admitted: false,
            is_agreed: false,
            is_over: false,
        });
        Ok(key)
    }

    /// Does what can be done for one connection.
    pub(super) fn serve(&mut self, key: usize, now: Instant, out: &mut Vec<Event>) {
        let connection = &mut self.connections[key];
        connection.wants_turn = false;
        match connection.socket.connected() {
            Ok(true) => {
                let count = connection.socket.receive(&mut connection.link, now);
                self.probe.bytes_in.add(count as u64);
            }
            Ok(false) if connection.link.deadline() <= now => {
                connection.link.hung_up(LinkEndReason::Unreachable);
            }
            Ok(false) => (),
            Err(end) => connection.link.hung_up(end),
        }
        self.hear(key, now, out);
        let is_over = self.connections[key].link.tick(now);
        self.hear(key, now, out);
        if self.connections[key].is_agreed {
            return self.hand_over(key, out);
        }
        self.flush(key, now);
        // What went wrong while sending.
        self.hear(key, now, out);
        let connection = &self.connections[key];
        if is_over || (connection.is_over && connection.socket.is_done()) {
            self.connections.remove(key);
        }
    }

    pub(super) fn flush(&mut self, key: usize, now: Instant) {
        let connection = &mut self.connections[key];
        let count = connection.socket.send(&mut connection.link, now);
        self.probe.bytes_out.add(count as u64);
    }

    /// Takes in what came of the bytes.
    fn hear(&mut self, key: usize, now: Instant, out: &mut Vec<Event>) {
        while let Some(happening) = self.connections[key].link.next(now) {
            match happening {
                Happening::Secured(name) => self.secured(key, name, now, out),
                Happening::Greeted(hello) => self.greeted(key, hello, now, out),
                Happening::Frame { plane, lane, body } => {
                    self.probe.frames_in.add(1);
                    if let Some((link, from)) = self.told(key) {
                        out.push(Event::Received { link, from, plane, lane, body });
                    }
                }
                Happening::Measured(round_trip) => {
                    self.connections[key].round_trip = Some(round_trip);
                    if let Some((_, node)) = self.told(key) {
                        out.push(Event::Measured { node, round_trip });
                    }
                }
                Happening::Ended(end) => self.end(key, end, now, out),
            }
        }
    }

    /// What the connection was told of as.
    fn told(&self, key: usize) -> Option<(LinkId, NodeId)> {
        let connection = &self.connections[key];
        Some((connection.link_id?, connection.name.as_ref()?.node))
    }

    fn secured(&mut self, key: usize, name: PeerName, now: Instant, out: &mut Vec<Event>) {
        let objection = self.policy.objection(&name);
        let connection = &mut self.connections[key];
        let expected = connection.dial.as_ref().and_then(|dial| dial.wanted.node);
        let is_expected = expected.is_none_or(|expected| expected == name.node);
        connection.name = Some(name);
        if !is_expected {
            connection.link.close(now);
            connection.wants_turn = true;
            return self.end(key, LinkEndReason::OtherNode, now, out);
        }
        match (connection.link.side(), objection) {
            // Told in the answer to its hello.
            (Side::Accepted, _) => (),
            (Side::Dialled, Some(refusal)) => self.refuse(key, refusal, now, out),
            (Side::Dialled, None) => {
                let is_data = connection.dial.as_ref().is_some_and(|dial| dial.shard.is_some());
                let channel = if is_data { Channel::Data } else { Channel::Control };
                connection.link.greet(&PeerHello { channel, ..self.hello });
            }
        }
    }

    fn greeted(&mut self, key: usize, hello: PeerHello, now: Instant, out: &mut Vec<Event>) {
        self.connections[key].hello = Some(hello);
        match (hello.refusal.or_else(|| self.objection(key, &hello)), hello.channel) {
            (Some(refusal), _) => self.refuse(key, refusal, now, out),
            (None, Channel::Control) => self.tell(key, &hello, out),
            (None, Channel::Data) => self.agree(key, &hello),
        }
    }

    /// Why there is to be no link, whatever others there are.
    fn objection(&self, key: usize, hello: &PeerHello) -> Option<Refusal> {
        if self.is_stopping {
            return Some(Refusal::Stopping);
        }
        let Connection { name, dial, .. } = &self.connections[key];
        let name = name.as_ref()?;
        let channel = match dial {
            Some(dial) if dial.shard.is_some() => Channel::Data,
            Some(_) => Channel::Control,
            None => hello.channel,
        };
        let mine = PeerHello { channel, ..self.hello };
        let objection = self.policy.objection(name).or_else(|| mine.objection(hello));
        let is_new = !self.used.contains_key(&name.node);
        objection.or_else(|| match channel {
            Channel::Control if is_new && PEER_LINKS_MAX <= self.links.len() => {
                Some(Refusal::TooManyLinks)
            }
            Channel::Data if !self.is_linked(name.node, hello.incarnation) => {
                Some(Refusal::NoControlLink)
            }
            Channel::Control | Channel::Data => None,
        })
    }

    /// A link, for others to decide about.
    fn tell(&mut self, key: usize, hello: &PeerHello, out: &mut Vec<Event>) {
        let connection = &mut self.connections[key];
        let Some(name) = connection.name.clone() else { return };
        self.links_named += 1;
        let link = LinkId(self.links_named);
        connection.link_id = Some(link);
        self.links.insert(link, key);
        let dialled = connection.dial.take().map(|dial| dial.wanted.address);
        let (incarnation, remote) = (hello.incarnation, connection.socket.remote());
        out.push(Event::LinkUp(LinkUp { link, name, incarnation, dialled, remote }));
    }

    /// The link is read from and written to from here on.
    pub fn admit(&mut self, link: LinkId, now: Instant) {
        let Some(&key) = self.links.get(&link) else { return };
        let connection = &mut self.connections[key];
        let (Some(name), Some(hello)) = (&connection.name, &connection.hello) else { return };
        let answer = match connection.link.side() {
            Side::Dialled => None,
            Side::Accepted => Some(self.hello.answer(hello, None)),
        };
        connection.link.open(answer.as_ref(), now);
        connection.was_admitted = true;
        // Frames may have come behind the hello.
        connection.wants_turn = true;
        let (side, address) = (connection.link.side().word(), connection.socket.remote());
        tracing::info!(%name, incarnation = %hello.incarnation, %address, side, "linked");
        self.probe.links_up.add(1);
    }

    /// Ends a link, once what was queued before is written. One that was not admitted is refused.
    pub fn close(&mut self, link: LinkId, why: CloseReason, now: Instant, out: &mut Vec<Event>) {
        let Some(&key) = self.links.get(&link) else { return };
        let (refusal, end) = match why {
            CloseReason::OwnNode => (Refusal::Itself, LinkEndReason::Refused(Refusal::Itself)),
            CloseReason::ClusterRefused => {
                (Refusal::NotAllowed, LinkEndReason::Refused(Refusal::NotAllowed))
            }
            CloseReason::Duplicate => (Refusal::Duplicate, LinkEndReason::Replaced),
            CloseReason::Departed => (Refusal::StaleIncarnation, LinkEndReason::Departed),
            CloseReason::Stopping => (Refusal::Stopping, LinkEndReason::Stopped),
        };
        let connection = &mut self.connections[key];
        if !connection.was_admitted {
            return self.refuse(key, refusal, now, out);
        }
        connection.link.leave(now);
        connection.wants_turn = true;
        self.end(key, end, now, out);
    }

    /// There is no link. The other is told why, if it waits for an answer.
    fn refuse(&mut self, key: usize, refusal: Refusal, now: Instant, out: &mut Vec<Event>) {
        let connection = &mut self.connections[key];
        let answer = match (connection.link.side(), &connection.hello) {
            (Side::Accepted, Some(hello)) => Some(self.hello.answer(hello, Some(refusal))),
            (Side::Accepted, None) | (Side::Dialled, _) => None,
        };
        connection.link.refuse(answer.as_ref(), now);
        connection.wants_turn = true;
        self.end(key, LinkEndReason::Refused(refusal), now, out);
    }

    /// The connection is no link, or none any more. What was said last is still sent.
    pub(super) fn end(
        &mut self,
        key: usize,
        end: LinkEndReason,
        now: Instant,
        out: &mut Vec<Event>,
    ) {
        let connection = &mut self.connections[key];
        if std::mem::replace(&mut connection.is_over, true) {
            return;
        }
        match self.told(key) {
            Some((link, node)) => self.down(key, link, node, end, out),
            None => self.never_linked(key, end, now, out),
        }
    }

    fn down(
        &mut self,
        key: usize,
        link: LinkId,
        node: NodeId,
        end: LinkEndReason,
        out: &mut Vec<Event>,
    ) {
        self.links.remove(&link);
        if self.used.get(&node) == Some(&key) {
            self.used.remove(&node);
        }
        let connection = &self.connections[key];
        if connection.was_admitted {
            self.probe.ended.of(end).add(1);
            tracing::info!(%node, end = end.word(), "link ended");
        } else {
            self.count(connection.link.side(), end);
        }
        out.push(Event::LinkDown { link, node, end });
        self.publish();
    }

    fn never_linked(&mut self, key: usize, end: LinkEndReason, now: Instant, out: &mut Vec<Event>) {
        let connection = &mut self.connections[key];
        let (side, address) = (connection.link.side(), connection.socket.remote());
        let dial = connection.dial.take();
        let node = connection.name.as_ref().map(|name| name.node);
        let shown = node.map(tracing::field::display);
        tracing::debug!(node = shown, %address, side = side.word(), end = end.word(), "no link");
        match dial {
            Some(dial) if !dial.others.is_empty() => self.connect(dial, end, now, out),
            Some(dial) => self.dial_failed(dial, end, out),
            None => self.count(side, end),
        }
    }

    fn dial_failed(&self, dial: Dial, end: LinkEndReason, out: &mut Vec<Event>) {
        self.count(Side::Dialled, end);
        let Dial { wanted: Wanted { address, node }, shard, .. } = dial;
        out.push(match (node, shard) {
            (Some(node), Some(shard)) => Event::DataFailed { node, shard, end },
            (Some(_) | None, _) => Event::DialFailed { address, end },
        });
    }

    fn count(&self, side: Side, end: LinkEndReason) {
        let counts = match side {
            Side::Dialled => &self.probe.dials_failed,
            Side::Accepted => &self.probe.strangers_refused,
        };
        counts.of(end).add(1);
    }
}
