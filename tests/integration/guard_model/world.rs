//! What a run needs of the runtime that it is on: tokio here. The package `concurrency` runs the
//! same programs on a runtime of its own.

use std::time::Duration;

use tests::pause;
use tokio::task::{JoinHandle, yield_now};

use super::play::{Mode, Run};

/// A task that a program has spawned.
pub(super) type Task = JoinHandle<()>;

pub(super) fn spawn(_run: &Run, future: impl Future<Output = ()> + Send + 'static) -> Task {
    tokio::spawn(future)
}

/// Takes a while, so that other code has a turn.
pub(super) async fn pass(mode: Mode, length: u32) {
    match mode {
        Mode::Paused => tokio::time::sleep(Duration::from_millis(length.into())).await,
        Mode::Workers => {
            for _ in 0..length {
                yield_now().await;
            }
        }
        Mode::NoRuntime => pause(length as usize).await,
    }
}
