//! The session against frames written by hand: what is sent, who gets what, what the shell is told.

use std::num::NonZeroU32;
use std::task::{Context, Poll, Waker};

use mpreg_proto::frame::Publish;

use super::*;

mod rpc;

const SESSION: SessionId = SessionId(9);
const TOKEN: u64 = 0xabc;
/// Where the first request of a session is answered.
const FIRST_REPLY: &str = "_INBOX.0000000000000abc.1";

/// A session with its shell's side of the conversation.
struct Desk {
    session: Session,
    out: Vec<u8>,
    effects: Vec<Effect>,
}

impl Desk {
    fn down() -> Self {
        Self { session: Session::new(TOKEN), out: Vec::new(), effects: Vec::new() }
    }

    fn up() -> Self {
        let mut desk = Self::down();
        desk.connect();
        assert_eq!(desk.effects(), [Effect::Open, connected()]);
        desk
    }

    fn connect(&mut self) {
        self.session.connected(SESSION, FUNCTIONS, &mut self.out, &mut self.effects);
    }

    fn subscribe(&mut self, pattern: &str) -> Sub {
        self.subscribe_with(SubscribeOptions { pattern, ..SubscribeOptions::default() })
    }

    fn subscribe_with(&mut self, options: SubscribeOptions<'_>) -> Sub {
        let inbox = Arc::new(Inbox::new(options.overload, options.inbox_bytes));
        let asked = self.session.subscribe(&options, &inbox, &mut self.out).unwrap();
        Sub { sid: asked.sid, answer: asked.answer, inbox }
    }

    fn unsubscribe(&mut self, sub: &Sub, deliveries: u32) {
        self.session.unsubscribe(sub.sid, deliveries, &mut self.out, &mut self.effects);
    }

    fn forget(&mut self, sub: &Sub) {
        self.session.forget(sub.sid, &mut self.out, &mut self.effects);
    }

    /// One frame from the router.
    fn try_hear(&mut self, frame: Frame<'_>) -> Result<(), Disconnect> {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.hear_bytes(bytes)
    }

    #[track_caller]
    fn hear(&mut self, frame: Frame<'_>) {
        self.try_hear(frame).unwrap();
    }

    /// One message from the router.
    #[track_caller]
    fn hear_message(&mut self, topic: &str, payload: &str) {
        let mut bytes = Vec::new();
        let (topic, payload) = (topic.as_bytes(), payload.as_bytes());
        Publish { topic, payload, ..Publish::default() }.put(&mut bytes).unwrap();
        self.hear_bytes(bytes).unwrap();
    }

    fn hear_bytes(&mut self, bytes: Vec<u8>) -> Result<(), Disconnect> {
        let (_, kind) = frame::peek(&bytes).unwrap().unwrap();
        let arrival = Arrival { at: Instant::now(), chunk: ChunkIx(0) };
        self.session.handle(kind, bytes.into(), arrival, &mut self.out, &mut self.effects)
    }

    /// Compares all that was sent since last asked.
    #[track_caller]
    fn sent(&mut self, want: &[Frame<'_>]) {
        let out = std::mem::take(&mut self.out);
        let mut rest = &out[..];
        let mut frames = Vec::new();
        while let Ok(Decoded::Frame { frame, bytes }) = frame::decode(rest) {
            frames.push(frame);
            rest = &rest[bytes..];
        }
        assert_eq!(frames, want);
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}

struct Sub {
    sid: Sid,
    answer: oneshot::Receiver<Result<(), SubscribeError>>,
    inbox: Arc<Inbox>,
}

impl Sub {
    /// The payloads of all that waits, oldest first.
    fn take(&self) -> Vec<String> {
        std::iter::from_fn(|| match self.inbox.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        })
        .map(|message| String::from_utf8_lossy(message.payload()).into_owned())
        .collect()
    }
}

fn connected() -> Effect {
    Effect::Emit(Event::Connected { session: SESSION })
}

fn subscribe(sid: Sid, pattern: &str) -> Frame<'_> {
    let pattern = pattern.as_bytes();
    Frame::Subscribe(Subscribe { sid, overload: Overload::DropOldest, pattern, group: b"" })
}

fn error(code: ErrorCode, sid: Sid) -> Frame<'static> {
    Frame::Error(Refusal { code, sid, text: "why" })
}

