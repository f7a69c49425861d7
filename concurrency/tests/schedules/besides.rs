//! The future beside a body ends it, while the body ends by itself, or is given up, on another
//! thread.

use core::future::{Future, pending};
use core::mem;
use core::sync::atomic::{AtomicUsize, Ordering};

use std::runtime::Runtime;
use std::task::yield_now;
use std::thread::{self, block_on};

use crate::context::AsyncContext;
use crate::detached;
use crate::generator::{Lender, generator};
use crate::guard::Guard;
use crate::ledger::{Ledger, Step, Trouble};
use crate::report::Kind;
use crate::stack::ExitStack;
use crate::steps::{Gate, tell, with};

/// Returns a context that ends its body when the gate opens.
fn lease(
    ledger: &Ledger,
    lost: Gate,
) -> impl AsyncContext<Value = (), Error = Trouble, Verdict = ()> + use<> {
    let ledger = ledger.clone();
    generator("lease", async move |lender: Lender<(), _>| {
        ledger.note("lease", Step::Entered);
        let beside = async {
            lost.opened().await;
            Err(Trouble)
        };
        lender.yield_beside((), beside).await;
        ledger.note("lease", Step::ExitBegins);
        yield_now().await;
        ledger.note("lease", Step::ExitEnds);
        Ok(())
    })
}

fn late(ledger: &Ledger) -> usize {
    ledger.count("lease", Step::Reported(Kind::BesideFailed))
}

fn exits_once(ledger: &Ledger) {
    for step in [Step::Entered, Step::ExitBegins, Step::ExitEnds] {
        assert_eq!(ledger.count("lease", step), 1, "{step:?}");
    }
}

/// Counts the two ways in which a body ends, so that a test fails if no schedule takes one of them.
struct Seen {
    lost: AtomicUsize,
    kept: AtomicUsize,
}

impl Seen {
    const fn new() -> Self {
        Self {
            lost: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
        }
    }

    fn note(&self, is_lost: bool) {
        let seen = if is_lost { &self.lost } else { &self.kept };
        seen.fetch_add(1, Ordering::Relaxed);
    }

    fn check(&self) {
        assert!(self.lost.load(Ordering::Relaxed) > 0, "it was never lost");
        assert!(self.kept.load(Ordering::Relaxed) > 0, "it was never kept");
    }
}

#[test]
fn a_body_ends_by_itself_or_from_beside_and_exit_runs_once() {
    static SEEN: Seen = Seen::new();

    tell(|ledger| {
        let runtime = Runtime::new(2);
        let (lost, done) = (Gate::new(), Gate::new());
        let context = lease(ledger, lost.clone());
        let body = {
            let done = done.clone();
            async move {
                done.opened().await;
                Ok(())
            }
        };
        let task = runtime.handle().spawn({
            let ledger = ledger.clone();
            async move {
                let is_lost = with(context, body).await.is_err();
                // If both end in one poll, the body's result counts.
                assert!(late(&ledger) <= usize::from(!is_lost));
                SEEN.note(is_lost);
            }
        });
        let opener = thread::spawn(move || lost.open());
        done.open();
        block_on(task.ended());
        block_on(detached::drain());
        exits_once(ledger);
        opener.join().expect("it does not panic");
        runtime.shut_down();
    });
    SEEN.check();
}

#[test]
fn the_error_from_beside_a_guard_is_returned_by_its_exit_or_reported_and_never_both() {
    static SEEN: Seen = Seen::new();

    tell(|ledger| {
        let runtime = Runtime::new(2);
        let lost = Gate::new();
        let context = lease(ledger, lost.clone());
        let task = runtime.handle().spawn({
            let ledger = ledger.clone();
            async move {
                let guard = Guard::enter(context).await.expect("it opens");
                let opener = thread::spawn(move || lost.open());
                yield_now().await;
                let is_lost = Guard::close(guard).await.is_err();
                assert!(late(&ledger) <= usize::from(!is_lost));
                SEEN.note(is_lost);
                opener.join().expect("it does not panic");
            }
        });
        block_on(task.ended());
        block_on(detached::drain());
        exits_once(ledger);
        runtime.shut_down();
    });
    SEEN.check();
}

#[test]
fn a_guard_that_is_dropped_while_its_body_is_ended_from_beside_exits_once() {
    static SEEN: Seen = Seen::new();

    tell(|ledger| {
        let runtime = Runtime::new(2);
        let lost = Gate::new();
        let context = lease(ledger, lost.clone());
        let task = runtime.handle().spawn(async move {
            let guard = Guard::enter(context).await.expect("it opens");
            let opener = thread::spawn(move || lost.open());
            yield_now().await;
            drop(guard);
            opener.join().expect("it does not panic");
        });
        block_on(task.ended());
        block_on(detached::drain());
        exits_once(ledger);
        assert!(late(ledger) <= 1);
        SEEN.note(late(ledger) == 1);
        runtime.shut_down();
    });
    SEEN.check();
}

