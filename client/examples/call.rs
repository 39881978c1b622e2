//! Calling functions: the highest version that will do, many calls in flight, a result in parts, and
//! the ways a call ends without one.
//!
//! `cargo run --example call -- mpreg://HOST:PORT` (or `MPREG_URL`).

use std::error::Error;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use mpreg_client::{CallError, CallFailed, Client, Function, Worker};

const CALLS_COUNT: u64 = 200;
const SHORT: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().skip(1).find(|arg| arg != "--url");
    run(&url.or_else(|| std::env::var("MPREG_URL").ok()).ok_or("which router? set MPREG_URL")?)
        .await
}

pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let service = Client::connect(url).await?;
    let limit = NonZeroU32::new(CALLS_COUNT as u32).ok_or("there are calls")?;
    let older = Function { limit, ..Function::new("example.multiply", "1.9.0") };
    let newer = Function { limit, ..Function::new("example.multiply", "1.10.0") };
    tokio::spawn(multiply(service.serve(older).await?, 2));
    tokio::spawn(multiply(service.serve(newer).await?, 10));

    let client = Client::connect(url).await?;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..CALLS_COUNT {
        let client = client.clone();
        calls.spawn(async move {
            let call = client.call("example.multiply").version("^1.2");
            let result = call.send(&number.to_le_bytes()).await?;
            assert_eq!(result.payload, (10 * number).to_le_bytes()[..], "1.10 comes after 1.9");
            Ok::<(), CallFailed>(())
        });
    }
    while let Some(outcome) = calls.join_next().await {
        outcome??;
    }
    let call = client.call("example.multiply").version("~1.9");
    assert_eq!(call.send(&3_u64.to_le_bytes()).await?.payload, 6_u64.to_le_bytes()[..]);

    let counted = count(&service, &client).await?;
    failures(&service, &client).await?;
    service.close().await?;
    client.close().await?;
    println!("call calls={CALLS_COUNT} parts={counted}");
    Ok(())
}

/// Answers each number with `factor` times it.
async fn multiply(mut worker: Worker, factor: u64) {
    while let Some(job) = worker.next().await {
        let number = job.payload().try_into().map_or(0, u64::from_le_bytes);
        if let Err(error) = job.reply(&(factor * number).to_le_bytes()).await {
            eprintln!("call: {error}");
        }
    }
}

/// A result that comes in parts.
async fn count(service: &Client, client: &Client) -> Result<u8, Box<dyn Error>> {
    let mut worker = service.serve(Function::new("example.count", "1.0.0")).await?;
    let counting = tokio::spawn(async move {
        let Some(mut job) = worker.next().await else { return Ok(()) };
        for part in 1..10_u8 {
            job.part(&[part]).await?;
        }
        job.reply(&[10]).await
    });
    let mut parts = client.call("example.count").stream("").await?;
    let mut counted = 0;
    while let Some(part) = parts.next().await {
        counted += 1;
        assert_eq!(part?.payload, [counted][..], "parts come in order");
    }
    counting.await??;
    assert_eq!(counted, 10);
    Ok(counted)
}

/// Whatever goes wrong has a code, and a word on whether the function may have been started.
async fn failures(service: &Client, client: &Client) -> Result<(), Box<dyn Error>> {
    let code = |outcome: Result<_, CallFailed>| {
        let error = outcome.err().ok_or("it failed")?;
        let code = error.code().ok_or("the router was asked")?;
        Ok::<_, Box<dyn Error>>((code, error.may_have_run()))
    };
    let nobody = client.call("example.nobody").send("").await;
    assert_eq!(code(nobody)?, (CallError::NotFound, false));
    let future = client.call("example.multiply").version("^2").send("").await;
    assert_eq!(code(future)?, (CallError::NoVersion, false));
    let needy = client.call("example.multiply").resource("gpu").send("").await;
    assert_eq!(code(needy)?, (CallError::NoResource, false));

    let mut worker = service.serve(Function::new("example.moody", "1.0.0")).await?;
    let serving = tokio::spawn(async move {
        let job = worker.next().await.ok_or("no job came")?;
        job.fail("not today");
        let late = worker.next().await.ok_or("no job came")?;
        late.withdrawn().await;
        Ok::<(), &str>(())
    });
    let failed = client.call("example.moody").send("").await;
    assert_eq!(code(failed)?, (CallError::WorkerFailed, true));
    let before = Instant::now();
    let late = client.call("example.moody").deadline(SHORT).send("").await;
    assert_eq!(code(late)?, (CallError::Deadline, true));
    assert!(before.elapsed() < 10 * SHORT, "no call outlasts its deadline by much");
    serving.await??;
    Ok(())
}
