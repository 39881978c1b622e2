//! 1,000 random graphs in random orders, beside an oracle that evaluates them one command after the
//! other, by recursion over trees.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Tree, json};

use super::*;
use crate::rng::Rng;

/// What a reference of a test leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Number,
    Dotted,
    Nowhere,
}

#[derive(Clone, Debug)]
struct Spec {
    references: Vec<(usize, Part)>,
    /// The argument is its only reference.
    is_reference: bool,
    argues: Encoding,
    answers: Encoding,
    fails: bool,
}

/// A graph whose edges lead from commands later in a hidden order to earlier ones.
fn specs(rng: &mut Rng) -> Vec<Spec> {
    let count = 1 + rng.below(30) as usize;
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        order.swap(at, rng.below(at as u32 + 1) as usize);
    }
    let mut specs = vec![None; count];
    let error_one_in = 2 + rng.below(40);
    for (at, &ix) in order.iter().enumerate() {
        let references = if at == 0 { 0 } else { rng.below(4) };
        let references = (0..references).map(|_| {
            let part = [Part::Whole, Part::Number, Part::Dotted][rng.below(3) as usize];
            let part = if rng.below(error_one_in) == 0 { Part::Nowhere } else { part };
            (order[rng.below(at as u32) as usize], part)
        });
        let references: Vec<_> = references.collect();
        let encoding =
            |rng: &mut Rng| [Encoding::Json, Encoding::MessagePack][rng.below(2) as usize];
        specs[ix] = Some(Spec {
            is_reference: references.len() == 1 && rng.below(2) == 0,
            references,
            argues: encoding(rng),
            answers: if rng.below(12) == 0 { Encoding::Bytes } else { encoding(rng) },
            fails: rng.below(error_one_in) == 0,
        });
    }
    let mut specs: Vec<Spec> = specs.into_iter().map(Option::unwrap).collect();
    // The oracle's trees have no bytes, as MessagePack has.
    for ix in 0..count {
        let mut sources = specs[ix].references.iter();
        if sources.any(|&(source, _)| specs[source].answers == Encoding::Bytes) {
            specs[ix].argues = Encoding::Json;
        }
    }
    specs
}

fn encoded(tree: &Tree, encoding: Encoding) -> Value {
    let bytes = match encoding {
        Encoding::MessagePack => rmp_serde::to_vec(tree).unwrap(),
        Encoding::Bytes | Encoding::Text | Encoding::Json => {
            serde_json::to_vec_pretty(tree).unwrap()
        }
    };
    Value { encoding, bytes: bytes.into() }
}

fn decoded(value: &Value) -> Tree {
    match value.encoding {
        Encoding::MessagePack => rmp_serde::from_slice(&value.bytes).unwrap(),
        Encoding::Bytes | Encoding::Text | Encoding::Json => {
            serde_json::from_slice(&value.bytes).unwrap()
        }
    }
}

fn command_of(ix: usize, spec: &Spec) -> Command {
    let reference = |&(source, part): &(usize, Part)| match part {
        Part::Whole => json!({ "$ref": format!("c{source}") }),
        Part::Number => json!({ "$ref": format!("c{source}.list.1") }),
        Part::Dotted => json!({ "$ref": [format!("c{source}"), "of", "a.b"] }),
        Part::Nowhere => json!({ "$ref": format!("c{source}.list.2") }),
    };
    let references: Vec<Tree> = spec.references.iter().map(reference).collect();
    let argument = match spec.is_reference {
        true => references[0].clone(),
        false => json!({ "of": ix, "in": references, "as is": { "$literal": { "$ref": "x" } } }),
    };
    Command { argument: encoded(&argument, spec.argues), ..command(&format!("c{ix}"), "") }
}

/// What every function of these tests does with its argument.
fn called(ix: usize, argument: &Tree) -> Tree {
    let text = argument.to_string();
    let sum = text.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    json!({ "list": [ix, sum], "of": { "a.b": format!("{sum:x}\"é"), "zero": -0.5 } })
}

#[derive(Clone, Debug)]
enum Verdict {
    Value {
        argument: Tree,
        result: Tree,
    },
    /// The argument cannot be made, for some of the sources' results alone.
    Error {
        is_called: bool,
        is_unmet: bool,
        roots: BTreeSet<usize>,
    },
}

