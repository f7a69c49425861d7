//! Panics.

use async_context_manager::prelude::*;
use tests::{ByHand, End, Fault, Kind, Scene, generated};

programs! {
    a_body_that_panics,
    an_enter_that_panics_in_a_body,
    an_exit_that_panics,
    an_exit_that_panics_after_an_error,
    a_body_and_an_exit_that_panic,
    a_panic_that_is_caught_outside,
    a_stack_whose_exits_panic,
}

async fn a_body_that_panics(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |_: &mut _| scene.come("body", "b", End::Panic("body"));
        scene.with(scene.by_hand("a/b"), "a/b", body).await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

async fn an_enter_that_panics_in_a_body(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let context = generated(scene.script("a/b").enter(End::Panic("enter")));
        scene.with(context, "a/b", async |_: &mut _| Ok(())).await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

async fn an_exit_that_panics(scene: Scene) -> Result<(), Fault> {
    let context = ByHand::<()>::new(scene.script("a").exit(End::Panic("exit")));
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(context, "a", body).await
}

async fn an_exit_that_panics_after_an_error(scene: Scene) -> Result<(), Fault> {
    let context = generated(scene.script("a").exit(End::Panic("exit")));
    let body = async |_: &mut _| scene.come("body", "a", End::Fail("body"));
    scene.with(context, "a", body).await
}

async fn a_body_and_an_exit_that_panic(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let context = generated(scene.script("a/b").exit(End::Panic("exit")));
        let body = async |_: &mut _| scene.come("body", "b", End::Panic("body"));
        scene.with(context, "a/b", body).await
    };
    let context = generated(scene.script("a").exit(End::Panic("outer exit")));
    scene.with(context, "a", outer).await
}

async fn a_panic_that_is_caught_outside(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |_: &mut _| scene.come("body", "b", End::Panic("body"));
        let panicking = scene.with(scene.generator("a/b"), "a/b", body);
        scene.handle_all(panicking).await;
        scene.step("after").await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

async fn a_stack_whose_exits_panic(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    ExitStack::<Fault>::scope(async |stack| {
        let body = async {
            for (name, exit) in [("1", "one"), ("1/2", "two")] {
                let script = scene.script(name).of(group).exit(End::Panic(exit));
                drop(stack.enter(generated(script)).await?);
            }
            scene.step("inside").await
        };
        scene.body(group, body).await
    })
    .await
}
