//! Programs that drop parts of themselves.

use std::future::pending;

use async_context_manager::prelude::*;
use futures::future::{self, Either, abortable};
use futures::pin_mut;
use tests::{Fault, Scene, poll_times};

programs! {
    a_select_between_two,
    a_use_that_is_aborted,
    a_use_that_is_dropped_and_tried_again,
    a_guard_that_is_dropped_before_the_next,
    a_cancellable_await,
    a_cancellable_enter,
    a_cancellable_enter_that_is_given_up,
}

async fn a_select_between_two(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let quick = scene.with(
            scene.by_hand("a/quick"),
            "a/quick",
            async |_: &mut _| Ok(()),
        );
        let slow = async |_: &mut _| pending().await;
        let slow = scene.with(scene.generator("a/slow"), "a/slow", slow);
        pin_mut!(quick, slow);
        let result: Result<(), Fault> = match future::select(quick, slow).await {
            Either::Left((result, _)) | Either::Right((result, _)) => result,
        };
        result?;
        scene.step("after").await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

async fn a_use_that_is_aborted(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |_: &mut _| pending::<Result<(), Fault>>().await;
        let (used, handle) = abortable(scene.with(scene.generator("a/b"), "a/b", body));
        let abort = async {
            let waited = scene.step("wait").await;
            handle.abort();
            scene.handle(waited);
        };
        let (used, ()) = futures::join!(used, abort);
        used.unwrap_or(Ok(()))
    };
    scene.with(scene.by_hand("a"), "a", outer).await
}

async fn a_use_that_is_dropped_and_tried_again(scene: Scene) -> Result<(), Fault> {
    for (name, polls) in [("first", 2), ("second", 4), ("third", 100)] {
        let body = async |_: &mut _| scene.step(name).await;
        let used = scene.with(scene.generator(name), name, body);
        if let Some(result) = poll_times(used, polls).await {
            return result;
        }
    }
    Ok(())
}

async fn a_guard_that_is_dropped_before_the_next(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        drop(scene.generator("a/first").guard().await?);
        let body = async |_: &mut _| scene.step("inside").await;
        scene
            .with(scene.generator("a/second"), "a/second", body)
            .await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

#[async_context]
async fn behind_a_gate(scene: Scene) -> Result<(), Fault> {
    cancellable!(scene.step("gate")).await?;
    let guard = scene.generator("a/behind").guard().await?;
    let ((), _) = yield_!(());
    scene.ended("a/behind", &Ok(()));
    Guard::close(guard).await
}

async fn a_cancellable_await(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |(): &mut ()| scene.step("inside").await;
        behind_a_gate(scene.clone()).with(body).await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

async fn a_cancellable_enter(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let context = scene.by_hand("a/b").cancellable_enter();
        let body = async |_: &mut _| scene.step("inside").await;
        scene.with(context, "a/b", body).await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

async fn a_cancellable_enter_that_is_given_up(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let context = scene.generator("a/b").cancellable_enter();
        let given_up = poll_times(context.guard(), 2).await;
        assert!(given_up.is_none());
        scene.step("after").await
    };
    scene.with(scene.generator("a"), "a", outer).await
}
