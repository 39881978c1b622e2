//! Outbound queues against a list of frames.
//!
//! By example: a script of words, each a frame of 100 bytes, and what then leaves. By chance: any
//! history of two connections on one budget, against [`Model`], which holds every frame apart.

use std::collections::VecDeque;

use mpreg_proto::frame::{Decoded, Frame, Publish, decode};
use mpreg_proto::id::Sid;
use proptest::prelude::*;

use super::*;

const FRAME_BYTES: usize = 100;

/// Offers what `script` says to a queue of `frames` frames and compares what leaves:
/// - `u1`, `n1`, `b1`: message 1 of a lane; `f1`: message 1 of the normal lane, with its `For`.
/// - `c1`: control frame 1; `e1`: control frame 1 behind everything.
/// - `(`: a send takes what it may, and stalls; `)`: it is done. At the end all is sent.
///
/// What is not taken is said with the reason: `n1-newest`.
#[track_caller]
fn check(overload: Overload, frames: usize, script: &str, want: &str) {
    let mut queue = Outbound::new(frames * FRAME_BYTES);
    let mut budget = Budget { used: 0, limit: usize::MAX };
    let (mut spares, mut flight) = (Spares::default(), Vec::new());
    let mut left: Vec<String> = Vec::new();
    for word in script.split_whitespace().chain([")", "(", ")", "(", ")"]) {
        let number = || word[1..].parse().unwrap();
        match &word[..1] {
            "(" => {
                queue.take_flight(&mut flight);
            }
            ")" => {
                left.extend(flight.iter().flat_map(|piece| words(piece.bytes())));
                queue.landed(&mut flight, &mut budget, &mut spares);
            }
            "c" if queue.say(&control(number()), Lane::Urgent, &mut budget, &mut spares) => (),
            "c" => left.push(format!("{word}-refused")),
            "e" => queue.say_last(&control(number()), &mut budget, &mut spares),
            kind => {
                let (lane, priority) = lane_of(kind);
                let message = message(number(), priority, FRAME_BYTES, kind == "f");
                let offer = queue.offer(&message, lane, overload, &mut budget, &mut spares);
                match offer {
                    Offer::Queued | Offer::Displaced(_) => (),
                    Offer::Dropped(reason) => left.push(format!("{word}-{}", reason.word())),
                    Offer::Disconnect => left.push(format!("{word}-disconnect")),
                }
            }
        }
    }
    assert_eq!(left.join(" "), want);
    assert!(queue.is_empty() && budget.used == 0);
}

fn lane_of(kind: &str) -> (Lane, Priority) {
    match kind {
        "u" => (Lane::Urgent, Priority::High),
        "b" => (Lane::Bulk, Priority::Bulk),
        _ => (Lane::Normal, Priority::Normal),
    }
}

/// A message, with a `For` or without, of `bytes` bytes in all.
fn message(number: u64, priority: Priority, bytes: usize, is_addressed: bool) -> Vec<u8> {
    let mut message = Vec::new();
    if is_addressed {
        Frame::For { sid: Sid(number as u32) }.put(&mut message);
    }
    let mut payload = vec![0; bytes - message.len() - 16 - 1];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    let publish = Publish { topic: b"t", payload: &payload, priority, ..Publish::default() };
    publish.put(&mut message).unwrap();
    message
}

fn control(number: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    let reply = vec![b'0' + (number % 10) as u8; FRAME_BYTES - 8];
    Frame::NoResponders { reply: &reply }.put(&mut frame);
    frame
}

/// The frames of a piece, as the scripts spell them.
fn words(mut bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    let mut addressed = None;
    while !bytes.is_empty() {
        let Ok(Decoded::Frame { frame, bytes: taken }) = decode(bytes) else {
            panic!("a piece holds whole frames")
        };
        match frame {
            Frame::For { sid } => addressed = Some(sid),
            Frame::Data(data) => {
                let number = u64::from_le_bytes(*data.payload().first_chunk().unwrap());
                let kind = match (addressed.take(), Lane::from(data.priority())) {
                    (Some(sid), _) => {
                        assert_eq!(u64::from(sid.0), number, "a For is with its own data");
                        "f"
                    }
                    (None, Lane::Urgent) => "u",
                    (None, Lane::Normal) => "n",
                    (None, Lane::Bulk) => "b",
                };
                words.push(format!("{kind}{number}"));
            }
            Frame::NoResponders { reply } => words.push(format!("c{}", char::from(reply[0]))),
            other @ (Frame::Connect(_)
            | Frame::Connected(_)
            | Frame::Subscribe(_)
            | Frame::Subscribed { .. }
            | Frame::Unsubscribe { .. }
            | Frame::Unsubscribed { .. }
            | Frame::Ping { .. }
            | Frame::Pong { .. }
            | Frame::Drain
            | Frame::Drained
            | Frame::Error(_)
            | Frame::GoingAway
            | Frame::Rpc(_)) => panic!("nobody queued {other:?}"),
        }
        bytes = &bytes[taken..];
    }
    assert_eq!(addressed, None, "a For is not parted from its data");
    words
}

