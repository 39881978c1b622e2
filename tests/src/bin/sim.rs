//! Runs histories of one node from seeds.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use mpreg_tests::play::{Report, play_cut};
use mpreg_tests::shrink::{Cuts, shrink};
use mpreg_tests::trace::Show;

const USAGE: &str = "\
usage: sim --seed N [--trace] [--shrink] [CUTS]
       sim --seeds FROM..TO [CUTS]

  --trace    show every step
  --shrink   cut a failing seed down to what still fails

cuts: --shards N  --clients N  --acts N  --without BEHAVIOUR (may be repeated)";

/// What the command line asks for.
#[derive(Default)]
struct Wish {
    seeds: Range<u64>,
    cuts: Cuts,
    show: Show,
    shrinks: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(wish) = parse(&args).filter(|wish| !wish.seeds.is_empty()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let (mut total, mut failures) = (Report::default(), 0u64);
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
    let (seeds_per_s, events_per_s) = (count as f64 / seconds, total.events as f64 / seconds);
    print!("{count} seeds, {failures} failed, {seconds:.1} s, ");
    println!("{seeds_per_s:.0} seeds/s, {events_per_s:.0} events/s");
    println!("{total}");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(args: &[String]) -> Option<Wish> {
    let mut wish = Wish::default();
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
