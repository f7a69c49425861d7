//! Streams that own a context.

use async_context_manager::prelude::*;
use futures::stream::{self, Stream};
use futures::{StreamExt, TryStreamExt};
use tests::{Fault, Scene};

programs! {
    a_stream_to_its_end,
    a_stream_of_which_some_is_taken,
    a_stream_from_a_stream,
    a_stream_that_opens_what_its_body_uses,
    a_stream_in_a_body,
    streams_beside_each_other,
}

/// Two items, with a step before each.
fn numbers(scene: &Scene, name: &'static str) -> impl Stream<Item = Result<u32, Fault>> + Unpin {
    let scene = scene.clone();
    scene.generator(name).stream(async move |_, items| {
        let body = async {
            for number in 0..2 {
                scene.step(name).await?;
                items.send(number).await;
            }
            Ok(())
        };
        scene.body(name, body).await
    })
}

async fn a_stream_to_its_end(scene: Scene) -> Result<(), Fault> {
    let mut numbers = numbers(&scene, "s");
    while let Some(number) = numbers.try_next().await? {
        assert!(number < 2);
    }
    assert!(numbers.next().await.is_none());
    scene.step("after").await
}

async fn a_stream_of_which_some_is_taken(scene: Scene) -> Result<(), Fault> {
    let numbers = numbers(&scene, "s").take(1).try_collect::<Vec<_>>().await?;
    assert_eq!(numbers, [0]);
    scene.step("after").await
}

async fn a_stream_from_a_stream(scene: Scene) -> Result<(), Fault> {
    let rows = {
        let scene = scene.clone();
        scene.by_hand("s").stream(async move |_, items| {
            let body = async {
                let rows = stream::iter(["one", "two"]).then(async |row| {
                    scene.step(row).await?;
                    Ok(row)
                });
                items.send_all(rows).await
            };
            scene.body("s", body).await
        })
    };
    let rows = rows.try_collect::<Vec<_>>().await?;
    assert_eq!(rows, ["one", "two"]);
    scene.step("after").await
}

async fn a_stream_that_opens_what_its_body_uses(scene: Scene) -> Result<(), Fault> {
    let names = {
        let scene = scene.clone();
        scene.generator("s").stream(async move |_, items| {
            let inner = async |name: &mut &'static str| {
                items.send(*name).await;
                scene.step("inner").await
            };
            let body = scene.with(scene.by_hand("s/i"), "s/i", inner);
            scene.body("s", body).await?;
            Ok(())
        })
    };
    let names = names.try_collect::<Vec<_>>().await?;
    assert_eq!(names, ["s/i"]);
    Ok(())
}

async fn a_stream_in_a_body(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| {
        let mut numbers = numbers(&scene, "a/s");
        numbers.try_next().await?;
        scene.step("one").await?;
        numbers.try_next().await?;
        Ok(())
    };
    scene.with(scene.generator("a"), "a", body).await
}

async fn streams_beside_each_other(scene: Scene) -> Result<(), Fault> {
    let mut both = stream::select(numbers(&scene, "s"), numbers(&scene, "t"));
    let mut count = 0;
    while let Some(number) = both.next().await {
        if scene.handle(number).is_some() {
            count += 1;
        }
    }
    assert!(count <= 4);
    Ok(())
}
