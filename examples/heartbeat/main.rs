//! A connection to NATS with a heartbeat beside its body: when the server no longer answers, the
//! body ends.
//!
//! A sensor publishes its readings, and receives what comes back. After the third reading the
//! server hangs, behind a relay that loses the answers. Nothing fails then: the client's writes go
//! into buffers, and the next answer never comes. The body waits in a plain `await`, without a time
//! limit and without a `select!`, and the heartbeat ends it. The context is in `connection.rs`.
//!
//! ```text
//! $ cargo run --example heartbeat
//! reading 1 came back
//! reading 2 came back
//! reading 3 came back
//! the server hangs
//! the body has ended: the server did not answer for 1s
//! ```
//!
//! `NATS_URL` names the server, by default `nats://127.0.0.1:4222`.

#![forbid(unsafe_code)]

mod connection;
mod relay;

use std::error::Error;
use std::time::Duration;

use async_context_manager::prelude::*;
use futures::StreamExt as _;

use connection::{Connection, ConnectionError, Pulse, connection};
use relay::relay;

const PULSE: Pulse = Pulse {
    pause: Duration::from_millis(100),
    patience: Duration::from_secs(1),
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = std::env::var("NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned());
    let server = server.trim_start_matches("nats://").to_owned();
    let result = relay(server)
        .err_into::<Box<dyn Error + Send + Sync>>()
        .with(async |relay| {
            let used = connection(relay.url(), PULSE)
                .with(async |connection| readings(connection, || relay.stop_answers()).await);
            Ok(used.await)
        })
        .await?;
    if let Err(error) = result {
        println!("the body has ended: {error}");
    }
    Ok(())
}

/// Publishes readings for ever. Only the first three come back.
async fn readings(
    Connection { client, beats }: &mut Connection,
    hang: impl Fn(),
) -> Result<(), ConnectionError> {
    let beaten = beats.wait_for(|beats| *beats > 0).await;
    beaten.expect("the heart beats as long as there is a body");
    let subject = client.new_inbox();
    let back = client.subscribe(subject.clone()).await;
    let mut back = back.map_err(|error| ConnectionError::Nats(error.into()))?;
    for number in 1.. {
        let sent = client.publish(subject.clone(), "21 degrees".into()).await;
        sent.map_err(|error| ConnectionError::Nats(error.into()))?;
        back.next().await;
        println!("reading {number} came back");
        if number == 3 {
            println!("the server hangs");
            hang();
        }
    }
    Ok(())
}
