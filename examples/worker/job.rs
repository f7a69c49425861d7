//! A job: taken from the queue, kept while it runs, and answered according to how it ended.

use std::time::Duration;

use async_context_manager::prelude::*;
use async_nats::jetstream::{AckKind, Message};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::queue::Queue;

/// The pause between two attempts to take a job.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) time: Duration,
    pub(crate) failures: u64,
    /// How often any worker has begun the job by now.
    pub(crate) attempt: u64,
}

/// Why a job was not done, or could not be answered.
#[derive(Debug, Error)]
pub(crate) enum JobError {
    #[error("this is no job: `{0}`")]
    Malformed(String),
    #[error("the job has failed")]
    Failed,
    #[error("NATS has confirmed nothing for too long: the job may be somebody else's")]
    Lost,
    #[error("NATS has not got the answer: {0}")]
    Answer(#[from] async_nats::Error),
}

impl Job {
    /// Parses the text `NUMBER MILLISECONDS [FAILURES]`.
    fn of(message: &Message) -> Result<Self, JobError> {
        let text = String::from_utf8_lossy(&message.payload);
        let malformed = || JobError::Malformed(text.to_string());
        let words: Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
        let (number, time, failures) = match *words.map_err(|_| malformed())? {
            [number, time] => (number, time, 0),
            [number, time, failures] => (number, time, failures),
            _ => return Err(malformed()),
        };
        let delivered = message.info()?.delivered;
        Ok(Self {
            number,
            time: Duration::from_millis(time),
            failures,
            attempt: u64::try_from(delivered).unwrap_or_default(),
        })
    }
}

/// A job of the queue: acknowledged if its body completes, and given back otherwise.
#[async_context(struct = Taken)]
pub(crate) async fn job(queue: Queue) -> Result<Job, JobError> {
    let (message, asked) = loop {
        let asked = Instant::now();
        // Not `cancellable!`: if the caller gives up here, this goes on in the background. A job
        // that still arrives is then given back at once, and NATS need not miss its worker first.
        match queue.pull().await {
            Ok(Some(message)) => break (message, asked),
            Ok(None) => {}
            // The client connects again by itself.
            Err(error) => eprintln!("{}: {error}", queue.name),
        }
        // No job is on its way here.
        cancellable!(sleep(PAUSE)).await;
    };
    let job = match Job::of(&message) {
        Ok(job) => job,
        Err(error) => {
            // No other worker could do the job either.
            queue.answer(&message, AckKind::Term).await?;
            return Err(error);
        }
    };
    let (name, number) = (queue.name.clone(), job.number);
    println!("{name}: job {number} begins");

    let (_, outcome) = yield_!(job, queue.keep(&message, asked));

    println!("{name}: job {number} ends: {outcome:?}");
    let answer = match outcome {
        Outcome::Completed => AckKind::Ack,
        // The job may belong to another worker by now, who must not be disturbed.
        Outcome::Failed(error) if matches!(error.downcast_ref(), Some(JobError::Lost)) => {
            return Ok(());
        }
        Outcome::Failed(_) | Outcome::Panicked(_) => AckKind::Nak(Some(queue.retry_after)),
        // The worker ends. The next worker may have the job at once.
        _ => AckKind::Nak(None),
    };
    queue.answer(&message, answer).await?;
    Ok(())
}
