//! What is asked for, checked before anything of it runs.
//!
//! Invariants:
//! - A [`Plan`] has no cycle; every reference is to another command of it, and it keeps all bounds.
//! - Commands keep the numbers they came in.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::template::{ArgumentError, Reference, Template};
use super::value::Value;
use crate::limits::{
    CALL_COMMAND_NAME_BYTES_MAX, CALL_GRAPH_BYTES_MAX, CALL_GRAPH_COMMANDS_MAX,
    CALL_GRAPH_DEPTH_MAX, CALL_GRAPH_REFERENCES_MAX,
};

/// What is called. Only its size is looked at: who serves it is chosen elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub function: String,
    /// A constraint; empty for any.
    pub version: String,
    pub resources: Vec<String>,
    /// Empty for any.
    pub cluster: String,
}

/// One call of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Of `A-Z a-z 0-9 _ -`.
    pub name: String,
    pub target: Target,
    /// May refer to other commands' results: `{"$ref": "step.field.0"}`, or
    /// `{"$ref": ["step", "field", 0]}`. What only looks so is written as `{"$literal": …}`.
    pub argument: Value,
}

/// Why a graph is refused. Nothing of it has run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no command")]
    Empty,
    #[error("{count} commands, at most {CALL_GRAPH_COMMANDS_MAX}")]
    TooManyCommands { count: usize },
    #[error("{bytes} bytes, at most {CALL_GRAPH_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("{count} references, at most {CALL_GRAPH_REFERENCES_MAX}")]
    TooManyReferences { count: usize },
    #[error("{commands} commands wait for each other in a row, at most {CALL_GRAPH_DEPTH_MAX}")]
    TooDeep { commands: usize },
    #[error("command {place}: a name has 1 to {CALL_COMMAND_NAME_BYTES_MAX} of A-Z a-z 0-9 _ -")]
    Name { place: usize },
    #[error("two commands are named {name}")]
    Duplicate { name: String },
    #[error("argument of {command}: {why}")]
    Argument { command: String, why: ArgumentError },
    #[error("{command} refers to {name}, which is no command")]
    Unknown { command: String, name: String },
    #[error("{command} refers to itself")]
    SelfReference { command: String },
    /// Each refers to the next, and the last to the first.
    #[error("cycle: {}", commands.join(", "))]
    Cycle { commands: Vec<String> },
}

impl Refused {
    /// The word logs and `--json` use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooManyCommands { .. } => "too_many_commands",
            Self::TooLarge { .. } => "too_large",
            Self::TooManyReferences { .. } => "too_many_references",
            Self::TooDeep { .. } => "too_deep",
            Self::Name { .. } => "bad_name",
            Self::Duplicate { .. } => "duplicate_name",
            Self::Argument { .. } => "bad_argument",
            Self::Unknown { .. } => "unknown_command",
            Self::SelfReference { .. } => "self_reference",
            Self::Cycle { .. } => "cycle",
        }
    }
}

/// A graph that may run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) steps: Vec<Planned>,
    /// All of them, none before what it refers to.
    pub(super) order: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Uncalled {
    pub(super) target: Target,
    pub(super) template: Template,
}

/// A command, and its place among the others.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) name: String,
    /// Gone once it is called, or will not be.
    pub(super) uncalled: Option<Uncalled>,
    pub(super) references: Vec<(usize, Reference)>,
    /// Whose results it takes. Sorted, each once.
    pub(super) sources: Vec<usize>,
    /// Who takes its result. Sorted, each once.
    pub(super) consumers: Vec<usize>,
}

impl Plan {
    pub fn new(commands: Vec<Command>) -> Result<Self, Refused> {
        check_size(&commands)?;
        let places = check_names(&commands)?;
        let mut steps = Vec::with_capacity(commands.len());
        for command in commands {
            steps.push(planned(command, &places)?);
        }
        let count = steps.iter().map(|step| step.references.len()).sum();
        if CALL_GRAPH_REFERENCES_MAX < count {
            return Err(Refused::TooManyReferences { count });
        }
        for ix in 0..steps.len() {
            for at in steps[ix].sources.clone() {
                steps[at].consumers.push(ix);
            }
        }
        let order = ordered(&steps)?;
        Ok(Self { steps, order })
    }
}

