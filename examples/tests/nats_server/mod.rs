//! A NATS of the test's own, which the test can stop and start again.

use std::future::pending;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net;
use tokio::sync::watch;

use crate::{AnyError, PATIENCE, signal};

/// A NATS with JetStream, which keeps its data on disk.
pub(crate) struct Server {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl Server {
    pub(crate) fn start() -> Result<Self, AnyError> {
        let directory = TempDir::new()?;
        let port = free_port()?;
        let process = launch(directory.path(), port)?;
        let server = Self {
            directory,
            port,
            process,
        };
        server.answers();
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn stop(&mut self) -> Result<(), AnyError> {
        signal("TERM", self.process.id())?;
        self.process.wait()?;
        Ok(())
    }

    pub(crate) fn start_again(&mut self) -> Result<(), AnyError> {
        self.process = launch(self.directory.path(), self.port)?;
        self.answers();
        Ok(())
    }

    fn answers(&self) {
        let begun = Instant::now();
        while !greets(self.port) {
            assert!(begun.elapsed() < PATIENCE, "nats-server does not answer");
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A relay between one worker and NATS, which can cut the worker off without telling either side.
pub(crate) struct Relay {
    port: u16,
    silent: watch::Sender<bool>,
}

impl Relay {
    /// The relay ends with the runtime.
    pub(crate) async fn before(server: &Server) -> io::Result<Self> {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (port, server) = (listener.local_addr()?.port(), server.port);
        let (silent, told) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut worker, _)) = listener.accept().await {
                let mut told = told.clone();
                tokio::spawn(async move {
                    let server = net::TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await;
                    let mut server = server?;
                    tokio::select! {
                        biased;
                        _ = told.changed() => {}
                        done = copy_bidirectional(&mut worker, &mut server) => return done,
                    }
                    // Both connections stay open.
                    pending().await
                });
            }
        });
        Ok(Self { port, silent })
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn be_silent(&self) {
        self.silent.send_replace(true);
    }
}

fn launch(directory: &Path, port: u16) -> io::Result<Child> {
    Command::new("nats-server")
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .args(["--jetstream", "--store_dir"])
        .arg(directory)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| io::Error::other(format!("can't start nats-server: {error}")))
}

fn greets(port: u16) -> bool {
    let greeting = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|server| {
        let mut greeting = String::new();
        BufReader::new(server).read_line(&mut greeting)?;
        Ok(greeting)
    });
    greeting.is_ok_and(|greeting| greeting.contains(r#""jetstream":true"#))
}

/// A port that the system gives to no client, and this program to no other server, so that it stays
/// free while the server is down.
fn free_port() -> io::Result<u16> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    let next = || first + GIVEN.fetch_add(1, Ordering::Relaxed);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = (0..2_000).map(|_| next()).find(is_free);
    port.ok_or_else(|| io::Error::other("there is no free port"))
}
