//! Contexts in each other, and one after the other.

use async_context_manager::{async_with, prelude::*};
use futures::FutureExt;
use futures::future::BoxFuture;
use tests::{Fact, Fault, Kind, Scene, generated};

programs! {
    one_generator,
    one_by_hand,
    three_in_each_other,
    two_side_by_side_in_one,
    a_loop,
    written_flat,
    a_recursion,
    all_errors_asked_for,
}

async fn one_generator(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| scene.step("a").await;
    scene.with(scene.generator("a"), "a", body).await
}

async fn one_by_hand(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| scene.step("a").await;
    scene.with(scene.by_hand("a"), "a", body).await
}

async fn three_in_each_other(scene: Scene) -> Result<(), Fault> {
    let innermost = async |_: &mut _| scene.step("in c").await;
    let inner = async |_: &mut _| {
        let context = scene.generator("a/b/c");
        scene.with(context, "a/b/c", innermost).await
    };
    let outer = async |_: &mut _| scene.with(scene.by_hand("a/b"), "a/b", inner).await;
    scene.with(scene.generator("a"), "a", outer).await
}

async fn two_side_by_side_in_one(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| {
        let left = async |_: &mut _| scene.step("left").await;
        scene.with(scene.generator("a/l"), "a/l", left).await?;
        scene.step("between").await?;
        let right = async |_: &mut _| Ok(());
        scene.with(scene.by_hand("a/r"), "a/r", right).await
    };
    scene.with(scene.generator("a"), "a", body).await
}

async fn a_loop(scene: Scene) -> Result<(), Fault> {
    for name in ["first", "second", "third"] {
        let body = async |_: &mut _| Ok(());
        scene.with(scene.generator(name), name, body).await?;
    }
    Ok(())
}

async fn written_flat(scene: Scene) -> Result<(), Fault> {
    let flat = scene.group("flat", Kind::Sequence);
    let context = |name| generated(scene.script(name).of(flat));
    async_with!(_ = context("a"), _ = context("a/b"), _ = context("a/b/c") => {
        scene.body(flat, scene.step("inside")).await
    })
}

async fn a_recursion(scene: Scene) -> Result<(), Fault> {
    fn down<'s>(
        scene: &'s Scene,
        names: &'static [&'static str],
    ) -> BoxFuture<'s, Result<(), Fault>> {
        async move {
            let Some((name, rest)) = names.split_first() else {
                return scene.step("at the bottom").await;
            };
            let body = async |_: &mut _| down(scene, rest).await;
            scene.with(scene.generator(name), name, body).await
        }
        .boxed()
    }

    down(&scene, &["r", "r/r", "r/r/r"]).await
}

async fn all_errors_asked_for(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| scene.body("a", scene.step("a")).await;
    scene
        .generator("a")
        .try_with(body)
        .await
        .map_err(|failure| match failure {
            Failure::Enter(error) | Failure::Body(error) | Failure::Exit { error, .. } => error,
            Failure::BodyAndExit { body, exit } => {
                scene.ledger.record(Fact::Handled(exit.0));
                body
            }
        })
}
