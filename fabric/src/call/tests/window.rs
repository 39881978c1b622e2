//! The window beside a set that forgets nothing.

use super::super::window::{Verdict, Window};
use super::*;
use crate::limits::{CALL_SEEN_BACK, CALL_STREAM_IDLE};
use crate::rng::Rng;

fn id(origin: u128, count: u64) -> CallId {
    CallId { origin: NodeId(origin), number: 3 << 48 | count }
}

fn at(seconds: u64) -> Instant {
    Instant::START + Duration::from_secs(seconds)
}

/// Counts that go forward with gaps, jumps and repeats.
#[test]
fn it_says_what_a_map_says() {
    let mut counts = [0; 4];
    for seed in 0..10 {
        let (mut rng, mut window) = (Rng::from_seed(seed), Window::new(4));
        let (mut all, mut newest) = (BTreeMap::new(), None);
        for _ in 0..10_000 {
            let jump = if rng.below(500) == 0 { 2 * CALL_SEEN_BACK } else { 8 };
            let forward = u64::from(rng.below(jump as u32));
            let back = if rng.below(50) == 0 { 1 << 16 } else { 16 };
            let back = u64::from(rng.below(back));
            let count = (newest.unwrap_or(1 << 20) + forward).saturating_sub(back);
            let is_late = newest.is_some_and(|newest| count + CALL_SEEN_BACK <= newest);
            let want = match all.get(&count) {
                _ if is_late => Verdict::Late,
                None => Verdict::Fresh,
                Some(false) => Verdict::Refused,
                Some(true) => Verdict::Started,
            };
            assert_eq!(window.check(id(1, count)), want, "seed {seed}, {count}");
            counts[want as usize] += 1;
            let is_started = rng.below(2) == 0;
            if rng.below(4) != 0 {
                assert!(window.note(id(1, count), is_started, at(0)));
                *all.entry(count).or_insert(is_started) |= is_started;
                newest = Some(newest.unwrap_or(count).max(count));
            }
        }
    }
    assert!(counts.iter().all(|&count| 100 < count), "{counts:?}");
}

#[test]
fn streams_are_apart_and_none_gives_way() {
    let mut window = Window::new(3);
    let other_stream = CallId { number: 4 << 48 | 7, ..id(1, 7) };
    for call in [id(1, 7), id(2, 7), other_stream] {
        assert_eq!(window.check(call), Verdict::Fresh);
        assert!(window.note(call, true, at(0)));
        assert_eq!(window.check(call), Verdict::Started);
    }
    assert!(!window.note(id(3, 7), true, at(0)), "no room");
    assert_eq!(window.check(id(3, 7)), Verdict::Fresh);
    assert!(window.note(id(1, 8), false, at(0)), "its stream is there");
    assert_eq!((window.check(id(1, 7)), window.len()), (Verdict::Started, 3));
}

#[test]
fn a_silent_stream_is_forgotten() {
    let mut window = Window::new(3);
    assert_eq!(window.deadline(), None);
    let idle = CALL_STREAM_IDLE.as_secs();
    window.note(id(1, 1), true, at(0));
    window.note(id(2, 1), true, at(10));
    window.note(id(1, 2), true, at(20));
    window.sweep(at(idle - 1));
    assert_eq!((window.len(), window.deadline()), (2, Some(at(idle))));
    window.sweep(at(idle));
    assert_eq!((window.len(), window.deadline()), (2, Some(at(idle + 10))));
    window.sweep(at(idle + 10));
    assert_eq!((window.len(), window.deadline()), (1, Some(at(idle + 20))));
    assert_eq!(window.check(id(1, 1)), Verdict::Started);
    window.sweep(at(idle + 20));
    assert_eq!((window.len(), window.deadline()), (0, None));
}
