//! Whether a link may be used, after it failed: the circuit breaker of one link.
//!
//! ```text
//!            failures in a row                     open for a time
//!   CLOSED --------------------------> OPEN ------------------------> HALF-OPEN
//!     ^                                 ^                               |   |
//!     |                                 +---------- a failure ----------+   |
//!     +---------------------- successes in a row ---------------------------+
//! ```
//!
//! A failure is a message that the link did not take, or that its other end did not get. While the
//! circuit is open nothing is sent on the link; half-open, a few messages try it ([`crate::way`]).
//! The breaker outlives connections: a peer that comes back does not start with a clean record.
//!
//! Invariants:
//! - Changes are told once each, in the order they happen.
//! - An open circuit closes only by way of half-open, and never by what was sent before it opened.

use alloc::vec::Vec;
use core::time::Duration;

use crate::time::Instant;

/// When a circuit opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    pub failures_to_open: u32,
    pub open_for: Duration,
    pub successes_to_close: u32,
}

impl Settings {
    pub const NODE: Self =
        Self { failures_to_open: 5, open_for: Duration::from_secs(2), successes_to_close: 3 };
}

/// What a circuit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Circuit {
    /// Everything.
    Closed,
    /// A few messages, to see whether they fail.
    HalfOpen,
    /// Nothing.
    Open,
}

impl Circuit {
    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// What can happen to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Failed,
    Succeeded,
    DeadlineReached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Changed(Circuit),
}

#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { successes: u32 },
}

impl Breaker {
    /// # Panics
    /// If a number of the settings is zero.
    pub fn new(settings: Settings) -> Self {
        assert!(0 < settings.failures_to_open && 0 < settings.successes_to_close);
        Self { settings, state: State::Closed { failures: 0 } }
    }

    pub fn circuit(&self) -> Circuit {
        match self.state {
            State::Closed { .. } => Circuit::Closed,
            State::Open { .. } => Circuit::Open,
            State::HalfOpen { .. } => Circuit::HalfOpen,
        }
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        let before = self.circuit();
        self.state = self.next(input, now);
        if self.circuit() != before {
            out.push(Effect::Changed(self.circuit()));
        }
    }

    fn next(&self, input: Input, now: Instant) -> State {
        let Settings { failures_to_open, open_for, successes_to_close } = self.settings;
        let open = State::Open { until: now + open_for };
        match (self.state, input) {
            (State::Closed { failures }, Input::Failed) if failures + 1 == failures_to_open => open,
            (State::Closed { failures }, Input::Failed) => State::Closed { failures: failures + 1 },
            (State::Closed { .. }, Input::Succeeded) => State::Closed { failures: 0 },
            (State::Open { until }, Input::DeadlineReached) if until <= now => {
                State::HalfOpen { successes: 0 }
            }
            (State::HalfOpen { .. }, Input::Failed) => open,
            (State::HalfOpen { successes }, Input::Succeeded)
                if successes + 1 == successes_to_close =>
            {
                State::Closed { failures: 0 }
            }
            (State::HalfOpen { successes }, Input::Succeeded) => {
                State::HalfOpen { successes: successes + 1 }
            }
            // What comes in while it is open was sent before.
            (State::Open { .. }, Input::Failed | Input::Succeeded | Input::DeadlineReached)
            | (State::Closed { .. } | State::HalfOpen { .. }, Input::DeadlineReached) => self.state,
        }
    }

    /// When this breaker next wants `DeadlineReached`, and why.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        match self.state {
            State::Open { until } => Some((until, "half-open a circuit")),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use core::fmt::Write as _;

    use super::*;

    /// Runs a script of `<s> fail|ok|wake` and compares when the circuit changed. Opens after 5
    /// failures, for 2 s, and closes after 3 successes.
    #[track_caller]
    fn check(script: &str, want: &str) {
        let mut breaker = Breaker::new(Settings::NODE);
        let (mut effects, mut seen) = (Vec::new(), String::new());
        for step in script.split('|') {
            let (seconds, what) = step.trim().split_once(' ').unwrap();
            let input = match what {
                "fail" => Input::Failed,
                "ok" => Input::Succeeded,
                "wake" => Input::DeadlineReached,
                other => panic!("{other}"),
            };
            let now = Instant::START + Duration::from_secs(seconds.parse().unwrap());
            breaker.handle(input, now, &mut effects);
            for Effect::Changed(circuit) in effects.drain(..) {
                write!(seen, "{seconds} {circuit:?} ").unwrap();
            }
        }
        assert_eq!(seen.trim(), want, "{script}");
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        check("1 fail | 1 fail | 1 fail | 1 fail", "");
        check("1 fail | 1 fail | 1 fail | 1 fail | 2 fail", "2 Open");
        check("1 fail | 1 fail | 1 fail | 1 fail | 1 ok | 2 fail", "");
    }

    const OPEN: &str = "1 fail | 1 fail | 1 fail | 1 fail | 1 fail";

    #[test]
    fn it_is_half_open_after_its_time_and_not_before() {
        check(&[OPEN, "2 wake | 2 ok | 2 ok | 2 ok"].join(" | "), "1 Open");
        check(&[OPEN, "3 wake | 3 wake"].join(" | "), "1 Open 3 HalfOpen");
        check(&[OPEN, "2 fail | 3 wake"].join(" | "), "1 Open 3 HalfOpen");
    }

    #[test]
    fn three_successes_close_it_and_a_failure_opens_it_again() {
        let half = [OPEN, "3 wake"].join(" | ");
        check(&[&half, "4 ok | 4 ok"].join(" | "), "1 Open 3 HalfOpen");
        check(&[&half, "4 ok | 4 ok | 5 ok | 6 fail"].join(" | "), "1 Open 3 HalfOpen 5 Closed");
        check(&[&half, "4 ok | 4 ok | 5 fail | 6 wake"].join(" | "), "1 Open 3 HalfOpen 5 Open");
        let again = [&half, "4 fail | 6 wake | 6 ok | 6 ok | 6 ok"].join(" | ");
        check(&again, "1 Open 3 HalfOpen 4 Open 6 HalfOpen 6 Closed");
    }

    #[test]
    fn a_deadline_is_there_while_it_is_open() {
        let mut breaker = Breaker::new(Settings::NODE);
        assert_eq!((breaker.circuit(), breaker.deadline()), (Circuit::Closed, None));
        let mut out = Vec::new();
        (0..5).for_each(|_| breaker.handle(Input::Failed, Instant::START, &mut out));
        let until = Instant::START + Settings::NODE.open_for;
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert_eq!(breaker.deadline().map(|(at, _why)| at), Some(until));
        breaker.handle(Input::DeadlineReached, until, &mut out);
        assert_eq!((breaker.circuit(), breaker.deadline()), (Circuit::HalfOpen, None));
    }
}