/// The oracle: sources first, each command once.
fn evaluate(specs: &[Spec], ix: usize, known: &mut BTreeMap<usize, Verdict>) -> Verdict {
    if let Some(verdict) = known.get(&ix) {
        return verdict.clone();
    }
    let spec = &specs[ix];
    let (mut parts, mut roots, mut is_unmet) = (Vec::new(), BTreeSet::new(), false);
    for &(source, part) in &spec.references {
        match evaluate(specs, source, known) {
            Verdict::Error { roots: more, .. } => roots.extend(more),
            Verdict::Value { result, .. } => match (part, is_bad(specs, ix, source, part)) {
                (_, true) => is_unmet = true,
                (Part::Whole, _) => parts.push(result),
                (Part::Number, _) => parts.push(result["list"][1].clone()),
                (Part::Dotted, _) => parts.push(result["of"]["a.b"].clone()),
                (Part::Nowhere, _) => unreachable!(),
            },
        }
    }
    let verdict = if is_unmet || !roots.is_empty() {
        roots.extend(is_unmet.then_some(ix));
        Verdict::Error { is_called: false, is_unmet, roots }
    } else {
        let argument = match spec.is_reference {
            true => parts.remove(0),
            false => json!({ "of": ix, "in": parts, "as is": { "$ref": "x" } }),
        };
        match spec.fails {
            true => Verdict::Error { is_called: true, is_unmet: false, roots: [ix].into() },
            false => Verdict::Value { result: called(ix, &argument), argument },
        }
    };
    known.insert(ix, verdict.clone());
    verdict
}

/// Whether this reference cannot be followed, though its source gave a result. Whole bytes are taken
/// by what is nothing but a reference.
fn is_bad(specs: &[Spec], ix: usize, source: usize, part: Part) -> bool {
    let is_opaque = specs[source].answers == Encoding::Bytes;
    part == Part::Nowhere || is_opaque && !(part == Part::Whole && specs[ix].is_reference)
}

struct Run<'a> {
    specs: &'a [Spec],
    verdicts: &'a BTreeMap<usize, Verdict>,
    settings: Settings,
    graph: CallGraph,
    under_way: Vec<usize>,
    called: BTreeSet<usize>,
    values: BTreeMap<usize, Value>,
    failed: BTreeSet<usize>,
    told: BTreeMap<usize, End>,
    is_done: bool,
}