fn check_size(commands: &[Command]) -> Result<(), Refused> {
    match commands.len() {
        0 => return Err(Refused::Empty),
        count if CALL_GRAPH_COMMANDS_MAX < count => return Err(Refused::TooManyCommands { count }),
        _ => (),
    }
    let bytes = commands.iter().fold(0_usize, |sum, command| sum.saturating_add(size(command)));
    match bytes <= CALL_GRAPH_BYTES_MAX {
        true => Ok(()),
        false => Err(Refused::TooLarge { bytes }),
    }
}

fn size(command: &Command) -> usize {
    let Target { function, version, resources, cluster } = &command.target;
    let texts = [&command.name, function, version, cluster].into_iter().chain(resources);
    texts.map(String::len).chain([command.argument.bytes.len()]).sum()
}

fn check_names(commands: &[Command]) -> Result<BTreeMap<String, usize>, Refused> {
    let mut places = BTreeMap::new();
    for (place, Command { name, .. }) in commands.iter().enumerate() {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !(1..=CALL_COMMAND_NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_allowed)
        {
            return Err(Refused::Name { place });
        }
        if places.insert(name.clone(), place).is_some() {
            return Err(Refused::Duplicate { name: name.clone() });
        }
    }
    Ok(places)
}

fn planned(command: Command, places: &BTreeMap<String, usize>) -> Result<Planned, Refused> {
    let Command { name, target, argument } = command;
    let (template, references) = Template::parse(argument)
        .map_err(|why| Refused::Argument { command: name.clone(), why })?;
    let mut placed = Vec::with_capacity(references.len());
    for reference in references {
        if reference.step == name {
            return Err(Refused::SelfReference { command: name });
        }
        let Some(&place) = places.get(&reference.step) else {
            return Err(Refused::Unknown { command: name, name: reference.step });
        };
        placed.push((place, reference));
    }
    let mut sources: Vec<usize> = placed.iter().map(|&(place, _)| place).collect();
    sources.sort_unstable();
    sources.dedup();
    let uncalled = Some(Uncalled { target, template });
    Ok(Planned { name, uncalled, references: placed, sources, consumers: Vec::new() })
}

/// Each after its sources (Kahn 1962).
fn ordered(steps: &[Planned]) -> Result<Vec<usize>, Refused> {
    let mut left: Vec<usize> = steps.iter().map(|step| step.sources.len()).collect();
    let mut depth = vec![1; steps.len()];
    let mut order: Vec<usize> = (0..steps.len()).filter(|&ix| left[ix] == 0).collect();
    let mut at = 0;
    while let Some(&ix) = order.get(at) {
        at += 1;
        for &consumer in &steps[ix].consumers {
            depth[consumer] = depth[consumer].max(depth[ix] + 1);
            left[consumer] -= 1;
            order.extend((left[consumer] == 0).then_some(consumer));
        }
    }
    if let Some(stuck) = left.iter().position(|&left| left != 0) {
        return Err(Refused::Cycle { commands: cycle(steps, &left, stuck) });
    }
    match depth.into_iter().max() {
        Some(commands) if CALL_GRAPH_DEPTH_MAX < commands => Err(Refused::TooDeep { commands }),
        _ => Ok(order),
    }
}

/// What is stuck waits for something stuck, so this way comes back to itself.
fn cycle(steps: &[Planned], left: &[usize], stuck: usize) -> Vec<String> {
    let mut way = vec![stuck];
    loop {
        let last = way[way.len() - 1];
        let mut sources = steps[last].sources.iter();
        let next = sources.find(|&&source| left[source] != 0).expect("it waits for one of them");
        if let Some(start) = way.iter().position(|ix| ix == next) {
            return way[start..].iter().map(|&ix| steps[ix].name.clone()).collect();
        }
        way.push(*next);
    }
}
