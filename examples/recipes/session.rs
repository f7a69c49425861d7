//! A session with a peer, as over a WebSocket: a greeting, messages, and a farewell that says why
//! the session ends.

use std::io;
use std::time::Duration;

use async_context_manager::{detached, prelude::*};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

#[async_context]
async fn session(mut stream: DuplexStream, user: &'static str) -> Result<DuplexStream, io::Error> {
    stream
        .write_all(format!("HELLO {user}\n").as_bytes())
        .await?;
    let (mut stream, outcome) = yield_!(stream);
    let farewell = match outcome {
        Outcome::Completed => "BYE 1000\n".to_owned(),
        Outcome::Failed(error) => format!("BYE 1011 {error:?}\n"),
        Outcome::Cancelled => "BYE 1001 going away\n".to_owned(),
        _ => "BYE 1011 panicked\n".to_owned(),
    };
    stream.write_all(farewell.as_bytes()).await?;
    stream.shutdown().await
}

/// Everything that the peer hears.
async fn heard(mut stream: DuplexStream) -> io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_session_ends_with_a_farewell() -> io::Result<()> {
    let (here, there) = duplex(256);
    session(here, "ada")
        .with(async |stream| stream.write_all(b"SAY hi\n").await)
        .await?;
    assert_eq!(heard(there).await?, "HELLO ada\nSAY hi\nBYE 1000\n");
    Ok(())
}

#[tokio::test]
async fn a_failed_session_says_why() -> io::Result<()> {
    let (here, there) = duplex(256);
    let result = session(here, "ada")
        .with(async |_| Err::<(), _>(io::ErrorKind::InvalidData.into()))
        .await;
    assert!(result.is_err());
    assert_eq!(
        heard(there).await?,
        "HELLO ada\nBYE 1011 Kind(InvalidData)\n"
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_given_up_says_goodbye_in_the_background() -> io::Result<()> {
    let (here, there) = duplex(256);
    let work = session(here, "ada").with(async |_| std::future::pending::<io::Result<()>>().await);
    assert!(timeout(Duration::from_secs(1), work).await.is_err());
    detached::drain().await;
    assert_eq!(heard(there).await?, "HELLO ada\nBYE 1001 going away\n");
    Ok(())
}
