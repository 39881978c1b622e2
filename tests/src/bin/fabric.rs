//! Measures fabrics in which nothing goes wrong.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use mpreg_tests::mesh::topology::Topology;
use mpreg_tests::mesh::trial;
use mpreg_tests::updates;
use serde_json::{Value, json};

const USAGE: &str = "\
usage: fabric budgets [SEED]                    a chain of five clusters and each hop budget
       fabric ring [SEED [MESSAGES]]            a ring of six clusters with a dead end
       fabric random [SEED [MESSAGES]]          twenty clusters with cycles, 10,000 messages each
       fabric idle [SEED [NODES [CLUSTERS]]]    bytes a node sends while nobody does anything
       fabric exodus [SEED [LATE_MS]]           dials of ten nodes after the other ten left at once
       fabric updates [COUNT]                   true updates of a route, of which none may be refused";

/// Messages of one random graph; then another is drawn.
const MESSAGES_PER_GRAPH: u64 = 10_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: u64| match args.get(place) {
        Some(text) => text.parse::<u64>().ok(),
        None => Some(default),
    };
    let (Some(what), Some(seed), Some(second), Some(third)) =
        (args.first(), number(1, 1), number(2, 0), number(3, 10))
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let found = match what.as_str() {
        "budgets" => trial::budgets(seed).map(|found| json!({ "budgets": found })),
        "ring" => trial::travel(seed, 14, 7, Topology::Spur, second.max(1000)).map(shown),
        "random" => random(seed, second.max(MESSAGES_PER_GRAPH)),
        "updates" => {
            let updates::Judged { updates, accepted, withdrawn, rejected } = updates::judge(seed);
            let found = json!({
                "updates": updates,
                "accepted": accepted,
                "withdrawn": withdrawn,
                "rejected": rejected,
            });
            Ok(found)
        }
        "exodus" => {
            let (late, span) = (Duration::from_millis(second), Duration::from_secs(35));
            trial::exodus(seed, 20, 10, late, span).map(|dials| json!({ "dials": dials }))
        }
        "idle" => {
            let nodes = if second == 0 { 100 } else { second as usize };
            let idle = trial::idle(seed, nodes, third as usize, Duration::from_secs(120));
            idle.map(|planes| {
                let all: f64 = planes.values().sum();
                json!({ "nodes": nodes, "bytes_per_node_second": all, "planes": planes })
            })
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match found {
        Ok(found) => {
            println!("{found} in {:.1} s", started.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}

fn random(seed: u64, messages: u64) -> Result<Value, mpreg_tests::check::Violation> {
    let mut all = trial::Travels::default();
    let mut graphs = 0;
    while all.messages < messages {
        let count = MESSAGES_PER_GRAPH.min(messages - all.messages);
        let one = trial::travel(seed + graphs, 30, 20, Topology::Random, count)?;
        graphs += 1;
        all.messages += one.messages;
        all.visits += one.visits;
        all.duplicates += one.duplicates;
        all.clusters_max = all.clusters_max.max(one.clusters_max);
    }
    Ok(json!({ "graphs": graphs, "travels": shown(all) }))
}

fn shown(travels: trial::Travels) -> Value {
    let trial::Travels { messages, visits, duplicates, clusters_max } = travels;
    json!({
        "messages": messages,
        "visits": visits,
        "duplicates": duplicates,
        "clusters_max": clusters_max,
    })
}