#[test]
fn higher_lanes_overtake_and_each_keeps_its_order() {
    check(Overload::DropNewest, 10, "b1 n1 u1 b2 n2 u2", "u1 u2 n1 n2 b1 b2");
}

#[test]
fn what_a_send_has_taken_is_not_overtaken() {
    check(Overload::DropNewest, 10, "b1 n1 ( u1 )", "n1 b1 u1");
}

#[test]
fn lower_lanes_leave_the_urgent_one_a_tenth() {
    check(
        Overload::DropNewest,
        10,
        "n1 n2 n3 n4 n5 n6 n7 n8 n9 n0 b0 u1 u2",
        "n0-queue_full_newest b0-queue_full_newest u2-queue_full_newest \
         u1 n1 n2 n3 n4 n5 n6 n7 n8 n9",
    );
}

#[test]
fn the_oldest_give_way() {
    check(Overload::DropOldest, 5, "n1 n2 n3 n4 n5 n6 n7", "n4 n5 n6 n7");
}

#[test]
fn the_oldest_of_the_lowest_lane_give_way_first() {
    check(Overload::DropOldest, 5, "n1 b1 b2 n2 n3 n4", "n1 n2 n3 n4");
    check(Overload::DropOldest, 5, "b1 n1 u1 u2 u3 u4 u5", "u1 u2 u3 u4 u5");
}

#[test]
fn a_higher_lane_does_not_give_way_to_a_lower_one() {
    check(Overload::DropOldest, 3, "n1 n2 b1", "b1-queue_full_oldest n1 n2");
    check(Overload::DropOldest, 3, "u1 u2 u3 n1", "n1-queue_full_oldest u1 u2 u3");
}

#[test]
fn what_is_being_sent_does_not_give_way() {
    check(
        Overload::DropOldest,
        3,
        "n1 n2 ( n3 n4 ) n5",
        "n3-queue_full_oldest \
         n4-queue_full_oldest n1 n2 n5",
    );
}

#[test]
fn control_frames_stay_when_messages_give_way() {
    check(Overload::DropOldest, 5, "c1 u1 c2 u2 u3 c3 u4 u5", "c1 c2 c3 u4 u5");
    check(Overload::DropOldest, 5, "e1 b1 b2 e2 b3", "c1 b2 c2 b3");
}

#[test]
fn a_for_gives_way_with_its_data() {
    check(Overload::DropOldest, 4, "f1 f2 f3 f4 n5", "f3 f4 n5");
}

#[test]
fn the_newest_or_the_session_give_way_if_that_is_the_policy() {
    check(Overload::DropNewest, 2, "n1 n2 n3", "n2-queue_full_newest n3-queue_full_newest n1");
    check(Overload::Disconnect, 2, "n1 n2", "n2-disconnect n1");
}

#[test]
fn an_empty_queue_takes_any_one_message() {
    check(Overload::DropOldest, 0, "n1 n2 ( n3 ) n4", "n3-queue_full_oldest n2 n4");
}

#[test]
fn control_frames_have_room_beyond_the_queue_and_no_more() {
    let mut queue = Outbound::new(10 * FRAME_BYTES);
    let mut budget = Budget { used: 0, limit: usize::MAX };
    let mut spares = Spares::default();
    let mut said = 0;
    while queue.say(&control(said), Lane::Urgent, &mut budget, &mut spares) {
        said += 1;
    }
    assert_eq!(said as usize, (10 * FRAME_BYTES + CONTROL_RESERVE_BYTES) / FRAME_BYTES);
}

#[test]
fn control_frames_have_their_reserve_alone_where_memory_is_short() {
    let mut queue = Outbound::new(1 << 30);
    let mut budget = Budget { used: 0, limit: CONTROL_RESERVE_BYTES };
    let mut spares = Spares::default();
    while queue.say(&control(0), Lane::Urgent, &mut budget, &mut spares) {}
    let held = queue.queued_bytes();
    assert!((CONTROL_RESERVE_BYTES - FRAME_BYTES..=CONTROL_RESERVE_BYTES).contains(&held));
}

