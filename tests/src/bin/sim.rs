//! Runs histories of one node, or of many, from seeds.
#![forbid(unsafe_code)]

use std::num::NonZero;
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mpreg_fabric::control::record::{Replayed, replay};
use mpreg_fabric::control::{Effect, Input};
use mpreg_fabric::time::Instant as Clock;
use mpreg_tests::calls::plan::CallPlan;
use mpreg_tests::faults::Faults;
use mpreg_tests::history::{Cuts, Failure, Plan, Tally, play_cut};
use mpreg_tests::mesh::plan::MeshPlan;
use mpreg_tests::planted;
use mpreg_tests::shrink::shrink;
use mpreg_tests::trace::Show;
use serde_json::{Value, json};

const USAGE: &str = "\
usage: sim --replay FILE [--trace] [--json]
       sim [--mesh | --calls] --seed N [--trace] [--shrink] [CUTS]
       sim [--mesh | --calls] --seeds FROM..TO [--json] [--planted K] [CUTS]

  --replay     play what a real node recorded (mpreg serve --record FILE)
  --mesh       many nodes, not the shards and clients of one; --json and --nodes mean it too
  --calls      calls of functions, over a network that loses, doubles, delays and cuts
  --trace      show every step
  --shrink     cut a failing seed down to what still fails
  --json       say what came of it as JSON
  --planted K  plant the bug of this number or name first (tests/src/planted.rs), in a copy

cuts: --SIZE N and --without BEHAVIOUR, which may be repeated";

/// What the command line asks for.
struct Wish<P: Plan> {
    seeds: Range<u64>,
    cuts: Cuts<P>,
    show: Show,
    shrinks: bool,
    is_json: bool,
}

/// What came of all seeds.
struct Outcome<P: Plan> {
    total: P::Report,
    /// By seed.
    failures: Vec<Box<Failure<P>>>,
    took: Duration,
}

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|argument| argument == "--planted") {
        args.remove(at);
        let name = if at < args.len() { args.remove(at) } else { String::new() };
        return run_planted(&name, &args);
    }
    if let Some(at) = args.iter().position(|argument| argument == "--replay") {
        let has = |word: &str| args.iter().any(|argument| argument == word);
        let file = args.get(at + 1).cloned().unwrap_or_default();
        return run_replay(&file, has("--trace"), has("--json"));
    }
    let is_mesh = ["--mesh", "--json", "--nodes", "--minutes"];
    let is_mesh = args.iter().any(|argument| is_mesh.contains(&argument.as_str()));
    let is_calls = args.iter().any(|argument| argument == "--calls");
    args.retain(|argument| argument != "--mesh" && argument != "--calls");
    match (is_calls, is_mesh) {
        (true, _) => run::<CallPlan>(&args),
        (false, true) => run::<MeshPlan>(&args),
        (false, false) => run::<Faults>(&args),
    }
}

/// Builds a simulator with the bugs and lets it play the same with this one.
fn run_planted(name: &str, args: &[String]) -> ExitCode {
    let Some(bug) = planted::find(name) else {
        eprintln!("there is no bug {name:?}; there are 1 to {}", planted::ALL.len());
        return ExitCode::from(2);
    };
    eprintln!("with {}", planted::ALL[bug - 1].name);
    let play = |sim| {
        let mut sim = Command::new(sim);
        let kind = planted::ALL[bug - 1].simulator();
        sim.env(planted::VARIABLE, bug.to_string()).arg(kind).args(args).status()
    };
    match planted::build().map(play) {
        Ok(Ok(status)) if status.success() => ExitCode::SUCCESS,
        Ok(Ok(_)) => ExitCode::FAILURE,
        Ok(Err(error)) => fail(&error.to_string()),
        Err(error) => fail(&error),
    }
}

/// Plays what a real node was told, and looks whether the same comes of it.
fn run_replay(file: &str, is_traced: bool, is_json: bool) -> ExitCode {
    let show = |at: Clock, input: &Input, effects: &[Effect]| {
        if is_traced {
            eprintln!("{:?} {input:?}", at.since(Clock::START));
            effects.iter().for_each(|effect| eprintln!("    {effect:?}"));
        }
    };
    let replayed = std::fs::read(file).map_err(|error| error.to_string());
    let replayed = replayed
        .and_then(|bytes| replay(&bytes, show).map_err(|fault| fault.to_string()))
        .map_err(|error| format!("{file}: {error}"));
    let Replayed { program, steps, until, is_torn, difference } = match replayed {
        Ok(replayed) => replayed,
        Err(error) => return fail(&error),
    };
    let until = until.since(Clock::START);
    if is_json {
        let (until_ms, at) = (until.as_millis() as u64, difference.as_ref().map(|it| it.step));
        let said = json!({ "program": program, "steps": steps, "until_ms": until_ms,
            "is_torn": is_torn, "difference": at });
        println!("{said}");
    } else {
        let end = if is_torn { ", the last one is not whole" } else { "" };
        let same = if difference.is_none() { "the same" } else { "another" };
        println!("{steps} steps in {until:?} recorded by mpreg {program}{end}: {same} comes of it");
    }
    let Some(difference) = difference else { return ExitCode::SUCCESS };
    eprintln!("{difference}");
    ExitCode::FAILURE
}

