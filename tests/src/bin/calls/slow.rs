//! Functions that take five seconds, over every link both ways, beside many that take none: the others'
//! latency with them and without, in turns, and what the fabric's own probes saw.

use std::error::Error;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mpreg_client::Client;
use mpreg_tests::live::fabric::{Fabric, grid};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::{
    DEADLINE, Found, client_of, micros, percentiles, serve_echo, timed, value_of, wait_known,
};

const SLOW: Duration = Duration::from_secs(5);

/// Slow calls under way from each cluster to each neighbour.
const SLOW_CALLS: u64 = 32;

/// Between two turns of whoever sends at a rate.
const TURN: Duration = Duration::from_millis(1);

/// What phases in turns came to.
#[derive(Default)]
struct Phases {
    with: Vec<Histogram<u64>>,
    without: Vec<Histogram<u64>>,
    wrong: u64,
}

/// Clusters in a row, calls a second, seconds of a phase, and pairs of phases.
pub(super) fn measure(numbers: &[usize]) -> Found {
    let &[clusters, rate, seconds, rounds] = numbers else { return Err("numbers".into()) };
    let fabric = Fabric::start(grid(clusters, 1, |near, far| near + 1 == far));
    fabric.wait_known();
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut clients = Vec::new();
        for at in 0..clusters {
            let client = client_of(fabric.router(at)).await?;
            serve_echo(&client, &format!("slow{at}"), SLOW, None).await?;
            serve_echo(&client, &format!("quick{at}"), Duration::ZERO, None).await?;
            clients.push(client);
        }
        for at in 0..clusters {
            (0..clusters).for_each(|to| wait_known(fabric.router(at), &format!("quick{to}")));
            (0..clusters).for_each(|to| wait_known(fabric.router(at), &format!("slow{to}")));
        }
        let suspected = || fabric.counts("mpreg_members_suspected_total").iter().sum::<u64>();
        let before = suspected();
        let span = Duration::from_secs(seconds as u64);
        let Phases { with, without, wrong } = alternate(&clients, rate, span, rounds).await?;
        let (p99_with, p99_without) = (p99s(&with), p99s(&without));
        let suspected = suspected() - before;
        let found = json!({
            "clusters": clusters,
            "rate": rate,
            "calls": with.iter().chain(&without).map(Histogram::len).sum::<u64>(),
            "slow_calls_under_way": SLOW_CALLS as usize * 2 * (clusters - 1),
            "wrong": wrong,
            "suspected": suspected,
            "us_with": percentiles(&sum(&with)?),
            "us_without": percentiles(&sum(&without)?),
            "us_p99_of_phases_with": p99_with,
            "us_p99_of_phases_without": p99_without,
            "p99_ratio_of_medians": p99_with[rounds / 2] as f64 / p99_without[rounds / 2] as f64,
        });
        Ok((found, (wrong, suspected) == (0, 0)))
    })
}

/// A phase with slow calls ends only when these have.
async fn alternate(
    clients: &[Client],
    rate: usize,
    span: Duration,
    rounds: usize,
) -> Result<Phases, Box<dyn Error>> {
    let mut phases = Phases::default();
    for _ in 0..rounds {
        let (latencies, wrong) = send_at(clients, rate, span).await?;
        phases.without.push(latencies);
        phases.wrong += wrong;
        let mut slow = JoinSet::new();
        for (from, to) in neighbours(clients.len()) {
            (0..SLOW_CALLS)
                .for_each(|number| drop(slow.spawn(call(&clients[from], "slow", to, number))));
        }
        let (latencies, wrong) = send_at(clients, rate, span).await?;
        phases.with.push(latencies);
        phases.wrong += wrong;
        while let Some(took) = slow.join_next().await {
            phases.wrong += u64::from(took?.is_none());
        }
    }
    Ok(phases)
}

/// In order.
fn p99s(phases: &[Histogram<u64>]) -> Vec<u64> {
    let mut all: Vec<u64> = phases.iter().map(|phase| phase.value_at_quantile(0.99)).collect();
    all.sort_unstable();
    all
}

fn sum(phases: &[Histogram<u64>]) -> Result<Histogram<u64>, Box<dyn Error>> {
    let mut all = Histogram::<u64>::new(3)?;
    phases.iter().try_for_each(|phase| all.add(phase))?;
    Ok(all)
}

/// Each cluster and each of its neighbours.
fn neighbours(clusters: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (1..clusters).flat_map(|far| [(far - 1, far), (far, far - 1)])
}

/// Calls at this rate from all clusters to their neighbours, whether earlier ones came back or not; each is
/// timed from when it is sent. How many came to nothing.
async fn send_at(
    clients: &[Client],
    rate: usize,
    span: Duration,
) -> Result<(Histogram<u64>, u64), Box<dyn Error>> {
    let mut latencies = Histogram::<u64>::new(3)?;
    let (started, count) = (Instant::now(), (rate as f64 * span.as_secs_f64()) as u64);
    let due = |number: u64| started + Duration::from_secs_f64(number as f64 / rate as f64);
    let mut ways = neighbours(clients.len()).cycle();
    let (mut calls, mut wrong, mut turns) = (JoinSet::new(), 0, interval(TURN));
    let mut number = 0;
    while number < count || !calls.is_empty() {
        while number < count && due(number) <= Instant::now() {
            let (from, to) = ways.next().ok_or("two clusters or more have neighbours")?;
            calls.spawn(call(&clients[from], "quick", to, number));
            number += 1;
        }
        tokio::select! {
            Some(took) = calls.join_next() => match took? {
                Some(took) => latencies.record(micros(took))?,
                None => wrong += 1,
            },
            _ = turns.tick(), if number < count => (),
        }
    }
    Ok((latencies, wrong))
}

fn call(
    client: &Client,
    kind: &str,
    to: usize,
    number: u64,
) -> impl Future<Output = Option<Duration>> + Send + 'static {
    let (client, name, value) = (client.clone(), format!("{kind}{to}"), value_of(number, 64));
    async move {
        let call = client.call(&name).deadline(DEADLINE).send(value.clone());
        timed(call, &value, Instant::now()).await
    }
}
