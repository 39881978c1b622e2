//! Wiring: who publishes what and who hears it, for one run.
//!
//! ```text
//!   publisher --has--> streams (one per topic it publishes to) --each on a--> topic --> audience
//!                            |
//!                            +-- one flow per member of the audience: what is verified
//! ```
//!
//! Built from a workload and counts, before anything is connected; knows no sockets.
//!
//! Invariants:
//! - All topics of a run have names of the same length, so all its frames do.
//! - A publisher's streams are adjacent, and it uses them in turn: its message `n` is message
//!   `n / streams` of stream `n % streams`. So what was sent on each follows from one count.
//! - Flows are dense: those of a stream are `flow_base..flow_base + audience`.
//! - An audience is sorted and holds each subscriber as often as it gets a copy: more than once only where
//!   several of its patterns match and the protocol sends a copy for each.

use std::ops::Range;

use crate::workload::{Shape, Workload};

/// The run's names and who they concern.
#[derive(Clone, Debug)]
pub(crate) struct Wiring {
    names: String,
    name_bytes: usize,
    streams: Vec<Stream>,
    /// Per publisher, its streams.
    publishers: Vec<Range<u32>>,
    /// Per subscriber, what it subscribes to.
    patterns: Vec<Vec<String>>,
    /// Members of all [`Audience::Some`].
    members: Vec<u32>,
    gates_count: usize,
    flows_count: usize,
}

/// A publisher's messages on one topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub publisher: u32,
    pub topic: u32,
    audience: Audience,
    flow_base: u32,
    gate_base: u32,
}

/// The subscribers a topic reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    One {
        member: u32,
        /// Which of its patterns matches.
        pattern: u32,
    },
    /// Subscribers zero up to this one, exclusive.
    All {
        members: u32,
        /// Which of each one's patterns matches.
        pattern: u32,
    },
    /// A part of `Wiring::members`: one by its first pattern, perhaps also by its second, the others by
    /// their second.
    Some { from: u32, to: u32, by_first: u32 },
}

/// What one delivery on a stream counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// The flow, among all flows of the run.
    pub flow: usize,
    /// The gate it opens (`gate.rs`).
    pub gate: usize,
}

impl Wiring {
    /// `token` sets this run's topics apart from those of others on the same router.
    pub(crate) fn new(shape: &Shape, token: &str) -> Self {
        let topics_count = shape.topics_count();
        let names: Vec<_> = (0..topics_count).map(|topic| shape.topic_name(token, topic)).collect();
        let patterns: Vec<Vec<_>> = (0..shape.subscribers_count)
            .map(|subscriber| shape.patterns(token, subscriber))
            .collect();
        let mut wiring = Self {
            name_bytes: names[0].len(),
            names: names.concat(),
            streams: Vec::new(),
            publishers: Vec::new(),
            patterns,
            members: Vec::new(),
            gates_count: 0,
            flows_count: 0,
        };
        assert_eq!(wiring.names.len(), topics_count * wiring.name_bytes, "names of equal length");
        let audiences = wiring.audiences(shape);
        for publisher in 0..shape.publishers_count {
            wiring.add_publisher(shape, publisher, &audiences);
        }
        wiring
    }

    fn audiences(&mut self, shape: &Shape) -> Vec<Audience> {
        let topics = 0..shape.topics_count();
        let members = shape.subscribers_count as u32;
        match shape.workload {
            Workload::ManyToMany | Workload::FanOut | Workload::SlowSubscribers => {
                let pattern = |topic| shape.pattern_of(topic) as u32;
                topics.map(|topic| Audience::All { members, pattern: pattern(topic) }).collect()
            }
            Workload::OneToOne | Workload::Topics | Workload::Churn | Workload::RequestReply => {
                let one = |topic| Audience::One {
                    member: shape.subscriber_of(topic) as u32,
                    pattern: shape.pattern_of(topic) as u32,
                };
                topics.map(one).collect()
            }
            Workload::Wildcard => topics.map(|topic| self.listed_audience(shape, topic)).collect(),
        }
    }

    fn listed_audience(&mut self, shape: &Shape, topic: usize) -> Audience {
        let from = self.members.len() as u32;
        self.members.extend(shape.hearers(topic).map(|subscriber| subscriber as u32));
        let to = self.members.len() as u32;
        Audience::Some { from, to, by_first: shape.group_of(topic) as u32 }
    }

    fn add_publisher(&mut self, shape: &Shape, publisher: usize, audiences: &[Audience]) {
        let first = self.streams.len() as u32;
        let gate_base = self.gates_count as u32;
        let mut gates_count = 1;
        for topic in shape.topics_of(publisher) {
            let audience = audiences[topic];
            if let Audience::All { members, .. } = audience {
                gates_count = members as usize;
            }
            self.streams.push(Stream {
                publisher: publisher as u32,
                topic: topic as u32,
                audience,
                flow_base: self.flows_count as u32,
                gate_base,
            });
            self.flows_count += audience.members_count() as usize;
        }
        self.gates_count += gates_count;
        self.publishers.push(first..self.streams.len() as u32);
    }

    #[inline]
    pub(crate) fn name(&self, topic: u32) -> &[u8] {
        let from = topic as usize * self.name_bytes;
        &self.names.as_bytes()[from..from + self.name_bytes]
    }

    pub(crate) fn name_bytes(&self) -> usize {
        self.name_bytes
    }

