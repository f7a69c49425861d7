//! Stacks.

use async_context_manager::prelude::*;
use tests::{ByHand, End, Fact, Fault, Kind, Scene, generated, generated_suppressing};

programs! {
    a_scope,
    a_scope_in_a_scope,
    a_stack_in_a_body,
    by_hand,
    by_hand_with_all_errors,
    adopted_and_deferred,
    released_early,
    taken_and_given_away,
    extended,
    suppressing_in_the_middle,
    exits_that_fail,
}

async fn a_scope(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    ExitStack::<Fault>::scope(async |stack| {
        let body = async {
            let first = stack.enter(generated(scene.script("1").of(group))).await?;
            let context = ByHand::<()>::new(scene.script("1/2").of(group));
            let second = stack.enter(context).await?;
            assert_ne!(*first, *second);
            scene.step("inside").await
        };
        scene.body(group, body).await
    })
    .await
}

async fn a_scope_in_a_scope(scene: Scene) -> Result<(), Fault> {
    let outer = scene.group("outer", Kind::Stack);
    ExitStack::<Fault>::scope(async |stack| {
        let body = async {
            drop(stack.enter(generated(scene.script("1").of(outer))).await?);
            let inner = scene.group("inner", Kind::Stack);
            let inner = ExitStack::<Fault>::scope(async |stack| {
                let body = async {
                    drop(
                        stack
                            .enter(generated(scene.script("1/2").of(inner)))
                            .await?,
                    );
                    scene.step("inside").await
                };
                scene.body(inner, body).await
            });
            inner.await?;
            drop(
                stack
                    .enter(generated(scene.script("1/3").of(outer)))
                    .await?,
            );
            Ok(())
        };
        scene.body(outer, body).await
    })
    .await
}

async fn a_stack_in_a_body(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    let body = async |_: &mut _| {
        let stack = ExitStack::<Fault>::new();
        let result = async {
            drop(
                stack
                    .enter(generated(scene.script("a/1").of(group)))
                    .await?,
            );
            drop(
                stack
                    .enter(generated(scene.script("a/1/2").of(group)))
                    .await?,
            );
            scene.step("inside").await
        };
        let result = result.await;
        scene.ended(group, &result);
        stack.exit(result).await
    };
    scene.with(scene.generator("a"), "a", body).await
}

async fn by_hand(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    let stack = ExitStack::<Fault>::new();
    for name in ["1", "1/2", "1/2/3"] {
        // Left by the `?`, it drops.
        drop(stack.enter(generated(scene.script(name).of(group))).await?);
    }
    let result = scene.step("inside").await;
    scene.ended(group, &result);
    stack.exit(result).await
}

async fn by_hand_with_all_errors(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    let stack = ExitStack::<Fault>::new();
    for name in ["1", "1/2"] {
        let script = scene.script(name).of(group).exit(End::Fail(name));
        drop(stack.enter(generated(script)).await?);
    }
    let result = scene.step("inside").await;
    scene.ended(group, &result);
    stack.try_exit(result).await.map_err(|failure| {
        let errors: Vec<_> = failure.errors().cloned().collect();
        let (first, others) = errors.split_first().expect("it failed");
        for Fault(name) in others {
            scene.ledger.record(Fact::Handled(name));
        }
        first.clone()
    })
}

async fn adopted_and_deferred(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    ExitStack::<Fault>::scope(async |stack| {
        let body = async {
            let adopted = scene.opened(scene.script("1").of(group));
            let close = async move |value: &'static str, outcome: &Outcome| {
                adopted.exit(value, outcome).await
            };
            let lease = stack.adopt("value", close);
            let deferred = scene.opened(scene.script("1/2").of(group));
            stack.defer(async move |outcome: &Outcome| deferred.exit("", outcome).await);
            drop(
                stack
                    .enter(generated(scene.script("1/2/3").of(group)))
                    .await?,
            );
            assert_eq!(*lease, "value");
            scene.step("inside").await
        };
        scene.body(group, body).await
    })
    .await
}

async fn released_early(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    ExitStack::<Fault>::scope(async |stack| {
        let body = async {
            drop(stack.enter(generated(scene.script("1").of(group))).await?);
            let lease = stack
                .enter(generated(scene.script("1/2").of(group)))
                .await?;
            scene.step("with two").await?;
            scene.ended("1/2", &Ok(()));
            lease.release().await?;
            drop(
                stack
                    .enter(generated(scene.script("1/3").of(group)))
                    .await?,
            );
            scene.step("with three").await
        };
        scene.body(group, body).await
    })
    .await
}

async fn taken_and_given_away(scene: Scene) -> Result<(), Fault> {
    /// All of them, or none.
    async fn open(scene: &Scene, group: &'static str) -> Result<ExitStack<Fault>, Fault> {
        let mut stack = ExitStack::new();
        for name in ["1", "1/2"] {
            drop(stack.enter(generated(scene.script(name).of(group))).await?);
        }
        Ok(stack.take())
    }

    let group = scene.group("s", Kind::Stack);
    let stack = open(&scene, group).await?;
    let result = scene.step("inside").await;
    scene.ended(group, &result);
    stack.exit(result).await
}

async fn extended(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    let mut stack = ExitStack::<Fault>::new();
    let other = ExitStack::<Fault>::new();
    drop(stack.enter(generated(scene.script("1").of(group))).await?);
    drop(
        other
            .enter(generated(scene.script("1/2").of(group)))
            .await?,
    );
    stack.extend(other);
    drop(
        stack
            .enter(generated(scene.script("1/2/3").of(group)))
            .await?,
    );
    scene.ended(group, &Ok(()));
    stack.exit(Ok(())).await
}

async fn suppressing_in_the_middle(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    let scope = ExitStack::<Fault, _>::suppressing_scope(async |stack| {
        let body = async {
            drop(stack.enter(generated(scene.script("1").of(group))).await?);
            let script = scene.script("1/2").of(group).exit(End::Suppress);
            drop(stack.enter(generated_suppressing(script)).await?);
            drop(
                stack
                    .enter(generated(scene.script("1/2/3").of(group)))
                    .await?,
            );
            scene.come("body", "of the stack", End::Fail("body"))
        };
        scene.body(group, body).await
    });
    scope.await.map(|_| ())
}

async fn exits_that_fail(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    ExitStack::<Fault>::scope(async |stack| {
        let body = async {
            for (name, exit) in [
                ("1", End::Fail("1")),
                ("1/2", End::Panic("2")),
                ("1/2/3", End::Fail("3")),
            ] {
                drop(
                    stack
                        .enter(generated(scene.script(name).of(group).exit(exit)))
                        .await?,
                );
            }
            Ok(())
        };
        scene.body(group, body).await
    })
    .await
}
