//! Programs that break a law each: the checker says so.

use std::cell::RefCell;
use std::future::Future;
use std::mem;

use async_context_manager::testing::{Faults, cancel_everywhere};
use async_context_manager::{detached, prelude::*};
use tests::{
    End, Fact, Fault, Kind, Law, Ledger, Scene, Seen, broken_laws, generated,
    generated_suppressing, on_current_thread,
};

use super::staged;

/// The laws that a program breaks in any of its runs.
async fn broken<F>(program: impl Fn(Scene) -> F) -> Vec<Law>
where
    F: Future<Output = Result<(), Fault>>,
{
    let current = RefCell::new(Ledger::default());
    let mut broken = Vec::new();
    let start = || {
        let scene = Scene::new(Faults::default());
        current.replace(scene.ledger.clone());
        staged(&program, scene)
    };
    cancel_everywhere(start, |run| {
        let facts = current.borrow().facts();
        let ended = run.output().copied().unwrap_or(Seen::Cancelled);
        for (law, _) in broken_laws(&facts, ended, run.reports(), detached::count()) {
            if !broken.contains(&law) {
                broken.push(law);
            }
        }
    })
    .await;
    broken
}

fn breaks<F>(expected: &[Law], program: impl Fn(Scene) -> F)
where
    F: Future<Output = Result<(), Fault>>,
{
    on_current_thread(async |_| assert_eq!(broken(&program).await, expected));
}

#[test]
fn a_right_program_breaks_no_law() {
    breaks(&[], async |scene: Scene| {
        let body = async |_: &mut _| scene.step("inside").await;
        scene.with(scene.generator("a"), "a", body).await
    });
}

#[test]
fn a_context_that_is_never_exited_is_found() {
    breaks(&[Law::Once], async |scene: Scene| {
        let guard = scene.generator("a").guard().await?;
        mem::forget(guard);
        Ok(())
    });
}

#[test]
fn a_context_that_is_exited_twice_is_found() {
    breaks(&[Law::Once], async |scene: Scene| {
        let again = scene.by_hand("a");
        let body = async |_: &mut _| Ok(());
        scene.with(scene.by_hand("a"), "a", body).await?;
        again.exit("a", &Outcome::Completed).await
    });
}

#[test]
fn a_context_that_is_exited_but_was_not_entered_is_found() {
    breaks(&[Law::Once, Law::Outcome], async |scene: Scene| {
        let failing = generated(scene.script("a").enter(End::Fail("enter")));
        let result = scene.with(failing, "a", async |_: &mut _| Ok(())).await;
        scene.handle(result);
        scene.by_hand("a").exit("a", &Outcome::Completed).await
    });
}

#[test]
fn a_context_that_exits_before_one_inside_of_it_is_found() {
    breaks(&[Law::Order], async |scene: Scene| {
        let outer = scene.generator("a").guard().await?;
        let inner = scene.generator("a/b").guard().await?;
        scene.ended("a", &Ok(()));
        Guard::close(outer).await?;
        scene.ended("a/b", &Ok(()));
        Guard::close(inner).await
    });
}

#[test]
fn a_context_that_enters_before_the_one_around_it_is_found() {
    breaks(&[Law::Order], async |scene: Scene| {
        let outer = async |_: &mut _| {
            let inner = async |_: &mut _| Ok(());
            scene.with(scene.generator("a"), "a", inner).await
        };
        scene.with(scene.generator("a/b"), "a/b", outer).await
    });
}

#[test]
fn an_exit_that_is_told_another_outcome_is_found() {
    breaks(&[Law::Outcome], async |scene: Scene| {
        let guard = scene.generator("a").guard().await?;
        scene.ended::<()>("a", &Err(Fault("body")));
        Guard::close(guard).await
    });
}

#[test]
fn a_member_of_a_group_that_is_told_another_outcome_is_found() {
    for kind in [Kind::Stack, Kind::Sequence, Kind::Together] {
        breaks(&[Law::Outcome], async |scene: Scene| {
            let group = scene.group("g", kind);
            // It sees an error that came up nowhere inside.
            let member = generated(scene.script("m").of(group));
            let result = member
                .with(async |_| scene.come("body", "g", End::Fail("body")))
                .await;
            scene.ended(group, &Ok(()));
            result
        });
    }
}