    #[inline]
    pub(crate) fn stream(&self, stream: u32) -> Option<&Stream> {
        self.streams.get(stream as usize)
    }

    /// What a delivery of `stream` to `subscriber`, for this one of its patterns where that is said,
    /// counts for; `None` if it should not be there.
    #[inline]
    pub(crate) fn flow(
        &self,
        stream: &Stream,
        subscriber: u32,
        pattern: Option<u32>,
    ) -> Option<Flow> {
        let is_for = |wanted: u32| pattern.is_none_or(|pattern| pattern == wanted);
        let (place, gate) = match stream.audience {
            Audience::One { member, pattern } if member == subscriber && is_for(pattern) => (0, 0),
            Audience::All { members, pattern } if subscriber < members && is_for(pattern) => {
                (subscriber, subscriber)
            }
            Audience::One { .. } | Audience::All { .. } => return None,
            Audience::Some { from, to, by_first } => {
                let members = &self.members[from as usize..to as usize];
                (place(members, subscriber, subscriber == by_first, pattern)?, 0)
            }
        };
        Some(Flow {
            flow: (stream.flow_base + place) as usize,
            gate: (stream.gate_base + gate) as usize,
        })
    }

    /// Copies a message of `stream` becomes.
    #[inline]
    pub(crate) fn copies(&self, stream: u32) -> u64 {
        u64::from(self.streams[stream as usize].audience.members_count())
    }

    pub(crate) fn patterns(&self, subscriber: u32) -> &[String] {
        &self.patterns[subscriber as usize]
    }

    pub(crate) fn publishers_count(&self) -> usize {
        self.publishers.len()
    }

    pub(crate) fn subscribers_count(&self) -> usize {
        self.patterns.len()
    }

    pub(crate) fn streams_count(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn flows_count(&self) -> usize {
        self.flows_count
    }

    pub(crate) fn gates_count(&self) -> usize {
        self.gates_count
    }

    pub(crate) fn streams_of(&self, publisher: u32) -> Range<u32> {
        self.publishers[publisher as usize].clone()
    }

    /// The publisher's gates: one per subscriber if all its topics reach all subscribers, else one.
    pub(crate) fn gates_of(&self, publisher: u32) -> Range<usize> {
        let stream = &self.streams[self.streams_of(publisher).start as usize];
        let base = stream.gate_base as usize;
        match stream.audience {
            Audience::All { members, .. } => base..base + members as usize,
            Audience::One { .. } | Audience::Some { .. } => base..base + 1,
        }
    }

    /// What a message adds to the count its publisher's gates must reach: one if each gate hears
    /// of it once, else its copies.
    #[inline]
    pub(crate) fn gate_weight(&self, stream: u32) -> u64 {
        match self.streams[stream as usize].audience {
            Audience::All { .. } | Audience::One { .. } => 1,
            Audience::Some { from, to, .. } => u64::from(to - from),
        }
    }

    /// The most publishers any one subscriber hears.
    pub(crate) fn publishers_heard_max(&self) -> usize {
        let mut heard = vec![(0, None); self.patterns.len()];
        for (ix, stream) in (0..).zip(&self.streams) {
            for (subscriber, _) in self.flows_of(ix) {
                let (count, last) = &mut heard[subscriber as usize];
                // A publisher's streams are adjacent.
                *count += usize::from(last.replace(stream.publisher) != Some(stream.publisher));
            }
        }
        heard.into_iter().map(|(count, _)| count).max().unwrap_or(0).max(1)
    }

    /// Messages on each stream once `publisher` has published `count`.
    pub(crate) fn sent(&self, publisher: u32, count: u64) -> impl Iterator<Item = (u32, u64)> {
        let streams = self.streams_of(publisher);
        let (streams_count, start) = (streams.len() as u64, streams.start);
        let (rounds, rest) = (count / streams_count, count % streams_count);
        streams.map(move |stream| (stream, rounds + u64::from(u64::from(stream - start) < rest)))
    }

    /// The flows of a stream, each with its subscriber.
    pub(crate) fn flows_of(&self, stream: u32) -> impl Iterator<Item = (u32, usize)> {
        let Stream { audience, flow_base, .. } = self.streams[stream as usize];
        (0..audience.members_count()).map(move |place| {
            let subscriber = match audience {
                Audience::One { member, .. } => member,
                Audience::All { .. } => place,
                Audience::Some { from, .. } => self.members[(from + place) as usize],
            };
            (subscriber, (flow_base + place) as usize)
        })
    }
}

/// Where `subscriber` is among `members`, for a copy its first or its second pattern asked for.
fn place(members: &[u32], subscriber: u32, is_by_first: bool, pattern: Option<u32>) -> Option<u32> {
    let first = members.partition_point(|&member| member < subscriber);
    let copies = members[first..].iter().take_while(|&&member| member == subscriber).count();
    let copy = match pattern {
        None => 0,
        Some(0) if is_by_first => 0,
        Some(1) if !is_by_first => 0,
        Some(1) => 1,
        Some(_) => return None,
    };
    (copy < copies).then_some((first + copy) as u32)
}

impl Audience {
    fn members_count(self) -> u32 {
        match self {
            Self::One { .. } => 1,
            Self::All { members, .. } => members,
            Self::Some { from, to, .. } => to - from,
        }
    }
}

#[cfg(test)]
mod tests;
