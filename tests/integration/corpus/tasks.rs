//! Contexts in tasks.

use async_context_manager::{closing, prelude::*, tasks};
use tests::{Fault, Scene};
use tokio::task::JoinSet;

programs! {
    tasks_that_are_joined,
    tasks_in_a_body,
    a_body_that_fails_beside_its_tasks,
    a_join_set_that_is_closed,
}

async fn work(scene: Scene, name: &'static str) -> Result<(), Fault> {
    scene.work(name).await
}

async fn tasks_that_are_joined(scene: Scene) -> Result<(), Fault> {
    tasks()
        .with(async |tasks| {
            for name in ["one", "two"] {
                tasks.spawn(work(scene.clone(), name));
            }
            scene.work("beside").await
        })
        .await
}

async fn tasks_in_a_body(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| {
        tasks()
            .with(async |tasks| {
                tasks.spawn(work(scene.clone(), "a/task"));
                work(scene.clone(), "a/body").await
            })
            .await
    };
    scene.with(scene.generator("a"), "a", body).await
}

async fn a_body_that_fails_beside_its_tasks(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| {
        tasks()
            .with(async |tasks| {
                tasks.spawn(work(scene.clone(), "a/task"));
                scene.step("beside").await?;
                scene.come("body", "of the tasks", tests::End::Fail("body"))
            })
            .await
    };
    scene.with(scene.generator("a"), "a", body).await
}

/// A `JoinSet` throws away what its tasks give when it is shut down: each deals with its own errors.
async fn a_join_set_that_is_closed(scene: Scene) -> Result<(), Fault> {
    let shut_down = async |mut set: JoinSet<()>| {
        set.shutdown().await;
        Ok(())
    };
    closing(JoinSet::new(), shut_down)
        .with(async |set| {
            for name in ["one", "two"] {
                let scene = scene.clone();
                set.spawn(async move { scene.handle_all(scene.work(name)).await });
            }
            scene.work("beside").await?;
            while set.join_next().await.is_some() {}
            Ok(())
        })
        .await
}
