//! A task is aborted while another thread lets it go on.

use core::sync::atomic::{AtomicUsize, Ordering};

use std::runtime::Runtime;
use std::thread::{self, block_on};

use crate::detached;
use crate::ledger::Step;
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