#[test]
fn a_subscription_is_asked_for_and_confirmed() {
    let mut desk = Desk::up();
    let mut sub = desk.subscribe("a.*");
    desk.sent(&[subscribe(sub.sid, "a.*")]);
    assert!(sub.answer.try_recv().is_err());
    desk.hear(Frame::Subscribed { sid: sub.sid });
    assert_eq!(sub.answer.try_recv(), Ok(Ok(())));
    assert_eq!(desk.effects(), []);
}

#[test]
fn one_copy_reaches_every_plain_subscription_that_matches() {
    let mut desk = Desk::up();
    let subs = ["a.b", "a.*", "b", "#"].map(|pattern| desk.subscribe(pattern));
    desk.hear_message("a.b", "1");
    desk.hear_message("b", "2");
    assert_eq!(subs.map(|sub| sub.take().concat()), ["1", "1", "2", "12"]);
    assert_eq!(desk.session.counts(), Counts::default());
}

#[test]
fn an_addressed_message_is_for_that_member_alone() {
    let mut desk = Desk::up();
    let plain = desk.subscribe("a");
    let member = |group| SubscribeOptions { pattern: "a", group, ..SubscribeOptions::default() };
    let (first, second) = (desk.subscribe_with(member("g")), desk.subscribe_with(member("h")));
    desk.hear(Frame::For { sid: second.sid });
    desk.hear_message("a", "for second");
    desk.hear_message("a", "plain");
    assert_eq!(first.take(), [] as [String; 0]);
    assert_eq!(second.take(), ["for second"]);
    assert_eq!(plain.take(), ["plain"]);
}

#[test]
fn an_address_without_its_message_is_malformed() {
    let mut desk = Desk::up();
    desk.hear(Frame::For { sid: Sid(1) });
    let want = Err(Disconnect::Malformed(ErrorCode::UnexpectedFrame));
    assert_eq!(desk.try_hear(Frame::Ping { token: 1 }), want);
}

#[test]
fn frames_only_a_client_may_send_are_malformed() {
    for frame in [
        subscribe(Sid(1), "a"),
        Frame::Unsubscribe { sid: Sid(1), deliveries: 0 },
        Frame::Drain,
        Frame::Drained,
    ] {
        let want = Err(Disconnect::Malformed(ErrorCode::UnexpectedFrame));
        assert_eq!(Desk::up().try_hear(frame), want, "{frame:?}");
    }
}

#[test]
fn messages_for_nobody_are_counted() {
    let mut desk = Desk::up();
    desk.hear_message("a", "");
    desk.hear(Frame::For { sid: Sid(5) });
    desk.hear_message("a", "");
    assert_eq!(desk.session.counts(), Counts { stray: 2, ..Counts::default() });
}

#[test]
fn a_refused_subscription_tells_whoever_asked() {
    let mut desk = Desk::up();
    let mut sub = desk.subscribe("a");
    desk.hear(error(ErrorCode::TooManySubscriptions, sub.sid));
    let (code, text) = (ErrorCode::TooManySubscriptions, "why".to_owned());
    assert_eq!(sub.answer.try_recv(), Ok(Err(SubscribeError::Refused { code, text })));
    desk.sent(&[subscribe(sub.sid, "a")]);
    desk.forget(&sub);
    desk.sent(&[]);
}

#[test]
fn patterns_and_groups_are_checked_before_anything_is_sent() {
    let mut desk = Desk::up();
    let inbox = Arc::new(Inbox::new(Overload::DropOldest, 1000));
    let group = "g".repeat(GROUP_BYTES_MAX + 1);
    for (pattern, group, want) in
        [("a..b", "", SubscribeError::BadPattern), ("a", &group, SubscribeError::BadGroup)]
    {
        let options = SubscribeOptions { pattern, group, ..SubscribeOptions::default() };
        assert_eq!(desk.session.subscribe(&options, &inbox, &mut desk.out).unwrap_err(), want);
    }
    desk.sent(&[]);
}

