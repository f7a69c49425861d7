//! Guards, whose body is the code of the function that holds them.

use async_context_manager::prelude::*;
use tests::{Fault, Scene};

programs! {
    a_guard_that_is_exited,
    a_guard_that_is_closed,
    a_guard_that_drops,
    guards_side_by_side,
    guards_exited_in_the_order_of_entering,
    a_guard_in_a_body,
    a_body_under_a_guard,
    a_guard_in_a_field,
    a_guard_that_is_given_away,
}

async fn a_guard_that_is_exited(scene: Scene) -> Result<(), Fault> {
    let guard = scene.generator("g").guard().await?;
    let result = scene.step("inside").await;
    scene.ended("g", &result);
    Guard::exit(guard, result).await
}

async fn a_guard_that_is_closed(scene: Scene) -> Result<(), Fault> {
    let guard = scene.by_hand("g").guard().await?;
    scene.step("inside").await?;
    scene.ended("g", &Ok(()));
    Guard::close(guard).await
}

async fn a_guard_that_drops(scene: Scene) -> Result<(), Fault> {
    {
        let _guard = scene.by_hand("g").guard().await?;
        scene.step("inside").await?;
    }
    scene.step("outside").await
}

async fn guards_side_by_side(scene: Scene) -> Result<(), Fault> {
    let first = scene.generator("1").guard().await?;
    let second = scene.by_hand("1/2").guard().await?;
    let third = scene.generator("1/2/3").guard().await?;
    scene.step("inside").await?;
    scene.ended("1/2/3", &Ok(()));
    Guard::close(third).await?;
    scene.ended("1/2", &Ok(()));
    Guard::close(second).await?;
    scene.ended("1", &Ok(()));
    Guard::close(first).await
}

/// Nobody is inside of anybody then.
async fn guards_exited_in_the_order_of_entering(scene: Scene) -> Result<(), Fault> {
    let first = scene.generator("first").guard().await?;
    let second = scene.generator("second").guard().await?;
    scene.step("inside").await?;
    scene.ended("first", &Ok(()));
    Guard::close(first).await?;
    scene.ended("second", &Ok(()));
    Guard::close(second).await
}

async fn a_guard_in_a_body(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| {
        let guard = scene.generator("a/g").guard().await?;
        scene.step("inside").await?;
        scene.ended("a/g", &Ok(()));
        Guard::close(guard).await?;
        let _left = scene.by_hand("a/h").guard().await?;
        scene.step("after").await
    };
    scene.with(scene.by_hand("a"), "a", body).await
}

async fn a_body_under_a_guard(scene: Scene) -> Result<(), Fault> {
    let guard = scene.generator("g").guard().await?;
    let body = async |_: &mut _| scene.step("inside").await;
    let result = scene.with(scene.generator("g/a"), "g/a", body).await;
    scene.ended("g", &result);
    Guard::exit(guard, result).await
}

async fn a_guard_in_a_field(scene: Scene) -> Result<(), Fault> {
    struct Service {
        session: Guard<BoxContext<&'static str, Fault>>,
        requests: usize,
    }

    let session = scene.generator("g").boxed().guard().await?;
    let mut service = Service {
        session,
        requests: 0,
    };
    while service.requests < 2 {
        scene.step(["one", "two"][service.requests]).await?;
        service.requests += 1;
    }
    scene.ended("g", &Ok(()));
    Guard::close(service.session).await
}

async fn a_guard_that_is_given_away(scene: Scene) -> Result<(), Fault> {
    async fn open(
        scene: &Scene,
    ) -> Result<
        Guard<impl AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + use<>>,
        Fault,
    > {
        let guard = scene.generator("g").guard().await?;
        scene.step("opened").await?;
        Ok(guard)
    }

    let guard = open(&scene).await?;
    let result = scene.step("inside").await;
    scene.ended("g", &result);
    Guard::exit(guard, result).await
}
