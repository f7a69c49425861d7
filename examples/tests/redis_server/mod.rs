//! The Redis that a test uses: an existing one, or one of its own.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::{Client, Commands as _, Connection};
use tempfile::TempDir;

use crate::{AnyError, Tested};

/// What takes longer than this hangs.
pub(crate) const WATCHDOG: Duration = Duration::from_mins(2);

/// The URL of the existing Redis.
pub(crate) fn redis_url() -> String {
    std::env::var("REDIS_URL")
        .unwrap_or_else(|_| panic!("REDIS_URL has to name a Redis, such as redis://127.0.0.1:6379"))
}

/// A Redis of the test's own, on a socket file.
pub(crate) struct Server {
    directory: TempDir,
    process: Child,
}

impl Server {
    pub(crate) fn start() -> Result<Self, AnyError> {
        let directory = TempDir::new()?;
        let process = Self::launch(directory.path())?;
        let server = Self { directory, process };
        let begun = Instant::now();
        while server.connection().is_err() {
            assert!(begun.elapsed() < WATCHDOG, "redis-server does not answer");
            sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn launch(directory: &Path) -> io::Result<Child> {
        Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "redis.sock", "--dir"])
            .arg(directory)
            .args(["--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("can't start redis-server: {error}")))
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "redis+unix://{}",
            self.directory.path().join("redis.sock").display()
        )
    }

    pub(crate) fn connection(&self) -> Result<Connection, AnyError> {
        let mut redis = Client::open(self.url())?.get_connection()?;
        redis.ping::<String>()?;
        Ok(redis)
    }
}

pub(crate) fn send(signal: &str, process: u32) -> Tested {
    let kill = format!("kill -s {signal} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status()?.success());
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
