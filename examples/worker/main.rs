//! A worker that takes jobs from NATS JetStream, eight at a time. A job is acknowledged when it has
//! succeeded, and given back to the queue when it has failed or was cancelled. At a signal, the
//! worker takes no more jobs, and ends in order.
//!
//! It needs a NATS with JetStream: `nats-server -js`. Here is a run with twenty jobs, each of which
//! takes half a second, and with Ctrl-C after a second:
//!
//! ```text
//! $ cargo run --example worker -- --name A --add 20 --time 500
//! A: job 1 begins
//! A: job 2 begins
//! …
//! A: job 8 begins
//! A: job 1 ends: Completed
//! A: job 9 begins
//! …
//! ^C
//! A: job 9 ends: Completed
//! …
//! A: job 16 ends: Completed
//! ```
//!
//! Several workers share one queue: run the program in several terminals. If one of them is killed
//! by `kill -9`, the others get its jobs when NATS has heard nothing of these for `--ack-wait`.
//!
//! A job is one context (see `job.rs`), which handles everything that can go wrong with the job:
//!
//! ```text
//! #[async_context]
//! async fn job(queue: Queue) -> Result<Job, JobError> {
//!     let message = …;                                           // pulled from the queue
//!     let job = Job::of(&message)?;
//!     let (_, outcome) = yield_!(job, queue.keep(&message, …));  // beside the body: it is still ours
//!     queue.answer(&message, …).await                            // by the outcome
//! }
//! ```
//!
//! | what happens | what becomes of the job |
//! | --- | --- |
//! | its body completes | acknowledged: NATS removes it |
//! | its body fails or panics | given back, and nobody gets it before `--retry-after` |
//! | the worker is told to end, while it asks for a job | given back at once, if one comes all the same |
//! | the worker is told to end, and the job has not ended after `--grace` | its body drops; given back at once |
//! | NATS confirms nothing for most of `--ack-wait` | its body drops, before NATS gives the job to another worker |
//! | a second signal, `kill -9`, a power cut | NATS gives it to another worker after `--ack-wait` |
//!
//! A job may therefore be done twice, one time after the other, if its acknowledgement does not
//! arrive. No queue can rule that out. But no two workers do a job at the same time, as long as
//! NATS itself is stopped and not killed, and forgets nothing.
//!
//! The exit code tells how the worker ended: 0 if all its jobs ended by themselves, 124 if some had
//! to be dropped, 125 if some could not be given back.

#![forbid(unsafe_code)]

mod job;
mod queue;

use std::time::Duration;

use async_context_manager::contexts::tasks;
use async_context_manager::prelude::*;
use async_context_manager::shutdown::{self, Ended, Times};
use clap::{Parser, value_parser};
use tokio::time::sleep;

use crate::job::{Job, JobError, Taken, job};
use crate::queue::Queue;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// How many jobs run at the same time.
const AT_ONCE: usize = 8;

/// Takes jobs from a queue in NATS JetStream, eight at a time, until a signal comes.
#[derive(Debug, Parser)]
#[command(name = "worker", version)]
struct Options {
    /// Where NATS is
    #[arg(long, value_name = "URL", default_value = "nats://127.0.0.1:4222")]
    nats_url: String,

    /// The stream that the jobs are in; made if there is none
    #[arg(long, value_name = "NAME", default_value = "jobs")]
    queue: String,

    /// The name of this worker in what it prints [default: its process]
    #[arg(long)]
    name: Option<String>,

    /// Put so many jobs into the queue, before all else
    #[arg(long, value_name = "N", default_value = "0")]
    add: u64,

    /// How many milliseconds each of these takes
    #[arg(long, value_name = "MS", default_value = "500")]
    time: u64,

    /// How many milliseconds a job may take to its end when the worker is told to end
    #[arg(long, value_name = "MS", default_value = "15000")]
    grace: u64,

    /// NATS gives a job to another worker if it has heard nothing of it for so many milliseconds;
    /// at least 2000, because a NATS that was restarted remembers seconds
    #[arg(long, value_name = "MS", default_value = "30000")]
    #[arg(value_parser = value_parser!(u64).range(2000..))]
    ack_wait: u64,

    /// After how many milliseconds a job that has failed may be tried again
    #[arg(long, value_name = "MS", default_value = "1000")]
    retry_after: u64,
}

/// The work itself, which knows nothing about queues and signals.
async fn work(job: &Job) -> Result<(), JobError> {
    sleep(job.time).await;
    if job.failures >= job.attempt {
        return Err(JobError::Failed);
    }
    Ok(())
}

/// Does a job that was taken. However this ends, or if it is dropped, the job's exit answers NATS.
async fn finish(job: Result<Guard<Taken>, JobError>) -> Result<(), JobError> {
    let mut job = job?;
    let done = Guard::run(&mut job, async |job| work(job).await).await;
    Guard::exit(job, done).await
}

async fn app(options: Options) -> Result<(), AnyError> {
    let queue = Queue::open(&options).await?;
    for number in 1..=options.add {
        let text = format!("{number} {}", options.time);
        queue.add(text).await?;
    }
    let mut told = shutdown::told();
    tasks()
        .limit(AT_ONCE)
        .with(async |jobs| {
            loop {
                let next = async {
                    let slot = jobs.reserve().await;
                    (slot, job(queue.clone()).guard().await)
                };
                let (slot, job) = tokio::select! {
                    () = &mut told => break,
                    next = next => next,
                };
                let name = queue.name.clone();
                slot.spawn(async move {
                    // A failed job must not end the others.
                    if let Err(error) = finish(job).await {
                        eprintln!("{name}: {error}");
                    }
                    Ok(())
                });
            }
            // Waits until the running jobs have ended. The body must wait, not the exit of the
            // group: a body that is dropped after the grace drops its tasks, while an exit goes on.
            let mut free = Vec::new();
            while free.len() < AT_ONCE {
                free.push(jobs.reserve().await);
            }
            Ok(())
        })
        .await
}

#[tokio::main]
async fn main() -> Ended<Result<(), AnyError>> {
    let options = Options::parse();
    let times = Times::new().grace(Duration::from_millis(options.grace));
    // Boxed, because the future is large, and `run` moves it.
    times.run(Box::pin(app(options))).await
}
