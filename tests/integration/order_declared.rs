//! The rules of the order of exits: what a program declares of it, and the waits that do not end.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use async_context_manager::report::{self, Kind, Report};
use async_context_manager::{detached, prelude::*};
use futures::executor::block_on;
use tests::{Fault, Ledger, Stage, in_a_process_of_its_own};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::order_rules::{HOUR, P, Place, Run, check, check_in, in_a_task};

// The programs of the model in which something is declared to be inside of something else.

/// P3.
#[test]
fn a_guard_that_an_exit_closes_waits_for_what_was_opened_inside_of_it() {
    check("tx < conn", |p| async move {
        let conn = p.res("conn").guard().await?;
        let _tx = p.res("tx").inside(&conn).guard().await?;
        let _app = p.closer("app", conn).guard().await?;
        Ok(())
    });
}

/// P19.
#[test]
fn an_exit_can_close_the_guard_that_its_context_is_inside_of() {
    check("", |p| async move {
        let y = p.res("y").guard().await?;
        let (hand, handed) = oneshot::channel();
        let work = async { Guard::close(handed.await.expect("it was handed over")).await };
        let x = p.owner("x", work).inside(&y).guard().await?;
        assert!(hand.send(y).is_ok());
        drop(x);
        Ok(())
    });
}

/// P23.
#[test]
fn two_owners_one_of_them_inside_of_what_the_other_one_owns_end() {
    check("", |p| async move {
        let z = p.res("z").guard().await?;
        let y = p.res("y").guard().await?;
        let _x = p.closer("x", z).inside(&y).guard().await?;
        let _b = p.closer("b", y).guard().await?;
        Ok(())
    });
}

// `inside`, and `independent`.

/// The exit inside runs in another thread, and never returns `Pending`.
#[test]
fn a_guard_waits_for_an_exit_inside_of_it_that_is_in_its_first_poll() {
    /// Its exit blocks its thread, until it is told to go on.
    #[async_context]
    async fn blocking(begun: Sender<()>, go_on: Receiver<()>) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        begun.send(()).expect("the test waits for it");
        go_on.recv().expect("the test sends it");
        Ok(())
    }

    #[async_context]
    async fn noted(ledger: Ledger) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        ledger.note("exit");
        Ok(())
    }

    for is_opened_there in [true, false] {
        let stage = Stage::alone();
        let ledger = Ledger::default();
        let (begun, has_begun) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel();
        let inner = blocking(begun, goes_on);
        let mut outer = block_on(noted(ledger.clone()).guard()).expect("it enters");
        let close = if is_opened_there {
            let open = async |(): &mut ()| inner.guard().await;
            let inner = block_on(Guard::run(&mut outer, open)).expect("it enters");
            thread::spawn(|| block_on(Guard::close(inner)))
        } else {
            let inner = inner.inside(&outer);
            thread::spawn(|| block_on(inner.with(async |()| Ok(()))))
        };
        has_begun.recv().expect("the exit sends it");
        let mut exit = pin!(Guard::close(outer));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(exit.as_mut().poll(&mut cx).is_pending());
        assert_eq!(ledger.text(), "");
        go_on.send(()).expect("the exit waits for it");
        close.join().expect("it does not panic").expect("it exits");
        block_on(exit).expect("it exits");
        assert_eq!(ledger.text(), "exit");
        assert_eq!(stage.reports(), []);
    }
}

/// Its age counts where it was put, and not only where it was opened.
#[test]
fn a_guard_put_inside_of_another_is_as_old_there_as_it_is_itself() {
    check("younger < older", |p| async move {
        let mut around = p.res("around").guard().await?;
        let mut opener = p.res("opener").guard().await?;
        let older = Guard::run(&mut around, async |()| p.res("older").guard().await).await?;
        let open = async |(): &mut _| p.res("younger").inside(&around).guard().await;
        let younger = Guard::run(&mut opener, open).await?;
        Guard::close(opener).await?;
        drop(younger);
        drop(older);
        Ok(())
    });
}

