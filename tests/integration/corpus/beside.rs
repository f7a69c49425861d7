//! Contexts that run something beside the body, which may end it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_context_manager::{deadline, join, join_all, prelude::*, tasks, until};
use futures::TryStreamExt;
use tests::{
    AccompaniedByHand, End, Fact, Fault, Kind, Scene, Script, accompanied, accompanied_suppressing,
};
use tokio::sync::Notify;

programs! {
    a_lease_that_is_kept,
    a_lease_that_is_lost,
    a_lease_by_hand_that_is_lost,
    what_ends_well_beside_a_body,
    a_body_that_ends_first,
    a_lost_lease_around_contexts,
    a_lost_lease_inside_of_another_one,
    a_lost_lease_around_another_one,
    a_lost_lease_that_is_suppressed,
    a_lost_lease_with_an_exit_that_fails,
    a_lost_lease_behind_limits,
    a_guard_of_a_lease_that_is_kept,
    a_guard_of_a_lost_lease_that_is_closed,
    a_guard_of_a_lost_lease_that_drops,
    a_guard_of_a_lost_lease_that_fails,
    a_part_of_a_body_under_a_guard,
    a_lost_lease_in_a_scope,
    a_lost_lease_in_a_stack,
    a_lost_lease_in_a_vec,
    a_lost_lease_in_a_join,
    lost_leases_in_a_join_of_all,
    a_lost_lease_under_a_stream,
    a_deadline_that_passes,
    a_deadline_that_is_moved,
    a_token_that_is_told,
    tasks_of_which_one_fails,
    tasks_that_are_told_to_end,
}

/// One that is there until the end.
fn kept(scene: &Scene, name: &'static str) -> Script {
    scene.script(name).beside(1, None)
}

fn lost(scene: &Scene, name: &'static str) -> Script {
    scene.script(name).beside(3, Some(End::Fail("lost")))
}

async fn endless(scene: &Scene) -> Result<(), Fault> {
    scene.step("inside").await?;
    pending().await
}

async fn a_lease_that_is_kept(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(accompanied(kept(&scene, "a")), "a", body).await
}

async fn a_lease_that_is_lost(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| endless(&scene).await;
    scene.with(accompanied(lost(&scene, "a")), "a", body).await
}

async fn a_lease_by_hand_that_is_lost(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| endless(&scene).await;
    let lease = AccompaniedByHand(lost(&scene, "a"));
    scene.with(lease, "a", body).await
}

async fn what_ends_well_beside_a_body(scene: Scene) -> Result<(), Fault> {
    let script = scene.script("a").beside(1, Some(End::Ok));
    let body = async |_: &mut _| {
        scene.step("one").await?;
        scene.step("two").await?;
        scene.step("three").await
    };
    scene.with(accompanied(script), "a", body).await
}

async fn a_body_that_ends_first(scene: Scene) -> Result<(), Fault> {
    let script = scene.script("a").beside(5, Some(End::Fail("lost")));
    let body = async |_: &mut _| scene.step("inside").await;
    scene.with(accompanied(script), "a", body).await
}

/// The body leaves a guard behind, and is in a context.
async fn a_lost_lease_around_contexts(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| {
        let _left = scene.by_hand("a/left").guard().await?;
        let inner = async |_: &mut _| endless(&scene).await;
        scene.with(scene.generator("a/b"), "a/b", inner).await
    };
    let script = scene.script("a").beside(7, Some(End::Fail("lost")));
    scene.with(accompanied(script), "a", body).await
}

async fn a_lost_lease_inside_of_another_one(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |_: &mut _| endless(&scene).await;
        let lease = accompanied(lost(&scene, "a/b"));
        scene.handle(scene.with(lease, "a/b", body).await);
        scene.step("after").await
    };
    scene.with(accompanied(kept(&scene, "a")), "a", outer).await
}

async fn a_lost_lease_around_another_one(scene: Scene) -> Result<(), Fault> {
    let outer = async |_: &mut _| {
        let body = async |_: &mut _| endless(&scene).await;
        let lease = accompanied(kept(&scene, "a/b"));
        scene.with(lease, "a/b", body).await
    };
    let script = scene.script("a").beside(5, Some(End::Fail("lost")));
    scene.with(accompanied(script), "a", outer).await
}