#[test]
fn those_that_lag_leave_room_to_those_that_keep_up() {
    let mut budget = Budget { used: 0, limit: 100 * MODEST_BYTES };
    let mut spares = Spares::default();
    let mut lagging: Vec<Outbound> = (0..5).map(|_| Outbound::new(1 << 30)).collect();
    let mut offer = |queue: &mut Outbound| {
        let message = message(1, Priority::Normal, MODEST_BYTES / 8, false);
        queue.offer(&message, Lane::Normal, Overload::DropNewest, &mut budget, &mut spares)
    };
    for queue in &mut lagging {
        while offer(queue) == Offer::Queued {}
    }
    assert_eq!(offer(&mut lagging[0]), Offer::Dropped(DropReason::MemoryBudget));
    let mut keeping_up = Outbound::new(1 << 30);
    let taken = (0..20).map(|_| offer(&mut keeping_up)).take_while(|got| *got == Offer::Queued);
    assert_eq!(taken.count(), 9, "as much as one that keeps up holds, and the last");
    assert!(!budget.has_room_for_part(1, MODEST_BYTES + 1) && budget.has_room_for_part(1, 0));
}

#[test]
fn a_goodbye_waits_for_more_than_one_send() {
    let mut queue = Outbound::new(4 * FLIGHT_BYTES_MAX);
    let mut budget = Budget { used: 0, limit: usize::MAX };
    let (mut spares, mut flight) = (Spares::default(), Vec::new());
    let large = message(1, Priority::Normal, FLIGHT_BYTES_MAX - 1, false);
    for lane in [Lane::Normal, Lane::Normal, Lane::Bulk] {
        queue.copy(&large, 1, lane, &mut budget, &mut spares);
    }
    queue.say_last(&control(1), &mut budget, &mut spares);
    for want in [&["n1"][..], &["n1"], &["n1"], &["c1"]] {
        queue.take_flight(&mut flight);
        let sent: Vec<String> = flight.iter().flat_map(|piece| words(piece.bytes())).collect();
        assert_eq!(sent, want);
        queue.landed(&mut flight, &mut budget, &mut spares);
    }
}

/// Something that is queued whole and given up whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    bytes: Vec<u8>,
    is_message: bool,
}

/// The obvious queue.
#[derive(Debug, Default)]
struct Model {
    lanes: [VecDeque<Entry>; LANES],
    flight_bytes: usize,
    limit: usize,
}

impl Model {
    fn queued_bytes(&self) -> usize {
        self.lanes.iter().flatten().map(|entry| entry.bytes.len()).sum()
    }

    fn held_bytes(&self) -> usize {
        self.queued_bytes() + self.flight_bytes
    }

    fn push(&mut self, bytes: &[u8], lane: Lane, is_message: bool) {
        self.lanes[lane as usize].push_back(Entry { bytes: bytes.to_vec(), is_message });
    }

    /// The oldest message of the lowest lane that has one, down to `lane`.
    fn give_up(&mut self, lane: Lane) -> Option<usize> {
        (lane as usize..LANES).rev().find_map(|lane| {
            let at = self.lanes[lane].iter().position(|entry| entry.is_message)?;
            self.lanes[lane].remove(at).map(|entry| entry.bytes.len())
        })
    }

    /// Takes the frames at the front that are `bytes` long together.
    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        for lane in &mut self.lanes {
            while taken.len() < bytes {
                let Some(entry) = lane.pop_front() else { break };
                taken.extend(entry.bytes);
            }
        }
        self.flight_bytes = taken.len();
        taken
    }
}

/// What of a bound a lane may fill.
fn part(limit: usize, lane: Lane) -> usize {
    if lane == Lane::Urgent { limit } else { limit - limit / 10 }
}

/// What may happen to one of two connections.
#[derive(Clone, Debug)]
enum Act {
    /// A run of messages comes, to be referenced if that is allowed.
    Run {
        lane: Lane,
        overload: Overload,
        sizes: Vec<usize>,
        is_long: bool,
    },
    /// A message for a member of a group.
    Addressed {
        lane: Lane,
        overload: Overload,
        size: usize,
    },
    Say,
    SayLast,
    Send,
    Land,
    Clear,
}

