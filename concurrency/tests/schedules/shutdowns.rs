//! A runtime shuts down while exits are handed over to it.

use std::future::pending;
use std::runtime::Runtime;
use std::thread::{self, block_on};

use crate::detached;
use crate::fallback;
use crate::ledger::{Ledger, Step};
use crate::report::Kind;
use crate::steps::{Gate, in_use, tell, with};

/// Aborts a task in the body of two contexts while its runtime shuts down.
fn abort_and_shut_down(ledger: &Ledger) {
    let runtime = Runtime::new(2);
    let inner = ledger.context("inner");
    let outer = ledger.context("outer");
    let is_in_body = Gate::new();
    let gate = is_in_body.clone();
    let task = runtime.handle().spawn(async move {
        let body = async move {
            gate.open();
            pending().await
        };
        let _ = with(outer, with(inner, body)).await;
    });
    block_on(is_in_body.opened());
    let aborter = thread::spawn(move || task.abort());
    runtime.shut_down();
    aborter.join().expect("it does not panic");
    block_on(detached::drain());
}

/// Hands an exit over from a thread outside the runtime, while the runtime shuts down.
fn drop_and_shut_down(ledger: &Ledger) {
    let runtime = Runtime::new(1);
    let handle = runtime.handle().clone();
    let dropper = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            let _here = handle.enter();
            drop(block_on(in_use(ledger.context("inner"))));
        })
    };
    runtime.shut_down();
    dropper.join().expect("it does not panic");
    block_on(detached::drain());
}

/// Checks that a context that was entered was exited once, or else reported as lost once.
fn check_lost(ledger: &Ledger, name: &'static str) {
    let entered = ledger.count(name, Step::Entered);
    let ended = ledger.count(name, Step::ExitEnds);
    let lost = ledger.count(name, Step::Reported(Kind::Lost));
    assert!(
        entered <= ended + lost && ended + lost <= 1,
        "`{name}`: {ledger:?}"
    );
    assert!(
        ledger.count(name, Step::ExitBegins) <= 1,
        "`{name}`: {ledger:?}"
    );
}

#[test]
fn a_task_that_is_aborted_while_the_runtime_shuts_down_exits_what_it_has_entered() {
    tell(|ledger| {
        abort_and_shut_down(ledger);
        ledger.check(&["inner", "outer"]);
    });
}

#[test]
fn a_hand_over_to_a_runtime_that_shuts_down_goes_on_elsewhere() {
    tell(|ledger| {
        drop_and_shut_down(ledger);
        ledger.check(&["inner"]);
        assert!(ledger.has("inner", Step::ExitEnds));
    });
}

#[test]
fn a_task_that_is_lost_with_its_runtime_is_reported_where_there_is_no_other() {
    tell(|ledger| {
        fallback::withhold();
        abort_and_shut_down(ledger);
        check_lost(ledger, "inner");
        check_lost(ledger, "outer");
    });
}

#[test]
fn a_hand_over_that_is_lost_with_its_runtime_is_reported_where_there_is_no_other() {
    tell(|ledger| {
        fallback::withhold();
        drop_and_shut_down(ledger);
        check_lost(ledger, "inner");
    });
}
