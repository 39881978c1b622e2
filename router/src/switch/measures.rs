//! How often functions are called, by their names, and how long that takes.
//!
//! Invariants:
//! - A name has numbers of its own only if somebody offered it when it was first measured: callers make up
//!   no names.
//! - There are at most [`FUNCTIONS_MEASURED_MAX`] of them; what finds no place is counted with the others.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use mpreg_fabric::call::Measured;
use mpreg_fabric::time::Instant;
use mpreg_proto::function::FunctionName;

use super::Switch;
use crate::limits::{FUNCTIONS_MEASURED_MAX, FUNCTIONS_MEASURED_SWEEP};
use crate::probe::{CallProbe, FunctionProbe};

/// Those of the functions that this shard is the home of.
#[derive(Debug, Default)]
pub(super) struct Measures {
    known: HashMap<FunctionName, Arc<FunctionProbe>, RandomState>,
    /// When there was last no place, and names were looked for that nobody offers any more.
    swept_at: Option<Instant>,
}

impl Measures {
    fn of<'a>(
        &'a mut self,
        name: &FunctionName,
        is_offered: impl Fn(&FunctionName) -> bool,
        probe: &'a CallProbe,
        now: Instant,
    ) -> &'a FunctionProbe {
        if !self.known.contains_key(name)
            && is_offered(name)
            && self.has_place(&is_offered, probe, now)
        {
            let function = Arc::<FunctionProbe>::default();
            probe.list(name.clone(), Arc::clone(&function));
            self.known.insert(name.clone(), function);
        }
        self.known.get(name).map_or(probe.others(), |function| function)
    }

    fn has_place(
        &mut self,
        is_offered: impl Fn(&FunctionName) -> bool,
        probe: &CallProbe,
        now: Instant,
    ) -> bool {
        let is_full = FUNCTIONS_MEASURED_MAX <= self.known.len();
        let is_due = self.swept_at.is_none_or(|at| at + FUNCTIONS_MEASURED_SWEEP <= now);
        if is_full && is_due {
            self.swept_at = Some(now);
            self.known.retain(|name, _| {
                let is_kept = is_offered(name);
                if !is_kept {
                    probe.delist(name);
                }
                is_kept
            });
        }
        self.known.len() < FUNCTIONS_MEASURED_MAX
    }
}

impl Switch {
    /// Something ended.
    pub(super) fn measure(&mut self, name: &FunctionName, what: Measured, took: Duration) {
        self.measured(name).ended(what, took);
    }

    /// A worker got a job.
    pub(super) fn measure_begun(&mut self, name: &FunctionName) {
        self.measured(name).job_begun();
    }

    fn measured(&mut self, name: &FunctionName) -> &FunctionProbe {
        let Self { desk, probe, now, .. } = self;
        let functions = desk.machine.functions();
        desk.measures.of(name, |name| functions.has(name), &probe.calls, *now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> FunctionName {
        format!("f{number}").parse().expect("a name")
    }

    fn call(measures: &mut Measures, probe: &CallProbe, number: usize, alive: usize, at: Instant) {
        let is_offered = |of: &FunctionName| (0..alive).any(|number| *of == name(number));
        let of = measures.of(&name(number), is_offered, probe, at);
        of.ended(Measured::Call(None), Duration::from_millis(1));
    }

    #[test]
    fn names_that_nobody_offers_have_no_numbers_of_their_own() {
        let (mut measures, probe) = (Measures::default(), CallProbe::default());
        call(&mut measures, &probe, 1, 0, Instant::START);
        assert!(probe.usages().is_empty());
        assert_eq!(probe.others().usage().calls_answered, 1);
        call(&mut measures, &probe, 1, 2, Instant::START);
        call(&mut measures, &probe, 1, 0, Instant::START);
        let usages = probe.usages();
        assert_eq!(usages.len(), 1);
        assert_eq!(usages["f1"].calls_answered, 2, "it was offered once");
    }

    #[test]
    fn places_are_bounded_and_given_on_and_no_count_is_lost() {
        let (mut measures, probe) = (Measures::default(), CallProbe::default());
        let all = FUNCTIONS_MEASURED_MAX + 5;
        (0..all).for_each(|number| call(&mut measures, &probe, number, all, Instant::START));
        assert_eq!((measures.known.len(), probe.usages().len()), (all - 5, all - 5));
        assert_eq!(probe.others().usage().calls_answered, 5);
        // Half of them are not offered any more.
        let last = all - 1;
        let is_offered = |of: &FunctionName| *of == name(last) || (0..9).any(|n| *of == name(n));
        let early = Instant::START + FUNCTIONS_MEASURED_SWEEP / 2;
        measures
            .of(&name(last), is_offered, &probe, early)
            .ended(Measured::Call(None), Duration::ZERO);
        assert_eq!(measures.known.len(), all - 5, "not looked at again so soon");
        let later = Instant::START + FUNCTIONS_MEASURED_SWEEP;
        measures
            .of(&name(last), is_offered, &probe, later)
            .ended(Measured::Call(None), Duration::ZERO);
        assert_eq!((measures.known.len(), probe.usages().len()), (10, 10));
        let counted: u64 = probe.usages().values().map(|usage| usage.calls_answered).sum();
        assert_eq!(counted + probe.others().usage().calls_answered, all as u64 + 2);
    }
}
