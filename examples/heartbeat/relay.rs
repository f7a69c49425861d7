//! A relay in front of a server, whose answers can be stopped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_context_manager::{Tasks, prelude::*, tasks};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

/// The value of [`relay`].
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    is_silent: Arc<AtomicBool>,
}

impl Relay {
    /// From now on, the server's answers get lost. The connections stay, as they do if a host
    /// hangs, or if a firewall drops packets.
    pub(crate) fn stop_answers(&self) {
        self.is_silent.store(true, Ordering::Release);
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

/// Runs a relay beside the body. Its connections end with the body, however the body ends.
#[async_context]
pub(crate) async fn relay(server: String) -> io::Result<Relay> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let relay = Relay {
        address: listener.local_addr()?,
        is_silent: Arc::default(),
    };
    let connections = tasks::<io::Error>().guard().await?;
    let (_, outcome) = yield_!(
        relay.clone(),
        accept(&listener, &connections, &server, &relay.is_silent)
    );
    Guard::exit_as(connections, outcome).await
}

async fn accept(
    listener: &TcpListener,
    connections: &Tasks<io::Error>,
    server: &str,
    is_silent: &Arc<AtomicBool>,
) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let server = TcpStream::connect(server).await?;
        let is_silent = Arc::clone(is_silent);
        connections.background(async move {
            let (questions, answers) = (client.into_split(), server.into_split());
            let (mut from_client, to_client) = questions;
            let (from_server, mut to_server) = answers;
            tokio::select! {
                asked = copy(&mut from_client, &mut to_server) => asked.map(drop),
                answered = pass_on(from_server, to_client, &is_silent) => answered,
            }
        });
    }
}

async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    is_silent: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if !is_silent.load(Ordering::Acquire) {
            to.write_all(&buffer[..length]).await?;
        }
    }
}