#[test]
fn an_exit_that_is_not_told_that_its_body_was_ended_from_beside_is_found() {
    breaks(&[Law::Outcome], async |scene: Scene| {
        let script = scene.script("a").beside(2, Some(End::Fail("lost")));
        let plain = generated(script.clone());
        let body = async |_: &mut _| {
            scene.ledger.record(Fact::Beside("a"));
            scene
                .ledger
                .record(Fact::EndedBeside("a", Seen::Failed("lost")));
            scene.ledger.record(Fact::NotBeside("a"));
            Ok(())
        };
        // Its body is dropped, and its exit sees another error than the one that ended it.
        let dropped = scene.ledger.unless_over(Fact::Dropped("a"));
        let result = plain.with(async |value| {
            body(value).await?;
            drop(dropped);
            scene.come("body", "a", End::Fail("body"))
        });
        result.await
    });
}

#[test]
fn what_goes_on_beside_a_body_that_has_ended_is_found() {
    breaks(&[Law::Beside], async |scene: Scene| {
        let body = async |_: &mut _| {
            scene.ledger.record(Fact::Beside("a"));
            Ok(())
        };
        scene.with(scene.generator("a"), "a", body).await?;
        scene.ledger.record(Fact::NotBeside("a"));
        Ok(())
    });
}

#[test]
fn an_error_that_is_thrown_away_is_found() {
    breaks(&[Law::Errors], async |scene: Scene| {
        let body = async |_: &mut _| scene.come("body", "a", End::Fail("body"));
        let _ = scene.with(scene.generator("a"), "a", body).await;
        Ok(())
    });
}

#[test]
fn an_error_that_is_told_twice_is_found() {
    breaks(&[Law::Errors], async |scene: Scene| {
        let body = async |_: &mut _| scene.come("body", "a", End::Fail("body"));
        let result = scene.with(scene.generator("a"), "a", body).await;
        scene.handle(result.clone());
        result
    });
}

#[test]
fn an_error_that_is_suppressed_and_returned_is_found() {
    breaks(&[Law::Errors], async |scene: Scene| {
        let body = async |_: &mut _| scene.come("body", "a", End::Fail("body"));
        let suppressing = generated_suppressing(scene.script("a").exit(End::Suppress));
        scene.with(suppressing, "a", body).await?;
        Err(Fault("body"))
    });
}

#[test]
fn an_error_that_nobody_has_raised_is_found() {
    breaks(&[Law::Errors], async |scene: Scene| {
        let body = async |_: &mut _| Ok(());
        scene.with(scene.generator("a"), "a", body).await?;
        Err(Fault("made up"))
    });
}

#[test]
fn a_panic_that_is_thrown_away_is_found() {
    breaks(&[Law::Errors], async |scene: Scene| {
        let body = async |_: &mut _| scene.come("body", "a", End::Panic("body"));
        let used = scene.with(scene.generator("a"), "a", body);
        let caught = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(used)).await;
        assert!(caught.is_err());
        Ok(())
    });
}

#[test]
fn an_exit_that_is_still_running_is_found() {
    on_current_thread(async |_| {
        let scene = Scene::default();
        drop(scene.generator("a").guard().await);
        let reports: [std::sync::Arc<async_context_manager::report::Report>; 0] = [];
        let check = || {
            let facts = scene.ledger.facts();
            broken_laws(&facts, Seen::Cancelled, &reports, detached::count())
        };
        let broken: Vec<Law> = check().into_iter().map(|(law, _)| law).collect();
        assert_eq!(broken, [Law::Once, Law::Left]);
        detached::drain().await;
        assert_eq!(check(), []);
        assert!(
            scene
                .ledger
                .facts()
                .contains(&Fact::Exit("a", Seen::Cancelled))
        );
    });
}
