//! Contexts in the setup and in the exit of others.

use async_context_manager::prelude::*;
use tests::{Fault, Scene};

programs! {
    contexts_in_a_setup,
    a_context_over_in_the_setup,
    a_context_in_an_exit,
    a_context_around_the_whole_exit,
    a_function_within_a_context,
    a_generator_with_the_keyword,
    a_method_as_a_context,
}

/// Holds two others; on failure, they drop.
#[async_context]
async fn holding(scene: Scene) -> Result<&'static str, Fault> {
    let first = scene.generator("1").guard().await?;
    scene.step("between").await?;
    let second = scene.by_hand("1/2").guard().await?;
    let (_, outcome) = yield_!(*second);
    if !outcome.is_completed() {
        return Ok(());
    }
    scene.step("in exit").await?;
    scene.ended("1/2", &Ok(()));
    Guard::close(second).await?;
    scene.ended("1", &Ok(()));
    Guard::close(first).await
}

async fn contexts_in_a_setup(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| scene.step("inside").await;
    holding(scene.clone()).with(body).await
}

#[async_context]
async fn asking_first(scene: Scene) -> Result<(), Fault> {
    scene.work("asked").await?;
    let kept = scene.generator("kept").guard().await?;
    let ((), _) = yield_!(());
    scene.ended("kept", &Ok(()));
    Guard::close(kept).await
}

async fn a_context_over_in_the_setup(scene: Scene) -> Result<(), Fault> {
    let body = async |(): &mut ()| scene.step("inside").await;
    asking_first(scene.clone()).with(body).await
}

#[async_context]
async fn saying_goodbye(scene: Scene) -> Result<(), Fault> {
    scene.step("enter").await?;
    let ((), _) = yield_!(());
    scene.work("goodbye").await
}

async fn a_context_in_an_exit(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |(): &mut ()| scene.step("inside").await;
        saying_goodbye(scene.clone()).with(body).await
    };
    scene.with(scene.by_hand("a"), "a", outer).await
}

#[async_context]
async fn guarding_the_exit(scene: Scene) -> Result<(), Fault> {
    let ((), _) = yield_!(());
    let guard = scene.generator("g").guard().await?;
    let result = scene.step("in exit").await;
    scene.ended("g", &result);
    Guard::exit(guard, result).await
}

async fn a_context_around_the_whole_exit(scene: Scene) -> Result<(), Fault> {
    let body = async |(): &mut ()| scene.step("inside").await;
    guarding_the_exit(scene.clone()).with(body).await
}

#[within(scene.generator("w") => value)]
async fn within_one(scene: &Scene) -> Result<(), Fault> {
    assert_eq!(*value, "w");
    scene.body("w", scene.step("inside")).await
}

async fn a_function_within_a_context(scene: Scene) -> Result<(), Fault> {
    within_one(&scene).await
}

contexts! {
    async fn keyword(scene: Scene) -> Result<(), Fault> {
        let guard = scene.generator("k").guard().await?;
        let ((), outcome) = yield ();
        if outcome.is_completed() {
            scene.ended("k", &Ok(()));
            Guard::close(guard).await?;
        }
        Ok(())
    }
}

async fn a_generator_with_the_keyword(scene: Scene) -> Result<(), Fault> {
    let body = async |(): &mut ()| scene.step("inside").await;
    keyword(scene.clone()).with(body).await
}

#[derive(Clone)]
struct Database(Scene);

impl Database {
    #[async_context]
    async fn transaction(self) -> Result<&'static str, Fault> {
        let connection = self.0.generator("connection").guard().await?;
        self.0.step("begin").await?;
        let (_, outcome) = yield_!("tx");
        let end = if outcome.is_completed() {
            "commit"
        } else {
            "rollback"
        };
        let result = self.0.step(end).await;
        self.0.ended("connection", &result);
        Guard::exit(connection, result).await
    }
}

async fn a_method_as_a_context(scene: Scene) -> Result<(), Fault> {
    let database = Database(scene.clone());
    let body = async |tx: &mut &'static str| {
        assert_eq!(*tx, "tx");
        scene.step("query").await
    };
    database.transaction().with(body).await
}
