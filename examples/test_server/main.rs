//! A server for tests that runs beside the body of the test, and ends gracefully with it.
//!
//! The body asks a question that takes a while to answer, and ends without waiting for the answer.
//! The server then accepts nothing more, answers what it was asked, and closes; the caller goes on
//! when all of that is over. The server is in `server.rs`. It spawns no task that must be stopped,
//! and passes no token by hand.
//!
//! ```text
//! $ cargo run --example test_server
//! the body has asked
//! the body has ended
//! the server has stopped
//! the answer: HELLO
//! ```

#![forbid(unsafe_code)]

mod server;

use std::io;
use std::sync::Arc;

use async_context_manager::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use server::{Answer, server};

/// Shouts back, after a while.
#[derive(Clone, Default)]
struct Shouts {
    is_asked: Arc<Notify>,
    may_answer: Arc<Notify>,
}

impl Answer for Shouts {
    async fn answer(&self, question: &str) -> String {
        self.is_asked.notify_one();
        self.may_answer.notified().await;
        question.to_uppercase()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let shouts = Shouts::default();
    let (is_asked, may_answer) = (shouts.is_asked.clone(), shouts.may_answer.clone());
    let used = server(shouts).with(async |address| {
        let mut client = TcpStream::connect(*address).await?;
        client.write_all(b"hello\n").await?;
        is_asked.notified().await;
        println!("the body has asked");
        may_answer.notify_one();
        println!("the body has ended");
        Ok(client)
    });
    let mut client = used.await?;
    println!("the server has stopped");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;
    print!("the answer: {answer}");
    Ok(())
}