fn acts() -> impl Strategy<Value = Vec<(bool, Act)>> {
    let lane = prop::sample::select(vec![Lane::Urgent, Lane::Normal, Lane::Bulk]);
    let overload = prop::sample::select(Overload::ALL.to_vec());
    let size = prop_oneof![8 => 60..400usize, 1 => 10_000..80_000usize, 1 => 200_000..400_000usize];
    let run =
        (lane.clone(), overload.clone(), prop::collection::vec(size.clone(), 1..6), any::<bool>())
            .prop_map(|(lane, overload, sizes, is_long)| Act::Run {
                lane,
                overload,
                sizes,
                is_long,
            });
    let addressed = (lane, overload, size).prop_map(|(lane, overload, size)| Act::Addressed {
        lane,
        overload,
        size,
    });
    let act = prop_oneof![
        12 => run,
        4 => addressed,
        3 => Just(Act::Say),
        1 => Just(Act::SayLast),
        5 => Just(Act::Send),
        4 => Just(Act::Land),
        1 => Just(Act::Clear),
    ];
    prop::collection::vec((any::<bool>(), act), 1..120)
}

/// One connection and its model.
struct Side {
    queue: Outbound,
    model: Model,
    flight: Vec<Piece>,
}

struct Bench {
    sides: [Side; 2],
    budget: Budget,
    spares: Spares,
    arena: crate::arena::Arena,
    number: u64,
}

impl Bench {
    fn new(limits: [usize; 2], budget: usize) -> Self {
        let side = |limit| Side {
            queue: Outbound::new(limit),
            model: Model { limit, ..Model::default() },
            flight: Vec::new(),
        };
        Self {
            sides: limits.map(side),
            budget: Budget { used: 0, limit: budget },
            spares: Spares::default(),
            arena: crate::arena::Arena::default(),
            number: 0,
        }
    }

    fn next(&mut self, lane: Lane, size: usize, is_addressed: bool) -> Vec<u8> {
        let priority = match lane {
            Lane::Urgent => Priority::Critical,
            Lane::Normal => Priority::Normal,
            Lane::Bulk => Priority::Low,
        };
        self.number += 1;
        message(self.number, priority, size, is_addressed)
    }

    /// Does it to the queue and to the model, and compares what came of it.
    fn act(&mut self, side: usize, act: Act) {
        match act {
            Act::Run { lane, overload, sizes, is_long } => {
                let run: Vec<_> =
                    sizes.into_iter().map(|size| self.next(lane, size, false)).collect();
                self.run(side, lane, overload, &run, is_long);
            }
            Act::Addressed { lane, overload, size } => {
                let message = self.next(lane, size, true);
                self.offer(side, lane, overload, &message);
            }
            Act::Say => self.say(side),
            Act::SayLast => {
                let Self { sides, budget, spares, .. } = self;
                let Side { queue, model, .. } = &mut sides[side];
                let frame = control(0);
                queue.say_last(&frame, budget, spares);
                model.push(&frame, Lane::Bulk, false);
            }
            Act::Send => self.send(side),
            Act::Land => {
                let Self { sides, budget, spares, .. } = self;
                let Side { queue, model, flight } = &mut sides[side];
                queue.landed(flight, budget, spares);
                model.flight_bytes = 0;
            }
            Act::Clear => {
                let Self { sides, budget, spares, .. } = self;
                let Side { queue, model, .. } = &mut sides[side];
                let messages = model.lanes.iter().flatten().filter(|entry| entry.is_message);
                let messages = messages.count() as u64;
                assert_eq!(queue.clear(budget, spares), messages);
                model.lanes.iter_mut().for_each(VecDeque::clear);
            }
        }
        self.compare();
    }

    /// As the switch queues a run: whole if it fits, otherwise message by message.
    fn run(&mut self, side: usize, lane: Lane, overload: Overload, run: &[Vec<u8>], is_long: bool) {
        let frames = run.concat();
        let has_room = self.has_room(side, lane, frames.len());
        let Self { sides, budget, spares, arena, .. } = self;
        let Side { queue, model, .. } = &mut sides[side];
        assert_eq!(queue.has_room(frames.len(), lane, budget), has_room);
        if !has_room {
            return run.iter().for_each(|message| self.offer(side, lane, overload, message));
        }
        if is_long && queue.may_share() {
            queue.reference(arena.share(&frames), run.len() as u32, lane, budget);
        } else {
            queue.copy(&frames, run.len() as u32, lane, budget, spares);
        }
        run.iter().for_each(|message| model.push(message, lane, true));
    }

    fn has_room(&self, side: usize, lane: Lane, bytes: usize) -> bool {
        let model = &self.sides[side].model;
        let held = model.held_bytes();
        let fits = held == 0 || held + bytes <= part(model.limit, lane);
        fits && self.budget_has_room(side, lane, bytes)
    }