impl Run<'_> {
    fn input(&mut self, input: Input, now: Instant) {
        let mut effects = Vec::new();
        self.graph.handle(input, now, &mut effects);
        for effect in effects {
            assert!(!self.is_done, "{effect:?} after the end");
            match effect {
                Effect::Call { command, argument, .. } => self.call(command.0.into(), &argument),
                Effect::Partial { command, end } => {
                    assert_eq!(self.settings.when, When::Streamed);
                    assert_eq!(self.told.insert(command.0.into(), end), None, "told once");
                }
                Effect::Done { results, summary } => {
                    self.is_done = true;
                    assert!(results.is_empty() || self.settings.when == When::AtTheEnd);
                    self.told.extend(results.into_iter().map(|(ix, end)| (ix.0.into(), end)));
                    assert_eq!(summary.critical_path.took, self.longest(&summary));
                }
                Effect::Cancel { .. } => panic!("nobody cancels"),
            }
        }
        assert!(self.is_done || self.graph.held_bytes() == self.held_bytes());
    }

    fn call(&mut self, ix: usize, argument: &Value) {
        assert!(self.called.insert(ix), "called twice");
        for (source, _) in &self.specs[ix].references {
            assert!(self.values.contains_key(source), "c{ix} was called before c{source} came");
        }
        match &self.verdicts[&ix] {
            Verdict::Value { argument: want, .. } => assert_eq!(decoded(argument), *want),
            Verdict::Error { is_called, .. } => assert!(is_called, "c{ix} had no input"),
        }
        self.under_way.push(ix);
    }

    fn finish(&mut self, at: usize, now: Instant) {
        let ix = self.under_way.swap_remove(at);
        let outcome = match &self.verdicts[&ix] {
            Verdict::Error { .. } => {
                self.failed.insert(ix);
                Outcome::Failed(Bytes::from(vec![ix as u8]))
            }
            Verdict::Value { result, .. } => {
                let value = encoded(result, self.specs[ix].answers);
                self.values.insert(ix, value.clone());
                Outcome::Value(value)
            }
        };
        self.input(Input::Finished { command: place(ix), outcome, cluster_hops: None }, now);
    }

    /// By what is known so far.
    fn is_doomed(&self, ix: usize) -> bool {
        self.specs[ix].references.iter().any(|&(source, part)| {
            let is_bad = self.values.contains_key(&source) && is_bad(self.specs, ix, source, part);
            is_bad || self.failed.contains(&source) || self.is_doomed(source)
        })
    }

    fn held_bytes(&self) -> usize {
        let held = self.values.iter().filter(|&(&source, _)| {
            let takes =
                |ix: &usize| self.specs[*ix].references.iter().any(|&(from, _)| from == source);
            let takers: Vec<usize> = (0..self.specs.len()).filter(takes).collect();
            let is_awaited =
                takers.iter().any(|ix| !self.called.contains(ix) && !self.is_doomed(*ix));
            let is_consumed = takers.iter().any(|ix| self.called.contains(ix));
            let is_told = self.settings.told == Told::All || !is_consumed;
            is_awaited || is_told && self.settings.when == When::AtTheEnd
        });
        held.map(|(_, value)| value.bytes.len()).sum()
    }

    /// Every way through the graph, tried.
    fn longest(&self, summary: &Summary) -> Duration {
        fn until(
            run: &Run<'_>,
            summary: &Summary,
            ix: usize,
            known: &mut [Option<Duration>],
        ) -> Duration {
            if let Some(known) = known[ix] {
                return known;
            }
            let references = run.specs[ix].references.iter();
            let before = references.map(|&(source, _)| until(run, summary, source, known)).max();
            let all = before.unwrap_or_default() + summary.commands[ix].calling;
            known[ix] = Some(all);
            all
        }
        let mut known = vec![None; self.specs.len()];
        (0..self.specs.len()).map(|ix| until(self, summary, ix, &mut known)).max().unwrap()
    }

    fn check_end(&self) {
        let consumed: BTreeSet<usize> = self
            .called
            .iter()
            .flat_map(|&ix| self.specs[ix].references.iter().map(|&(source, _)| source))
            .collect();
        for ix in 0..self.specs.len() {
            match (&self.verdicts[&ix], self.told.get(&ix)) {
                (Verdict::Value { .. }, None) => {
                    assert!(consumed.contains(&ix) && self.settings.told == Told::Unconsumed);
                }
                (Verdict::Value { result, .. }, Some(End::Value(value))) => {
                    assert!(!consumed.contains(&ix) || self.settings.told == Told::All);
                    assert_eq!(decoded(value), *result);
                }
                (Verdict::Error { is_called: true, .. }, Some(End::Failed(failure))) => {
                    assert_eq!(failure[..], [ix as u8]);
                }
                (Verdict::Error { is_unmet: true, .. }, Some(End::Unmet(_))) => (),
                (
                    Verdict::Error { is_called: false, roots, .. },
                    Some(End::Skipped { because }),
                ) => {
                    let because = usize::from(because.0);
                    assert!(because != ix && roots.contains(&because), "{because} of {roots:?}");
                    let ended = &self.told[&because];
                    assert!(matches!(ended, End::Failed(_) | End::Unmet(_)), "{ended:?}");
                }
                other => panic!("c{ix}: {other:?}"),
            }
        }
    }
}

fn check(seed: u64) -> (usize, usize) {
    let mut rng = Rng::from_seed(seed);
    let specs = specs(&mut rng);
    let mut verdicts = BTreeMap::new();
    for ix in 0..specs.len() {
        evaluate(&specs, ix, &mut verdicts);
    }
    let settings = Settings {
        told: [Told::Unconsumed, Told::All][rng.below(2) as usize],
        when: [When::AtTheEnd, When::Streamed][rng.below(2) as usize],
        until: Instant::NEVER,
    };
    let commands = specs.iter().enumerate().map(|(ix, spec)| command_of(ix, spec)).collect();
    let mut run = Run {
        specs: &specs,
        verdicts: &verdicts,
        settings,
        graph: CallGraph::new(Plan::new(commands).unwrap(), settings),
        under_way: Vec::new(),
        called: BTreeSet::new(),
        values: BTreeMap::new(),
        failed: BTreeSet::new(),
        told: BTreeMap::new(),
        is_done: false,
    };
    let mut now = Instant::START;
    run.input(Input::Start, now);
    while !run.under_way.is_empty() {
        assert!(!run.is_done);
        now = now + Duration::from_millis(rng.below(100).into());
        let at = rng.below(run.under_way.len() as u32) as usize;
        run.finish(at, now);
    }
    assert!(run.is_done, "seed {seed}");
    run.check_end();
    for input in [Input::Start, Input::Cancel, Input::DeadlineReached] {
        run.input(input, Instant::NEVER);
    }
    (run.values.len(), specs.len() - run.values.len())
}

