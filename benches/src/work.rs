//! The small work that all ways do: a counter is opened, added to, and closed.
//!
//! The compiler cannot leave any of it out, and nothing in it waits. So the measurement shows what
//! a way adds.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

/// A way of doing the work.
#[derive(Clone, Copy)]
pub struct Way {
    /// The name in a table.
    pub name: &'static str,
    /// The key on a command line.
    pub key: &'static str,
    /// Does the work this many times, one after the other.
    pub work: fn(u32) -> Running,
}

/// Work that is being done.
pub type Running = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has a runtime for us");

    /// How many times this thread has closed.
    static CLOSED: Cell<u64> = const { Cell::new(0) };
}

impl Way {
    /// Does the work this many times, on a current-thread runtime that this thread keeps.
    pub fn run(self, uses: u32) {
        RUNTIME.with(|runtime| runtime.block_on((self.work)(uses)));
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Way").field(&self.key).finish()
    }
}

/// Does the work of enter.
#[inline]
#[must_use]
pub fn open(start: u64) -> u64 {
    black_box(start)
}

/// Does the work of the body.
#[inline]
pub fn work(value: &mut u64) -> u64 {
    *value += black_box(1);
    *value
}

/// Does the work of exit.
#[inline]
pub fn close(value: u64) {
    black_box(value);
    CLOSED.set(CLOSED.get() + 1);
}

/// Returns how many times this thread has closed.
#[must_use]
pub fn closed() -> u64 {
    CLOSED.get()
}

/// Waits until this thread has closed this many times.
pub async fn until_closed(times: u64) {
    while closed() < times {
        yield_now().await;
    }
}

/// Makes and awaits this many futures.
pub fn repeat<F, M>(uses: u32, mut make: M) -> Running
where
    F: Future,
    M: FnMut(u64) -> F + 'static,
{
    Box::pin(async move {
        for start in 0..u64::from(uses) {
            black_box(make(start).await);
        }
    })
}

/// Polls the future once, and drops it.
///
/// # Panics
///
/// If the future does not wait for anything.
pub fn poll_and_drop(future: impl Future) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pin!(future).poll(&mut cx).is_pending());
}