/// One of the ways from `inner` outwards makes it the younger one.
#[test]
fn a_guard_opened_outside_and_put_further_inside_is_as_young_as_it_is_outside() {
    check("inner < neighbour", |p| async move {
        let mut around = p.res("around").guard().await?;
        let open = async |(): &mut _| {
            let side = p.res("side").guard().await?;
            Ok::<_, Fault>((side, p.res("neighbour").guard().await?))
        };
        let (side, neighbour) = Guard::run(&mut around, open).await?;
        drop(p.res("inner").inside(&side).guard().await?);
        drop(neighbour);
        Ok(())
    });
}

/// The way leads through a further context, and out to one that has ended.
#[test]
fn a_guard_opened_in_a_younger_context_and_put_further_inside_is_as_young_as_that_context() {
    check("inner < neighbour", |p| async move {
        let mut outermost = p.res("outermost").guard().await?;
        let open = async |(): &mut _| {
            let mut around = p.res("around").guard().await?;
            let open = async |(): &mut _| {
                let side = p.res("side").guard().await?;
                Ok::<_, Fault>((side, p.res("neighbour").guard().await?))
            };
            let (side, neighbour) = Guard::run(&mut around, open).await?;
            let mut opener = p.res("opener").guard().await?;
            let open = async |(): &mut _| p.res("inner").inside(&side).guard().await;
            let inner = Guard::run(&mut opener, open).await?;
            Ok::<_, Fault>((around, side, neighbour, opener, inner))
        };
        let (_around, _side, neighbour, _opener, inner) = Guard::run(&mut outermost, open).await?;
        Guard::close(outermost).await?;
        drop(inner);
        drop(neighbour);
        Ok(())
    });
}

/// The exit of the older one waits for the younger one, which is given up after it.
#[test]
fn a_guard_does_not_wait_for_an_older_one_that_was_put_inside_of_the_same_context() {
    check("", |p| async move {
        let mut around = p.res("around").guard().await?;
        let wait = async { Ok(p.until("ended younger").await) };
        let older = p.owner("older", wait).inside(&around).guard().await?;
        let open = async |(): &mut _| p.res("younger").guard().await;
        let younger = Guard::run(&mut around, open).await?;
        drop(older);
        Guard::close(younger).await
    });
}

/// Neither `first` nor `second` is a guard, and no guard is opened between them.
#[test]
fn a_guard_does_not_wait_for_an_older_one_of_a_neighbour_of_what_is_around_it() {
    check("", |p| async move {
        let (send, receive) = oneshot::channel();
        let (leave, has_left) = oneshot::channel();
        let first = p.res("first").with(async |()| {
            let around = receive.await.expect("it is sent");
            let wait = async { Ok(p.until("ended younger").await) };
            let inner = p.owner("inner", wait).inside(&around);
            drop(inner.guard().await?);
            leave.send(around).expect("it is received");
            Ok(())
        });
        let second = p.res("second").with(async |()| {
            let around = p.res("around").guard().await?;
            let younger = p.res("younger").guard().await?;
            send.send(around).expect("it is received");
            let _around = has_left.await.expect("it is sent");
            Guard::close(younger).await
        });
        let (first, second) = tokio::join!(first, second);
        first.and(second)
    });
}

/// As P12, with a helper that is also inside of what is around both.
#[test]
fn a_guard_does_not_wait_for_what_the_exit_of_an_older_one_opens_and_puts_further_inside() {
    check("", |p| async move {
        let mut around = p.res("around").guard().await?;
        let open = async |(): &mut _| p.res("side").guard().await;
        let side = Guard::run(&mut around, open).await?;
        let work = async move {
            let wait = async { Ok(p.until("ended conn").await) };
            drop(p.owner("helper", wait).inside(&side).guard().await?);
            Ok(())
        };
        let pool = p.owner("pool", work).guard().await?;
        let open = async |(): &mut _| p.res("conn").guard().await;
        let conn = Guard::run(&mut around, open).await?;
        drop(pool);
        Guard::close(conn).await
    });
}

