//! Runs histories of one node, or of many, from seeds.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use mpreg_tests::faults::Faults;
use mpreg_tests::history::{Cuts, Plan, Tally as _, play_cut};
use mpreg_tests::mesh::plan::MeshPlan;
use mpreg_tests::shrink::shrink;
use mpreg_tests::trace::Show;

const USAGE: &str = "\
usage: sim [--mesh] --seed N [--trace] [--shrink] [CUTS]
       sim [--mesh] --seeds FROM..TO [CUTS]

  --mesh     many nodes, not the shards and clients of one
  --trace    show every step
  --shrink   cut a failing seed down to what still fails

cuts: --SIZE N and --without BEHAVIOUR, which may be repeated";

/// What the command line asks for.
struct Wish<P: Plan> {
    seeds: Range<u64>,
    cuts: Cuts<P>,
    show: Show,
    shrinks: bool,
}

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let before = args.len();
    args.retain(|argument| argument != "--mesh");
    if args.len() == before { run::<Faults>(&args) } else { run::<MeshPlan>(&args) }
}

fn run<P: Plan>(args: &[String]) -> ExitCode {
    let Some(wish) = parse::<P>(args).filter(|wish| !wish.seeds.is_empty()) else {
        eprintln!("{USAGE}");
        eprintln!("sizes: {}", P::SIZES.join(" "));
        eprintln!("behaviours: {:?}", P::BEHAVIOURS);
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let (mut total, mut failures) = (P::Report::default(), 0u64);
    let count = wish.seeds.end - wish.seeds.start;
    for seed in wish.seeds {
        match play_cut(seed, &wish.cuts, wish.show) {
            Ok(report) => total.add(&report),
            Err(failure) => {
                failures += 1;
                println!("{}", if wish.shrinks { shrink(failure) } else { failure });
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let (seeds_per_s, events_per_s) = (count as f64 / seconds, total.events() as f64 / seconds);
    print!("{count} seeds, {failures} failed, {seconds:.1} s, ");
    println!("{seeds_per_s:.0} seeds/s, {events_per_s:.0} events/s");
    println!("{total}");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse<P: Plan>(args: &[String]) -> Option<Wish<P>> {
    let (seeds, cuts) = (0..0, Cuts::default());
    let mut wish = Wish { seeds, cuts, show: Show::Nothing, shrinks: false };
    let mut args = args.iter().map(String::as_str);
    while let Some(argument) = args.next() {
        match argument {
            "--trace" => wish.show = Show::Steps,
            "--shrink" => wish.shrinks = true,
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
