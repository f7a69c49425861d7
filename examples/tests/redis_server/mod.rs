//! The Redis that a test uses: the one that is there, or one of its own, which it may stop.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::{Client, Commands as _, Connection};
use tempfile::TempDir;

use crate::{AnyError, Tested};

/// What has not come by then hangs.
pub(crate) const WATCHDOG: Duration = Duration::from_mins(2);

/// That of the one that is there.
pub(crate) fn redis_url() -> String {
    std::env::var("REDIS_URL")
        .unwrap_or_else(|_| panic!("REDIS_URL has to name a Redis, such as redis://127.0.0.1:6379"))
}

/// A Redis of the test's own. On a socket file: nobody else takes that while it is down.
pub(crate) struct Server {
    directory: TempDir,
    process: Child,
}

impl Server {
    /// One that answers.
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

    /// What it has said is on disk: so it still knows that when it is started again.
    fn launch(directory: &Path) -> io::Result<Child> {
        Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "redis.sock", "--dir"])
            .arg(directory)
            .args([
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ])
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

    pub(crate) fn kill(&mut self) -> Tested {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    pub(crate) fn start_again(&mut self) -> Tested {
        self.process = Self::launch(self.directory.path())?;
        Ok(())
    }

    pub(crate) fn signal(&self, signal: &str) -> Tested {
        send(signal, self.process.id())
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
