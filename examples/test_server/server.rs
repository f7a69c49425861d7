//! A server for tests that ends gracefully.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_context_manager::{Tasks, Told, prelude::*, tasks};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How long connections may take to end when they are told to.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) trait Answer: Clone + Send + Sync + 'static {
    fn answer(&self, question: &str) -> impl Future<Output = String> + Send;
}

/// A server that answers line by line while the body runs. The value is its address.
///
/// It accepts connections beside the body, so that a listener that fails ends the body. When the
/// body has ended, no more connections are accepted, and the existing ones are told to stop: each
/// of them answers what it was asked before, and closes. Nothing of the server is left when the
/// caller goes on.
#[async_context]
pub(crate) async fn server<A: Answer>(answer: A) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let connections = tasks::<io::Error>().grace(GRACE).guard().await?;
    let (_, outcome) = yield_!(address, accept(&listener, &connections, answer));
    drop(listener);
    Guard::exit_as(connections, outcome).await
}

async fn accept(
    listener: &TcpListener,
    connections: &Tasks<io::Error>,
    answer: impl Answer,
) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        connections.spawn(serve(client, answer.clone(), connections.told()));
    }
}

async fn serve(client: TcpStream, answer: impl Answer, told: Told) -> io::Result<()> {
    let (questions, mut answers) = client.into_split();
    let mut questions = BufReader::new(questions).lines();
    loop {
        // A question that was already sent must be answered, even if the server was told to stop.
        let question = tokio::select! {
            biased;
            question = questions.next_line() => question?,
            () = told.clone() => None,
        };
        let Some(question) = question else {
            return answers.shutdown().await;
        };
        let answer = answer.answer(&question).await;
        answers.write_all(format!("{answer}\n").as_bytes()).await?;
    }
}
