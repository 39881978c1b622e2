//! Two clients that behave, to see whether others suffer.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::Router;
use super::peer::Peer;

/// A publisher and its subscriber.
#[derive(Debug)]
pub struct Pair {
    publisher: Peer,
    subscriber: Peer,
    topic: String,
    next: u64,
}

impl Pair {
    /// On shards of the kernel's choice. Pairs of one router need different topics.
    #[track_caller]
    pub fn of(router: &Router, topic: &str) -> Self {
        Self::between(router.client(), router.client(), topic)
    }

    #[track_caller]
    pub fn between(publisher: Peer, mut subscriber: Peer, topic: &str) -> Self {
        subscriber.subscribe(1, topic);
        Self { publisher, subscriber, topic: topic.to_owned(), next: 0 }
    }

    /// Sends one message and waits for it. Says how long it took.
    #[track_caller]
    pub fn exchange(&mut self) -> Duration {
        let sent_at = Instant::now();
        let payload = self.next.to_le_bytes();
        self.publisher.publish(&self.topic, &payload);
        assert_eq!(self.subscriber.data().payload(), payload, "the next message and no other");
        self.next += 1;
        sent_at.elapsed()
    }

    /// Exchanges messages all the while `others` do something. Says how many, and how long the
    /// slowest took.
    #[track_caller]
    pub fn exchange_while(&mut self, others: impl FnOnce()) -> (u64, Duration) {
        let is_over = AtomicBool::new(false);
        let mut slowest = Duration::ZERO;
        let before = self.next;
        std::thread::scope(|scope| {
            let exchanging = scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    slowest = slowest.max(self.exchange());
                }
            });
            let _over = Over(&is_over);
            others();
            drop(_over);
            exchanging.join().expect("messages are exchanged throughout");
        });
        (self.next - before, slowest)
    }
}

/// Ends the exchange also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
