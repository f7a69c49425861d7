//! A connection to NATS, with a heartbeat beside its body.

use std::future::Future;
use std::time::Duration;

use async_context_manager::{BodyError, prelude::*};
use async_nats::{Client, ConnectError, Subscriber};
use futures::StreamExt as _;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pulse {
    /// The time between two beats.
    pub(crate) pause: Duration,
    /// How long the server may take to return a beat.
    pub(crate) patience: Duration,
}

#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    #[error("can't connect: {0}")]
    Connect(#[from] ConnectError),
    #[error("the server did not answer for {0:?}")]
    Silent(Duration),
    #[error("NATS failed: {0}")]
    Nats(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ConnectionError {
    fn nats(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Nats(Box::new(error))
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) beats: watch::Receiver<u64>,
}

/// Keeps a connection while the body runs, and sends a heartbeat beside the body: a message to
/// itself, through the server. A beat that does not come back ends the body with
/// [`ConnectionError::Silent`].
///
/// If the server has gone, the NATS client reconnects by itself, and meanwhile publishes into a
/// buffer. That is right for a body that can wait. This context is for a body that must know.
#[async_context]
pub(crate) async fn connection(url: String, pulse: Pulse) -> Result<Connection, ConnectionError> {
    // A caller that gives up waiting for a server has nothing to undo.
    let client = cancellable!(async_nats::connect(url)).await?;
    let inbox = client.new_inbox();
    let beats = client.subscribe(inbox.clone()).await;
    let beats = beats.map_err(ConnectionError::nats)?;
    let (counted, count) = watch::channel(0);
    let connection = Connection {
        client: client.clone(),
        beats: count,
    };
    let (_, outcome) = yield_!(
        connection,
        heartbeat(client.clone(), inbox, beats, pulse, counted)
    );
    if outcome.error().is_some_and(BodyError::is_from_beside) {
        // The server is silent, so there is nobody to say goodbye to.
        return Ok(());
    }
    // What the body has published must be sent before the connection ends.
    let flushed = in_time(pulse, client.flush()).await?;
    flushed.map_err(ConnectionError::nats)?;
    let drained = in_time(pulse, client.drain()).await?;
    drained.map_err(ConnectionError::nats)
}

/// Ends if a beat does not come back.
async fn heartbeat(
    client: Client,
    inbox: String,
    mut beats: Subscriber,
    pulse: Pulse,
    counted: watch::Sender<u64>,
) -> Result<(), ConnectionError> {
    loop {
        let sent = client.publish(inbox.clone(), "beat".into()).await;
        sent.map_err(ConnectionError::nats)?;
        let back = in_time(pulse, beats.next()).await?;
        if back.is_none() {
            return Err(ConnectionError::Silent(Duration::ZERO));
        }
        counted.send_modify(|count| *count += 1);
        sleep(pulse.pause).await;
    }
}

async fn in_time<T>(
    Pulse { patience, .. }: Pulse,
    answer: impl Future<Output = T>,
) -> Result<T, ConnectionError> {
    let answered = timeout(patience, answer).await;
    answered.map_err(|_| ConnectionError::Silent(patience))
}
