//! Enter, body, exit: who runs when, and what passes between them.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_context_manager::generator::{Lender, generator};
use async_context_manager::report::Kind;
use async_context_manager::{TimeoutError, detached, prelude::*};
use futures::FutureExt;
use tests::{
    ByHand, End, Fault, Ledger, Script, Stage, everywhere, generated, on_current_thread, pause,
    poll_times,
};
use tokio::time::sleep;

#[test]
fn enter_body_and_exit_run_in_that_order() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let result = generated(Script::new("c", &ledger))
            .with(async |value| {
                ledger.note(format!("body has {value}"));
                Ok(())
            })
            .await;
        assert_eq!(result, Ok(()));
        assert_eq!(
            ledger.text(),
            "enter c, entered c, body has c, exit c: completed, exited c"
        );
    });
}

#[test]
fn building_a_context_does_nothing() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        drop(generated(Script::new("generator", &ledger)));
        drop(ByHand::<()>::new(Script::new("by hand", &ledger)));
        drop(generated(Script::new("boxed", &ledger)).boxed());
        drop(generated(Script::new("with", &ledger)).with(async |_| Ok(())));
        drop(generated(Script::new("guard", &ledger)).guard());
        assert_eq!(ledger.text(), "");
        assert_eq!(detached::count(), 0);
    });
}

#[test]
fn code_after_the_yield_runs_when_the_body_fails_and_the_same_error_comes_back() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let result: Result<(), _> = generated(Script::new("c", &ledger))
            .with(async |_| Err(Fault("this one")))
            .await;
        assert_eq!(result, Err(Fault("this one")));
        assert!(ledger.has("exited c"));
    });
}

#[test]
fn the_error_that_comes_back_is_the_body_s_own_value() {
    /// An error that is known by its address.
    #[derive(Debug)]
    struct Unique(Box<u8>);

    #[async_context]
    async fn plain() -> Result<(), Unique> {
        let ((), outcome) = yield_!(());
        assert!(outcome.is_failed());
        Ok(())
    }

    everywhere(async |_| {
        let mut address = None;
        let result: Result<(), _> = plain()
            .with_local(async |()| {
                let error = Unique(Box::new(1));
                address = Some(&raw const *error.0);
                Err(error)
            })
            .await;
        assert_eq!(result.map_err(|error| &raw const *error.0).err(), address);
    });
}

#[test]
fn the_body_s_value_comes_back_unchanged() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let text = String::from("a value that is moved");
        let address = text.as_ptr();
        let back = generated(Script::new("c", &ledger))
            .with(async move |_| Ok(text))
            .await
            .expect("nothing fails");
        assert_eq!(back.as_ptr(), address);
    });
}

#[test]
fn an_error_before_the_yield_is_returned_and_neither_body_nor_exit_runs() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        for context in [
            generated(Script::new("c", &ledger).enter(End::Fail("closed"))).boxed(),
            ByHand::<()>::new(Script::new("c", &ledger).enter(End::Fail("closed"))).boxed(),
        ] {
            let result = context
                .with(async |_| {
                    ledger.note("body");
                    Ok(())
                })
                .await;
            assert_eq!(result, Err(Fault("closed")));
        }
        assert_eq!(ledger.text(), "enter c, enter c");
    });
}

#[test]
fn an_error_after_the_yield_is_returned_as_it_is_when_the_body_completed() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let result = generated(Script::new("c", &ledger).exit(End::Fail("commit")))
            .with(async |_| Ok(()))
            .await;
        assert_eq!(result, Err(Fault("commit")));
    });
}

#[test]
fn question_marks_and_returned_errors_before_the_yield_are_fine() {
    #[async_context]
    async fn checked(first: Result<u8, Fault>, second: u8) -> Result<u8, Fault> {
        let first = first?;
        if second == 0 {
            return Err(Fault("zero"));
        }
        let (_, _) = yield_!(first + second);
        Ok(())
    }

    everywhere(async |_| {
        let sum = |first, second| checked(first, second).with(async |sum| Ok(*sum));
        assert_eq!(sum(Ok(1), 2).await, Ok(3));
        assert_eq!(sum(Err(Fault("first")), 2).await, Err(Fault("first")));
        assert_eq!(sum(Ok(1), 0).await, Err(Fault("zero")));
    });
}

