//! What happened, as a fingerprint and, if asked for, as lines.

use std::fmt::Arguments;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use mpreg_fabric::time::Instant;

/// Whether a run shows its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    #[default]
    Nothing,
    /// One line a step on standard output.
    Steps,
}

#[derive(Debug)]
pub struct Trace {
    hasher: DefaultHasher,
    show: Show,
    /// What steps happen to.
    place: &'static str,
}

impl Trace {
    pub fn new(show: Show, place: &'static str) -> Self {
        Self { hasher: DefaultHasher::new(), show, place }
    }

    /// `what` is all there is to the step; `line` says it for people.
    pub fn note(&mut self, now: Instant, number: usize, what: &impl Hash, line: Arguments<'_>) {
        (now.as_nanos(), number).hash(&mut self.hasher);
        what.hash(&mut self.hasher);
        if self.show == Show::Steps {
            let (micros, place) = (now.as_nanos() as f64 / 1000.0, self.place);
            println!("{micros:>13.3} us  {place} {number:<2}  {line}");
        }
    }

    /// Two runs of one seed have the same, or something is not deterministic.
    pub fn fingerprint(&self) -> u64 {
        self.hasher.finish()
    }
}
