//! Each neighbour, used as its own documentation shows: open, arm the closing, run the body, close.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Mutex;

use async_context_manager::{detached, prelude::*};
use async_dropper::{AsyncDrop, AsyncDropper};
use async_safe_defer::SendAsyncScope;
use async_trait::async_trait;
use context_manager::{AsyncWrapContext, CallerContext};

use crate::scene::{Fault, Scene};

pub(crate) type Using = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

pub(crate) type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A way to get something closed.
pub(crate) struct Neighbour {
    pub(crate) name: &'static str,
    /// Opens, runs the body, and closes.
    pub(crate) using: fn(Scene) -> Using,
    /// Waits for the closing code in the background, if the crate has a way to wait.
    pub(crate) waiting: Option<fn() -> Waiting>,
}

pub(crate) const ALL: [Neighbour; 7] = [
    Neighbour {
        name: concat!("**this crate** ", env!("CARGO_PKG_VERSION")),
        using: |scene| Box::pin(here(scene)),
        waiting: Some(|| Box::pin(detached::drain())),
    },
    Neighbour {
        name: "scopeguard 1.2.0 and `tokio::spawn`",
        using: |scene| Box::pin(scopeguard_and_spawn(scene)),
        waiting: None,
    },
    Neighbour {
        name: "guarden 0.4.4",
        using: |scene| Box::pin(guarden(scene)),
        waiting: None,
    },
    Neighbour {
        name: "async-dropper 0.3.1",
        using: |scene| Box::pin(async_dropper(scene)),
        waiting: None,
    },
    Neighbour {
        name: "scope-guard 1.2.0",
        using: |scene| Box::pin(scope_guard(scene)),
        waiting: None,
    },
    Neighbour {
        name: "async-safe-defer 0.2.0",
        using: |scene| Box::pin(async_safe_defer(scene)),
        waiting: None,
    },
    Neighbour {
        name: "context_manager 0.1.3",
        using: |scene| Box::pin(context_manager(scene)),
        waiting: None,
    },
];

#[async_context]
async fn context(scene: Scene) -> Result<(), Fault> {
    scene.open().await;
    let ((), outcome) = yield_!(());
    scene.close(outcome.is_failed()).await
}

async fn here(scene: Scene) -> Result<(), Fault> {
    context(scene.clone())
        .with(async |()| scene.body().await)
        .await
}

/// Closes the scene, for crates whose closing code has no error.
async fn close(scene: Scene) {
    let _ = scene.close(false).await;
}

async fn scopeguard_and_spawn(scene: Scene) -> Result<(), Fault> {
    scene.open().await;
    let _guard = scopeguard::guard(scene.clone(), |scene| {
        tokio::spawn(async move { scene.close(false).await });
    });
    scene.body().await
}

async fn guarden(scene: Scene) -> Result<(), Fault> {
    scene.open().await;
    let guard = guarden::guard!([scene = scene.clone()] {
        async move { close(scene).await }
    });
    let result = scene.body().await;
    guard.trigger().await;
    result
}

#[derive(Default)]
struct Dropped(Option<Scene>);

#[async_trait]
impl AsyncDrop for Dropped {
    async fn async_drop(&mut self) {
        if let Some(scene) = self.0.take() {
            close(scene).await;
        }
    }
}

async fn async_dropper(scene: Scene) -> Result<(), Fault> {
    scene.open().await;
    let _dropper = AsyncDropper::new(Dropped(Some(scene.clone())));
    scene.body().await
}

async fn scope_guard(scene: Scene) -> Result<(), Fault> {
    scene.open().await;
    let body = AssertUnwindSafe(Box::pin({
        let scene = scene.clone();
        async move { scene.body().await }
    }));
    scope_guard::async_scope(close, scene, body).await
}

async fn async_safe_defer(scene: Scene) -> Result<(), Fault> {
    scene.open().await;
    let mut scope = SendAsyncScope::new();
    let closing = scene.clone();
    scope.defer(move || close(closing));
    let result = scene.body().await;
    scope.finish().await;
    result
}

/// The scenes for `context_manager`, whose contexts take no arguments.
static SCENES: Mutex<Vec<Scene>> = Mutex::new(Vec::new());

struct Wrapped(Scene);

impl AsyncWrapContext<Result<(), Fault>> for Wrapped {
    async fn new() -> Self {
        let scene = SCENES.lock().expect("no one panics with it").pop();
        let scene = scene.expect("it was put there");
        scene.open().await;
        Self(scene)
    }

    async fn after(self, _caller: &CallerContext, result: &Result<(), Fault>) {
        let _ = self.0.close(result.is_err()).await;
    }
}

fn context_manager(scene: Scene) -> impl Future<Output = Result<(), Fault>> + Send {
    let mut scenes = SCENES.lock().expect("no one panics with it");
    scenes.push(scene.clone());
    drop(scenes);
    wrapped(scene)
}

#[context_manager::async_wrap(Wrapped)]
async fn wrapped(scene: Scene) -> Result<(), Fault> {
    scene.body().await
}
