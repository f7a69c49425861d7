//! The scenes, which open and close something, and their log. Each scene has a process of its own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// The part that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Body,
    Closing,
}

type Running = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// A thing that is opened, used and closed.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) opening: Duration,
    pub(crate) closing: Duration,
    pub(crate) closing_fails: bool,
    body: Arc<dyn Fn() -> Running + Send + Sync>,
}

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Scene {
    pub(crate) fn new<F>(body: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        Self {
            name: "it",
            opening: Duration::ZERO,
            closing: Duration::ZERO,
            closing_fails: false,
            body: Arc::new(move || Box::pin(body())),
        }
    }

    /// Opens the thing. The other side begins at once, but its answer takes a while.
    pub(crate) async fn open(&self) {
        note(format!("opening {}", self.name));
        pause(self.opening).await;
        note(format!("opened {}", self.name));
    }

    pub(crate) fn body(&self) -> Running {
        (self.body)()
    }

    pub(crate) async fn close(&self, knows_of_a_failure: bool) -> Result<(), Fault> {
        note(format!("closing {}", self.name));
        if knows_of_a_failure {
            note("knows".to_owned());
        }
        pause(self.closing).await;
        note(format!("closed {}", self.name));
        if self.closing_fails {
            Err(Fault::Closing)
        } else {
            Ok(())
        }
    }
}

/// Waits for the time. Uses no timer if the time is zero, because a runtime that is gone has none.
async fn pause(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        sleep(time).await;
    }
}

fn note(line: String) {
    log().push(line);
}

/// Returns how often the line was written.
pub(crate) fn count(line: &str) -> usize {
    log().iter().filter(|known| *known == line).count()
}

pub(crate) fn position(line: &str) -> Option<usize> {
    log().iter().position(|known| known == line)
}

/// Waits on a thread until the line is written. Returns `false` if that takes more than a second.
pub(crate) fn comes(line: &str) -> bool {
    let begun = Instant::now();
    while count(line) == 0 {
        if begun.elapsed() > Duration::from_secs(1) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

fn log() -> MutexGuard<'static, Vec<String>> {
    LOG.lock().expect("no one panics with the log")
}
