//! The queue of jobs: a stream of NATS JetStream with one consumer, which all workers share.

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

/// How long NATS may take to confirm an answer. All jobs are answered within the time that a
/// program has to drain.
const ANSWER: Duration = Duration::from_secs(5);

/// A NATS that was restarted only remembers the second in which it last heard of a job. It may give
/// the job to another worker that much earlier.
const ROUNDED: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) name: Arc<str>,
    pub(crate) retry_after: Duration,
    ack_wait: Duration,
    subject: String,
    client: Client,
    jobs: PullConsumer,
}

impl Queue {
    /// Creates what does not exist yet.
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
            // Removes jobs that were acknowledged.
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

    pub(crate) async fn add(&self, text: String) -> Result<(), AnyError> {
        let jetstream = jetstream::new(self.client.clone());
        let added = jetstream.publish(self.subject.clone(), text.into()).await?;
        added.await?;
        Ok(())
    }

    /// Asks for one job. Not for more: NATS would wait in vain for an answer about a job that
    /// nobody works on yet.
    pub(crate) async fn pull(&self) -> Result<Option<Message>, AnyError> {
        let batch = self.jobs.batch().max_messages(1);
        let wait = PULL.min(self.ack_wait / 4);
        let mut messages = batch.expires(wait).messages().await?;
        messages.next().await.transpose()
    }

    /// Answers NATS, and waits for the confirmation.
    pub(crate) async fn answer(&self, message: &Message, answer: AckKind) -> Result<(), JobError> {
        let Some(of_the_job) = message.reply.clone() else {
            return Err(JobError::Answer("it is not of a queue".into()));
        };
        // Not `Message::double_ack_with`, which takes "nobody is listening" for a confirmation: a
        // server that is starting sends that.
        let understood = self.client.request(of_the_job, answer.into()).await;
        understood.map_err(async_nats::Error::from)?;
        Ok(())
    }

    /// Runs beside the body of a job: tells NATS that somebody still works on the job. If NATS
    /// confirms nothing, ends the body before NATS may give the job to another worker. `since` is
    /// when NATS last heard of the job.
    pub(crate) async fn keep(&self, message: &Message, mut since: Instant) -> Result<(), JobError> {
        let ours = self.ack_wait.saturating_sub(ROUNDED) * 3 / 4;
        loop {
            let asked = Instant::now();
            // If the server was stopped, the answer to an earlier question never comes: each
            // question needs its own time.
            let told = timeout(ours / 3, self.answer(message, AckKind::Progress));
            match timeout_at(since + ours, told).await {
                Ok(Ok(Ok(()))) => since = asked,
                // For instance, a server that is starting.
                Ok(_) => {}
                Err(_) => return Err(JobError::Lost),
            }
            sleep(ours / 6).await;
        }
    }
}
