//! A task is aborted while another thread lets the task go on.

use core::sync::atomic::{AtomicUsize, Ordering};

use std::future::pending;
use std::runtime::Runtime;
use std::task::yield_now;
use std::thread::{self, block_on};

use crate::context::AsyncContext;
use crate::detached;
use crate::generator::{Lender, generator};
use crate::ledger::{Ledger, Step, Trouble};
use crate::steps::{Gate, tell, with};

#[test]
fn a_task_that_is_aborted_at_any_time_exits_what_it_has_entered() {
    tell(|ledger| {
        let runtime = Runtime::new(2);
        let (body, exit) = (Gate::new(), Gate::new());
        let inner = ledger.context("inner");
        let outer = ledger.exiting("outer", {
            let exit = exit.clone();
            async move {
                exit.opened().await;
                Ok(())
            }
        });
        let task = runtime.handle().spawn({
            let body = body.clone();
            async move {
                let body = async move {
                    body.opened().await;
                    Ok(())
                };
                let _ = with(outer, with(inner, body)).await;
            }
        });
        let opener = thread::spawn(move || {
            body.open();
            exit.open();
        });
        task.abort();
        block_on(task.ended());
        block_on(detached::drain());
        ledger.check(&["inner", "outer"]);
        opener.join().expect("it does not panic");
        runtime.shut_down();
    });
}

#[test]
fn a_task_that_is_aborted_when_the_last_await_of_exit_is_ready_exits_once() {
    static RETURNED: AtomicUsize = AtomicUsize::new(0);
    static DETACHED: AtomicUsize = AtomicUsize::new(0);

    tell(|ledger| {
        let runtime = Runtime::new(2);
        let (begun, last) = (Gate::new(), Gate::new());
        let context = ledger.exiting("context", {
            let (begun, last) = (begun.clone(), last.clone());
            async move {
                begun.open();
                last.opened().await;
                Ok(())
            }
        });
        let task = runtime.handle().spawn({
            let ledger = ledger.clone();
            async move {
                let _ = with(context, async { Ok(()) }).await;
                ledger.note("context", Step::Returned);
            }
        });
        block_on(begun.opened());
        let opener = thread::spawn(move || last.open());
        task.abort();
        block_on(task.ended());
        block_on(detached::drain());
        ledger.check(&["context"]);
        let seen = if ledger.has("context", Step::Returned) {
            &RETURNED
        } else {
            &DETACHED
        };
        seen.fetch_add(1, Ordering::Relaxed);
        opener.join().expect("it does not panic");
        runtime.shut_down();
    });
    assert!(
        RETURNED.load(Ordering::Relaxed) > 0,
        "the abort was always first"
    );
    assert!(
        DETACHED.load(Ordering::Relaxed) > 0,
        "the abort was never first"
    );
}

/// Returns a context whose enter waits for the gate, and may be given up there.
fn entering_by(
    ledger: &Ledger,
    name: &'static str,
    gate: Gate,
) -> impl AsyncContext<Value = (), Error = Trouble, Verdict = ()> + use<> {
    let ledger = ledger.clone();
    generator(name, async move |lender: Lender<(), _>| {
        yield_now().await;
        lender.cancellable(gate.opened()).await;
        ledger.note(name, Step::Entered);
        lender.yield_(()).await;
        ledger.note(name, Step::ExitBegins);
        yield_now().await;
        ledger.note(name, Step::ExitEnds);
        Ok(())
    })
}

#[test]
fn an_enter_that_is_given_up_or_goes_on_leaves_nothing_behind() {
    tell(|ledger| {
        let runtime = Runtime::new(2);
        let gate = Gate::new();
        let raced = entering_by(ledger, "raced", gate.clone());
        let shut = entering_by(ledger, "shut", Gate::new());
        let task = runtime.handle().spawn(async move {
            let _ = with(raced, with(shut, pending())).await;
        });
        let opener = thread::spawn(move || gate.open());
        task.abort();
        block_on(task.ended());
        block_on(detached::drain());
        ledger.check(&["raced"]);
        ledger.check(&["shut"]);
        assert!(!ledger.has("shut", Step::Entered));
        opener.join().expect("it does not panic");
        runtime.shut_down();
    });
}