    fn offer(&mut self, side: usize, lane: Lane, overload: Overload, message: &[u8]) {
        let mut displaced = 0;
        let mut want = loop {
            if self.has_room(side, lane, message.len()) {
                break None;
            }
            let is_over_budget = !self.budget_has_room(side, lane, message.len());
            let model = &mut self.sides[side].model;
            if overload == Overload::DropOldest && model.give_up(lane).is_some() {
                displaced += 1;
                continue;
            }
            break Some(match overload {
                _ if is_over_budget => Offer::Dropped(DropReason::MemoryBudget),
                Overload::DropOldest => Offer::Dropped(DropReason::QueueFullOldest),
                Overload::DropNewest => Offer::Dropped(DropReason::QueueFullNewest),
                Overload::Disconnect => Offer::Disconnect,
            });
        };
        if want.is_none() {
            self.sides[side].model.push(message, lane, true);
            want = Some(if displaced == 0 { Offer::Queued } else { Offer::Displaced(displaced) });
        }
        let Self { sides, budget, spares, .. } = self;
        let got = sides[side].queue.offer(message, lane, overload, budget, spares);
        assert_eq!(Some(got), want);
    }

    fn budget_has_room(&self, side: usize, lane: Lane, bytes: usize) -> bool {
        let limit = match self.sides[side].model.held_bytes() {
            ..=MODEST_BYTES => part(self.budget.limit, lane),
            _ => self.budget.limit / 10 * 7,
        };
        self.used() + bytes <= limit
    }

    fn used(&self) -> usize {
        self.sides.iter().map(|side| side.model.held_bytes()).sum()
    }

    fn say(&mut self, side: usize) {
        let frame = control(0);
        let held = self.sides[side].model.held_bytes() + frame.len();
        let has_room = held <= self.sides[side].model.limit + CONTROL_RESERVE_BYTES
            && (held <= CONTROL_RESERVE_BYTES
                || self.budget_has_room(side, Lane::Urgent, frame.len()));
        let Self { sides, budget, spares, .. } = self;
        let Side { queue, model, .. } = &mut sides[side];
        assert_eq!(queue.say(&frame, Lane::Urgent, budget, spares), has_room);
        if has_room {
            model.push(&frame, Lane::Urgent, false);
        }
    }

    /// A send takes a beginning of what is queued, higher lanes first.
    fn send(&mut self, side: usize) {
        let Side { queue, model, flight } = &mut self.sides[side];
        if model.flight_bytes != 0 {
            return;
        }
        let bytes = queue.take_flight(flight);
        assert_eq!(bytes == 0, model.queued_bytes() == 0, "a send takes something if it can");
        assert!(bytes <= FLIGHT_BYTES_MAX || flight.len() == 1, "{bytes} in {}", flight.len());
        assert!(flight.len() <= FLIGHT_PIECES_MAX);
        let sent: Vec<u8> = flight.iter().flat_map(|piece| piece.bytes().to_vec()).collect();
        // Equal length means that no entry was taken in part.
        assert!(model.take(bytes) == sent, "what leaves is what the model says is next");
        flight.iter().for_each(|piece| drop(words(piece.bytes())));
    }

    fn compare(&self) {
        assert_eq!(self.budget.used, self.used(), "the budget is what both hold");
        for Side { queue, model, flight } in &self.sides {
            assert_eq!(queue.queued_bytes(), model.queued_bytes());
            assert_eq!(queue.is_empty(), model.held_bytes() == 0);
            let shared = |piece: &&Piece| matches!(piece, Piece::Shared { .. });
            let pieces = queue.lanes.iter().flatten().chain(flight);
            assert_eq!(queue.shared_pieces, pieces.filter(shared).count());
        }
    }
}

proptest! {
    #[test]
    fn is_a_list_of_frames_in_three_lanes(
        limits in [2_000..1_000_000usize, 2_000..1_000_000usize],
        budget in 3_000..1_500_000usize,
        acts in acts(),
    ) {
        let mut bench = Bench::new(limits, budget);
        for (is_second, act) in acts {
            bench.act(usize::from(is_second), act);
        }
        for side in [0, 1] {
            bench.act(side, Act::Land);
            while !bench.sides[side].queue.is_empty() {
                bench.act(side, Act::Send);
                bench.act(side, Act::Land);
            }
        }
        prop_assert_eq!(bench.budget.used, 0);
    }
}