#[test]
fn unsubscribing_delivers_until_the_router_confirms() {
    let mut desk = Desk::up();
    let sub = desk.subscribe("a");
    desk.unsubscribe(&sub, 0);
    desk.unsubscribe(&sub, 0);
    desk.sent(&[subscribe(sub.sid, "a"), Frame::Unsubscribe { sid: sub.sid, deliveries: 0 }]);
    desk.hear_message("a", "on its way");
    desk.hear(Frame::Unsubscribed { sid: sub.sid });
    desk.hear_message("a", "for another");
    assert_eq!(sub.take(), ["on its way"]);
    assert_eq!(sub.inbox.ended(), Some(Ended::Unsubscribed));
}

#[test]
fn a_limit_ends_the_subscription_with_the_last_message() {
    let mut desk = Desk::up();
    let sub = desk.subscribe("a");
    desk.hear_message("a", "1");
    desk.unsubscribe(&sub, 2);
    desk.sent(&[subscribe(sub.sid, "a"), Frame::Unsubscribe { sid: sub.sid, deliveries: 2 }]);
    desk.hear_message("a", "2");
    desk.hear_message("a", "3");
    assert_eq!(sub.take(), ["1", "2"]);
    assert_eq!(sub.inbox.ended(), Some(Ended::Unsubscribed));
    desk.hear(Frame::Unsubscribed { sid: sub.sid });
    desk.sent(&[]);
}

#[test]
fn a_limit_already_reached_ends_at_once() {
    let mut desk = Desk::up();
    let sub = desk.subscribe("a");
    desk.hear_message("a", "1");
    desk.unsubscribe(&sub, 1);
    desk.sent(&[subscribe(sub.sid, "a"), Frame::Unsubscribe { sid: sub.sid, deliveries: 0 }]);
}

#[test]
fn a_limit_and_an_unsubscribe_may_cross() {
    let mut desk = Desk::up();
    let sub = desk.subscribe("a");
    desk.unsubscribe(&sub, 0);
    desk.hear(error(ErrorCode::UnknownSid, sub.sid));
    assert_eq!(sub.inbox.ended(), Some(Ended::Unsubscribed));
    assert_eq!(desk.effects(), []);
}

#[test]
fn a_dropped_subscription_is_undone_once() {
    let mut desk = Desk::up();
    let sub = desk.subscribe("a");
    desk.sent(&[subscribe(sub.sid, "a")]);
    desk.forget(&sub);
    desk.forget(&sub);
    desk.sent(&[Frame::Unsubscribe { sid: sub.sid, deliveries: 0 }]);
    desk.hear_message("a", "");
    assert_eq!(desk.session.counts().stray, 1);
}

#[test]
fn a_new_connection_asks_for_every_subscription_and_opens_when_all_are_confirmed() {
    let mut desk = Desk::up();
    let first = desk.subscribe("a");
    let second = desk.subscribe_with(SubscribeOptions {
        pattern: "b.>",
        group: "g",
        overload: Overload::Disconnect,
        ..SubscribeOptions::default()
    });
    desk.out.clear();
    desk.session.disconnected();
    assert!(!desk.session.is_up());
    desk.connect();
    let second_frame = Frame::Subscribe(Subscribe {
        sid: second.sid,
        overload: Overload::Disconnect,
        pattern: b"b.>",
        group: b"g",
    });
    desk.sent(&[subscribe(first.sid, "a"), second_frame]);
    desk.hear(Frame::Subscribed { sid: second.sid });
    desk.hear(Frame::Subscribed { sid: second.sid });
    assert_eq!(desk.effects(), [], "one confirmation counts once");
    desk.hear(Frame::Subscribed { sid: first.sid });
    assert_eq!(desk.effects(), [Effect::Open, connected()]);
    desk.hear_message("a", "after");
    assert_eq!(first.take(), ["after"]);
}

#[test]
fn a_subscription_refused_or_dropped_while_resuming_is_not_waited_for() {
    let mut desk = Desk::up();
    let subs = ["a", "b", "c"].map(|pattern| desk.subscribe(pattern));
    subs.iter().for_each(|sub| desk.hear(Frame::Subscribed { sid: sub.sid }));
    desk.session.disconnected();
    desk.connect();
    desk.hear(error(ErrorCode::TooManySubscriptions, subs[0].sid));
    let (code, text) = (ErrorCode::TooManySubscriptions, "why".to_owned());
    assert_eq!(subs[0].inbox.ended(), Some(Ended::Refused { code, text }));
    desk.forget(&subs[1]);
    assert_eq!(desk.effects(), []);
    desk.hear(Frame::Subscribed { sid: subs[2].sid });
    assert_eq!(desk.effects(), [Effect::Open, connected()]);
}