async fn a_lost_lease_that_is_suppressed(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| endless(&scene).await;
    let lease = accompanied_suppressing(lost(&scene, "a").exit(End::Suppress));
    scene.with(lease, "a", body).await?;
    scene.step("after").await
}

async fn a_lost_lease_with_an_exit_that_fails(scene: Scene) -> Result<(), Fault> {
    let body = async |_: &mut _| endless(&scene).await;
    let lease = accompanied(lost(&scene, "a").exit(End::Fail("exit")));
    scene.with(lease, "a", body).await
}

async fn a_lost_lease_behind_limits(scene: Scene) -> Result<(), Fault> {
    const LONG: Duration = Duration::from_secs(3_600);

    let lease = accompanied(lost(&scene, "a")).body_timeout(LONG);
    let limited = lease.exit_timeout(LONG).err_into::<TimeoutError<Fault>>();
    let used = limited.with(async |_| Ok(scene.body("a", endless(&scene)).await?));
    used.await.map_err(|error| match error {
        TimeoutError::Context(fault) => fault,
        late @ TimeoutError::Elapsed { .. } => unreachable!("nothing takes an hour: {late}"),
    })
}

async fn a_guard_of_a_lease_that_is_kept(scene: Scene) -> Result<(), Fault> {
    let guard = accompanied(kept(&scene, "g")).guard().await?;
    let result = scene.step("inside").await;
    scene.ended("g", &result);
    Guard::exit(guard, result).await
}

async fn a_guard_of_a_lost_lease_that_is_closed(scene: Scene) -> Result<(), Fault> {
    let guard = AccompaniedByHand(lost(&scene, "g")).guard().await?;
    Guard::ended(&guard).await;
    scene.ended("g", &Ok(()));
    Guard::close(guard).await
}

async fn a_guard_of_a_lost_lease_that_drops(scene: Scene) -> Result<(), Fault> {
    {
        let guard = accompanied(lost(&scene, "g")).guard().await?;
        Guard::ended(&guard).await;
        scene.step("inside").await?;
    }
    scene.step("outside").await
}

async fn a_guard_of_a_lost_lease_that_fails(scene: Scene) -> Result<(), Fault> {
    let guard = accompanied(lost(&scene, "g")).guard().await?;
    Guard::ended(&guard).await;
    let result = scene.come("body", "of g", End::Fail("body"));
    scene.ended("g", &result);
    Guard::exit(guard, result).await
}

async fn a_part_of_a_body_under_a_guard(scene: Scene) -> Result<(), Fault> {
    let mut guard = accompanied(lost(&scene, "g")).guard().await?;
    let part = async |_: &mut _| scene.body("the part", endless(&scene)).await;
    let result = Guard::run(&mut guard, part).await;
    scene.ended("g", &result);
    Guard::exit(guard, result).await
}

async fn a_lost_lease_in_a_scope(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    ExitStack::<Fault>::scope(async |stack| {
        let body = async {
            drop(
                stack
                    .enter(accompanied(kept(&scene, "1").of(group)))
                    .await?,
            );
            let script = scene.script("1/2").of(group);
            let script = script.beside(5, Some(End::Fail("lost")));
            drop(stack.enter(accompanied(script)).await?);
            drop(
                stack
                    .enter(accompanied(kept(&scene, "1/2/3").of(group)))
                    .await?,
            );
            pending().await
        };
        scene.body(group, body).await
    })
    .await
}

async fn a_lost_lease_in_a_stack(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("s", Kind::Stack);
    let stack = ExitStack::<Fault>::new();
    drop(
        stack
            .enter(accompanied(lost(&scene, "1").of(group)))
            .await?,
    );
    drop(
        stack
            .enter(accompanied(kept(&scene, "1/2").of(group)))
            .await?,
    );
    let result = scene.step("inside").await;
    scene.ended(group, &result);
    stack.exit(result).await
}

async fn a_lost_lease_in_a_vec(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("v", Kind::Sequence);
    let members = vec![
        accompanied(kept(&scene, "1").of(group)),
        accompanied(lost(&scene, "1/2").of(group)),
        accompanied(kept(&scene, "1/2/3").of(group)),
    ];
    let body = async |_: &mut _| endless(&scene).await;
    scene.with(members, group, body).await
}

