//! Tests what the server of `test_server` owes to its clients when it is told to stop.

#![forbid(unsafe_code)]

#[expect(dead_code, reason = "the program has no options")]
mod example;
#[path = "../test_server/server.rs"]
mod server;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_context_manager::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use server::{Answer, server};

/// The server of another test could get the address that a server has left: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What takes longer than this hangs.
const WATCHDOG: Duration = Duration::from_mins(2);

/// Answers once it may.
#[derive(Clone, Default)]
struct Gated {
    is_asked: Arc<Notify>,
    gate: Arc<Notify>,
}

impl Answer for Gated {
    async fn answer(&self, question: &str) -> String {
        self.is_asked.notify_one();
        self.gate.notified().await;
        question.to_uppercase()
    }
}

#[tokio::test]
async fn what_was_asked_before_the_server_was_told_to_stop_is_answered() -> io::Result<()> {
    let _alone = ALONE.lock().await;
    let gated = Gated::default();
    let (is_asked, gate) = (gated.is_asked.clone(), gated.gate.clone());
    let used = server(gated).with(async |address| {
        let mut client = TcpStream::connect(*address).await?;
        client.write_all(b"one\ntwo\n").await?;
        is_asked.notified().await;
        // The first answer may only come once the server has been told to stop.
        tokio::spawn(async move {
            gate.notify_one();
            is_asked.notified().await;
            gate.notify_one();
        });
        Ok(client)
    });
    let mut client = timeout(WATCHDOG, used).await??;
    let mut answers = String::new();
    client.read_to_string(&mut answers).await?;
    assert_eq!(answers, "ONE\nTWO\n");
    Ok(())
}

#[tokio::test]
async fn a_client_that_asks_nothing_does_not_keep_the_server() -> io::Result<()> {
    let _alone = ALONE.lock().await;
    let gated = Gated::default();
    let (is_asked, gate) = (gated.is_asked.clone(), gated.gate.clone());
    let used = server(gated).with(async |address| {
        let mut client = TcpStream::connect(*address).await?;
        // The connection has been accepted.
        client.write_all(b"one\n").await?;
        is_asked.notified().await;
        gate.notify_one();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).await?;
        Ok(client)
    });
    let mut client = timeout(WATCHDOG, used).await??;
    assert_eq!(client.read(&mut [0]).await?, 0, "it was closed");
    Ok(())
}

#[tokio::test]
async fn the_address_is_free_when_the_server_has_stopped() -> io::Result<()> {
    let _alone = ALONE.lock().await;
    let used = server(Gated::default()).with(async |address| Ok(*address));
    let address = timeout(WATCHDOG, used).await??;
    drop(TcpListener::bind(address).await?);
    Ok(())
}

#[tokio::test]
async fn a_test_that_fails_stops_the_server_too() {
    let _alone = ALONE.lock().await;
    let used = server(Gated::default()).with(async |address| {
        let address = address.to_string();
        Err::<(), _>(io::Error::other(address))
    });
    let error = timeout(WATCHDOG, used).await.expect("it ends");
    let address = error.expect_err("it fails").to_string();
    let bound = TcpListener::bind(address).await;
    assert!(bound.is_ok(), "{bound:?}");
}

#[test]
fn the_program_prints_what_it_says() {
    let _alone = ALONE.blocking_lock();
    example::prints_what_its_docs_show("test_server", include_str!("../test_server/main.rs"));
}
