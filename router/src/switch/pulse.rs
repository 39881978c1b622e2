//! Whether a data link carries what is sent on it: pings behind messages, and whether they come back.
//!
//! ```text
//!            messages were sent, or the circuit is tried
//!   QUIET <------------------------------------------------> ASKED --unanswered for LATE_AFTER--> LATE
//!     ^                                                        |                                   |
//!     +---------------------- answered ------------------------+-----------------------------------+
//! ```
//!
//! TCP says that bytes were taken, not that anybody reads them: a peer that stands still, or a path that
//! swallows, shows only by what is not answered. A link without traffic is left alone. Each `EVERY` that
//! an answer is late is one failure for the breaker of the peer.

use std::time::Duration;

use mpreg_fabric::time::Instant;

use crate::limits::{PULSE_DEAD_AFTER, PULSE_EVERY, PULSE_LATE_AFTER};

/// What is to be done about a link now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Rest,
    /// Send a ping with this token.
    Ask(u64),
    /// The link fails.
    Late,
    /// It has for so long that another one may do better.
    Dead,
}

/// One link to a peer.
#[derive(Debug)]
pub(super) struct Pulse {
    /// When the ping went out that is not answered.
    asked: Option<Instant>,
    /// Not before this there is something to do.
    next: Option<Instant>,
    wants: bool,
    /// Nobody was told of a success since the last failure. So it is with a link that is new: the last
    /// one may have failed.
    has_failed: bool,
    pub(super) round_trip: Option<Duration>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { asked: None, next: None, wants: false, has_failed: true, round_trip: None }
    }

    /// Messages are being sent, or the link is to be tried.
    pub(super) fn stir(&mut self, now: Instant) {
        self.wants = true;
        if self.asked.is_none() {
            self.next.get_or_insert(now);
        }
    }

    pub(super) fn beat(&mut self, now: Instant) -> Beat {
        if self.next.is_none_or(|next| now < next) {
            return Beat::Rest;
        }
        let Some(asked) = self.asked else {
            if !std::mem::take(&mut self.wants) {
                self.next = None;
                return Beat::Rest;
            }
            self.asked = Some(now);
            self.next = Some(now + PULSE_LATE_AFTER);
            return Beat::Ask(now.as_nanos());
        };
        self.next = Some(now + PULSE_EVERY);
        self.has_failed = true;
        if asked + PULSE_DEAD_AFTER <= now { Beat::Dead } else { Beat::Late }
    }

    /// A ping came back. Says whether that is news to the breaker; `None` if it is not the one asked.
    pub(super) fn answered(&mut self, token: u64, now: Instant) -> Option<bool> {
        let asked = self.asked.take_if(|asked| asked.as_nanos() == token)?;
        self.round_trip = Some(now.since(asked));
        self.next = Some(now + PULSE_EVERY);
        Some(std::mem::take(&mut self.has_failed))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(1_000 + ms)
    }

    /// Plays `<ms> sent|wake|pong` and compares what is to be done at each `wake`.
    #[track_caller]
    fn check(script: &str, want: &str) {
        let (mut pulse, mut token, mut said) = (Pulse::new(), 0, Vec::new());
        for step in script.split('|') {
            let (ms, what) = step.trim().split_once(' ').unwrap();
            let now = at(ms.parse().unwrap());
            match what {
                "sent" => pulse.stir(now),
                "pong" => {
                    let word = pulse
                        .answered(token, now)
                        .map(|is_news| if is_news { "news" } else { "well" });
                    said.push(format!("{ms} {}", word.unwrap_or("unasked")));
                }
                "wake" => match pulse.beat(now) {
                    Beat::Ask(fresh) => {
                        token = fresh;
                        said.push(format!("{ms} ask"));
                    }
                    Beat::Rest => (),
                    beat @ (Beat::Late | Beat::Dead) => said.push(format!("{ms} {beat:?}")),
                },
                other => panic!("{other}"),
            }
        }
        assert_eq!(said.join(", "), want, "{script}");
    }

    #[test]
    fn a_link_without_traffic_is_left_alone() {
        check("0 wake | 900 wake", "");
        check("0 sent | 0 wake | 1 pong | 251 wake | 9000 wake", "0 ask, 1 news");
        let mut pulse = Pulse::new();
        pulse.stir(at(0));
        assert_eq!(pulse.deadline(), Some(at(0)));
        let Beat::Ask(token) = pulse.beat(at(0)) else { panic!("it was stirred") };
        assert_eq!(pulse.answered(token, at(2)), Some(true));
        assert_eq!(pulse.round_trip, Some(Duration::from_millis(2)));
        assert_eq!((pulse.beat(at(500)), pulse.deadline()), (Beat::Rest, None));
    }

    #[test]
    fn one_with_traffic_is_asked_at_intervals() {
        check(
            "0 sent | 0 wake | 1 pong | 2 sent | 3 wake | 250 wake | 251 wake | 252 pong",
            "0 ask, 1 news, 251 ask, 252 well",
        );
    }

    #[test]
    fn an_answer_that_is_late_is_a_failure_each_interval_until_it_comes() {
        check(
            "0 sent | 0 wake | 1999 wake | 2000 wake | 2249 wake | 2250 wake | 2300 pong | 2600 sent | 2600 wake",
            "0 ask, 2000 Late, 2250 Late, 2300 news, 2600 ask",
        );
        check(
            "0 sent | 0 wake | 2000 wake | 9999 wake | 10249 wake",
            "0 ask, 2000 Late, 9999 Late, 10249 Dead",
        );
    }

    #[test]
    fn only_the_ping_that_was_asked_is_answered() {
        check("0 pong | 0 sent | 0 wake | 1 pong | 1 pong", "0 unasked, 0 ask, 1 news, 1 unasked");
    }
}
