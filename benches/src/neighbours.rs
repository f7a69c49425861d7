//! The work with the other crates on crates.io for an asynchronous clean-up, as of November 2026.
//! Each crate is used as its own documentation shows.
//!
//! | crate | how it cleans up | when the future is dropped |
//! | --- | --- | --- |
//! | `context_manager` 0.1.3 | hooks before and after a function; lends it no value | does not |
//! | async-safe-defer 0.2.0 | a stack of deferred futures, awaited at the end of the scope | does not |
//! | scope-guard 1.2.0 | awaits a destructor, also after a panic | does not |
//! | async-drop-guard 0.0.6 | by a call that the caller must not forget | panics |
//! | guarden 0.4.4 | awaits, and spawns what is left of it when that is dropped | on a runtime |
//! | async-dropper-simple 0.2.6 | spawns in the drop, and blocks the thread until it has run; what async-dropper 0.3.1 is, without the derive | the same |
//!
//! Other crates build, but are left out: tokio-shield 0.1.1 is a `tokio::spawn` of the whole
//! future, which is measured as such; async-dropx 0.1.7 and `async_destruction` 0.1.1 spawn in a
//! drop, as `scopeguard` here does; tokio-async-drop 0.1.0 blocks in the drop, as async-dropper
//! does; moro 0.4.0 and async-scoped 0.9.0 wait for tasks, and have no notion of opening and
//! closing; rsutil 0.1.26 and tearup 0.3.0 write the calls inline, or around a test.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_drop_guard::AsyncDropGuard;
use async_dropper_simple::AsyncDropper;
use async_trait::async_trait;
use context_manager::{AsyncWrapContext, CallerContext, async_wrap};
use tokio::runtime::{Builder, Runtime};

use crate::work::{Way, close, open, repeat, work};

/// The ways that close where they are used.
pub const ALL: [Way; 5] = [
    Way {
        name: "context_manager",
        key: "context_manager",
        work: |uses| repeat(uses, hooked),
    },
    Way {
        name: "async-safe-defer",
        key: "async-safe-defer",
        work: |uses| repeat(uses, deferred),
    },
    Way {
        name: "scope-guard",
        key: "scope-guard",
        work: |uses| repeat(uses, scoped),
    },
    Way {
        name: "async-drop-guard",
        key: "async-drop-guard",
        work: |uses| repeat(uses, dropped_by_hand),
    },
    DETACHABLE,
];

/// The way that spawns the rest of the closing when it is dropped.
pub const DETACHABLE: Way = Way {
    name: "guarden",
    key: "guarden",
    work: |uses| repeat(uses, triggered),
};

/// The way whose work is done on threads of its own.
pub const BLOCKING: Way = Way {
    name: "async-dropper",
    key: "async-dropper",
    work: |uses| {
        Box::pin(async move {
            // On a runtime of its own, because it panics on a current-thread runtime.
            let all = THREADS.spawn(async move {
                for start in 0..u64::from(uses) {
                    black_box(blocked(start));
                }
            });
            all.await.expect("it runs to its end");
        })
    },
};

static THREADS: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system has a runtime for us")
});

struct Hooks(u64);

impl AsyncWrapContext<u64> for Hooks {
    async fn new() -> Self {
        Self(open(0))
    }

    async fn after(self, _: &CallerContext, _: &u64) {
        close(self.0);
    }
}

#[async_wrap(Hooks)]
async fn hooked(start: u64) -> u64 {
    let mut value = start;
    work(&mut value)
}

async fn deferred(start: u64) -> u64 {
    let value = AtomicU64::new(open(start));
    async_safe_defer::async_scope!(scope, {
        scope.defer(|| async { close(value.load(Relaxed)) });
        shared(&value)
    })
    .await
}

async fn scoped(start: u64) -> u64 {
    let value = AtomicU64::new(open(start));
    let close = async |value: &AtomicU64| close(value.load(Relaxed));
    scope_guard::async_scope(close, &value, async { shared(&value) }).await
}

/// Does the work, where the body and the closing code share the value.
fn shared(value: &AtomicU64) -> u64 {
    let mut inner = value.load(Relaxed);
    let result = work(&mut inner);
    value.store(inner, Relaxed);
    result
}

#[derive(Debug, Default)]
struct Counter(u64);

#[async_trait]
impl async_drop_guard::AsyncDrop for Counter {
    type Error = Infallible;

    async fn async_drop_impl(&mut self) -> Result<(), Infallible> {
        close(self.0);
        Ok(())
    }
}

async fn dropped_by_hand(start: u64) -> u64 {
    let mut value = AsyncDropGuard::new(Counter(open(start)));
    let result = work(&mut value.0);
    let Ok(()) = value.async_drop().await;
    result
}

async fn triggered(start: u64) -> u64 {
    let mut guard = guarden::guard!(export(wrapped) [value = open(start)] async move {
        close(value);
    });
    let result = work(&mut guard.value);
    guard.trigger().await;
    result
}

#[async_trait]
impl async_dropper_simple::AsyncDrop for Counter {
    async fn async_drop(&mut self) {
        close(self.0);
    }
}

fn blocked(start: u64) -> u64 {
    let mut value = AsyncDropper::new(Counter(open(start)));
    work(&mut value.0)
}