fn fail(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(2)
}

fn run<P: Plan<Behaviour: Send + Sync, Report: Send> + Send + Sync>(args: &[String]) -> ExitCode {
    let Some(wish) = parse::<P>(args).filter(|wish| !wish.seeds.is_empty()) else {
        eprintln!("{USAGE}");
        eprintln!("sizes: {}", P::SIZES.join(" "));
        eprintln!("behaviours: {:?}", P::BEHAVIOURS);
        return ExitCode::from(2);
    };
    let outcome = play_all(&wish);
    let Outcome { total, failures, took } = &outcome;
    let is_good = failures.is_empty();
    let count = wish.seeds.end - wish.seeds.start;
    if wish.is_json {
        println!("{}", report(count, &outcome));
    } else {
        let seconds = took.as_secs_f64();
        let (seeds_per_s, events_per_s) = (count as f64 / seconds, total.events() as f64 / seconds);
        print!("{count} seeds, {} failed, {seconds:.1} s, ", failures.len());
        println!("{seeds_per_s:.0} seeds/s, {events_per_s:.0} events/s");
        println!("{total}");
    }
    for failure in outcome.failures {
        let failure = if wish.shrinks { shrink(failure) } else { failure };
        eprintln!("{failure}");
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report<P: Plan>(seeds: u64, outcome: &Outcome<P>) -> Value {
    let Outcome { total, failures, took } = outcome;
    let minutes = took.as_secs_f64() / 60.0;
    json!({
        "seeds": seeds,
        "violations": failures.len(),
        "fabric_hours_per_minute": total.time().as_secs_f64() / 3600.0 / minutes,
        "first_failing_seed": failures.first().map(|failure| failure.seed),
        "seconds": took.as_secs_f64(),
        "events": total.events(),
        "total": total.to_string(),
    })
}

/// Seeds are played side by side; what is told of them is in their order.
fn play_all<P: Plan<Behaviour: Send + Sync, Report: Send> + Send + Sync>(
    wish: &Wish<P>,
) -> Outcome<P> {
    let started = Instant::now();
    let workers = match wish.show {
        Show::Nothing => thread::available_parallelism().map_or(1, NonZero::get),
        Show::Steps => 1,
    };
    let (next, played) = (AtomicU64::new(wish.seeds.start), Mutex::new(Vec::new()));
    let play = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if wish.seeds.end <= seed {
                return;
            }
            let one = play_cut(seed, &wish.cuts, wish.show);
            played.lock().expect("nobody panics with it").push((seed, one));
        }
    };
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(play))));
    let mut played = played.into_inner().expect("nobody panics with it");
    played.sort_by_key(|&(seed, _)| seed);
    let (mut total, mut failures) = (P::Report::default(), Vec::new());
    for (_, one) in played {
        match one {
            Ok(report) => total.add(&report),
            Err(failure) => failures.push(failure),
        }
    }
    Outcome { total, failures, took: started.elapsed() }
}

fn parse<P: Plan>(args: &[String]) -> Option<Wish<P>> {
    let (seeds, cuts) = (0..0, Cuts::default());
    let mut wish = Wish { seeds, cuts, show: Show::Nothing, shrinks: false, is_json: false };
    let mut args = args.iter().map(String::as_str);
    while let Some(argument) = args.next() {
        match argument {
            "--trace" => wish.show = Show::Steps,
            "--shrink" => wish.shrinks = true,
            "--json" => wish.is_json = true,
            "--seed" => {
                let seed: u64 = args.next()?.parse().ok()?;
                wish.seeds = seed..seed.checked_add(1)?;
            }
            "--seeds" => {
                let (from, to) = args.next()?.split_once("..")?;
                wish.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            cut => {
                if !wish.cuts.take(cut, args.next()?) {
                    return None;
                }
            }
        }
    }
    Some(wish)
}