async fn a_lost_lease_in_a_join(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("j", Kind::Together);
    let left = accompanied(kept(&scene, "left").of(group));
    let right = AccompaniedByHand(lost(&scene, "right").of(group));
    let body = async |_: &mut _| endless(&scene).await;
    scene.with(join((left, right)), group, body).await
}

/// Of those that are lost at the same time, one counts.
async fn lost_leases_in_a_join_of_all(scene: Scene) -> Result<(), Fault> {
    let group = scene.group("j", Kind::Together);
    let member = |(name, error)| {
        let script = scene.script(name).of(group);
        accompanied(script.beside(2, Some(End::Fail(error))))
    };
    let members = [("1", "lost 1"), ("2", "lost 2")].map(member);
    let body = async |_: &mut _| endless(&scene).await;
    scene.with(join_all(members), group, body).await
}

async fn a_lost_lease_under_a_stream(scene: Scene) -> Result<(), Fault> {
    let numbers = {
        let scene = scene.clone();
        let lease = accompanied(lost(&scene, "s"));
        lease.stream(async move |_, items| {
            let body = async {
                items.send(1).await;
                endless(&scene).await
            };
            scene.body("s", body).await
        })
    };
    numbers.try_for_each(async |_| Ok(())).await
}

/// The error of a limit, which comes up when the limit has passed.
fn late(scene: &Scene) -> impl FnMut(async_context_manager::Elapsed) -> Fault + Send + use<> {
    let ledger = scene.ledger.clone();
    move |_| {
        ledger.record(Fact::Raised("late"));
        Fault("late")
    }
}

async fn a_deadline_that_passes(scene: Scene) -> Result<(), Fault> {
    let limited = deadline(Duration::from_millis(1)).map_err(late(&scene));
    let body = async |_: &mut _| {
        let inner = async |_: &mut _| endless(&scene).await;
        scene.with(scene.generator("a"), "a", inner).await
    };
    limited.with(body).await
}

async fn a_deadline_that_is_moved(scene: Scene) -> Result<(), Fault> {
    let limited = deadline(Duration::from_secs(3_600)).map_err(late(&scene));
    limited
        .with(async |deadline| {
            scene.work("a").await?;
            deadline.reschedule(tokio::time::Instant::now());
            endless(&scene).await
        })
        .await
}

async fn a_token_that_is_told(scene: Scene) -> Result<(), Fault> {
    let told = Arc::new(Notify::new());
    let stopped = {
        let (told, ledger) = (Arc::clone(&told), scene.ledger.clone());
        async move {
            told.notified().await;
            ledger.record(Fact::Raised("told"));
            Fault("told")
        }
    };
    until(stopped)
        .with(async |()| {
            let body = async |_: &mut _| {
                scene.step("before").await?;
                told.notify_one();
                endless(&scene).await
            };
            scene.with(scene.by_hand("a"), "a", body).await
        })
        .await
}

async fn tasks_of_which_one_fails(scene: Scene) -> Result<(), Fault> {
    let begin = Arc::new(Notify::new());
    tasks()
        .fail_fast()
        .with(async |tasks| {
            let (task, begin_task) = (scene.clone(), Arc::clone(&begin));
            tasks.spawn(async move {
                begin_task.notified().await;
                task.work("task").await?;
                task.come("task", "after its work", End::Fail("task"))
            });
            scene.work("first").await?;
            begin.notify_one();
            let body = async |_: &mut _| endless(&scene).await;
            scene.with(scene.generator("body"), "body", body).await
        })
        .await
}

async fn tasks_that_are_told_to_end(scene: Scene) -> Result<(), Fault> {
    tasks()
        .grace(Duration::from_secs(3_600))
        .with(async |tasks| {
            let (task, told) = (scene.clone(), tasks.told());
            tasks.spawn(async move {
                let body = async |_: &mut _| {
                    told.await;
                    task.step("goodbye").await
                };
                task.with(task.generator("task"), "task", body).await
            });
            scene.work("body").await
        })
        .await
}
