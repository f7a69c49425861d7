//! Exits that suppress.

use async_context_manager::{prelude::*, suppress_if};
use tests::{ByHand, End, Fact, Fault, Scene, Script, generated_suppressing};

programs! {
    a_suppressed_error,
    a_suppressed_error_by_hand,
    a_suppression_in_a_body,
    an_exit_s_error_suppressed_outside,
    errors_suppressed_by_a_condition,
    an_exit_that_may_but_does_not,
}

fn suppressing(scene: &Scene, name: &'static str) -> Script {
    scene.script(name).exit(End::Suppress)
}

async fn a_suppressed_error(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| scene.come("body", "a", End::Fail("body"));
    let context = generated_suppressing(suppressing(&scene, "a"));
    scene.with(context, "a", body).await.map(|_| ())
}

async fn a_suppressed_error_by_hand(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| scene.come("body", "a", End::Fail("body"));
    let context = ByHand::<Suppression>::new(suppressing(&scene, "a"));
    scene.with(context, "a", body).await?;
    scene.step("after").await
}

async fn a_suppression_in_a_body(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |_: &mut _| scene.come("body", "b", End::Fail("body"));
        let context = generated_suppressing(suppressing(&scene, "a/b"));
        scene.with(context, "a/b", body).await?;
        Ok(())
    };
    scene.with(scene.generator("a"), "a", outer).await
}

async fn an_exit_s_error_suppressed_outside(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let context = ByHand::<()>::new(scene.script("a/b").exit(End::Fail("exit")));
        let body = async |_: &mut _| scene.step("inside").await;
        scene.with(context, "a/b", body).await
    };
    let context = generated_suppressing(suppressing(&scene, "a"));
    scene.with(context, "a", outer).await.map(|_| ())
}

async fn errors_suppressed_by_a_condition(scene: Scene) -> Result<(), Fault> {
    let ledger = scene.ledger.clone();
    let context = suppress_if(move |Fault(name): &Fault| {
        let is_expected = *name != "step unexpected";
        if is_expected {
            ledger.record(Fact::Handled(name));
        }
        is_expected
    });
    let suppressed = context.with(async |()| {
        let body = async |_: &mut _| {
            scene.step("unexpected").await?;
            scene.step("expected").await
        };
        scene.with(scene.generator("a"), "a", body).await
    });
    suppressed.await.map(|_| ())
}

async fn an_exit_that_may_but_does_not(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| scene.step("inside").await;
    let context = generated_suppressing(scene.script("a"));
    scene.with(context, "a", body).await.map(|_| ())
}