#[test]
fn asked_for_without_a_connection_it_is_sent_with_the_next() {
    let mut desk = Desk::down();
    let mut sub = desk.subscribe("a");
    desk.sent(&[]);
    desk.connect();
    desk.sent(&[subscribe(sub.sid, "a")]);
    desk.hear(Frame::Subscribed { sid: sub.sid });
    assert_eq!(sub.answer.try_recv(), Ok(Ok(())));
}

#[test]
fn without_a_connection_nothing_is_sent_and_an_unsubscribe_is_not_repeated() {
    let mut desk = Desk::up();
    let subs = ["a", "b", "c"].map(|pattern| desk.subscribe(pattern));
    desk.out.clear();
    desk.unsubscribe(&subs[0], 0);
    desk.forget(&subs[0]);
    desk.sent(&[Frame::Unsubscribe { sid: subs[0].sid, deliveries: 0 }]);
    desk.session.disconnected();
    desk.unsubscribe(&subs[1], 5);
    desk.forget(&subs[2]);
    desk.sent(&[]);
    desk.connect();
    let (sid, deliveries) = (subs[1].sid, 5);
    desk.sent(&[subscribe(sid, "b"), Frame::Unsubscribe { sid, deliveries }]);
}

#[test]
fn a_limit_counts_over_connections() {
    let mut desk = Desk::up();
    let sub = desk.subscribe("a");
    desk.unsubscribe(&sub, 3);
    desk.hear_message("a", "1");
    desk.out.clear();
    desk.session.disconnected();
    desk.connect();
    let (sid, deliveries) = (sub.sid, 2);
    desk.sent(&[subscribe(sid, "a"), Frame::Unsubscribe { sid, deliveries }]);
    desk.hear_message("a", "2");
    desk.unsubscribe(&sub, NonZeroU32::new(4).unwrap().get());
    desk.sent(&[Frame::Unsubscribe { sid, deliveries: 3 }]);
    desk.hear_message("a", "3");
    desk.hear_message("a", "4");
    desk.hear_message("a", "5");
    assert_eq!(sub.take(), ["1", "2", "3", "4"]);
}

#[test]
fn what_was_leaving_when_the_connection_broke_is_gone() {
    let mut desk = Desk::up();
    let (sub, other) = (desk.subscribe("a"), desk.subscribe("b"));
    desk.unsubscribe(&sub, 0);
    desk.out.clear();
    desk.session.disconnected();
    assert_eq!(sub.inbox.ended(), Some(Ended::Unsubscribed));
    desk.unsubscribe(&other, 0);
    assert_eq!(other.inbox.ended(), Some(Ended::Unsubscribed));
    desk.connect();
    desk.sent(&[]);
}

#[test]
fn an_overrun_ends_one_subscription_and_leaves_the_others() {
    let mut desk = Desk::up();
    let late = desk.subscribe_with(SubscribeOptions {
        pattern: "a",
        overload: Overload::Disconnect,
        inbox_bytes: 1,
        ..SubscribeOptions::default()
    });
    let other = desk.subscribe("a");
    desk.out.clear();
    desk.hear_message("a", "1");
    desk.hear_message("a", "2");
    desk.hear_message("a", "3");
    assert_eq!(late.take(), ["1"]);
    assert_eq!(late.inbox.ended(), Some(Ended::Overrun));
    assert_eq!(other.take(), ["1", "2", "3"]);
    desk.sent(&[Frame::Unsubscribe { sid: late.sid, deliveries: 0 }]);
    assert_eq!(desk.session.counts(), Counts { overrun: 1, ..Counts::default() });
}

#[test]
fn lagging_is_told_once_per_run_of_drops() {
    let mut desk = Desk::up();
    let sub = desk.subscribe_with(SubscribeOptions {
        pattern: "a",
        inbox_bytes: 1,
        ..SubscribeOptions::default()
    });
    for number in 1..=4 {
        desk.hear_message("a", &number.to_string());
    }
    let lagging = Effect::Emit(Event::Lagging { sid: sub.sid, dropped: 1 });
    assert_eq!(desk.effects(), [lagging]);
    assert_eq!(sub.take(), ["4"]);
    assert_eq!(desk.session.counts().overrun, 3);
}