/// Both are given up in one poll. On several threads the first one might begin between the two.
#[test]
fn of_a_guard_and_one_inside_of_it_the_one_that_is_given_up_first_exits_last() {
    check_in(
        &[Place::Thread, Place::Task],
        "tx < conn",
        &[],
        |p| async move {
            let conn = p.res("conn").guard().await?;
            let tx = p.res("tx").inside(&conn).guard().await?;
            drop(conn);
            drop(tx);
            Ok(())
        },
    );
}

#[test]
fn a_guard_waits_for_what_another_task_opened_inside_of_it_and_gave_up() {
    check("tx < conn", |p| async move {
        let conn = p.res("conn").guard().await?;
        let tx = p.res("tx").inside(&conn);
        in_a_task(async move { Ok::<_, Fault>(drop(tx.guard().await?)) }).await?;
        Guard::close(conn).await
    });
    check("tx < conn", |p| async move {
        let conn = p.res("conn").guard().await?;
        let tx = p.res("tx").inside(&conn).boxed();
        let used = tx.with(async |()| p.hang("tx").await);
        in_a_task(async { p.give_up("tx", used).await }).await;
        in_a_task(async { Guard::close(conn).await }).await
    });
}

#[test]
fn a_context_inside_of_a_guard_is_also_inside_of_what_it_is_opened_in() {
    check("x < h, x < a", |p| async move {
        let h = p.res("h").guard().await?;
        let x = p.res("x").inside(&h);
        let body = async move |(): &mut ()| {
            drop(x.guard().await?);
            Ok(())
        };
        p.res("a").with(body).await?;
        in_a_task(async { Guard::close(h).await }).await
    });
}

#[test]
fn a_context_can_be_inside_of_two_guards() {
    check("x < h, x < k", |p| async move {
        let h = p.res("h").guard().await?;
        let k = p.res("k").guard().await?;
        drop(p.res("x").inside(&h).inside(&k).guard().await?);
        let first = tokio::spawn(async { Guard::close(h).await });
        in_a_task(async { Guard::close(k).await }).await?;
        first.await.expect("it does not panic")
    });
}

#[test]
fn a_context_inside_of_a_guard_that_has_ended_is_as_any_other() {
    check("h < x, x < around", |p| async move {
        let body = async |(): &mut ()| {
            let h = p.res("h").guard().await?;
            let x = p.res("x").inside(&h);
            Guard::close(h).await?;
            drop(x.guard().await?);
            Ok(())
        };
        p.res("around").with(body).await
    });
}

/// The limit lets go of what the exit has opened, and not of what was opened elsewhere.
#[test]
fn a_guard_inside_of_another_one_that_a_cut_off_exit_was_handed_keeps_its_order() {
    let all = [Place::Thread, Place::Task, Place::Threads];
    check_in(&all, "tx < conn", &[Kind::TimedOut], |p| async move {
        let conn = p.res("conn").guard().await?;
        let tx = p.res("tx").inside(&conn).guard().await?;
        let work = async move {
            let _tx = tx;
            pending().await
        };
        let app = p
            .owner("app", work)
            .exit_timeout(Duration::from_millis(200));
        drop(app.guard().await.map_err(|_| Fault("enter"))?);
        p.until("ended app").await;
        in_a_task(async { Guard::close(conn).await }).await
    });
}

/// Its exit ends when the program says so, which is after all that must not wait for it.
fn endless(
    p: P,
    name: &'static str,
) -> impl AsyncContext<Value = (), Error = Fault, Verdict = ()> + use<> {
    p.owner(name, async { Ok(p.until("the end").await) })
}

#[test]
fn nobody_waits_for_an_independent_context() {
    for is_boxed_first in [false, true] {
        check("a < after, h < after", |p| async move {
            let independent = |name| {
                if is_boxed_first {
                    endless(p, name).boxed().independent().boxed()
                } else {
                    endless(p, name).independent().boxed()
                }
            };
            let h = p.res("h").guard().await?;
            drop(independent("beside").guard().await?);
            let used = independent("used").with(async |()| p.hang("used").await);
            p.give_up("used", used).await;
            let body = async |(): &mut ()| {
                drop(independent("inside").guard().await?);
                Ok(())
            };
            p.res("a").with(body).await?;
            let work = async move { Ok(drop(endless(p, "left").independent().guard().await?)) };
            drop(p.owner("b", work).guard().await?);
            Guard::close(h).await?;
            p.note("begins after");
            p.note("the end");
            Ok(())
        });
    }
}