#[test]
fn two_calls_give_two_independent_contexts() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let (first, second) = (make("first"), make("second"));
        second.with(async |_| Ok(())).await.expect("nothing fails");
        assert!(!ledger.has("enter first"));
        first.with(async |_| Ok(())).await.expect("nothing fails");
        let one =
            |name| format!("enter {name}, entered {name}, exit {name}: completed, exited {name}");
        assert_eq!(ledger.text(), one("second") + ", " + &one("first"));
    });
}

struct Account {
    balance: Cell<i32>,
    ledger: Ledger,
}

impl Account {
    #[async_context]
    async fn reserved(&mut self, amount: i32) -> Result<i32, Fault> {
        if self.balance.get() < amount {
            return Err(Fault("too little money"));
        }
        self.balance.set(self.balance.get() - amount);
        let (amount, outcome) = yield_!(amount);
        if !outcome.is_completed() {
            self.balance.set(self.balance.get() + amount);
        }
        Ok(())
    }

    /// A context inside a context's setup, and one more around the body.
    #[async_context]
    async fn audited(self) -> Result<Self, Fault> {
        let setup = generated(Script::new("setup", &self.ledger));
        setup.with(async |_| Ok(())).await?;
        self.ledger.note("opened");
        let audit = generated(Script::new("audit", &self.ledger))
            .guard()
            .await?;
        let (account, outcome) = yield_!(self);
        account.ledger.note(format!("closed: {outcome:?}"));
        Guard::exit(audit, Ok(())).await
    }
}

#[test]
fn methods_are_contexts_and_can_use_others_inside() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut account = Account {
            balance: Cell::new(10),
            ledger: ledger.clone(),
        };
        let result = account
            .reserved(4)
            .with_scoped(async |amount| Ok(*amount))
            .await;
        assert_eq!((result, account.balance.get()), (Ok(4), 6));
        let result: Result<(), _> = account
            .reserved(4)
            .with_scoped(async |_| Err(Fault("changed my mind")))
            .await;
        assert_eq!(result, Err(Fault("changed my mind")));
        assert_eq!(account.balance.get(), 6);
        let result = account.reserved(7).with_scoped(async |_| Ok(())).await;
        assert_eq!(result, Err(Fault("too little money")));

        let balance = account
            .audited()
            .with(async |account| Ok(account.balance.get()));
        assert_eq!(balance.await, Ok(6));
        ledger.check_nesting();
        assert!(
            ledger.text().contains("exited setup, opened, enter audit"),
            "{}",
            ledger.text()
        );
        assert!(
            ledger
                .text()
                .contains("closed: Completed, exit audit: completed")
        );
    });
}

#[test]
fn the_body_borrows_from_its_surroundings_and_from_the_value() {
    #[async_context]
    async fn list() -> Result<Vec<u8>, Fault> {
        let (list, _) = yield_!(vec![3, 1, 2]);
        assert_eq!(list, [1, 2, 3, 4], "exit gets what the body left");
        Ok(())
    }

    everywhere(async |_| {
        let mut sum = 0;
        let not_send = Rc::new(Cell::new(0));
        let last = list()
            .with_local(async |list| {
                list.push(4);
                pause(1).await;
                list.sort_unstable();
                sum += list.iter().sum::<u8>();
                not_send.set(7);
                Ok(list.last().copied())
            })
            .await;
        assert_eq!((last, sum, not_send.get()), (Ok(Some(4)), 10, 7));
    });
}

#[test]
fn setup_locals_live_across_the_yield_and_drop_in_reverse_order_after_the_exit_code() {
    #[async_context]
    async fn layered(ledger: Ledger, _unused: impl Send) -> Result<(), Fault> {
        let _first = ledger.on_drop("first dropped");
        let _second = ledger.on_drop("second dropped");
        let ((), _) = yield_!(());
        ledger.note("exit");
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        layered(ledger.clone(), ledger.on_drop("argument dropped"))
            .with(async |()| {
                pause(1).await;
                ledger.note("body");
                Ok(())
            })
            .await
            .expect("nothing fails");
        assert_eq!(
            ledger.text(),
            "body, exit, second dropped, first dropped, argument dropped"
        );
    });
}