#[test]
fn every_message_that_gives_way_is_counted() {
    let mut desk = Desk::up();
    let sub = desk.subscribe_with(SubscribeOptions {
        pattern: "a",
        inbox_bytes: 1000,
        ..SubscribeOptions::default()
    });
    desk.hear_message("a", "1");
    desk.hear_message("a", "2");
    let large = "x".repeat(900);
    desk.hear_message("a", &large);
    assert_eq!(desk.session.counts().overrun, 2);
    assert_eq!(sub.take(), [large]);
}

#[test]
fn a_request_is_answered_by_its_reply_topic() {
    let mut desk = Desk::up();
    let asked = desk.session.subscribe_replies(&mut desk.out, &mut desk.effects).unwrap().unwrap();
    desk.sent(&[subscribe(asked.sid, "_INBOX.0000000000000abc.*")]);
    assert!(!desk.session.has_replies());
    desk.hear(Frame::Subscribed { sid: asked.sid });
    assert!(desk.session.has_replies());
    let again = desk.session.subscribe_replies(&mut desk.out, &mut desk.effects).unwrap();
    assert!(again.is_none(), "once is enough");

    let (_, topic, mut answer) = desk.session.request().unwrap();
    assert_eq!(topic.as_bytes(), FIRST_REPLY.as_bytes());
    desk.hear_message(FIRST_REPLY, "yes");
    assert_eq!(answer.try_recv().unwrap().unwrap().payload(), b"yes");
    desk.hear_message(FIRST_REPLY, "yes again");
    assert_eq!(desk.session.counts(), Counts { late_replies: 1, ..Counts::default() });
}

#[test]
fn replies_also_reach_subscriptions_that_match_them() {
    let mut desk = Desk::up();
    let (all, exact) = (desk.subscribe(">"), desk.subscribe("a"));
    let (_, _, mut answer) = desk.session.request().unwrap();
    desk.hear_message(FIRST_REPLY, "yes");
    assert!(answer.try_recv().unwrap().is_ok());
    assert_eq!(all.take(), ["yes"]);
    assert_eq!(exact.take(), [] as [String; 0]);
}

#[test]
fn no_responders_reaches_the_request_or_the_observer() {
    let mut desk = Desk::up();
    let (_, _, mut answer) = desk.session.request().unwrap();
    desk.hear(Frame::NoResponders { reply: FIRST_REPLY.as_bytes() });
    assert_eq!(answer.try_recv().unwrap().unwrap_err(), RequestError::NoResponders);
    assert_eq!(desk.effects(), []);
    desk.hear(Frame::NoResponders { reply: b"mine" });
    let reply = "mine".to_owned();
    assert_eq!(desk.effects(), [Effect::Emit(Event::NoResponders { reply })]);
}

#[test]
fn requests_outlive_a_connection() {
    let mut desk = Desk::up();
    let asked = desk.session.subscribe_replies(&mut desk.out, &mut desk.effects).unwrap().unwrap();
    desk.hear(Frame::Subscribed { sid: asked.sid });
    let (_, _, mut answer) = desk.session.request().unwrap();
    desk.session.disconnected();
    desk.connect();
    desk.hear(Frame::Subscribed { sid: asked.sid });
    desk.hear_message(FIRST_REPLY, "late but here");
    assert_eq!(answer.try_recv().unwrap().unwrap().payload(), b"late but here");
}

#[test]
fn a_refused_subscription_to_replies_is_asked_for_again() {
    let mut desk = Desk::up();
    let asked = desk.session.subscribe_replies(&mut desk.out, &mut desk.effects).unwrap().unwrap();
    desk.hear(error(ErrorCode::TooManySubscriptions, asked.sid));
    assert_eq!(desk.session.replies, None);
    let again = desk.session.subscribe_replies(&mut desk.out, &mut desk.effects).unwrap().unwrap();
    assert_ne!(again.sid, asked.sid);
    // Asked for once more by a caller whose predecessor gave up waiting.
    desk.out.clear();
    let third = desk.session.subscribe_replies(&mut desk.out, &mut desk.effects).unwrap().unwrap();
    desk.sent(&[
        Frame::Unsubscribe { sid: again.sid, deliveries: 0 },
        subscribe(third.sid, "_INBOX.0000000000000abc.*"),
    ]);
}

