//! A NATS of a test's own, which the test may stop and start again.

use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{AnyError, PATIENCE, signal};

/// A NATS with JetStream, which keeps what it has on disk.
pub(crate) struct Server {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl Server {
    /// One that answers.
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

    /// Stops it in order.
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

/// A port that the system gives to no client: it stays free while the server is down.
fn free_port() -> io::Result<u16> {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = (first..32_000).find(is_free);
    port.ok_or_else(|| io::Error::other("there is no free port"))
}
