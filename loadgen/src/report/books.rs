//! Books: all ledgers of a run together, held against what was published.

use crate::brief::{Brief, Exchange};
use crate::generator::Outcome;
use crate::ledger::Faults;

#[derive(Debug)]
pub(super) struct Books {
    pub(super) sent: u64,
    pub(super) expected: u64,
    pub(super) received: u64,
    pub(super) faults: Faults,
}

impl Books {
    pub(super) fn close(brief: &Brief, outcomes: &[Outcome]) -> Self {
        let published = outcomes.iter().flat_map(|outcome| outcome.published.iter().copied());
        let streams: Vec<(u32, u64)> = published
            .clone()
            .flat_map(|(publisher, count)| brief.wiring.sent(publisher, count))
            .collect();
        let copies = |&(stream, sent): &(u32, u64)| sent * brief.wiring.copies(stream);
        let mut books = Self {
            sent: published.map(|(_, count)| count).sum(),
            expected: streams.iter().map(copies).sum(),
            received: 0,
            faults: Faults::default(),
        };
        for (thread, outcome) in outcomes.iter().enumerate() {
            let is_here = |number: u32| number as usize % outcomes.len() == thread;
            match brief.exchange {
                Exchange::OneWay => books.enter_deliveries(brief, outcome, &streams, is_here),
                Exchange::RoundTrip { .. } => {
                    books.enter_replies(brief, outcome, &streams, is_here)
                }
            }
            books.faults.add(&outcome.damage);
        }
        books
    }

    fn enter_deliveries(
        &mut self,
        brief: &Brief,
        outcome: &Outcome,
        streams: &[(u32, u64)],
        is_here: impl Fn(u32) -> bool,
    ) {
        let flows = streams.iter().flat_map(|&(stream, sent)| {
            let flows = brief.wiring.flows_of(stream);
            flows.map(move |(subscriber, flow)| (subscriber, flow, sent))
        });
        let here = flows.filter(|&(subscriber, ..)| is_here(subscriber));
        self.faults.add(&outcome.ledger.close(here.map(|(_, flow, sent)| (flow, sent))));
        self.received += outcome.ledger.received();
    }

    /// Replies are what counts; of requests only the order does, for any other fault shows in the
    /// reply.
    fn enter_replies(
        &mut self,
        brief: &Brief,
        outcome: &Outcome,
        streams: &[(u32, u64)],
        is_here: impl Fn(u32) -> bool,
    ) {
        let publisher =
            |stream: u32| brief.wiring.stream(stream).expect("a stream that was sent on").publisher;
        let here = streams.iter().filter(|&&(stream, _)| is_here(publisher(stream)));
        self.faults
            .add(&outcome.replies.close(here.map(|&(stream, sent)| (stream as usize, sent))));
        self.faults.reordered += outcome.ledger.reordered();
        self.received += outcome.replies.received();
    }
}
