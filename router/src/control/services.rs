//! Addresses to begin with, from the domain name system: `srv:_mpreg._tcp.example.org`.
//!
//! ```text
//!   DUE --alone--> ASKED --found--> listed, DUE when that is old
//!                    |
//!                    +--not found--> what was listed stays, DUE after a wait that doubles
//! ```
//!
//! Asked only while the node has no link: who has one hears of the others through it. A thread of its own
//! waits for answers; the control core never does.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::Waker;
use mpreg_fabric::time::Instant;
use mpreg_proto::member::PeerAddress;

use crate::dns::{self, AskError, Found, ServiceName};

/// What is good for less is asked for again after this: a name is not to be asked for in a loop.
const GOOD_FOR_MIN: Duration = Duration::from_secs(5);

/// What is good for longer is asked for again all the same while the node is alone.
const GOOD_FOR_MAX: Duration = Duration::from_secs(300);

/// The wait after a first failure, and the longest.
const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// One question is asked at a time, and one answer waits.
const QUESTIONS_MAX: usize = 1;

type Answer = Vec<(ServiceName, Result<Found, AskError>)>;

#[derive(Debug)]
pub struct Services {
    questions: Sender<()>,
    answers: Receiver<Answer>,
    due: Instant,
    is_asked: bool,
    failures: u32,
    listed: BTreeMap<ServiceName, Vec<PeerAddress>>,
}

/// What an answer amounts to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whether other addresses are listed than before.
    pub(super) is_changed: bool,
    /// Why names were not found.
    pub(super) failures: Vec<&'static str>,
}

impl Services {
    /// Asks for these names, of `server` or of those of the host. `waker` is woken for each answer.
    pub fn start(
        names: Vec<ServiceName>,
        server: Option<SocketAddr>,
        waker: Arc<Waker>,
    ) -> io::Result<Self> {
        let (questions, asked) = bounded::<()>(QUESTIONS_MAX);
        let (answered, answers) = bounded::<Answer>(QUESTIONS_MAX);
        thread::Builder::new().name("mpreg-services".to_owned()).spawn(move || {
            for () in asked {
                let ask = |name: &ServiceName| (name.clone(), dns::ask(name, server));
                if answered.send(names.iter().map(ask).collect()).is_err() {
                    return;
                }
                if let Err(error) = waker.wake() {
                    tracing::warn!(%error, "waking the control core");
                }
            }
        })?;
        Ok(Self::with(questions, answers))
    }

    fn with(questions: Sender<()>, answers: Receiver<Answer>) -> Self {
        let listed = BTreeMap::new();
        Self { questions, answers, due: Instant::START, is_asked: false, failures: 0, listed }
    }

    /// When it is to be asked again, if the node is alone then.
    pub(super) fn deadline(&self) -> Instant {
        if self.is_asked { Instant::NEVER } else { self.due }
    }

    /// Asks, if that is due.
    pub(super) fn ask(&mut self, now: Instant) {
        if self.deadline() <= now && self.questions.try_send(()).is_ok() {
            self.is_asked = true;
        }
    }

    /// Takes an answer, if there is one.
    pub(super) fn hear(&mut self, now: Instant) -> Option<Heard> {
        let answer = self.answers.try_recv().ok()?;
        self.is_asked = false;
        let mut heard = Heard::default();
        let mut good_for = GOOD_FOR_MAX;
        for (name, outcome) in answer {
            match outcome {
                Ok(found) => {
                    good_for = good_for.min(found.good_for);
                    tracing::debug!(%name, addresses = ?found.addresses, "a service");
                    let before = self.listed.insert(name, found.addresses.clone());
                    heard.is_changed |= before != Some(found.addresses);
                }
                Err(error) => {
                    tracing::warn!(%name, %error, "a service is not found");
                    heard.failures.push(error.word());
                }
            }
        }
        let wait = if heard.failures.is_empty() {
            self.failures = 0;
            good_for.max(GOOD_FOR_MIN)
        } else {
            self.failures += 1;
            BACKOFF.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(BACKOFF_MAX)
        };
        self.due = now + wait;
        Some(heard)
    }

    /// What the names stood for last.
    pub(super) fn listed(&self) -> impl Iterator<Item = &PeerAddress> {
        self.listed.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(address: &str, seconds: u64) -> Result<Found, AskError> {
        let addresses = vec![address.parse().unwrap()];
        Ok(Found { addresses, good_for: Duration::from_secs(seconds) })
    }

    #[test]
    fn it_is_asked_when_that_is_due_and_later_and_later_while_nothing_is_found() {
        let (questions, asked) = bounded(QUESTIONS_MAX);
        let (answered, answers) = bounded(QUESTIONS_MAX);
        let mut services = Services::with(questions, answers);
        let name: ServiceName = "_mpreg._tcp.example.org".parse().unwrap();
        let mut now = Instant::START;
        let mut turn = |outcome: Result<Found, AskError>| {
            services.ask(now);
            services.ask(now);
            assert_eq!(asked.try_iter().count(), 1, "once at a time");
            assert_eq!((services.deadline(), services.hear(now)), (Instant::NEVER, None));
            answered.send(vec![(name.clone(), outcome)]).unwrap();
            let heard = services.hear(now).unwrap();
            let wait = services.deadline().since(now);
            services.ask(now);
            assert_eq!(asked.try_iter().count(), 0, "not before it is due");
            now = services.deadline();
            let listed: Vec<_> = services.listed().map(ToString::to_string).collect();
            (heard.is_changed, heard.failures.len(), wait.as_millis(), listed)
        };
        let none: [String; 0] = [];
        assert_eq!(turn(Err(AskError::NoSuchName)), (false, 1, 500, none.to_vec()));
        assert_eq!(turn(Err(AskError::NoServer)), (false, 1, 1000, none.to_vec()));
        let one = vec!["a:1".to_owned()];
        assert_eq!(turn(found("a:1", 0)), (true, 0, 5_000, one.clone()));
        assert_eq!(turn(found("a:1", 9)), (false, 0, 9_000, one.clone()));
        assert_eq!(turn(found("a:1", 86_400)), (false, 0, 300_000, one.clone()));
        assert_eq!(turn(Err(AskError::NoServer)), (false, 1, 500, one));
        assert_eq!(turn(found("b:1", 60)), (true, 0, 60_000, vec!["b:1".to_owned()]));
        for _ in 0..20 {
            turn(Err(AskError::NoServer));
        }
        assert_eq!(turn(Err(AskError::NoServer)).2, 60_000);
    }
}
