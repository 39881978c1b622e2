//! What a simulator plays: a plan that a seed decides, cuts of it, and how a broken rule is told.
//!
//! The simulator of one node and that of many differ in their plans and their worlds; seeds, cuts,
//! shrinking and the command that repeats a failure are the same.

use std::cell::RefCell;
use std::fmt;
use std::sync::Once;
use std::time::Duration;

use crate::check::Violation;
use crate::trace::Show;

/// What a seed decides before anything happens.
pub trait Plan: Clone + fmt::Debug {
    /// Something that may be left out of a history.
    type Behaviour: Copy + fmt::Debug + PartialEq + 'static;
    type Report: Tally;
    const BEHAVIOURS: &'static [Self::Behaviour];
    /// Sizes that may be cut, by their names on the command line, the longest histories first.
    const SIZES: &'static [&'static str];
    /// Whether a size on the command line is taken as it is, not as the most of what a seed decides.
    const IS_EXACT: bool;
    /// What makes `sim` play these.
    const ARGUMENTS: &'static str;

    fn of(seed: u64) -> Self;
    /// The size of this place in [`Plan::SIZES`].
    fn size(&mut self, place: usize) -> &mut usize;
    fn has(&self, behaviour: Self::Behaviour) -> bool;
    fn leave_out(&mut self, behaviour: Self::Behaviour);
    /// Plays the history; the first broken rule ends it.
    fn play(self, seed: u64, show: Show) -> Result<Self::Report, Broken>;
}

/// What histories amounted to.
pub trait Tally: Default + fmt::Display {
    fn add(&mut self, other: &Self);
    fn events(&self) -> u64;
    /// Time that passed in them.
    fn time(&self) -> Duration;
}

/// Where a rule broke.
#[derive(Clone, Debug)]
pub struct Broken {
    pub event: u64,
    pub violation: Violation,
}

/// What is taken from a seed. Its text is what `sim` takes as arguments.
#[derive(Clone, Debug)]
pub struct Cuts<P: Plan> {
    pub without: Vec<P::Behaviour>,
    /// The most of each size, or the size.
    pub sizes: Vec<Option<usize>>,
}

impl<P: Plan> Default for Cuts<P> {
    fn default() -> Self {
        Self { without: Vec::new(), sizes: vec![None; P::SIZES.len()] }
    }
}

impl<P: Plan> Cuts<P> {
    pub fn apply(&self, plan: &mut P) {
        self.without.iter().for_each(|&behaviour| plan.leave_out(behaviour));
        for (place, max) in self.sizes.iter().enumerate() {
            let size = plan.size(place);
            *size = match max {
                Some(max) if P::IS_EXACT => (*max).max(1),
                Some(max) => (*max).clamp(1, *size),
                None => *size,
            };
        }
    }

    /// Takes one argument with its value; whether it is one of these.
    pub fn take(&mut self, argument: &str, value: &str) -> bool {
        let Some(name) = argument.strip_prefix("--") else { return false };
        if name == "without" {
            let named = |behaviour: &&P::Behaviour| format!("{behaviour:?}") == value;
            let found = P::BEHAVIOURS.iter().find(named);
            self.without.extend(found);
            return found.is_some();
        }
        let Some(place) = P::SIZES.iter().position(|size| *size == name) else { return false };
        self.sizes[place] = value.parse().ok();
        self.sizes[place].is_some()
    }
}

impl<P: Plan> fmt::Display for Cuts<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, max) in P::SIZES.iter().zip(&self.sizes) {
            max.map_or(Ok(()), |max| write!(f, " --{name} {max}"))?;
        }
        self.without.iter().try_for_each(|behaviour| write!(f, " --without {behaviour:?}"))
    }
}

/// A history that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure<P: Plan> {
    pub seed: u64,
    pub cuts: Cuts<P>,
    /// What was left after the cuts.
    pub plan: P,
    pub broken: Broken,
}

impl<P: Plan> fmt::Display for Failure<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, cuts, broken: Broken { event, violation }, .. } = self;
        writeln!(f, "seed {seed}, event {event}: {violation}")?;
        write!(f, "  repeat: {}{cuts} --trace", command::<P>(*seed))
    }
}

fn command<P: Plan>(seed: u64) -> String {
    format!("cargo run -p mpreg-tests --bin sim --{} --seed {seed}", P::ARGUMENTS)
}

/// Plays a history; the first broken rule ends it.
pub fn play<P: Plan>(seed: u64, show: Show) -> Result<P::Report, Box<Failure<P>>> {
    play_cut(seed, &Cuts::default(), show)
}

/// Plays what is left of a history.
pub fn play_cut<P: Plan>(
    seed: u64,
    cuts: &Cuts<P>,
    show: Show,
) -> Result<P::Report, Box<Failure<P>>> {
    name_seed_in_panics::<P>(seed);
    let mut plan = P::of(seed);
    cuts.apply(&mut plan);
    let played = plan.clone().play(seed, show);
    SEED.replace(None);
    played.map_err(|broken| Box::new(Failure { seed, cuts: cuts.clone(), plan, broken }))
}

thread_local! {
    static SEED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A broken assertion of a machine says, too, which seed broke it.
fn name_seed_in_panics<P: Plan>(seed: u64) {
    static HOOK: Once = Once::new();
    SEED.replace(Some(command::<P>(seed)));
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            SEED.with_borrow(|command| {
                if let Some(command) = command {
                    eprintln!("an assertion broke; {command} --trace");
                }
            });
            before(info);
        }));
    });
}
