//! The bound, the policies, the end, and what late readers may hold on to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;
use std::time::Instant;

use bytes::Bytes;
use mpreg_proto::frame::Publish;

use super::*;

/// Every message of these tests has a frame this long: envelope, topic `t`, payload.
const FRAME_BYTES: usize = 32;
const CHARGE: usize = FRAME_BYTES + MESSAGE_OVERHEAD_BYTES;

fn message(number: u8) -> Message {
    let payload = [number; FRAME_BYTES - 17];
    let mut frame = Vec::new();
    Publish { topic: b"t", payload: &payload, ..Publish::default() }.put(&mut frame).unwrap();
    assert_eq!(frame.len(), FRAME_BYTES);
    Message::new(frame.into(), Instant::now()).unwrap()
}

/// Pushes 1 to `count` into an inbox that holds three, and returns what can be taken from it.
fn pushed(overload: Overload, count: u8) -> (Inbox, Vec<Pushed>) {
    let inbox = Inbox::new(overload, 3 * CHARGE);
    let pushes = (1..=count).map(|number| inbox.push(message(number), ChunkIx(0))).collect();
    (inbox, pushes)
}

fn take(inbox: &Inbox) -> Option<u8> {
    match inbox.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(message) => message.map(|message| message.payload()[0]),
        Poll::Pending => None,
    }
}

fn take_all(inbox: &Inbox) -> Vec<u8> {
    std::iter::from_fn(|| take(inbox)).collect()
}

fn dropped(dropped: u64, run: Run) -> Pushed {
    Pushed::Dropped { count: 1, dropped, run }
}

#[test]
fn keeps_order_up_to_the_bound() {
    let (inbox, pushes) = pushed(Overload::DropOldest, 3);
    assert_eq!(pushes, [Pushed::Queued; 3]);
    assert_eq!(take_all(&inbox), [1, 2, 3]);
    assert_eq!(inbox.dropped(), 0);
}

#[test]
fn drop_oldest_keeps_the_latest() {
    let (inbox, pushes) = pushed(Overload::DropOldest, 5);
    assert_eq!(pushes[3..], [dropped(1, Run::Begins), dropped(2, Run::Goes)]);
    assert_eq!(take_all(&inbox), [3, 4, 5]);
    assert_eq!(inbox.dropped(), 2);
}

#[test]
fn drop_newest_keeps_the_earliest() {
    let (inbox, pushes) = pushed(Overload::DropNewest, 5);
    assert_eq!(pushes[3..], [dropped(1, Run::Begins), dropped(2, Run::Goes)]);
    assert_eq!(take_all(&inbox), [1, 2, 3]);
    assert_eq!(inbox.dropped(), 2);
}

#[test]
fn disconnect_ends_the_inbox_and_keeps_what_it_held() {
    let (inbox, pushes) = pushed(Overload::Disconnect, 5);
    assert_eq!(pushes[3..], [Pushed::Overrun, Pushed::Over]);
    assert_eq!(inbox.ended(), Some(Ended::Overrun));
    assert_eq!(take_all(&inbox), [1, 2, 3]);
}

#[test]
fn a_new_run_of_drops_begins_once_the_reader_has_kept_up() {
    let (inbox, _) = pushed(Overload::DropNewest, 4);
    take(&inbox);
    assert_eq!(inbox.push(message(5), ChunkIx(0)), Pushed::Queued);
    assert_eq!(inbox.push(message(6), ChunkIx(0)), dropped(2, Run::Goes), "still behind");
    take_all(&inbox);
    for number in 7..10 {
        inbox.push(message(number), ChunkIx(0));
    }
    assert_eq!(inbox.push(message(10), ChunkIx(0)), dropped(3, Run::Begins));
}

#[test]
fn an_empty_inbox_takes_any_one_message() {
    let inbox = Inbox::new(Overload::DropNewest, 1);
    assert_eq!(inbox.push(message(1), ChunkIx(0)), Pushed::Queued);
    assert_eq!(inbox.push(message(2), ChunkIx(0)), dropped(1, Run::Begins));
    assert_eq!(take_all(&inbox), [1]);
}

#[test]
fn after_the_end_nothing_enters_and_the_first_reason_stays() {
    let (inbox, _) = pushed(Overload::DropOldest, 1);
    inbox.end(Ended::Unsubscribed);
    inbox.end(Ended::Closed);
    assert_eq!(inbox.push(message(2), ChunkIx(0)), Pushed::Over);
    assert_eq!(inbox.ended(), Some(Ended::Unsubscribed));
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(inbox.poll(&mut context), Poll::Ready(Some(_))));
    assert!(matches!(inbox.poll(&mut context), Poll::Ready(None)));
}

#[test]
fn a_waiting_reader_is_woken_by_a_message_and_by_the_end() {
    #[derive(Default)]
    struct Wakes(AtomicU32);
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let inbox = Inbox::new(Overload::DropOldest, CHARGE);
    assert!(inbox.poll(&mut Context::from_waker(&waker)).is_pending());
    inbox.push(message(1), ChunkIx(0));
    inbox.push(message(2), ChunkIx(0));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "once per sleep");
    take_all(&inbox);
    assert!(inbox.poll(&mut Context::from_waker(&waker)).is_pending());
    inbox.end(Ended::Closed);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
}

#[test]
fn a_late_reader_pins_a_bounded_number_of_chunks() {
    let inbox = Inbox::new(Overload::DropNewest, usize::MAX);
    let mut chunks = Vec::new();
    for chunk in 0..2 * CHUNKS_PINNED_MAX as u64 {
        let mut bytes = Vec::new();
        Publish { topic: b"t", payload: b"x", ..Publish::default() }.put(&mut bytes).unwrap();
        let chunk_bytes = Bytes::from(bytes);
        for _ in 0..3 {
            let message = Message::new(chunk_bytes.clone(), Instant::now()).unwrap();
            inbox.push(message, ChunkIx(chunk));
        }
        chunks.push(chunk_bytes);
    }
    let pinned = |chunks: &[Bytes]| chunks.iter().filter(|chunk| !chunk.is_unique()).count();
    assert_eq!(pinned(&chunks), CHUNKS_PINNED_MAX);
    for _ in 0..6 * CHUNKS_PINNED_MAX {
        assert!(take(&inbox).is_some());
        assert_eq!(inbox.lock().chunks, pinned(&chunks));
    }
    assert_eq!(pinned(&chunks), 0);
    assert_eq!(inbox.lock().bytes, 0);
    inbox.push(message(1), ChunkIx(2 * CHUNKS_PINNED_MAX as u64));
    take(&inbox);
    inbox.push(message(1), ChunkIx(2 * CHUNKS_PINNED_MAX as u64));
    assert_eq!(inbox.lock().chunks, 1, "a chunk let go of and held again counts again");
}

#[test]
fn a_large_message_makes_room_for_itself() {
    let (inbox, _) = pushed(Overload::DropOldest, 3);
    let mut frame = Vec::new();
    let payload = [9; CHARGE];
    Publish { topic: b"t", payload: &payload, ..Publish::default() }.put(&mut frame).unwrap();
    let large = Message::new(frame.into(), Instant::now()).unwrap();
    let want = Pushed::Dropped { count: 2, dropped: 2, run: Run::Begins };
    assert_eq!(inbox.push(large, ChunkIx(0)), want);
    assert_eq!(take_all(&inbox), [3, 9]);
}
