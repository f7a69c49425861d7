//! The other forms of contexts, and those that change one.

use async_context_manager::{Either, closing, defer, prelude::*, ready};
use tests::{ByHand, End, Fault, Kind, Scene, generated};

programs! {
    a_box,
    one_or_another,
    some_and_none,
    mapped_errors_in_a_body,
    converted_errors,
    ignored_exit_errors,
    closed_and_deferred,
    a_ready_value_around,
    a_borrowing_context,
    a_box_in_a_stack,
}

async fn a_box(scene: Scene) -> Result<(), Fault> {
    let mut contexts = vec![
        ("hand", scene.by_hand("hand").boxed()),
        ("generator", scene.generator("generator").boxed()),
    ];
    while let Some((name, context)) = contexts.pop() {
        let body = async |_: &mut _| scene.step(name).await;
        scene.with(context, name, body).await?;
    }
    Ok(())
}

async fn one_or_another(scene: Scene) -> Result<(), Fault> {
    for name in ["left", "right"] {
        let context = match name {
            "left" => Either::Left(scene.generator(name)),
            _ => Either::Right(scene.by_hand(name)),
        };
        let body = async |_: &mut _| scene.step(name).await;
        scene.with(context, name, body).await?;
    }
    Ok(())
}

async fn some_and_none(scene: Scene) -> Result<(), Fault> {
    let none = Some(scene.generator("none")).filter(|_| false);
    none.with(async |value| {
        assert_eq!(*value, None);
        let body = async |_: &mut _| scene.step("some").await;
        let some = Some(scene.generator("some"));
        scene.with(some, "some", body).await
    })
    .await
}

#[derive(Debug)]
struct Wrapped(Fault);

async fn mapped_errors_in_a_body(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let context = scene
            .generator("a/b")
            .map_err(Wrapped)
            .map_err(|Wrapped(fault)| fault);
        scene
            .with(context, "a/b", async |_: &mut _| scene.step("inside").await)
            .await
    };
    scene.with(scene.by_hand("a"), "a", outer).await
}

async fn converted_errors(scene: Scene) -> Result<(), Fault> {
    type AnyError = Box<dyn std::error::Error + Send + Sync>;

    let context = scene.generator("a").err_into::<AnyError>();
    let body = async |_: &mut _| Ok(scene.body("a", scene.step("inside")).await?);
    let result: Result<(), AnyError> = context.with(body).await;
    result.map_err(|error| *error.downcast().expect("all are faults"))
}

async fn ignored_exit_errors(scene: Scene) -> Result<(), Fault> {
    let context = generated(scene.script("a").exit(End::Fail("exit"))).ignore_exit_errors();
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(context, "a", body).await
}

async fn closed_and_deferred(scene: Scene) -> Result<(), Fault> {
    let outer = scene.opened(scene.script("deferred"));
    let deferred = defer(async move |outcome: &Outcome| outer.exit("", outcome).await);
    let body = async |(): &mut ()| {
        let inner = scene.opened(scene.script("deferred/again"));
        let again = defer(async move |outcome: &Outcome| inner.exit("", outcome).await);
        let body = async |(): &mut ()| scene.step("inside").await;
        scene.with(again, "deferred/again", body).await?;
        let close = async |scene: Scene| scene.step("close").await;
        closing(scene.clone(), close)
            .with(async |scene| scene.step("closing").await)
            .await
    };
    scene.with(deferred, "deferred", body).await
}

async fn a_ready_value_around(scene: Scene) -> Result<(), Fault> {
    ready(2)
        .with(async |value| {
            assert_eq!(*value, 2);
            let body = async |_: &mut _| scene.step("inside").await;
            scene.with(scene.generator("a"), "a", body).await
        })
        .await
}

/// Its name says that a drop is not covered.
async fn a_borrowing_context(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let context = ByHand::<()>::new(scene.script("scoped"));
        let body = async |_: &mut _| scene.body("scoped", scene.step("inside")).await;
        context.with_scoped(body).await
    };
    scene.with(scene.generator("a"), "a", outer).await
}

async fn a_box_in_a_stack(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    ExitStack::<Fault>::scope(async |stack| {
        let body = async {
            drop(
                stack
                    .enter(generated(scene.script("1").of(group)).boxed())
                    .await?,
            );
            let maybe = Some(generated(scene.script("1/2").of(group)));
            drop(stack.enter(maybe).await?);
            scene.step("inside").await
        };
        scene.body(group, body).await
    })
    .await
}
