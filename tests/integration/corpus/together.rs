//! Several contexts as one, and uses at the same time.

use async_context_manager::{join, join_all};
use tests::{ByHand, End, Fault, Kind, Scene, generated};

programs! {
    a_join_of_two,
    a_join_of_an_array,
    a_join_of_all_with_a_limit,
    a_join_with_failing_exits,
    a_vec_in_order,
    an_array_in_order,
    a_vec_with_failing_exits,
    a_join_in_a_body,
    uses_at_the_same_time,
}

async fn a_join_of_two(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("j", Kind::Together);
    let left = generated(scene.script("left").of(group));
    let right = ByHand::<()>::new(scene.script("right").of(group));
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(join((left, right)), group, body).await
}

async fn a_join_of_an_array(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("j", Kind::Together);
    let members = ["1", "2", "3"].map(|name| generated(scene.script(name).of(group)));
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(join(members), group, body).await
}

async fn a_join_of_all_with_a_limit(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("j", Kind::Together);
    let members = ["1", "2", "3"].map(|name| generated(scene.script(name).of(group)));
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(join_all(members).limit(2), group, body).await
}

async fn a_join_with_failing_exits(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("j", Kind::Together);
    let left = generated(scene.script("left").of(group).exit(End::Fail("l")));
    let right = generated(scene.script("right").of(group).exit(End::Fail("r")));
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(join((left, right)), group, body).await
}

async fn a_vec_in_order(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("v", Kind::Sequence);
    let member = |name| generated(scene.script(name).of(group));
    let members: Vec<_> = ["1", "1/2", "1/2/3"].into_iter().map(member).collect();
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(members, group, body).await
}

async fn an_array_in_order(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("v", Kind::Sequence);
    let members = ["1", "1/2"].map(|name| ByHand::<()>::new(scene.script(name).of(group)));
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(members, group, body).await
}

async fn a_vec_with_failing_exits(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("v", Kind::Sequence);
    let member = |(name, exit)| generated(scene.script(name).of(group).exit(exit));
    let ends = [
        ("1", End::Ok),
        ("1/2", End::Fail("2")),
        ("1/2/3", End::Fail("3")),
    ];
    let members: Vec<_> = ends.into_iter().map(member).collect();
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(members, group, body).await
}

async fn a_join_in_a_body(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("j", Kind::Together);
    let body = async |_: &mut _| {
        let left = generated(scene.script("a/left").of(group));
        let right = generated(scene.script("a/right").of(group));
        let body = async |_: &mut _| scene.step("inside").await;
        scene.with(join((left, right)), group, body).await
    };
    scene.with(scene.generator("a"), "a", body).await
}

/// An error of one must not be lost where the other panics, so each deals with its own.
async fn uses_at_the_same_time(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| {
        let one = async |name: &'static str| {
            let body = async |_: &mut _| scene.step(name).await;
            scene.handle(scene.with(scene.generator(name), name, body).await)
        };
        futures::join!(one("a/left"), one("a/right"));
        Ok(())
    };
    scene.with(scene.by_hand("a"), "a", body).await
}
