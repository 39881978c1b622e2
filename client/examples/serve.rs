//! Running a function: as many calls at a time as it says, a caller that gives up, and a worker that
//! leaves without losing a call.
//!
//! `cargo run --example serve -- mpreg://HOST:PORT` (or `MPREG_URL`).

use std::error::Error;
use std::num::NonZeroU32;

use mpreg_client::{CallError, CallFailed, Client, Dismissed, Function, Job, Value, Worker};
use tokio::task::JoinSet;

const LIMIT: NonZeroU32 = NonZeroU32::new(4).expect("it is not zero");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().skip(1).find(|arg| arg != "--url");
    run(&url.or_else(|| std::env::var("MPREG_URL").ok()).ok_or("which router? set MPREG_URL")?)
        .await
}

pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let service = Client::connect(url).await?;
    let resources = &["example-gpu"];
    let function = Function { resources, limit: LIMIT, ..Function::new("example.shout", "2.1.0") };
    let mut worker = service.serve(function).await?;
    let client = Client::connect(url).await?;

    // As many as it runs at a time, and one more.
    let mut calls = JoinSet::new();
    let jobs = take(LIMIT.get(), &client, &mut worker, &mut calls).await?;
    let one_more = shout(client.clone(), "!".to_owned()).await;
    let code = one_more.err().and_then(|error| error.code());
    assert_eq!(code, Some(CallError::Overloaded), "nothing waits in a line");
    answer(jobs).await?;
    assert_eq!(results(&mut calls).await?, ["A", "B", "C", "D"]);

    // A caller that gives up: its job hears of it, and its place is free once the router has read
    // the answer.
    let given_up = tokio::spawn(shout(client.clone(), "x".to_owned()));
    let job = worker.next().await.ok_or("no job came")?;
    given_up.abort();
    job.withdrawn().await;
    job.fail("nobody waits");

    // It leaves while calls run: they are answered, and no further ones come. One place may still be
    // taken: nobody says when an answer that nobody waits for has been read.
    let jobs = take(LIMIT.get() - 1, &client, &mut worker, &mut calls).await?;
    worker.unregister();
    answer(jobs).await?;
    assert_eq!(results(&mut calls).await?, ["A", "B", "C"]);
    assert!(worker.next().await.is_none());
    assert_eq!(worker.dismissed(), Some(Dismissed::Unregistered));
    let gone = shout(client.clone(), "late".to_owned()).await;
    assert_eq!(gone.err().and_then(|error| error.code()), Some(CallError::NotFound));

    service.drain().await?;
    service.close().await?;
    client.close().await?;
    println!("serve limit={LIMIT} answered={}", 2 * LIMIT.get() - 1);
    Ok(())
}

async fn shout(client: Client, text: String) -> Result<Value, CallFailed> {
    client.call("example.shout").resource("example-gpu").send(text).await
}

/// Calls so many times, and takes the jobs.
async fn take(
    jobs_count: u32,
    client: &Client,
    worker: &mut Worker,
    calls: &mut JoinSet<Result<Value, CallFailed>>,
) -> Result<Vec<Job>, Box<dyn Error>> {
    let mut jobs = Vec::new();
    for letter in ('a'..).take(jobs_count as usize) {
        calls.spawn(shout(client.clone(), letter.to_string()));
        jobs.push(worker.next().await.ok_or("no job came")?);
    }
    Ok(jobs)
}

async fn answer(jobs: Vec<Job>) -> Result<(), Box<dyn Error>> {
    for job in jobs {
        let loud = job.payload().to_ascii_uppercase();
        job.reply(loud).await?;
    }
    Ok(())
}

async fn results(
    calls: &mut JoinSet<Result<Value, CallFailed>>,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut texts = Vec::new();
    while let Some(result) = calls.join_next().await {
        texts.push(String::from_utf8(result??.payload.into())?);
    }
    texts.sort();
    Ok(texts)
}