#[test]
fn a_guard_that_is_told_of_its_end_gets_the_error() {
    tell(|ledger| {
        let runtime = Runtime::new(2);
        let lost = Gate::new();
        let context = lease(ledger, lost.clone());
        let task = runtime.handle().spawn(async move {
            let guard = Guard::enter(context).await.expect("it opens");
            let opener = thread::spawn(move || lost.open());
            Guard::ended(&guard).await;
            assert!(Guard::close(guard).await.is_err());
            opener.join().expect("it does not panic");
        });
        block_on(task.ended());
        block_on(detached::drain());
        exits_once(ledger);
        assert_eq!(late(ledger), 0);
        runtime.shut_down();
    });
}

/// Returns a context that opens the gate beside its body, in the second poll of that future.
fn telling(told: Gate) -> impl AsyncContext<Value = (), Error = Trouble, Verdict = ()> + use<> {
    generator("telling", async move |lender: Lender<(), _>| {
        let beside = async {
            yield_now().await;
            told.open();
            pending().await
        };
        lender.yield_beside((), beside).await;
        Ok(())
    })
}

/// Gives the stack of a scope to another task, which does the work. The scope waits for that task,
/// or ends meanwhile.
fn moves_its_stack<F>(
    waits: bool,
    work: impl Fn(ExitStack<Trouble>) -> F + Copy + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    tell(move |_| {
        let runtime = Runtime::new(2);
        let handle = runtime.handle().clone();
        let task = runtime.handle().spawn(async move {
            let mut other = None;
            let scope = ExitStack::<Trouble>::scope(async |stack| {
                let spawned = handle.spawn(work(mem::take(stack)));
                if waits {
                    spawned.ended().await;
                } else {
                    other = Some(spawned);
                }
                Ok(())
            });
            scope.await.expect("it exits");
            if let Some(other) = other {
                other.ended().await;
            }
        });
        block_on(task.ended());
        block_on(detached::drain());
        runtime.shut_down();
    });
}

/// Puts a new stack in the place of this one. What runs beside the entries of both is polled.
async fn enters_in_both(mut stack: ExitStack<Trouble>) {
    let tells = [Gate::new(), Gate::new()];
    let first = stack.enter(telling(tells[0].clone())).await;
    drop(first.expect("it enters"));
    let before = stack.take();
    let second = stack.enter(telling(tells[1].clone())).await;
    drop(second.expect("it enters"));
    for told in tells {
        told.opened().await;
    }
    stack.exit(Ok(())).await.expect("it exits");
    before.exit(Ok(())).await.expect("it exits");
}

/// As [`enters_in_both`], but the scope has had nothing to poll until then.
async fn enters_in_the_new_one(mut stack: ExitStack<Trouble>) {
    let before = stack.take();
    let told = Gate::new();
    let entered = stack.enter(telling(told.clone())).await;
    drop(entered.expect("it enters"));
    told.opened().await;
    stack.exit(Ok(())).await.expect("it exits");
    before.exit(Ok(())).await.expect("it exits");
}

#[test]
fn what_another_task_enters_in_the_stack_of_a_scope_is_polled_by_the_scope() {
    moves_its_stack(true, enters_in_both);
}

#[test]
fn what_another_task_enters_in_the_stack_of_a_scope_is_polled_after_the_scope() {
    moves_its_stack(false, enters_in_both);
}

#[test]
fn what_another_task_enters_is_polled_though_the_scope_has_polled_nothing_before() {
    moves_its_stack(false, enters_in_the_new_one);
}

/// What runs beside the entry ends the body in its first poll, before the other task has returned
/// from `enter`.
#[test]
fn an_entry_of_another_task_may_end_the_body_of_the_scope_at_once() {
    tell(|ledger| {
        let runtime = Runtime::new(2);
        let handle = runtime.handle().clone();
        let lost = Gate::new();
        lost.open();
        let context = lease(ledger, lost);
        let task = runtime.handle().spawn(async move {
            let scope = ExitStack::<Trouble>::scope(async |stack| {
                let moved = mem::take(stack);
                handle.spawn(async move {
                    let entered = moved.enter(context).await;
                    drop(entered.expect("it enters"));
                    pending::<()>().await;
                });
                pending::<Result<(), Trouble>>().await
            });
            assert!(scope.await.is_err());
        });
        block_on(task.ended());
        runtime.shut_down();
        block_on(detached::drain());
    });
}
