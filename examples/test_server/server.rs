//! A server for tests, which is told to stop.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_context_manager::{Tasks, Told, prelude::*, tasks};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How long connections may take to end when they are told to.
const GRACE: Duration = Duration::from_secs(10);

/// What the server says to a line.
pub(crate) trait Answer: Clone + Send + Sync + 'static {
    fn answer(&self, question: &str) -> impl Future<Output = String> + Send;
}

/// A server that answers line by line, while the body runs. The value is its address.
///
/// It accepts connections beside the body, so that a listener that fails ends the body. When the
/// body has ended, no more are accepted, and the connections are told to stop: each answers what it
/// was asked before, and closes. Nothing of the server is left when the caller goes on.
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
        // What was asked already is answered, also when the server has been told.
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
