//! A queue group: three workers share the jobs, each job goes to one of them, and an auditor outside
//! the group sees every job.
//!
//! `cargo run --example queue_group -- mpreg://HOST:PORT` (or `MPREG_URL`).

use std::collections::BTreeSet;
use std::error::Error;

use mpreg_client::{Client, SubscribeOptions, Subscription};

const JOBS_COUNT: u32 = 300;
const WORKERS_COUNT: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().skip(1).find(|arg| arg != "--url");
    run(&url.or_else(|| std::env::var("MPREG_URL").ok()).ok_or("which router? set MPREG_URL")?)
        .await
}

pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let mut workers = Vec::new();
    for _ in 0..WORKERS_COUNT {
        let client = Client::connect(url).await?;
        let options = SubscribeOptions {
            pattern: "example.jobs.*",
            group: "workers",
            ..SubscribeOptions::default()
        };
        let jobs = client.subscribe_with(options).await?;
        workers.push((client, tokio::spawn(work(jobs))));
    }
    let office = Client::connect(url).await?;
    let mut audit = office.subscribe("example.jobs.*").await?;

    for job in 0..JOBS_COUNT {
        office.publish("example.jobs.new", &job.to_le_bytes()).await?;
    }
    for job in 0..JOBS_COUNT {
        let seen = audit.next().await.ok_or("the audit ended")?;
        assert_eq!(seen.payload(), job.to_le_bytes(), "outside the group nothing is shared out");
    }
    // Whoever published is read up to here, so every job has its worker.
    office.flush().await?;

    let mut done = BTreeSet::new();
    let mut shares = Vec::new();
    for (client, worker) in workers {
        // Ends the worker after its last job.
        client.drain().await?;
        let share = worker.await?;
        shares.push(share.len());
        for job in share {
            assert!(done.insert(job), "job {job} was done twice");
        }
        client.close().await?;
    }
    assert_eq!(done.len(), JOBS_COUNT as usize, "every job was done: {shares:?}");
    office.close().await?;
    println!("queue_group jobs={JOBS_COUNT} shares={shares:?}");
    Ok(())
}

/// The jobs that came here.
async fn work(mut jobs: Subscription) -> Vec<u32> {
    let mut done = Vec::new();
    while let Some(job) = jobs.next().await {
        done.push(job.payload().try_into().map_or(u32::MAX, u32::from_le_bytes));
    }
    done
}