#[test]
fn random_graphs_end_as_the_oracle_says() {
    let seen = (0..1000).map(check).fold((0, 0), |sum, seen| (sum.0 + seen.0, sum.1 + seen.1));
    assert!(5000 < seen.0 && 2000 < seen.1, "values and errors: {seen:?}");
}

/// Cancelled at any time, every command ends once and every call under way is called off.
#[test]
fn random_graphs_stop_at_any_time() {
    for seed in 0..1000 {
        let mut rng = Rng::from_seed(seed);
        let specs = specs(&mut rng);
        let commands = specs.iter().enumerate().map(|(ix, spec)| command_of(ix, spec)).collect();
        let until = Instant::START + Duration::from_millis(50);
        let settings = Settings { told: Told::All, when: When::AtTheEnd, until };
        let mut graph = CallGraph::new(Plan::new(commands).unwrap(), settings);
        let (mut out, mut under_way) = (Vec::new(), BTreeSet::new());
        let (mut results, mut now) = (None, Instant::START);
        let mut inputs = vec![Input::Start];
        while results.is_none() {
            now = now + Duration::from_millis(rng.below(8).into());
            for input in inputs.drain(..) {
                graph.handle(input, now, &mut out);
            }
            for effect in out.drain(..) {
                assert_eq!(results, None, "{effect:?}");
                match effect {
                    Effect::Call { command, .. } => assert!(under_way.insert(command)),
                    Effect::Cancel { command } => assert!(under_way.remove(&command)),
                    Effect::Done { results: all, .. } => results = Some(all),
                    Effect::Partial { .. } => panic!("not streamed"),
                }
            }
            let Some(&command) = under_way.first().filter(|_| rng.below(10) != 0) else {
                inputs.push([Input::Cancel, Input::DeadlineReached][rng.below(2) as usize].clone());
                continue;
            };
            under_way.remove(&command);
            let outcome = Outcome::Value(json(r#"{"list": [0, 1], "of": {"a.b": 1}}"#));
            inputs.push(Input::Finished { command, outcome, cluster_hops: None });
        }
        let results = results.unwrap();
        assert_eq!(under_way, BTreeSet::new(), "seed {seed}");
        let told: Vec<usize> = results.iter().map(|(ix, _)| ix.0.into()).collect();
        assert_eq!(told, (0..specs.len()).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!((graph.held_bytes(), graph.deadline()), (0, None));
    }
}

#[test]
fn random_graphs_with_a_cycle_are_refused() {
    for seed in 0..1000 {
        let mut rng = Rng::from_seed(seed);
        let mut specs = specs(&mut rng);
        let [from, to] = [(); 2].map(|()| rng.below(specs.len() as u32) as usize);
        let reaches = |from: usize, to: usize| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(ix) = open.pop() {
                if seen.insert(ix) {
                    open.extend(specs[ix].references.iter().map(|&(source, _)| source));
                }
            }
            seen.contains(&to)
        };
        let has_cycle = from != to && reaches(to, from);
        specs[from].references.push((to, Part::Whole));
        specs[from].is_reference = false;
        let commands = specs.iter().enumerate().map(|(ix, spec)| command_of(ix, spec)).collect();
        match Plan::new(commands) {
            Err(Refused::Cycle { commands }) => {
                assert!(has_cycle, "seed {seed}");
                let ix = |name: &String| name[1..].parse::<usize>().unwrap();
                for (at, name) in commands.iter().enumerate() {
                    let next = ix(&commands[(at + 1) % commands.len()]);
                    assert!(specs[ix(name)].references.iter().any(|&(to, _)| to == next));
                }
                let names: BTreeSet<&String> = commands.iter().collect();
                assert_eq!(names.len(), commands.len(), "each once");
            }
            Err(Refused::SelfReference { command }) => {
                assert_eq!((from, command), (to, format!("c{from}")));
            }
            other => assert!(other.is_ok() && !has_cycle && from != to, "seed {seed}: {other:?}"),
        }
    }
}