#[test]
fn an_independent_context_waits_for_what_is_inside_of_it_and_nobody_else_does() {
    check("x < i, h < after", |p| async move {
        let h = p.res("h").guard().await?;
        let body = async |(): &mut ()| {
            drop(endless(p, "x").guard().await?);
            p.hang("i").await
        };
        let used = p.res("i").independent().with(body);
        p.give_up("i", used).await;
        Guard::close(h).await?;
        p.note("begins after");
        p.note("the end");
        Ok(())
    });
}

#[test]
fn an_independent_guard_does_not_wait_for_its_younger_neighbours() {
    check("i < after", |p| async move {
        let i = p.res("i").independent().guard().await?;
        drop(endless(p, "younger").guard().await?);
        Guard::close(i).await?;
        p.note("begins after");
        p.note("the end");
        Ok(())
    });
}

#[test]
fn nobody_waits_for_what_an_independent_context_has_left() {
    check("h < after", |p| async move {
        let h = p.res("h").guard().await?;
        let (send, left) = oneshot::channel();
        let leaves = async move {
            assert!(send.send(endless(p, "x").guard().await?).is_ok());
            drop(endless(p, "y").guard().await?);
            Ok(())
        };
        let i = p.owner("i", leaves).independent().guard().await?;
        Guard::close(i).await?;
        drop(left.await.expect("it was sent"));
        Guard::close(h).await?;
        p.note("begins after");
        p.note("the end");
        Ok(())
    });
}

/// Who runs it still awaits it: only the waits of the order leave it out.
#[test]
fn a_stack_awaits_an_independent_entry() {
    for is_dropped in [false, true] {
        check("upper < lower", |p| async move {
            let stack = ExitStack::new();
            stack.enter(p.res("lower")).await?;
            stack.enter(p.res("upper").independent()).await?;
            if is_dropped {
                drop(stack);
                return Ok(());
            }
            stack.exit(Ok(())).await
        });
    }
}

/// A8.
#[test]
fn independent_guards_in_a_map_do_not_wait_for_each_other() {
    check("1 < after", |p| async move {
        let mut sessions = HashMap::new();
        sessions.insert(1, p.res("1").independent().boxed().guard().await?);
        sessions.insert(2, endless(p, "2").independent().boxed().guard().await?);
        sessions.insert(3, p.res("3").independent().boxed().guard().await?);
        drop(sessions.remove(&2));
        let first = sessions.remove(&1).expect("it is there");
        Guard::close(first).await?;
        p.note("begins after");
        p.note("the end");
        Ok(())
    });
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn both_orders_of_inside_and_independent() {
    let _stage = Stage::alone();
    let p = Run::new(false, 0, None);
    let guard = block_on(p.res("h").guard()).expect("it opens");
    let both = || drop(block_on(p.res("x").independent().inside(&guard).guard()));
    assert!(catch_unwind(AssertUnwindSafe(both)).is_err());
    let both = || drop(block_on(p.res("x").inside(&guard).independent().guard()));
    assert!(catch_unwind(AssertUnwindSafe(both)).is_err());
    drop(guard);
    assert_eq!(detached::drain_blocking(Duration::from_secs(20)), 0);
}

/// Each panics when it is entered.
#[test]
fn a_context_can_t_be_both_independent_and_inside_of_a_guard() {
    let test = "order_declared::both_orders_of_inside_and_independent";
    let said = in_a_process_of_its_own(test);
    assert_eq!(
        said.matches("can't be inside of a guard").count(),
        2,
        "{said}"
    );
}

// Waits that do not end.

/// A context that waits, by its name in a report.
#[async_context]
async fn waits<F>(work: F) -> Result<(), Fault>
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let ((), _) = yield_!(());
    work.await
}

