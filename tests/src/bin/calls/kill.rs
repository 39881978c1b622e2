//! The cluster in the middle is killed while calls run behind it: each is answered another way, and
//! ran once.
//!
//! ```text
//!         +-- c1 --+        the one of c1 and c2 that answers would come through
//!   c0 ---+        +--- c3  is killed, and started again
//!         +-- c2 --+
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mpreg_client::Client;
use mpreg_tests::live::fabric::{Fabric, grid};
use mpreg_tests::live::until;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{
    DEADLINE, Found, Log, client_of, micros, percentiles, serve_echo, timed, value_of, wait_known,
};

/// How long the function takes.
const WAIT: Duration = Duration::from_millis(500);

/// From the kill, or the end of the function if that is later.
const PROMISED: Duration = Duration::from_secs(2);

/// What one repetition came to.
struct Repetition {
    /// From the kill to the last answer.
    took: Duration,
    wrong: usize,
    not_once: usize,
}

/// Repetitions, and calls of each.
pub(super) fn measure(numbers: &[usize]) -> Found {
    let &[repetitions, calls] = numbers else { return Err("numbers".into()) };
    let is_linked = |near, far| far - near == 1 && near != 1 || far - near == 2;
    let mut fabric = Fabric::start(grid(4, 2, is_linked));
    fabric.wait_known();
    tokio::runtime::Runtime::new()?.block_on(async {
        let service = client_of(fabric.router(6)).await?;
        let log = Log::default();
        serve_echo(&service, "echo", WAIT, Some(log.clone())).await?;
        wait_known(fabric.router(0), "echo");
        let client = client_of(fabric.router(0)).await?;
        let mut took = Histogram::<u64>::new(3)?;
        let (mut late, mut wrong, mut not_once) = (0, 0, 0);
        for repetition in 0..repetitions {
            let first = (repetition * calls) as u64;
            let one = repeat(&mut fabric, &client, &log, first..first + calls as u64).await?;
            took.record(micros(one.took))?;
            late += usize::from(PROMISED < one.took);
            wrong += one.wrong;
            not_once += one.not_once;
            eprintln!(
                "{repetition}: {:?}, {} wrong, {} not once",
                one.took, one.wrong, one.not_once
            );
        }
        let found = json!({
            "repetitions": repetitions,
            "calls": repetitions * calls,
            "wrong": wrong,
            "not_once": not_once,
            "late": late,
            "us_from_kill_to_last_answer": percentiles(&took),
        });
        Ok((found, (late, wrong, not_once) == (0, 0, 0)))
    })
}

async fn repeat(
    fabric: &mut Fabric,
    client: &Client,
    log: &Log,
    numbers: std::ops::Range<u64>,
) -> Result<Repetition, Box<dyn Error>> {
    let middle = until("there are two ways", || {
        let ways = fabric.explained(0, "c3").candidates;
        let through = |cluster| ways.iter().any(|way| way.exit_cluster == cluster);
        (through("c1") && through("c2")).then(|| if ways[0].exit_cluster == "c1" { 1 } else { 2 })
    });
    let mut calls = JoinSet::new();
    for number in numbers.clone() {
        let (client, value) = (client.clone(), value_of(number, 0));
        calls.spawn(async move {
            let call = client.call("echo").deadline(DEADLINE).send(value.clone());
            timed(call, &value, Instant::now()).await
        });
    }
    while !numbers.clone().all(|number| log.runs_of(number) != 0) {
        sleep(Duration::from_millis(1)).await;
    }
    let killed = Instant::now();
    let gone = [2 * middle, 2 * middle + 1];
    gone.into_iter().for_each(|at| fabric.kill(at));
    let wrong = calls.join_all().await.into_iter().filter(Option::is_none).count();
    let took = killed.elapsed();
    let not_once = numbers.filter(|&number| log.runs_of(number) != 1).count();
    gone.into_iter().for_each(|at| fabric.start_one(at));
    fabric.wait_linked();
    fabric.wait_known();
    Ok(Repetition { took, wrong, not_once })
}
