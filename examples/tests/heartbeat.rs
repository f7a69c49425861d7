//! Tests the connection of `heartbeat`, on a server that answers, and behind a relay that loses the
//! answers.

#![forbid(unsafe_code)]

#[path = "../heartbeat/connection.rs"]
mod connection;
#[expect(dead_code, reason = "the program has no options")]
mod example;
#[path = "../heartbeat/relay.rs"]
mod relay;
mod servers;

use std::error::Error;
use std::future::pending;
use std::time::Duration;

use async_context_manager::prelude::*;
use async_context_manager::testing::cancel_everywhere;
use tokio::time::timeout;

use connection::{Connection, ConnectionError, Pulse, connection};
use relay::relay;
use servers::url_of;

type Tested = Result<(), Box<dyn Error + Send + Sync>>;

/// What takes longer than this hangs.
const WATCHDOG: Duration = Duration::from_mins(2);

const PULSE: Pulse = Pulse {
    pause: Duration::from_millis(5),
    patience: Duration::from_mins(1),
};

/// Waits until this number of beats has come back.
async fn beats(connection: &mut Connection, number: u64) {
    let beaten = connection.beats.wait_for(|beats| *beats >= number);
    beaten.await.expect("the heartbeat goes on");
}

#[tokio::test]
#[ignore = "needs NATS"]
async fn a_body_goes_on_while_the_server_answers() -> Tested {
    let used = connection(url_of("NATS_URL"), PULSE).with(async |connection| {
        beats(connection, 5).await;
        Ok("done")
    });
    assert_eq!(timeout(WATCHDOG, used).await??, "done");
    Ok(())
}

#[tokio::test]
#[ignore = "needs NATS"]
async fn what_the_body_has_published_arrives_though_the_connection_ends() -> Tested {
    use futures::StreamExt as _;

    let listener = async_nats::connect(url_of("NATS_URL")).await?;
    let subject = listener.new_inbox();
    let mut received = listener.subscribe(subject.clone()).await?;
    listener.flush().await?;
    let used = connection(url_of("NATS_URL"), PULSE).with(async |connection| {
        for number in 0..100 {
            let sent = connection
                .client
                .publish(subject.clone(), format!("{number}").into());
            sent.await
                .map_err(|error| ConnectionError::Nats(error.into()))?;
        }
        Ok(())
    });
    timeout(WATCHDOG, used).await??;
    for number in 0..100 {
        let message = timeout(WATCHDOG, received.next()).await?;
        assert_eq!(message.expect("it goes on").payload, format!("{number}"));
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs NATS"]
async fn a_server_whose_answers_stop_ends_the_body() -> Tested {
    let server = url_of("NATS_URL");
    let server = server.trim_start_matches("nats://").to_owned();
    let pulse = Pulse {
        patience: Duration::from_secs(1),
        ..PULSE
    };
    let used = relay(server).with(async |relay| {
        let used = connection(relay.url(), pulse).try_with(async |connection| {
            beats(connection, 3).await;
            relay.stop_answers();
            pending::<Result<(), _>>().await
        });
        Ok(timeout(WATCHDOG, used).await)
    });
    let result = used.await??;
    // Only once: the exit does not wait for a silent server, and adds no error.
    assert!(
        matches!(
            result,
            Err(Failure::Body(ConnectionError::Silent(for_so_long))) if for_so_long == pulse.patience
        ),
        "{result:?}"
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs NATS"]
async fn a_connection_that_is_given_up_at_any_await_fails_in_no_exit() {
    let start = || {
        connection(url_of("NATS_URL"), PULSE).with(async |connection| {
            beats(connection, 2).await;
            Ok(())
        })
    };
    let runs = cancel_everywhere(start, |run| {
        let reports: Vec<_> = run.reports().iter().map(ToString::to_string).collect();
        assert_eq!(reports, [""; 0], "{run}");
    });
    assert!(runs.await > 6);
}

#[test]
#[ignore = "needs NATS"]
fn the_program_prints_what_it_says() {
    example::prints_what_its_docs_show("heartbeat", include_str!("../heartbeat/main.rs"));
}