#[test]
fn a_value_that_exit_does_not_get_drops_before_the_setup_s_locals() {
    #[async_context]
    async fn layered(ledger: &Ledger) -> Result<impl Send, Fault> {
        let _first = ledger.on_drop("first dropped");
        let (_value, _) = yield_!(ledger.on_drop("value dropped"));
        Ok(())
    }

    everywhere(async |stage| {
        let ledger = Ledger::default();
        let used = layered(&ledger).with_scoped(async |_| {
            let _body = ledger.on_drop("body dropped");
            pause(2).await;
            Ok(())
        });
        assert!(poll_times(used, 1).await.is_none());
        assert_eq!(ledger.text(), "body dropped, value dropped, first dropped");
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
    });
}

#[test]
fn early_returns_breaks_and_question_marks_in_the_body_still_exit() {
    async fn body_of(value: u8) -> Result<u8, Fault> {
        pause(1).await;
        if value == 1 {
            return Ok(10);
        }
        if value == 2 {
            Err(Fault("two"))?;
        }
        Ok(value)
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        for (value, expected) in [(1, Ok(10)), (2, Err(Fault("two"))), (3, Ok(3))] {
            let result = generated(Script::new("with", &ledger))
                .with(async |_| body_of(value).await)
                .await;
            assert_eq!(result, expected);
        }
        assert_eq!(ledger.count("exited with"), 3);
    });
}

#[test]
fn leaving_the_scope_of_a_guard_early_exits_in_the_background() {
    async fn returns(ledger: &Ledger) -> Result<u8, Fault> {
        let guard = generated(Script::new("returned", ledger)).guard().await?;
        if guard.len() > 1 {
            return Ok(1);
        }
        Guard::exit(guard, Ok(2)).await
    }

    async fn asks(ledger: &Ledger) -> Result<u8, Fault> {
        let guard = generated(Script::new("asked", ledger)).guard().await?;
        End::Fail("no").come()?;
        Guard::exit(guard, Ok(2)).await
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        assert_eq!(returns(&ledger).await, Ok(1));
        assert_eq!(asks(&ledger).await, Err(Fault("no")));
        for turn in 0..3 {
            let _guard = generated(Script::new("broken off", &ledger)).guard().await;
            if turn == 1 {
                break;
            }
        }
        detached::drain().await;
        assert_eq!(ledger.count("exit returned: cancelled"), 1);
        assert_eq!(ledger.count("exit asked: cancelled"), 1);
        assert_eq!(ledger.count("exited broken off"), 2);
    });
}

#[test]
fn a_closed_guard_has_completed_and_gives_the_exit_s_error() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut guard = generated(Script::new("c", &ledger))
            .guard()
            .await
            .expect("it opens");
        assert_eq!(*guard, "c");
        *guard = "changed";
        assert_eq!(Guard::close(guard).await, Ok(()));
        assert!(ledger.has("exit c: completed"));

        let script = Script::new("c", &ledger).exit(End::Fail("flush"));
        let guard = generated(script).guard().await.expect("it opens");
        assert_eq!(Guard::close(guard).await, Err(Fault("flush")));
    });
}

/// Documented, deprecated and private things keep what is written on them.
mod attributes {
    #![deny(missing_docs, unused_must_use, deprecated)]

    use super::*;

    /// Docs are kept: `missing_docs` is denied here.
    #[deprecated = "for the test"]
    #[async_context]
    pub(crate) async fn old(value: u8) -> Result<u8, Fault> {
        let (_, _) = yield_!(value);
        Ok(())
    }

    #[cfg(any())]
    #[async_context]
    pub(crate) async fn not_there() -> Result<DoesNotExist, Fault> {
        let (_, _) = yield_!(DoesNotExist);
        Ok(())
    }

