//! Enters that wait until there are fewer exits in the background, and `force`.

use std::future::pending;
use std::runtime::Runtime;
use std::thread::{self, block_on};

use crate::detached;
use crate::ledger::Step;
use crate::report::Kind;
use crate::steps::{in_use, tell, with};

/// No alarm goes off here, so an enter that is forgotten at the door waits for ever.
#[test]
fn every_enter_that_waits_is_let_in() {
    tell(|ledger| {
        detached::set_limit(1);
        let runtime = Runtime::new(2);
        let tasks = ["one", "two", "three"].map(|name| {
            let ledger = ledger.clone();
            runtime.handle().spawn(async move {
                drop(in_use(ledger.context(name)).await);
            })
        });
        for task in tasks {
            block_on(task.ended());
        }
        block_on(detached::drain());
        for name in ["one", "two", "three"] {
            ledger.check(&[name]);
        }
        detached::set_limit(usize::MAX);
        runtime.shut_down();
    });
}

#[test]
fn one_that_leaves_the_door_keeps_nobody_out() {
    tell(|ledger| {
        detached::set_limit(1);
        let runtime = Runtime::new(2);
        let tasks = ["one", "two"].map(|name| {
            let ledger = ledger.clone();
            runtime.handle().spawn(async move {
                drop(in_use(ledger.context(name)).await);
            })
        });
        let given_up = runtime.handle().spawn({
            let context = ledger.context("given up");
            async move {
                let _ = with(context, async { Ok(()) }).await;
            }
        });
        given_up.abort();
        for task in tasks {
            block_on(task.ended());
        }
        block_on(given_up.ended());
        block_on(detached::drain());
        for name in ["one", "two"] {
            ledger.check(&[name]);
        }
        detached::set_limit(usize::MAX);
        runtime.shut_down();
    });
}

#[test]
fn force_wakes_an_exit_whatever_it_is_doing() {
    tell(|ledger| {
        let runtime = Runtime::new(2);
        let context = ledger.exiting("stuck", async { pending().await });
        let task = runtime
            .handle()
            .spawn(async move { drop(in_use(context).await) });
        block_on(task.ended());
        let forcer = thread::spawn(|| detached::force(&detached::list()[0]));
        block_on(detached::drain());
        assert!(forcer.join().expect("it does not panic"));
        assert_eq!(ledger.count("stuck", Step::Reported(Kind::Forced)), 1);
        assert!(!ledger.has("stuck", Step::ExitEnds));
        runtime.shut_down();
    });
}
