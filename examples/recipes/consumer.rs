//! A consumer of a queue: a message is acknowledged if its body completes, and given back if not.
//!
//! Use it for jobs and events of a broker; here of NATS JetStream. A message whose body fails or
//! panics comes again after a pause, and a message whose body is given up comes again at once. The
//! broker confirms the answer. Without that, the use fails, although the body completed. Such a
//! message comes again when the broker has waited long enough, and so does a message of a process
//! that was killed. So a body must be able to run twice for one message.
//!
//! For a complete worker, which also keeps long jobs and obeys signals, see `examples/worker`.

use std::time::Duration;

use async_context_manager::prelude::*;
use async_nats::jetstream::{AckKind, Message, consumer::PullConsumer};
use async_nats::{Client, Error};
use futures::StreamExt as _;
use tokio::task::yield_now;

const RETRY_AFTER: Duration = Duration::from_millis(1);

#[async_context]
async fn message(nats: Client, queue: PullConsumer) -> Result<Message, Error> {
    let message = loop {
        // Not `cancellable!`: a message may be on its way. If the caller goes away, this goes on
        // for a second at most, and a message that comes is given back at once.
        let batch = queue
            .batch()
            .max_messages(1)
            .expires(Duration::from_secs(1));
        if let Some(message) = batch.messages().await?.next().await {
            break message?;
        }
        cancellable!(yield_now()).await; // no message is on its way here
    };
    let (message, outcome) = yield_!(message);
    let answer = match outcome {
        Outcome::Completed => AckKind::Ack,
        Outcome::Failed(_) | Outcome::Panicked(_) => AckKind::Nak(Some(RETRY_AFTER)),
        _ => AckKind::Nak(None),
    };
    // Not `double_ack`, which takes "nobody is listening" for a confirmation.
    let reply = message.reply.clone().ok_or("it is not of a queue")?;
    nats.request(reply, answer.into()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use async_context_manager::detached;
    use async_nats::jetstream::{self, consumer::pull, stream};

    use super::*;

    #[tokio::test]
    #[ignore = "needs NATS"]
    async fn a_message_comes_again_until_its_body_completes() -> Result<(), Error> {
        let url = std::env::var("NATS_URL").expect("NATS_URL has to be set, as nats://localhost");
        let nats = async_nats::connect(url).await?;
        let jetstream = jetstream::new(nats.clone());
        let name = format!("consumer-recipe-{:016x}", rand::random::<u64>());
        let config = stream::Config {
            name: name.clone(),
            retention: stream::RetentionPolicy::WorkQueue,
            storage: stream::StorageType::Memory,
            ..stream::Config::default()
        };
        let mut stream = jetstream.create_stream(config).await?;
        let queue: PullConsumer = stream.create_consumer(pull::Config::default()).await?;
        let next = || message(nats.clone(), queue.clone());
        jetstream
            .publish(name.clone(), "a job".into())
            .await?
            .await?;

        let failing = next().with(async |_| Err::<(), Error>("no room".into()));
        assert_eq!(failing.await.unwrap_err().to_string(), "no room");

        let begun = tokio::sync::Notify::new();
        let hanging = next().with(async |_| {
            begun.notify_one();
            pending::<Result<(), Error>>().await
        });
        tokio::select! {
            _ = hanging => unreachable!("it hangs"),
            () = begun.notified() => {} // the caller goes away
        }
        detached::drain().await;
        assert_eq!(stream.info().await?.state.messages, 1);

        let done = next().with(async |message| {
            assert_eq!(message.payload, "a job");
            Ok(message.info()?.delivered)
        });
        assert_eq!(done.await?, 3);
        assert_eq!(stream.info().await?.state.messages, 0);
        jetstream.delete_stream(name).await?;
        Ok(())
    }
}
