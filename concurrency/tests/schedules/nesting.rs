//! Exits in the background, and the exit of the context around them on another thread.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::runtime::Runtime;
use std::task::{Poll, yield_now};
use std::thread::{self, block_on};

use crate::context::AsyncContext;
use crate::detached;
use crate::guard::Guard;
use crate::ledger::{Ledger, Trouble};
use crate::steps::{Gate, in_use, tell, with};

/// Runs the future as a task on three workers, and waits until all exits have ended.
fn run(future: impl Future<Output = ()> + Send + 'static) {
    let runtime = Runtime::new(3);
    let task = runtime.handle().spawn(future);
    block_on(task.ended());
    block_on(detached::drain());
    runtime.shut_down();
}

#[test]
fn two_inner_exits_in_the_background_end_before_the_outer_one_begins() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let body = async {
                    let mut dropped = Vec::new();
                    for name in ["one", "two"] {
                        let used = in_use(ledger.context(name)).await;
                        let gate = Gate::new();
                        dropped.push(gate.clone());
                        thread::spawn(move || {
                            drop(used);
                            gate.open();
                        });
                    }
                    for gate in dropped {
                        gate.opened().await;
                    }
                    Ok(())
                };
                let _ = with(ledger.context("outer"), body).await;
            }
        });
        ledger.check(&["one", "outer"]);
        ledger.check(&["two", "outer"]);
    });
}

#[test]
fn two_inner_exits_and_the_outer_one_in_the_background_are_in_order() {
    tell(|ledger| {
        let runtime = Runtime::new(3);
        let are_entering = Gate::new();
        let task = runtime.handle().spawn({
            let (ledger, gate) = (ledger.clone(), are_entering.clone());
            async move {
                let body = async {
                    let one = with(ledger.context("one"), pending());
                    let two = with(ledger.context("two"), pending());
                    let (mut one, mut two) = (pin!(one), pin!(two));
                    poll_fn(|cx| {
                        assert!(one.as_mut().poll(cx).is_pending());
                        assert!(two.as_mut().poll(cx).is_pending());
                        gate.open();
                        Poll::Pending
                    })
                    .await
                };
                let _ = with(ledger.context("outer"), body).await;
            }
        });
        block_on(are_entering.opened());
        task.abort();
        block_on(task.ended());
        block_on(detached::drain());
        ledger.check(&["one", "outer"]);
        ledger.check(&["two", "outer"]);
        runtime.shut_down();
    });
}

#[test]
fn an_exit_that_outlives_the_context_around_it_ends_before_the_next_one_begins() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let leaving = async |ledger: Ledger, name| {
                    drop(in_use(ledger.context(name)).await);
                    Ok(())
                };
                let inner = ledger.exiting("inner", leaving(ledger.clone(), "late"));
                let middle = ledger.exiting("middle", leaving(ledger.clone(), "later"));
                let body = Box::pin(with(middle, with(inner, async { Ok(()) })));
                let _ = with(ledger.context("outer"), body).await;
            }
        });
        ledger.check(&["inner", "middle", "outer"]);
        ledger.check(&["late", "middle"]);
        ledger.check(&["later", "outer"]);
    });
}

#[test]
fn what_is_handed_over_while_the_context_around_it_ends_is_left_to_the_next_one() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let body = async {
                    let dropped = Gate::new();
                    let middle = async {
                        let used = in_use(ledger.context("late")).await;
                        let gate = dropped.clone();
                        thread::spawn(move || {
                            drop(used);
                            gate.open();
                        });
                        Ok(())
                    };
                    let _ = with(ledger.context("middle"), middle).await;
                    dropped.opened().await;
                    Ok(())
                };
                let _ = with(ledger.context("outer"), body).await;
            }
        });
        ledger.check(&["middle", "outer"]);
        ledger.check(&["late", "outer"]);
    });
}

#[test]
fn a_guard_waits_for_the_guard_that_was_entered_after_it() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let first = Guard::enter(ledger.context("first")).await;
                let second = Guard::enter(ledger.context("second")).await;
                drop(second);
                let _ = Guard::close(first.expect("it does not fail")).await;
            }
        });
        ledger.check(&["second", "first"]);
    });
}

#[test]
fn a_guard_that_is_given_up_inside_of_another_context_waits_too() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let first = Guard::enter(ledger.context("first")).await;
                let second = Guard::enter(ledger.context("second")).await;
                drop(second);
                let body = async {
                    drop(first);
                    Ok(())
                };
                let _ = with(ledger.context("around"), body).await;
            }
        });
        ledger.check(&["second", "first"]);
        ledger.check(&["around"]);
    });
}

#[test]
fn guards_that_are_dropped_by_other_threads_exit_before_what_is_around_them() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let body = async {
                    let first = Guard::enter(ledger.context("first")).await;
                    let second = Guard::enter(ledger.context("second")).await;
                    let gate = Gate::new();
                    let (one, two) = (gate.clone(), Gate::new());
                    let dropped = two.clone();
                    thread::spawn(move || {
                        drop(second);
                        one.open();
                    });
                    thread::spawn(move || {
                        block_on(gate.opened());
                        drop(first);
                        two.open();
                    });
                    dropped.opened().await;
                    Ok(())
                };
                let _ = with(ledger.context("outer"), body).await;
            }
        });
        ledger.check(&["second", "outer"]);
        ledger.check(&["first", "outer"]);
    });
}

