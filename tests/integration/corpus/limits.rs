//! Time limits.

use std::future::pending;

use async_context_manager::{Phase, prelude::*};
use tests::{Fact, Fault, Scene, Script, generated};
use tokio::time::{Duration, timeout};

programs! {
    limits_that_are_kept,
    an_enter_over_its_limit,
    an_exit_over_its_limit,
    an_exit_over_its_limit_in_a_body,
    a_timeout_around_a_use,
    a_timeout_in_a_body,
}

const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(1);

/// What is over its limit is no fault of the program.
fn in_time(scene: &Scene, result: Result<(), TimeoutError<Fault>>) -> Result<(), Fault> {
    match result {
        Ok(()) => Ok(()),
        Err(TimeoutError::Elapsed { phase, .. }) => {
            if phase == Phase::Exit {
                scene.ledger.record(Fact::ToldOfCut);
            }
            Ok(())
        }
        Err(TimeoutError::Context(fault)) => Err(fault),
    }
}

async fn limits_that_are_kept(scene: Scene) -> Result<(), Fault> {
    let context = scene.generator("t").enter_timeout(LONG).exit_timeout(LONG);
    let context = context.err_into::<TimeoutError<Fault>>();
    let body = async |_: &mut _| Ok(scene.body("t", scene.step("inside")).await?);
    in_time(&scene, context.with(body).await)
}

async fn an_enter_over_its_limit(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let script = Script {
            enters_in: 3 * SHORT,
            ..scene.script("a/t")
        };
        let body = async |_: &mut _| Ok(scene.body("a/t", scene.step("inside")).await?);
        in_time(
            &scene,
            generated(script).enter_timeout(SHORT).with(body).await,
        )?;
        scene.step("after").await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

fn slow_to_exit(scene: &Scene, name: &'static str) -> Script {
    Script {
        exits_in: 3 * SHORT,
        ..scene.script(name)
    }
}

async fn an_exit_over_its_limit(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| Ok(scene.body("t", scene.step("inside")).await?);
    let context = generated(slow_to_exit(&scene, "t")).exit_timeout(SHORT);
    in_time(&scene, context.with(body).await)
}

async fn an_exit_over_its_limit_in_a_body(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |_: &mut _| Ok(scene.body("a/t", async { Ok(()) }).await?);
        let context = generated(slow_to_exit(&scene, "a/t")).exit_timeout(SHORT);
        in_time(&scene, context.with(body).await)
    };
    scene.with(scene.by_hand("a"), "a", outer).await
}

async fn a_timeout_around_a_use(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |_: &mut _| {
            scene.step("inside").await?;
            pending().await
        };
        let given_up = timeout(SHORT, scene.with(scene.generator("a/t"), "a/t", body));
        if let Ok(result) = given_up.await {
            return result;
        }
        scene.step("after").await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

async fn a_timeout_in_a_body(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| {
        let late = timeout(SHORT, pending::<()>()).await;
        assert!(late.is_err());
        scene.step("after").await
    };
    scene.with(scene.generator("a"), "a", body).await
}
