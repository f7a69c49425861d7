//! The queue of jobs: a stream of NATS JetStream, and one consumer, which all workers share.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::stream::{self, RetentionPolicy};
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{Client, ConnectOptions};
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::job::JobError;
use crate::{AnyError, Options};

/// How long a worker waits for a job before it asks again.
const PULL: Duration = Duration::from_secs(1);

/// How long NATS may take to an answer. All jobs are answered for within what a program has to
/// drain.
const ANSWER: Duration = Duration::from_secs(5);

/// A NATS that was restarted knows only the second in which it last heard of a job: it may give the
/// job to another worker so much earlier.
const ROUNDED: Duration = Duration::from_secs(1);

/// What each job needs of the queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    /// That of the worker.
    pub(crate) name: Arc<str>,
    pub(crate) retry_after: Duration,
    ack_wait: Duration,
    subject: String,
    client: Client,
    jobs: PullConsumer,
}

impl Queue {
    /// Makes what there is not yet.
    pub(crate) async fn open(options: &Options) -> Result<Self, AnyError> {
        let client = ConnectOptions::new()
            .request_timeout(Some(ANSWER))
            .reconnect_delay_callback(|attempt| match attempt {
                0 | 1 => Duration::ZERO,
                _ => Duration::from_millis(100),
            })
            .connect(&options.nats_url)
            .await?;
        let stream = stream::Config {
            name: options.queue.clone(),
            // What is acknowledged is removed.
            retention: RetentionPolicy::WorkQueue,
            ..stream::Config::default()
        };
        let stream = jetstream::new(client.clone())
            .get_or_create_stream(stream)
            .await?;
        let ack_wait = Duration::from_millis(options.ack_wait);
        let workers = pull::Config {
            durable_name: Some("workers".to_owned()),
            ack_wait,
            ..pull::Config::default()
        };
        let name = match &options.name {
            Some(name) => name.clone(),
            None => std::process::id().to_string(),
        };
        Ok(Self {
            name: name.into(),
            retry_after: Duration::from_millis(options.retry_after),
            ack_wait,
            subject: options.queue.clone(),
            client,
            jobs: stream.get_or_create_consumer("workers", workers).await?,
        })
    }

    /// Adds a job.
    pub(crate) async fn add(&self, text: String) -> Result<(), AnyError> {
        let jetstream = jetstream::new(self.client.clone());
        let added = jetstream.publish(self.subject.clone(), text.into()).await?;
        added.await?;
        Ok(())
    }

    /// Asks for one job. No more: a job that nobody works on yet would wait in vain for an answer.
    pub(crate) async fn pull(&self) -> Result<Option<Message>, AnyError> {
        let batch = self.jobs.batch().max_messages(1);
        let wait = PULL.min(self.ack_wait / 4);
        let mut messages = batch.expires(wait).messages().await?;
        messages.next().await.transpose()
    }

    /// Tells NATS, and waits until it has understood.
    pub(crate) async fn answer(&self, message: &Message, answer: AckKind) -> Result<(), JobError> {
        let Some(of_the_job) = message.reply.clone() else {
            return Err(JobError::Answer("it is not of a queue".into()));
        };
        // Not `Message::double_ack_with`, which takes "nobody is listening" for an answer: that is
        // what comes while a server starts.
        let understood = self.client.request(of_the_job, answer.into()).await;
        understood.map_err(async_nats::Error::from)?;
        Ok(())
    }

    /// Runs beside the body of a job: tells NATS that the job is still being worked on, and ends the
    /// body before NATS may give the job to another worker, because NATS has confirmed nothing since
    /// `since`.
    pub(crate) async fn keep(&self, message: &Message, mut since: Instant) -> Result<(), JobError> {
        let ours = self.ack_wait.saturating_sub(ROUNDED) * 3 / 4;
        loop {
            let asked = Instant::now();
            // An answer that a stopped server still owed never comes: each question has its own time.
            let told = timeout(ours / 3, self.answer(message, AckKind::Progress));
            match timeout_at(since + ours, told).await {
                Ok(Ok(Ok(()))) => since = asked,
                // A server that is starting, say.
                Ok(_) => {}
                Err(_) => return Err(JobError::Lost),
            }
            sleep(ours / 6).await;
        }
    }
}
