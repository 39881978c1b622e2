//! Who said what when, and who heard it: the accounts of a demo of many nodes, without I/O.
//!
//! A *voice* is one life of a publisher, an *ear* one life of a subscriber that hears everybody. A
//! message is promised to an ear if both lived when it was said and nothing was amiss: not while the
//! fabric came together, nor from shortly before a node was killed or started until the time in
//! which others have to have noticed is over.
//!
//! Invariants:
//! - Whatever is heard was said: a number nobody used is a fault of its own.
//! - Lost and duplicated are counted for each ear.

use core::time::Duration;

use hdrhistogram::Histogram;

/// What is in queues and sockets of a node that dies is gone with it.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// One life of a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Voice(pub usize);

/// One life of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ear(pub usize);

/// A time span in which nothing is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mishap {
    pub at: Duration,
    /// How long others may take to notice.
    pub grace: Duration,
}

#[derive(Debug)]
struct Spoken {
    node: usize,
    /// When each message was said. The place is its number.
    said: Vec<Duration>,
    ended: Option<Duration>,
}

#[derive(Debug)]
struct Listening {
    node: usize,
    since: Duration,
    ended: Option<Duration>,
    /// By voice and number, how often it was heard.
    heard: Vec<Vec<u8>>,
    /// By voice, the number after the greatest that was heard.
    next: Vec<usize>,
}

/// Latency of messages that went one kind of way.
#[derive(Debug)]
pub(super) struct Way {
    /// None: to a subscriber of the same node.
    pub clusters: Option<usize>,
    pub latency_us: Histogram<u64>,
}

/// What it all amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub said: u64,
    pub heard: u64,
    pub promised: u64,
    pub lost: u64,
    /// Of those not promised.
    pub lost_unpromised: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Heard, and never said.
    pub unknown: u64,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    voices: Vec<Spoken>,
    ears: Vec<Listening>,
    ways: Vec<Way>,
    mishaps: Vec<Mishap>,
    reordered: u64,
    unknown: u64,
}

impl Ledger {
    pub(super) fn voice(&mut self, node: usize) -> Voice {
        self.voices.push(Spoken { node, said: Vec::new(), ended: None });
        Voice(self.voices.len() - 1)
    }

    pub(super) fn ear(&mut self, node: usize, since: Duration) -> Ear {
        self.ears.push(Listening { node, since, ended: None, heard: Vec::new(), next: Vec::new() });
        Ear(self.ears.len() - 1)
    }

    /// The node is about to die, or has stopped.
    pub(super) fn end(&mut self, node: usize, at: Duration) {
        let voices = self.voices.iter_mut().filter(|voice| voice.node == node);
        voices.for_each(|voice| _ = voice.ended.get_or_insert(at));
        let ears = self.ears.iter_mut().filter(|ear| ear.node == node);
        ears.for_each(|ear| _ = ear.ended.get_or_insert(at));
    }

    pub(super) fn mishap(&mut self, mishap: Mishap) {
        self.mishaps.push(mishap);
    }

    /// The number of the message that is said now.
    pub(super) fn say(&mut self, voice: Voice, at: Duration) -> usize {
        let said = &mut self.voices[voice.0].said;
        said.push(at);
        said.len() - 1
    }

    /// `clusters` is how many lie between, the publisher's not counted; none for the same node.
    pub(super) fn hear(
        &mut self,
        ear: Ear,
        (voice, number): (Voice, usize),
        clusters: Option<usize>,
        at: Duration,
    ) {
        let said = self.voices.get(voice.0).and_then(|voice| voice.said.get(number));
        let Some(&said) = said else {
            self.unknown += 1;
            return;
        };
        let listening = &mut self.ears[ear.0];
        if listening.heard.len() <= voice.0 {
            listening.heard.resize(voice.0 + 1, Vec::new());
            listening.next.resize(voice.0 + 1, 0);
        }
        let (heard, next) = (&mut listening.heard[voice.0], &mut listening.next[voice.0]);
        if heard.len() <= number {
            heard.resize(number + 1, 0);
        }
        heard[number] = heard[number].saturating_add(1);
        self.reordered += u64::from(number < *next && heard[number] == 1);
        *next = (*next).max(number + 1);
        let latency = at.saturating_sub(said).as_micros();
        self.way(clusters).saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
    }

