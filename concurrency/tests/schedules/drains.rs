//! Drains while other threads hand exits over.

use std::thread::{self, block_on};
use std::time::Duration;

use crate::detached;
use crate::ledger::{Ledger, Step};
use crate::steps::{in_use, tell};

/// Hands over the exit of a new context.
fn hand_over(ledger: &Ledger, name: &'static str) {
    drop(block_on(in_use(ledger.context(name))));
}

fn check_ended(ledger: &Ledger, name: &'static str) {
    assert!(ledger.has(name, Step::ExitEnds), "`{name}`: {ledger:?}");
}

#[test]
fn a_drain_returns_when_what_was_handed_over_before_has_ended() {
    tell(|ledger| {
        let others = ["one", "two"].map(|name| {
            let ledger = ledger.clone();
            thread::spawn(move || {
                hand_over(&ledger, name);
                block_on(detached::drain());
                check_ended(&ledger, name);
            })
        });
        hand_over(ledger, "three");
        block_on(detached::drain());
        check_ended(ledger, "three");
        for other in others {
            other.join().expect("it does not panic");
        }
        for name in ["one", "two", "three"] {
            ledger.check(&[name]);
        }
    });
}

#[test]
fn a_blocking_drain_is_woken() {
    tell(|ledger| {
        let other = {
            let ledger = ledger.clone();
            thread::spawn(move || hand_over(&ledger, "other"))
        };
        hand_over(ledger, "own");
        assert_eq!(detached::drain_blocking(Duration::MAX), 0);
        check_ended(ledger, "own");
        other.join().expect("it does not panic");
        assert_eq!(detached::drain_blocking(Duration::MAX), 0);
        check_ended(ledger, "other");
        ledger.check(&["own"]);
        ledger.check(&["other"]);
    });
}

#[test]
fn a_drain_waits_for_what_exits_hand_over() {
    tell(|ledger| {
        let leaving = {
            let ledger = ledger.clone();
            async move {
                drop(in_use(ledger.context("late")).await);
                Ok(())
            }
        };
        let context = ledger.exiting("context", leaving);
        drop(block_on(in_use(context)));
        block_on(detached::drain());
        check_ended(ledger, "late");
        ledger.check(&["context"]);
        ledger.check(&["late"]);
    });
}