#[test]
fn a_guard_waits_for_an_exit_that_moves_outwards_meanwhile() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let first = Guard::enter(ledger.context("first")).await;
                let exit = {
                    let ledger = ledger.clone();
                    async move {
                        let second = Guard::enter(ledger.context("second")).await;
                        drop(second);
                        drop(first);
                        Ok(())
                    }
                };
                let around = ledger.exiting("around", exit);
                let _ = with(around, async { Ok(()) }).await;
            }
        });
        ledger.check(&["second", "first"]);
        ledger.check(&["around"]);
    });
}

#[test]
fn a_guard_waits_for_what_the_exit_that_it_waits_for_leaves_behind() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let exit = {
                    let ledger = ledger.clone();
                    async move {
                        drop(in_use(ledger.context("late")).await);
                        Ok(())
                    }
                };
                let first = Guard::enter(ledger.context("first")).await;
                let second = Guard::enter(ledger.exiting("second", exit)).await;
                drop(second);
                drop(first);
            }
        });
        ledger.check(&["late", "first"]);
        ledger.check(&["second", "first"]);
    });
}

/// The owner's exit ends, and so moves from the context that it was opened in to the root, while
/// the guard that it has dropped looks for the other one there.
#[test]
fn a_guard_waits_for_one_inside_an_exit_that_moves_to_the_root_meanwhile() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let first = Guard::enter(ledger.context("first")).await;
                let exit = {
                    let ledger = ledger.clone();
                    async move {
                        drop(Guard::enter(ledger.context("second")).await);
                        drop(first);
                        Ok(())
                    }
                };
                let owner = ledger.exiting("owner", exit);
                let around = Guard::enter(ledger.context("around")).await;
                let mut around = around.expect("it opens");
                let owner = Guard::run(&mut around, async |()| Guard::enter(owner).await).await;
                drop(around);
                drop(owner);
            }
        });
        ledger.check(&["second", "first"]);
        ledger.check(&["around"]);
        ledger.check(&["owner"]);
    });
}

/// Returns a context whose exit drops a guard of the other one.
fn leaving<C>(
    ledger: &Ledger,
    name: &'static str,
    other: C,
) -> impl AsyncContext<Value = (), Error = Trouble, Verdict = ()> + use<C>
where
    C: AsyncContext<Value = (), Error = Trouble, Verdict = ()> + 'static,
{
    ledger.exiting(name, async {
        drop(Guard::enter(other).await);
        Ok(())
    })
}

#[test]
fn a_guard_waits_for_what_is_left_by_the_one_that_an_awaited_exit_leaves_behind() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let first = Guard::enter(ledger.context("first")).await;
                let second = leaving(&ledger, "second", ledger.context("third"));
                let around = leaving(&ledger, "around", second);
                let _ = with(around, async { Ok(()) }).await;
                drop(first);
            }
        });
        ledger.check(&["third", "first"]);
        ledger.check(&["second", "first"]);
        ledger.check(&["around", "first"]);
    });
}

#[test]
fn a_guard_waits_for_the_last_in_a_chain_of_exits_that_each_leave_the_next_behind() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let first = Guard::enter(ledger.context("first")).await;
                let third = leaving(&ledger, "third", ledger.context("fourth"));
                let second = leaving(&ledger, "second", third);
                drop(Guard::enter(second).await);
                drop(first);
            }
        });
        for name in ["second", "third", "fourth"] {
            ledger.check(&[name, "first"]);
        }
    });
}

/// The guard looks for the other one in the context around both. That context ends meanwhile, and
/// so does the owner, which moves to the root.
#[test]
fn a_guard_waits_for_one_inside_an_exit_when_the_context_around_both_ends_meanwhile() {
    tell(|ledger| {
        run({
            let ledger = ledger.clone();
            async move {
                let (begun, are_given_up, ends) = (Gate::new(), Gate::new(), Gate::new());
                let exit = {
                    let begun = begun.clone();
                    let are_given_up = are_given_up.clone();
                    async move {
                        begun.open();
                        are_given_up.opened().await;
                        Ok(())
                    }
                };
                let around = Guard::enter(ledger.exiting("around", exit)).await;
                let mut around = around.expect("it opens");
                let body = async |(): &mut ()| {
                    let first = Guard::enter(ledger.context("first")).await?;
                    let end = ends.clone();
                    let second = ledger.exiting("second", async move {
                        end.opened().await;
                        Ok(())
                    });
                    let exit = async move {
                        drop(Guard::enter(second).await);
                        drop(first);
                        are_given_up.open();
                        Ok(())
                    };
                    Guard::enter(ledger.exiting("owner", exit)).await
                };
                let owner = Guard::run(&mut around, body).await;
                drop(around);
                begun.opened().await;
                drop(owner);
                for _ in 0..20 {
                    yield_now().await;
                }
                ends.open();
            }
        });
        ledger.check(&["second", "first"]);
        ledger.check(&["around"]);
        ledger.check(&["owner"]);
    });
}
