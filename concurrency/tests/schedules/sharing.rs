//! The users of one context, which opens for the first user and closes with the last.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{self, Poll};
use std::thread::{self, JoinHandle, block_on};
use std::time::Duration;

use crate::detached;
use crate::failure::Failure;
use crate::generator::{Lender, generator};
use crate::ledger::{Ledger, Step, Trouble};
use crate::scope::{self, Live};
use crate::shared::{Share, Shared, shared, swappable};
use crate::steps::tell;

type Users = Shared<(), Trouble>;
type Use = Pin<Box<dyn Future<Output = Result<(), Arc<Trouble>>> + Send>>;

/// Returns a use with an await in its body.
fn a_use(users: &Users) -> Use {
    Box::pin(scope::run(
        users.clone(),
        Live::new_inside,
        async |_: &mut Share<(), Trouble>| {
            task::yield_now().await;
            Ok(())
        },
        Failure::reporting,
    ))
}

fn user(users: &Users) -> JoinHandle<Result<(), Arc<Trouble>>> {
    let used = a_use(users);
    thread::spawn(move || block_on(used))
}

/// Polls a use this many times, and drops it.
fn user_who_goes(users: &Users, polls: usize) -> JoinHandle<()> {
    let mut used = a_use(users);
    thread::spawn(move || {
        let mut left = polls;
        block_on(poll_fn(|cx| {
            if left == 0 || used.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            left -= 1;
            // Woken here, because nobody else may wake the use.
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
    })
}

fn is_well(user: JoinHandle<Result<(), Arc<Trouble>>>) {
    let ended = user.join().expect("it does not panic");
    ended.expect("it does not fail");
}

#[test]
fn first_and_last_users_meet_in_any_order() {
    tell(|ledger| {
        let opened = ledger.clone();
        let users = shared(move || opened.context("shared"));
        let others = [user(&users), user(&users)];
        block_on(a_use(&users)).expect("it does not fail");
        for other in others {
            is_well(other);
        }
        assert_eq!(detached::count(), 0, "the last one has awaited the exit");
        let turns = ledger.check_in_turn("shared");
        assert!((1..=3).contains(&turns));
    });
}

#[test]
fn a_failed_opening_is_the_error_of_those_who_waited_and_of_no_other() {
    tell(|ledger| {
        let opened = ledger.clone();
        let has_failed = AtomicBool::new(false);
        let users = shared(move || {
            let fails = !has_failed.swap(true, Ordering::SeqCst);
            let ledger = opened.clone();
            generator("shared", async move |lender: Lender<(), _>| {
                task::yield_now().await;
                if fails {
                    return Err(Trouble);
                }
                ledger.note("shared", Step::Entered);
                lender.yield_(()).await;
                ledger.note("shared", Step::ExitBegins);
                task::yield_now().await;
                ledger.note("shared", Step::ExitEnds);
                Ok(())
            })
        });
        let others = [user(&users), user(&users)];
        let own = block_on(a_use(&users)).is_err();
        let failed = others.map(|other| other.join().expect("no panic").is_err());
        assert!(own || failed.contains(&true), "whoever opened it");
        block_on(a_use(&users)).expect("it fails once");
        ledger.check_in_turn("shared");
    });
}

#[test]
fn users_who_go_in_the_middle_hold_up_nobody() {
    for polls in 1..=5 {
        // A story is `Copy` and `'static`, and here a function without captures.
        let story: fn(&Ledger) = match polls {
            1 => |ledger| go_after(ledger, 1),
            2 => |ledger| go_after(ledger, 2),
            3 => |ledger| go_after(ledger, 3),
            4 => |ledger| go_after(ledger, 4),
            _ => |ledger| go_after(ledger, 5),
        };
        tell(story);
    }
}

fn go_after(ledger: &Ledger, polls: usize) {
    let opened = ledger.clone();
    let users = shared(move || opened.context("shared"));
    let goes = [user_who_goes(&users, polls), user_who_goes(&users, polls)];
    let stays = user(&users);
    for user in goes {
        user.join().expect("it does not panic");
    }
    is_well(stays);
    block_on(detached::drain());
    assert!(ledger.check_in_turn("shared") >= 1);
}

#[test]
fn what_lingers_is_used_or_drained_and_closed_once() {
    tell(|ledger| {
        let opened = ledger.clone();
        let users = shared(move || opened.context("shared")).linger(Duration::MAX);
        let other = user(&users);
        let drain = thread::spawn(|| block_on(detached::drain()));
        block_on(a_use(&users)).expect("it does not fail");
        is_well(other);
        drain.join().expect("it does not panic");
        block_on(detached::drain());
        assert!(ledger.check_in_turn("shared") >= 1);
    });
}

#[test]
fn what_is_replaced_is_closed_once_when_its_last_user_has_left() {
    tell(|ledger| {
        let opened = ledger.clone();
        let users = swappable(move || opened.context("old"));
        let other = user(&users);
        let goes = user_who_goes(&users, 2);
        let opened = ledger.clone();
        let replaced = block_on(users.replace(move || opened.context("new")));
        replaced.expect("it does not fail");
        block_on(a_use(&users)).expect("it does not fail");
        is_well(other);
        goes.join().expect("it does not panic");
        assert!(!ledger.has("new", Step::ExitBegins), "it lingers");
        block_on(detached::drain());
        assert!(ledger.check_in_turn("old") <= 2);
        assert_eq!(ledger.check_in_turn("new"), 1);
    });
}

#[test]
fn a_swap_that_is_given_up_leaves_the_old_one() {
    tell(|ledger| {
        let opened = ledger.clone();
        let users = swappable(move || opened.context("old"));
        let other = user(&users);
        let opened = ledger.clone();
        let mut replacing = Box::pin(users.replace(move || opened.context("new")));
        block_on(poll_fn(|cx| {
            assert!(
                replacing.as_mut().poll(cx).is_pending(),
                "enter has an await"
            );
            Poll::Ready(())
        }));
        drop(replacing);
        is_well(other);
        block_on(a_use(&users)).expect("it does not fail");
        block_on(detached::drain());
        assert_eq!(ledger.check_in_turn("old"), 1);
        assert!(ledger.check_in_turn("new") <= 1);
    });
}