    fn way(&mut self, clusters: Option<usize>) -> &mut Histogram<u64> {
        let known = self.ways.iter().position(|way| way.clusters == clusters);
        let place = known.unwrap_or_else(|| {
            let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3);
            let latency_us = latency_us.expect("the bounds are in order");
            self.ways.push(Way { clusters, latency_us });
            self.ways.len() - 1
        });
        &mut self.ways[place].latency_us
    }

    /// Nearest first.
    pub(super) fn ways(&self) -> Vec<&Way> {
        let mut ways: Vec<&Way> = self.ways.iter().collect();
        ways.sort_by_key(|way| way.clusters);
        ways
    }

    /// Whether every ear that lives has heard a message that was said after `since` by every voice
    /// that lives.
    pub(super) fn is_joined(&self, since: Duration) -> bool {
        let alive = |voice: &(usize, &Spoken)| voice.1.ended.is_none();
        self.ears.iter().filter(|ear| ear.ended.is_none()).all(|ear| {
            self.voices.iter().enumerate().filter(alive).all(|(at, voice)| {
                let next = ear.next.get(at).copied().unwrap_or(0);
                next.checked_sub(1).is_some_and(|last| since <= voice.said[last])
            })
        })
    }

    /// What was said up to `until`, when everything said had time to arrive.
    pub(super) fn account(&self, until: Duration) -> Account {
        let mut account =
            Account { reordered: self.reordered, unknown: self.unknown, ..Account::default() };
        account.said = self.voices.iter().map(|voice| voice.said.len() as u64).sum();
        for ear in &self.ears {
            let heard = ear.heard.iter().flatten();
            account.heard += heard.clone().map(|&times| u64::from(times)).sum::<u64>();
            account.duplicated +=
                heard.map(|&times| u64::from(times.saturating_sub(1))).sum::<u64>();
        }
        self.each_pair(until, |said, is_heard, is_lasting| {
            let is_promised = is_lasting && !self.is_amiss(said);
            account.promised += u64::from(is_promised);
            match (is_heard, is_promised) {
                (true, _) => (),
                (false, true) => account.lost += 1,
                (false, false) => account.lost_unpromised += 1,
            }
        });
        account
    }

    /// How long after `at` the last message was said that did not reach everybody who lived on,
    /// before `until`.
    pub(super) fn unrest(&self, at: Duration, until: Duration) -> Duration {
        let mut last = at;
        self.each_pair(until, |said, is_heard, is_lasting| {
            if is_lasting && !is_heard && at <= said {
                last = last.max(said);
            }
        });
        last - at
    }

    /// Every message for every ear that listened when it was said: when that was, whether it was
    /// heard, and whether both lived on.
    fn each_pair(&self, until: Duration, mut visit: impl FnMut(Duration, bool, bool)) {
        for ear in &self.ears {
            for (at, voice) in self.voices.iter().enumerate() {
                let ended = [ear.ended, voice.ended].into_iter().flatten().min();
                for (number, &said) in voice.said.iter().enumerate() {
                    let has_ended = ended.is_some_and(|ended| ended <= said);
                    if said < ear.since || until <= said || has_ended {
                        continue;
                    }
                    let heard = ear.heard.get(at).and_then(|heard| heard.get(number));
                    let is_lasting = ended.is_none_or(|ended| said + IN_FLIGHT < ended);
                    visit(said, heard.is_some_and(|&times| 0 < times), is_lasting);
                }
            }
        }
    }

    fn is_amiss(&self, said: Duration) -> bool {
        self.mishaps
            .iter()
            .any(|mishap| mishap.at <= said + IN_FLIGHT && said < mishap.at + mishap.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One publisher and one subscriber; messages at 0, 1, 2, ... s, of which these are heard.
    fn heard(ledger: &mut Ledger, said: usize, numbers: &[usize]) -> Voice {
        let voice = ledger.voice(0);
        let ear = ledger.ear(1, Duration::ZERO);
        (0..said).for_each(|number| _ = ledger.say(voice, ms(1000 * number as u64)));
        for &number in numbers {
            ledger.hear(ear, (voice, number), Some(1), ms(1000 * number as u64 + 3));
        }
        voice
    }

    #[test]
    fn what_is_missing_and_what_came_twice_is_counted() {
        let mut ledger = Ledger::default();
        heard(&mut ledger, 5, &[0, 2, 2, 1, 4]);
        let account = ledger.account(ms(60_000));
        let want = Account {
            said: 5,
            heard: 5,
            promised: 5,
            lost: 1,
            duplicated: 1,
            reordered: 1,
            ..Account::default()
        };
        assert_eq!(account, want);
        // What was said last had no time to arrive.
        assert_eq!(ledger.account(ms(3000)).lost, 0);
    }

    #[test]
    fn nothing_is_promised_around_a_mishap() {
        let mut ledger = Ledger::default();
        heard(&mut ledger, 10, &[0, 1, 2, 3, 7, 9]);
        ledger.mishap(Mishap { at: ms(4200), grace: ms(2000) });
        let account = ledger.account(ms(60_000));
        assert_eq!((account.promised, account.lost, account.lost_unpromised), (7, 1, 3));
        assert_eq!(ledger.unrest(ms(4200), ms(7500)), ms(1800));
    }

    #[test]
    fn the_dead_are_promised_nothing_and_promise_nothing() {
        let mut ledger = Ledger::default();
        let voice = heard(&mut ledger, 5, &[0, 1, 2]);
        ledger.end(1, ms(3400));
        let account = ledger.account(ms(60_000));
        assert_eq!((account.promised, account.lost, account.lost_unpromised), (3, 0, 1));
        // A later life is a new ear: it owes nothing of what was said before.
        let ear = ledger.ear(1, ms(3900));
        ledger.hear(ear, (voice, 4), Some(1), ms(4001));
        assert_eq!(ledger.account(ms(60_000)).lost, 0);
        ledger.hear(ear, (voice, 7), Some(1), ms(4002));
        assert_eq!(ledger.account(ms(60_000)).unknown, 1);
    }

    #[test]
    fn a_fabric_is_joined_when_everybody_hears_everybody() {
        let mut ledger = Ledger::default();
        let voice = heard(&mut ledger, 3, &[0]);
        assert!(ledger.is_joined(ms(0)) && !ledger.is_joined(ms(1)));
        ledger.hear(Ear(0), (voice, 2), Some(1), ms(2001));
        assert!(ledger.is_joined(ms(1)));
        let other = ledger.voice(2);
        assert!(!ledger.is_joined(ms(1)));
        ledger.say(other, ms(2500));
        ledger.hear(Ear(0), (other, 0), None, ms(2501));
        assert!(ledger.is_joined(ms(1)));
        ledger.voice(3);
        ledger.end(3, ms(2600));
        assert!(ledger.is_joined(ms(1)));
    }
}