    #[test]
    #[expect(deprecated, reason = "the attribute arrives at the user")]
    fn attributes_are_kept() {
        everywhere(async |_| {
            assert_eq!(old(1).with(async |value| Ok(*value)).await, Ok(1));
        });
    }
}

#[test]
fn a_recursive_context_is_boxed() {
    fn tower(height: u8, ledger: Ledger) -> BoxContext<u8, Fault> {
        #[async_context]
        async fn floor(height: u8, ledger: Ledger) -> Result<u8, Fault> {
            let below = match height {
                0 => None,
                _ => Some(tower(height - 1, ledger.clone()).guard().await?),
            };
            ledger.note(format!("floor {height}"));
            let (_, _) = yield_!(height);
            ledger.note(format!("no floor {height}"));
            match below {
                Some(below) => Guard::close(below).await,
                None => Ok(()),
            }
        }

        floor(height, ledger).boxed()
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        tower(2, ledger.clone())
            .with(async |_| Ok(()))
            .await
            .expect("nothing fails");
        assert_eq!(
            ledger.text(),
            "floor 0, floor 1, floor 2, no floor 2, no floor 1, no floor 0"
        );
    });
}

#[test]
fn a_second_yield_panics_there_and_changes_nothing() {
    everywhere(async |_| {
        let (second, is_second) = tokio::sync::oneshot::channel();
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        let context = generator("twice", async move |lender: Lender<u32, Fault>| {
            let lender = Arc::new(lender);
            let other = Arc::clone(&lender);
            tokio::spawn(async move {
                is_second.await.expect("the body asks for it");
                let task = tokio::spawn(async move { drop(other.yield_(2)) });
                let _ = ended.send(task.await);
            });
            let (value, outcome) = lender.yield_(1).await;
            assert!(outcome.is_completed());
            assert_eq!(value, 11);
            lender.yield_(3).await;
            Ok::<(), Fault>(())
        });
        let used = context.with(async |value| {
            second.send(()).expect("the task waits for it");
            let ended = has_ended.await.expect("the task has ended");
            assert!(ended.is_err_and(|error| error.is_panic()));
            *value += 10;
            Ok(())
        });
        let payload = AssertUnwindSafe(used).catch_unwind().await;
        let payload = payload.expect_err("the exit yields once more, and panics");
        let message = payload.downcast_ref::<&str>().expect("it is a text");
        assert_eq!(*message, "a context yields once, and this is a second time");
    });
}

#[test]
fn code_by_hand_that_ends_before_its_body_is_a_panic_and_is_not_polled_again() {
    fn hasty() -> impl AsyncContext<Value = (), Error = Fault, Verdict = ()> {
        generator("hasty", async move |lender: Lender<(), Fault>| {
            {
                let mut end = pin!(lender.yield_beside((), pending()));
                poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await;
            }
            pause(1).await;
            Ok::<(), Fault>(())
        })
    }

    #[async_context]
    async fn slow() -> Result<(), TimeoutError<Fault>> {
        let ((), _) = yield_!(());
        sleep(Duration::from_secs(5)).await;
        Ok(())
    }

    fn check<R>(ended: std::thread::Result<R>, stage: &Stage) {
        let payload = ended.err().expect("it breaks a rule");
        let message = payload.downcast_ref::<String>().expect("it is a text");
        assert_eq!(
            message,
            "the context `hasty` went on before its body had ended"
        );
        // Its exit can't run.
        let kinds = stage.reports().into_iter().map(|(kind, _)| kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [Kind::Panicked]);
    }

    on_current_thread(async |stage| {
        let limited = hasty().body_timeout(Duration::from_secs(60));
        let guard = limited.guard().await.expect("it has yielded");
        Guard::ended(&guard).await;
        let closed = AssertUnwindSafe(Guard::close(guard)).catch_unwind().await;
        check(closed, stage);

        // The future beside the body is polled while the exit waits.
        let limited = hasty().body_timeout(Duration::from_secs(60));
        let used = limited.with(async |()| {
            drop(slow().guard().await?);
            pending::<Result<(), _>>().await
        });
        check(AssertUnwindSafe(used).catch_unwind().await, stage);
    });
}