#[test]
fn a_flush_ends_with_its_pong_or_with_the_connection() {
    let mut desk = Desk::up();
    let mut done = desk.session.flush(&mut desk.out).unwrap();
    let mut lost = desk.session.flush(&mut desk.out).unwrap();
    desk.sent(&[Frame::Ping { token: 1 }, Frame::Ping { token: 2 }]);
    desk.hear(Frame::Pong { token: 1 });
    assert_eq!(done.try_recv(), Ok(Ok(())));
    assert!(lost.try_recv().is_err());
    desk.session.disconnected();
    assert_eq!(lost.try_recv(), Ok(Err(FlushError::Disconnected)));
}

#[test]
fn a_drain_ends_every_subscription_and_request() {
    let mut desk = Desk::up();
    let mut waiting = desk.subscribe("b");
    let sub = desk.subscribe("a");
    let (_, _, mut answer) = desk.session.request().unwrap();
    desk.out.clear();
    let mut drained = desk.session.drain(&mut desk.out).unwrap();
    desk.sent(&[Frame::Drain]);
    desk.hear_message("a", "last");
    assert!(drained.try_recv().is_err());
    desk.hear(Frame::Drained);
    assert_eq!(drained.try_recv(), Ok(Ok(())));
    assert_eq!(sub.take(), ["last"]);
    assert_eq!(sub.inbox.ended(), Some(Ended::Drained));
    assert_eq!(waiting.answer.try_recv(), Ok(Err(SubscribeError::Drained)));
    assert_eq!(answer.try_recv().unwrap().unwrap_err(), RequestError::Drained);

    assert!(desk.session.is_drained());
    assert_eq!(desk.session.request().unwrap_err(), RequestError::Drained);
    assert_eq!(desk.session.drain(&mut desk.out).unwrap_err(), DrainError::Drained);
    let options = SubscribeOptions { pattern: "c", ..SubscribeOptions::default() };
    let refused = desk.session.subscribe(&options, &sub.inbox, &mut desk.out);
    assert_eq!(refused.unwrap_err(), SubscribeError::Drained);
    desk.sent(&[]);
}

#[test]
fn a_drain_needs_its_connection() {
    let mut desk = Desk::down();
    assert_eq!(desk.session.drain(&mut desk.out).unwrap_err(), DrainError::Disconnected);
    let mut desk = Desk::up();
    let mut drained = desk.session.drain(&mut desk.out).unwrap();
    desk.session.disconnected();
    assert_eq!(drained.try_recv(), Ok(Err(DrainError::Disconnected)));
}

#[test]
fn the_end_is_told_to_everyone() {
    let mut desk = Desk::up();
    let (confirmed, mut waiting) = (desk.subscribe("a"), desk.subscribe("b"));
    desk.hear(Frame::Subscribed { sid: confirmed.sid });
    let (_, _, mut answer) = desk.session.request().unwrap();
    desk.session.end();
    assert_eq!(confirmed.inbox.ended(), Some(Ended::Closed));
    assert_eq!(waiting.answer.try_recv(), Ok(Err(SubscribeError::Closed)));
    assert_eq!(answer.try_recv().unwrap().unwrap_err(), RequestError::Closed);
    assert_eq!(desk.session.flush(&mut desk.out).unwrap_err(), FlushError::Closed);
    assert_eq!(desk.session.drain(&mut desk.out).unwrap_err(), DrainError::Closed);
    assert_eq!(desk.session.request().unwrap_err(), RequestError::Closed);
}

#[test]
fn what_the_router_says_is_passed_on() {
    let mut desk = Desk::up();
    desk.hear(Frame::Ping { token: 3 });
    desk.hear(Frame::GoingAway);
    desk.hear(error(ErrorCode::ReservedTopic, Sid(0)));
    let (code, text) = (ErrorCode::ReservedTopic, "why".to_owned());
    assert_eq!(
        desk.effects(),
        [
            Effect::Pong { token: 3 },
            Effect::Hold,
            Effect::Emit(Event::GoingAway),
            Effect::Emit(Event::Refused { code, text: text.clone() }),
        ]
    );
    let fatal = desk.try_hear(error(ErrorCode::SlowConsumer, Sid(0)));
    assert_eq!(fatal, Err(Disconnect::Refused { code: ErrorCode::SlowConsumer, text }));
}