/// A context that is waited for, by its name in a report.
#[async_context]
async fn waited_for<F>(work: F) -> Result<(), Fault>
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let ((), _) = yield_!(());
    work.await
}

/// A context that is waited for while its enter stands in a queue.
#[async_context]
async fn queued(seats: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    let permit = seats.acquire_owned().await;
    let (permit, _) = yield_!(permit.map_err(|_| Fault("closed"))?);
    drop(permit);
    Ok(())
}

/// The same, with the mark that lets it leave the queue.
#[async_context]
async fn cancellable_in_queue(seats: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    let permit = cancellable!(seats.acquire_owned()).await;
    let (permit, _) = yield_!(permit.map_err(|_| Fault("closed"))?);
    drop(permit);
    Ok(())
}

/// Sets another limit until it drops.
struct WaitLimit;

impl WaitLimit {
    fn of(limit: Duration) -> Self {
        report::set_wait_limit(limit);
        Self
    }
}

impl Drop for WaitLimit {
    fn drop(&mut self) {
        report::set_wait_limit(Duration::from_secs(10));
    }
}

/// After a failure, what is left is lost by and by, and not there for the next test.
struct Drained;

impl Drop for Drained {
    fn drop(&mut self) {
        detached::drain_blocking(Duration::from_secs(30));
    }
}

/// Runs a program that waits for ever, unless it is ended by the line `the end`. When `limit` has
/// passed since the waits began, and not before, each of them is reported by name, once.
fn check_reports<F>(limit: Duration, expected: &[(&str, &str)], program: impl Fn(P) -> F)
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let _stage = Stage::alone();
    // After the stage: the limit is the process's.
    let _limit = (limit != TEN_SECONDS).then(|| WaitLimit::of(limit));
    for place in [Place::Thread, Place::Task] {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let seen = reports.clone();
        report::set_hook(move |report: &Report| {
            let (context, text) = (report.context(), report.to_string());
            let mut seen = seen.lock().expect("no test panics in here");
            seen.push((report.kind(), context, report.waits_for(), text));
        });
        let _drained = Drained;
        let p = Run::new(true, 0, None);
        let program = program(p);
        place.runtime().block_on(async {
            let mut all = pin!(async {
                let result = match place {
                    Place::Thread => program.await,
                    Place::Task | Place::Threads => in_a_task(program).await,
                };
                detached::drain().await;
                result
            });
            let early = timeout(limit * 9 / 10, all.as_mut()).await;
            assert_eq!(early.ok(), None);
            assert_eq!(*reports.lock().expect("no test panics in here"), []);
            let late = timeout(HOUR, all.as_mut()).await;
            assert_eq!(late.ok(), None);
            p.note("the end");
            let ended = timeout(HOUR, all).await;
            assert_eq!(ended.ok(), Some(Ok(())));
        });
        let reports = reports.lock().expect("no test panics in here");
        assert_eq!(reports.len(), expected.len(), "{reports:?}");
        for ((kind, context, other, text), (waits, waited_for)) in reports.iter().zip(expected) {
            assert_eq!(*kind, Kind::LongWait, "{reports:?}");
            assert!(context.contains(waits), "{reports:?}");
            let other = other.expect("the other one has a name as well");
            assert!(other.contains(waited_for), "{reports:?}");
            assert!(text.contains(waits) && text.contains(waited_for), "{text}");
        }
    }
}

const TEN_SECONDS: Duration = Duration::from_secs(10);

/// P18, and A13.
#[test]
fn an_enter_in_the_background_that_queues_for_what_is_held_is_reported() {
    let expected = [("::waits", "::queued")];
    for is_a_guard in [true, false] {
        check_reports(TEN_SECONDS, &expected, |p| async move {
            let seats = Arc::new(Semaphore::new(1));
            let permit = seats.clone().acquire_owned().await;
            let c = waits(async { Ok(drop(permit)) });
            let late = async move {
                let late = timeout(Duration::from_millis(50), queued(seats.clone()).guard()).await;
                assert!(late.is_err());
                // Another seat, so that this program has an end.
                tokio::spawn(async move {
                    p.until("the end").await;
                    seats.add_permits(1);
                });
            };
            if is_a_guard {
                let c = c.guard().await?;
                late.await;
                Guard::close(c).await
            } else {
                c.with(async move |()| Ok(late.await)).await
            }
        });
    }
}

/// P18, and A13.
#[test]
fn a_cancellable_enter_leaves_the_queue_and_is_not_waited_for() {
    for is_a_guard in [true, false] {
        check("c < after", |p| async move {
            let seats = Arc::new(Semaphore::new(1));
            let permit = seats.clone().acquire_owned().await;
            let c = p.owner("c", async { Ok(drop(permit)) });
            let late = async move {
                let queued = cancellable_in_queue(seats).guard();
                let late = timeout(Duration::from_millis(50), queued).await;
                assert!(late.is_err());
            };
            if is_a_guard {
                let c = c.guard().await?;
                late.await;
                Guard::close(c).await?;
            } else {
                c.with(async move |()| Ok(late.await)).await?;
            }
            p.note("begins after");
            Ok(())
        });
    }
}

/// P20.
#[test]
fn an_exit_that_waits_through_a_task_for_what_it_is_inside_of_is_reported() {
    let expected = [("::waits", "::waited_for")];
    check_reports(TEN_SECONDS, &expected, |p| async move {
        let y = waits(async { Ok(()) }).guard().await?;
        let (hand, handed) = oneshot::channel();
        let work = async move {
            let y = handed.await.expect("it was handed over");
            tokio::select! {
                closed = in_a_task(async { Guard::close(y).await }) => closed,
                () = p.until("the end") => Ok(()),
            }
        };
        let x = waited_for(work).inside(&y).guard().await?;
        assert!(hand.send(y).is_ok());
        drop(x);
        Ok(())
    });
}

/// P21: the pool waits for its connection, that for the app, and the app for the pool.
#[test]
fn an_exit_that_waits_for_what_was_opened_before_it_and_is_given_up_after_it_is_reported() {
    let expected = [("::waits", "::waited_for")];
    check_reports(TEN_SECONDS, &expected, |p| async move {
        let work = async {
            tokio::select! {
                () = p.until("ended conn") => {}
                () = p.until("the end") => {}
            }
            Ok(())
        };
        let pool = p.owner("pool", work).guard().await?;
        let _conn = waits(async { Ok(p.note("ended conn")) }).guard().await?;
        let _app = waited_for(async { Guard::close(pool).await })
            .guard()
            .await?;
        Ok(())
    });
}

/// A guard that waits for the exit of a younger one.
async fn wait_for_a_younger_one(p: P) -> Result<(), Fault> {
    let older = waits(async { Ok(()) }).guard().await?;
    drop(
        waited_for(async { Ok(p.until("the end").await) })
            .guard()
            .await?,
    );
    Guard::close(older).await
}

#[test]
fn each_wait_that_lasts_is_reported_once() {
    let expected = [("::waits", "::waited_for"); 2];
    check_reports(TEN_SECONDS, &expected, |p| async move {
        let first = tokio::spawn(wait_for_a_younger_one(p));
        wait_for_a_younger_one(p).await?;
        first.await.expect("it does not panic")
    });
}

#[test]
fn how_long_a_wait_may_last_before_it_is_reported_can_be_set() {
    check_reports(
        Duration::from_secs(300),
        &[("::waits", "::waited_for")],
        wait_for_a_younger_one,
    );
}

/// The guide's server, whose sessions should have been independent.
#[test]
fn a_session_that_waits_for_its_neighbour_is_reported_and_an_independent_one_is_not() {
    let expected = [("::waits", "::waited_for")];
    check_reports(TEN_SECONDS, &expected, |p| async move {
        let independent = waits(async { Ok(()) }).independent().guard().await?;
        let first = waits(async { Ok(()) }).guard().await?;
        drop(
            waited_for(async { Ok(p.until("the end").await) })
                .guard()
                .await?,
        );
        Guard::close(independent).await?;
        Guard::close(first).await
    });
}
