//! The rules of the order of exits, program by program: what ends before what begins, and that
//! everything ends.
//!
//! Each program runs with many choices of how long each exit takes: with paused time, in `block_on`
//! and in a task; and on several threads, with gates in place of time. A `P` with a number is a
//! program of the model that the rules were checked with; an `A` with a number is a case that went
//! wrong at the first release.

use std::collections::HashMap;
use std::future::{Future, pending, poll_fn};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{Tasks, contexts::tasks, detached, prelude::*};
use futures::FutureExt;
use futures::executor::{LocalPool, block_on};
use futures::task::LocalSpawnExt;
use tests::{Fault, Stage, in_a_process_of_its_own, pause};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

pub(super) const HOUR: Duration = Duration::from_secs(3_600);

/// Where a program runs, and what its exits spend their time with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In `block_on`, with paused time.
    Thread,
    /// In a task, with paused time.
    Task,
    /// In a task, with two threads and without time.
    Threads,
}

impl Place {
    pub(super) fn runtime(self) -> Runtime {
        let runtime = match self {
            Self::Thread | Self::Task => Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build(),
            Self::Threads => Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build(),
        };
        runtime.expect("the system has a runtime for us")
    }

    /// How long it may take until all has ended. With paused time it is over as soon as nothing can
    /// happen any more.
    fn limit(self) -> Duration {
        match self {
            Self::Thread | Self::Task => 24 * HOUR,
            Self::Threads => Duration::from_secs(20),
        }
    }
}

/// One run of a program: the lines that its contexts write, and how long its exits take.
#[derive(Debug)]
pub(super) struct Run {
    lines: watch::Sender<Vec<String>>,
    has_time: bool,
    /// Chooses how long each exit takes.
    seed: u64,
    /// The exit of this one takes long; without time, it waits for the line `open` and its name.
    long: Option<String>,
}

/// Runs are never freed, so that a program can name its run anywhere.
pub(super) type P = &'static Run;

impl Run {
    pub(super) fn new(has_time: bool, seed: u64, long: Option<String>) -> P {
        Box::leak(Box::new(Self {
            lines: watch::Sender::default(),
            has_time,
            seed,
            long,
        }))
    }

    pub(super) fn note(&self, line: impl Into<String>) {
        self.lines.send_modify(|lines| lines.push(line.into()));
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits for the line.
    pub(super) async fn until(&self, line: &str) {
        let has = |lines: &Vec<String>| lines.iter().any(|known| known == line);
        let known = self.lines.subscribe().wait_for(has).await.map(drop);
        known.expect("a run is never dropped");
    }

    /// Takes as long as this context does in this run.
    async fn time(&self, name: &str) {
        if self.long.as_deref() == Some(name) {
            if self.has_time {
                sleep(Duration::from_secs(2)).await;
            } else {
                self.until(&format!("open {name}")).await;
            }
            return;
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, name).hash(&mut hasher);
        let time: u16 = [0, 1, 7, 50][usize::try_from(hasher.finish() % 4).expect("it is small")];
        if !self.has_time {
            pause(usize::from(time)).await;
        } else if time > 0 {
            sleep(Duration::from_millis(time.into())).await;
        }
    }

    /// A context whose exit takes its time.
    pub(super) fn res(
        &'static self,
        name: &'static str,
    ) -> impl AsyncContext<Value = (), Error = Fault, Verdict = ()> + use<> {
        exits(self, name, async { Ok(()) })
    }

    /// A context whose exit takes its time, then does this, and then takes its time again.
    pub(super) fn owner<F>(
        &'static self,
        name: &'static str,
        work: F,
    ) -> impl AsyncContext<Value = (), Error = Fault, Verdict = ()> + use<F>
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        exits(self, name, work)
    }

    /// An owner that closes its guard.
    pub(super) fn closer<C>(
        &'static self,
        name: &'static str,
        guard: Guard<C>,
    ) -> impl AsyncContext<Value = (), Error = Fault, Verdict = ()> + use<C>
    where
        C: AsyncContext<Value = (), Error = Fault, Verdict = ()> + 'static,
    {
        exits(self, name, async move { Guard::close(guard).await })
    }

    /// An owner that closes its guard in a task, and joins that.
    pub(super) fn task_closer<C>(
        &'static self,
        name: &'static str,
        guard: Guard<C>,
    ) -> impl AsyncContext<Value = (), Error = Fault, Verdict = ()> + use<C>
    where
        C: AsyncContext<Value = (), Error = Fault, Verdict = ()> + 'static,
    {
        exits(self, name, in_a_task(async { Guard::close(guard).await }))
    }

    /// The last await of the body of this `with`, in which [`Self::give_up`] drops it.
    pub(super) async fn hang(&self, name: &str) -> Result<(), Fault> {
        self.note(format!("hangs {name}"));
        pending().await
    }

    /// Polls the future until the body of this name hangs in it, and drops it there.
    pub(super) async fn give_up<T>(&self, name: &str, future: impl Future<Output = T>) {
        let line = format!("hangs {name}");
        tokio::select! {
            biased;
            _ = future => panic!("{name} does not hang"),
            () = self.until(&line) => {}
        }
    }

    /// A context that is used and given up, with nothing in its body.
    pub(super) async fn give_up_one(&'static self, name: &'static str) {
        let used = self.res(name).with(async |()| self.hang(name).await);
        self.give_up(name, used).await;
    }

    fn position(&self, line: &str) -> Option<usize> {
        self.lines.borrow().iter().position(|known| known == line)
    }

    /// Each that was entered has been exited once, to the end, and each pair is in order.
    pub(super) fn assert_order(&self, pairs: &[(&str, &str)]) {
        let lines = self.lines();
        let text = lines.join(", ");
        let seed = self.seed;
        for name in lines
            .iter()
            .filter_map(|line| line.strip_prefix("entered "))
        {
            for part in ["begins", "ended"] {
                let wanted = format!("{part} {name}");
                let count = lines.iter().filter(|line| **line == wanted).count();
                assert_eq!(count, 1, "{wanted}, with seed {seed}: {text}");
            }
        }
        for (first, then) in pairs {
            let ended = self.position(&format!("ended {first}"));
            let begins = self.position(&format!("begins {then}"));
            assert!(
                ended.is_some() && begins.is_some() && ended < begins,
                "not {first} < {then}, with seed {seed}, long: {:?}: {text}",
                self.long
            );
        }
    }
}

/// The context that all others here are.
#[async_context]
async fn exits<F>(p: P, name: &'static str, work: F) -> Result<(), Fault>
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    p.note(format!("entered {name}"));
    let ((), _) = yield_!(());
    p.note(format!("begins {name}"));
    let _ended = Ended(p, name);
    p.time(name).await;
    let result = work.await;
    p.time(name).await;
    result
}

/// Notes the end of an exit, also where it panics, or is cut off.
struct Ended(P, &'static str);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.note(format!("ended {}", self.1));
    }
}

/// Runs the future in a task, and joins that.
pub(super) async fn in_a_task<F>(future: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    let joined = tokio::spawn(future).await;
    joined.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Runs the program everywhere, with many choices of how long the exits take, until all of its
/// contexts have ended. In `"a < b, c < d"`, `a` has to have ended before `b` begins.
pub(super) fn check<F>(order: &str, program: impl Fn(P) -> F)
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let places = [Place::Thread, Place::Task, Place::Threads];
    check_in(&places, order, &[], program);
}

/// As [`check`], in these places, and with these reports of each run.
pub(super) fn check_in<F>(places: &[Place], order: &str, reports: &[Kind], program: impl Fn(P) -> F)
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let pairs: Vec<_> = order
        .split(", ")
        .filter_map(|pair| pair.split_once(" < "))
        .collect();
    let stage = Stage::alone();
    for &place in places {
        for seed in 0..6 {
            let p = Run::new(place != Place::Threads, seed, None);
            run(&stage, place, p, reports, &program);
            p.assert_order(&pairs);
        }
        for (first, _) in &pairs {
            let p = Run::new(place != Place::Threads, 0, Some((*first).to_owned()));
            run(&stage, place, p, reports, &program);
            p.assert_order(&pairs);
        }
    }
}

/// Runs the program to the end of all that it leaves in the background. In any case, nothing is
/// left for the next test.
fn run<F>(stage: &Stage, place: Place, p: P, expected: &[Kind], program: impl Fn(P) -> F)
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let runtime = place.runtime();
    let program = program(p);
    let ended = runtime.block_on(async {
        if let (false, Some(name)) = (p.has_time, &p.long) {
            tokio::spawn(async move {
                p.until(&format!("begins {name}")).await;
                // Gives every other thread a chance to begin what has to wait.
                pause(1000).await;
                p.note(format!("open {name}"));
            });
        }
        let all = async {
            let result = match place {
                Place::Thread => program.await,
                Place::Task | Place::Threads => in_a_task(program).await,
            };
            detached::drain().await;
            result
        };
        AssertUnwindSafe(timeout(place.limit(), all))
            .catch_unwind()
            .await
    });
    let reports = stage.reports().into_iter().map(|(kind, _)| kind);
    // Whether the exit had opened anything when it was cut off depends on how long it took.
    let reports: Vec<Kind> = reports.filter(|kind| *kind != Kind::LetGo).collect();
    let lines = p.lines().join(", ");
    stage.context(lines.clone());
    drop(runtime);
    // After a failure, what is left is lost by and by.
    detached::drain_blocking(Duration::from_secs(30));
    let lost = stage.reports();
    match ended {
        Ok(Ok(result)) => assert_eq!(result, Ok(()), "{lines}"),
        Ok(Err(_)) => panic!("{place:?}: not all ends, with seed {}: {lines}", p.seed),
        Err(panic) => resume_unwind(panic),
    }
    assert_eq!(reports, expected, "{place:?}: {lines}");
    assert_eq!(lost, [], "{place:?}: {lines}");
}

// The programs of the model.

/// P1.
#[test]
fn two_exits_that_each_own_an_older_guard_end() {
    check("", |p| async move {
        let c1 = p.res("c1").guard().await?;
        let c2 = p.res("c2").guard().await?;
        let s1 = p.closer("s1", c1).guard().await?;
        let s2 = p.closer("s2", c2).guard().await?;
        drop(s1);
        drop(s2);
        Ok(())
    });
}

/// P2, and A1: the task's guard waited for the exit that joined the task.
#[test]
fn an_exit_that_closes_its_guard_in_a_joined_task_ends_before_an_older_guard_begins() {
    check("s < h, c < h", |p| async move {
        let _h = p.res("h").guard().await?;
        let c = p.res("c").guard().await?;
        let _s = p.task_closer("s", c).guard().await?;
        Ok(())
    });
}

/// P4, and A1.
#[test]
fn an_owner_that_is_left_by_an_exit_ends() {
    check("", |p| async move {
        let work = async {
            let c = p.res("c").guard().await?;
            drop(p.closer("s", c).guard().await?);
            Ok(())
        };
        p.owner("e", work).with(async |()| Ok(())).await
    });
}

/// P5, and A2.
#[test]
fn guards_moved_into_a_body_that_is_given_up_exit_in_reverse() {
    check("f < h", |p| async move {
        let h = p.res("h").guard().await?;
        let f = p.res("f").guard().await?;
        let used = p.res("a").with(async move |()| {
            let (_h, _f) = (h, f);
            p.hang("a").await
        });
        p.give_up("a", used).await;
        Ok(())
    });
}

/// P6.
#[test]
fn a_guard_waits_for_a_younger_one_that_a_body_gave_up() {
    check("k < h", |p| async move {
        let h = p.res("h").guard().await?;
        let k = p.res("k").guard().await?;
        let body = async move |(): &mut ()| Ok(drop(k));
        p.res("a").with(body).await?;
        Guard::close(h).await
    });
}

/// P7.
#[test]
fn a_guard_moved_into_a_body_waits_for_what_was_opened_there() {
    check("f < h, f < a", |p| async move {
        let h = p.res("h").guard().await?;
        let body = async move |(): &mut ()| {
            let _h = h;
            let _f = p.res("f").guard().await?;
            Ok(())
        };
        p.res("a").with(body).await
    });
}

/// P8.
#[test]
fn a_guard_waits_for_a_younger_with_that_was_given_up_before_it() {
    check("a < h", |p| async move {
        let h = p.res("h").guard().await?;
        p.give_up_one("a").await;
        Guard::close(h).await
    });
}

/// P9.
#[test]
fn a_guard_waits_for_what_the_exit_of_a_younger_one_has_given_up() {
    check("g < h, l < h", |p| async move {
        let h = p.res("h").guard().await?;
        let work = async { Ok(p.give_up_one("l").await) };
        drop(p.owner("g", work).guard().await?);
        Guard::close(h).await
    });
}

/// P10.
#[test]
fn a_guard_waits_for_a_younger_one_that_an_exit_was_handed_and_drops() {
    check("g < h, k < h", |p| async move {
        let h = p.res("h").guard().await?;
        let k = p.res("k").guard().await?;
        drop(p.owner("g", async { Ok(drop(k)) }).guard().await?);
        Guard::close(h).await
    });
}

/// P11.
#[test]
fn a_guard_does_not_wait_for_an_older_one_that_an_exit_was_handed_and_drops() {
    check("g < h", |p| async move {
        let work = async { Ok(p.until("ended h").await) };
        let k = p.owner("k", work).guard().await?;
        let h = p.res("h").guard().await?;
        drop(p.owner("g", async { Ok(drop(k)) }).guard().await?);
        Guard::close(h).await
    });
}

/// P12.
#[test]
fn a_guard_does_not_wait_for_what_the_exit_of_an_older_one_opens() {
    check("", |p| async move {
        let work = async {
            let wait = async { Ok(p.until("ended conn").await) };
            drop(p.owner("helper", wait).guard().await?);
            Ok(())
        };
        let pool = p.owner("pool", work).guard().await?;
        let conn = p.res("conn").guard().await?;
        drop(pool);
        Guard::close(conn).await
    });
}

/// P13, and A11.
#[test]
fn a_context_waits_for_what_its_body_gave_up_and_not_for_a_guard_that_leaves_it() {
    check("slow < a, a < x", |p| async move {
        let body = async |(): &mut ()| {
            let x = p.res("x").guard().await?;
            drop(p.res("slow").guard().await?);
            Ok(x)
        };
        let x = p.res("a").with(body).await?;
        drop(x);
        Ok(())
    });
}

/// P14.
#[test]
fn an_owner_that_leaves_the_body_of_a_context_that_is_given_up_ends() {
    check("", |p| async move {
        let c = p.res("c").guard().await?;
        let (send, left) = oneshot::channel();
        let used = p.res("a").with(async move |()| {
            let s = p.closer("s", c).guard().await?;
            assert!(send.send(s).is_ok());
            p.hang("a").await
        });
        p.give_up("a", used).await;
        drop(left.await.expect("it was sent"));
        Ok(())
    });
}

/// P15.
#[test]
fn guards_that_an_exit_was_handed_exit_in_the_reverse_order_of_their_age() {
    check("f < h", |p| async move {
        let h = p.res("h").guard().await?;
        let f = p.res("f").guard().await?;
        let work = async {
            drop(f);
            Guard::close(h).await
        };
        drop(p.owner("g", work).guard().await?);
        Ok(())
    });
}

/// P16.
#[test]
fn an_exit_that_closes_a_guard_older_than_what_was_given_up_outside_of_it_ends() {
    check("", |p| async move {
        let h = p.res("h").guard().await?;
        let f = p.res("f").guard().await?;
        let g = p.closer("g", h).guard().await?;
        drop(f);
        drop(g);
        Ok(())
    });
}

/// P17, and A5. What the exit had opened ends when the program says so, which is after the end of
/// everything that must not wait for it.
#[test]
fn nobody_waits_for_what_an_exit_that_its_limit_cut_off_had_opened() {
    let all = [Place::Thread, Place::Task, Place::Threads];
    check_in(
        &all,
        "s < pool, pool < after",
        &[Kind::TimedOut],
        |p| async move {
            let pool = p.res("pool").guard().await?;
            drop(cut_off(p).guard().await.map_err(|_| Fault("enter"))?);
            Guard::close(pool).await?;
            p.note("begins after");
            p.note("the end");
            Ok(())
        },
    );
    check_in(&all, "s < pool, pool < after", &[], |p| async move {
        let body = async |(): &mut ()| {
            let late = cut_off(p).with(async |()| Ok(())).await;
            assert!(late.is_err());
            Ok(())
        };
        p.res("pool").with(body).await?;
        p.note("begins after");
        p.note("the end");
        Ok(())
    });
}

/// A context whose exit is cut off in the use of another one, which ends after the line `the end`.
fn cut_off(
    p: P,
) -> impl AsyncContext<Value = (), Error = TimeoutError<Fault>, Verdict = ()> + use<> {
    let wait = async { Ok(p.until("the end").await) };
    let hangs = p.owner("hangs", wait);
    p.owner("s", async { hangs.with(async |()| Ok(())).await })
        .exit_timeout(Duration::from_millis(200))
}

/// P22.
#[test]
fn a_guard_that_enter_opens_and_exit_closes_is_not_waited_for() {
    #[async_context]
    async fn y(p: P) -> Result<(), Fault> {
        p.note("entered y");
        let x = p.res("x").guard().await?;
        let ((), _) = yield_!(());
        p.note("begins y");
        Guard::close(x).await?;
        p.note("ended y");
        Ok(())
    }

    check("", |p| async move {
        Guard::close(y(p).guard().await?).await?;
        assert!(p.position("begins y") < p.position("begins x"));
        assert!(p.position("ended x") < p.position("ended y"));
        Ok(())
    });
    check("", |p| async move { Ok(drop(y(p).guard().await?)) });
    check("", |p| async move { y(p).with(async |()| Ok(())).await });
}

/// P24.
#[test]
fn what_has_left_a_context_that_has_ended_has_the_age_of_that_one() {
    check("k < x, x < b", |p| async move {
        let b = p.res("b").guard().await?;
        let body = async |(): &mut ()| p.res("x").guard().await;
        let x = p.res("y").with(body).await?;
        let k = p.res("k").guard().await?;
        drop(k);
        drop(x);
        Guard::close(b).await
    });
}

// The cases that went wrong at the first release.

/// A1: the two sessions waited for each other for ever.
#[test]
fn an_owner_that_is_opened_after_another_one_was_given_up_ends_and_so_does_that_one() {
    check("", |p| async move {
        let first = p.res("connection 1").guard().await?;
        let second = p.res("connection 2").guard().await?;
        drop(p.closer("session 1", first).guard().await?);
        drop(p.closer("session 2", second).guard().await?);
        Ok(())
    });
}

/// A1: inside of a task, one such exit was enough.
#[test]
fn an_exit_that_owns_an_older_guard_in_a_task_of_tasks_ends() {
    check("", |p| async move {
        let body = async |tasks: &mut Tasks<Fault>| {
            Ok(tasks.spawn(async {
                let c = p.res("c").guard().await?;
                drop(p.closer("s", c).guard().await?);
                Ok(())
            }))
        };
        tasks().with(body).await
    });
}

/// A2: the body has a limit, as in the case.
#[test]
fn guards_moved_into_a_body_that_takes_too_long_exit_in_reverse() {
    check("f < h", |p| async move {
        let h = p.res("h").guard().await?;
        let f = p.res("f").guard().await?;
        let used = p.res("a").with(async move |()| {
            let _h = h;
            let _f = f;
            pending::<Result<(), Fault>>().await
        });
        let late = timeout(Duration::from_millis(10), used).await;
        assert!(late.is_err());
        Ok(())
    });
}

/// A3.
#[test]
fn a_lower_entry_of_a_stack_waits_for_what_the_exit_of_the_upper_one_gave_up() {
    for is_dropped in [false, true] {
        check("left < lower, upper < lower", |p| async move {
            let stack = ExitStack::new();
            let work = async { Ok(p.give_up_one("left").await) };
            stack.enter(p.res("lower")).await?;
            stack.enter(p.owner("upper", work)).await?;
            if is_dropped {
                drop(stack);
                return Ok(());
            }
            stack.exit(Ok(())).await
        });
    }
}

/// A3.
#[test]
fn a_guard_around_a_stack_waits_for_what_the_exit_of_an_entry_gave_up() {
    for is_dropped in [false, true] {
        check("left < h, entry < h", |p| async move {
            let h = p.res("h").guard().await?;
            let stack = ExitStack::new();
            let work = async { Ok(p.give_up_one("left").await) };
            stack.enter(p.owner("entry", work)).await?;
            if is_dropped {
                drop(stack);
            } else {
                stack.exit(Ok(())).await?;
            }
            Guard::close(h).await
        });
    }
}

/// A4: with guards in place of the leases it worked.
#[test]
fn an_older_release_that_is_given_up_can_wait_for_a_younger_one_to_end() {
    check("", |p| async move {
        let stack = ExitStack::new();
        let work = async { Ok(p.until("ended younger").await) };
        let older = stack.enter(p.owner("older", work)).await?;
        let younger = stack.enter(p.res("younger")).await?;
        let late = timeout(Duration::from_millis(20), older.release()).await;
        assert!(late.is_err());
        younger.release().await?;
        stack.exit(Ok(())).await
    });
}

/// A6. Outside of tokio there are no tasks to tell apart, and so no order outside of any context.
#[test]
fn tasks_of_an_executor_that_is_not_tokio_s_do_not_wait_for_each_other() {
    let _stage = Stage::alone();
    let p = Run::new(false, 0, None);
    let (done, closed) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut pool = LocalPool::new();
        let spawner = pool.spawner();
        let theirs = async {
            p.until("entered mine").await;
            let wait = async { Ok(p.until("the end").await) };
            drop(p.owner("theirs", wait).guard().await);
            p.note("given up");
        };
        let mine = async move {
            let mine = p.res("mine").guard().await.expect("it opens");
            p.until("given up").await;
            let _ = done.send(Guard::close(mine).await);
        };
        spawner.spawn_local(theirs).expect("the pool is there");
        spawner.spawn_local(mine).expect("the pool is there");
        pool.run();
    });
    let closed = closed.recv_timeout(Duration::from_secs(20));
    p.note("the end");
    thread.join().expect("it does not panic");
    assert_eq!(detached::drain_blocking(Duration::from_secs(60)), 0);
    assert_eq!(closed, Ok(Ok(())), "{:?}", p.lines());
    p.assert_order(&[]);
}

/// A8: this is why a server's sessions should be independent.
#[test]
fn guards_in_a_map_wait_for_each_other_as_if_they_were_nested() {
    check("2 < 1", |p| async move {
        let mut sessions = HashMap::new();
        for name in ["1", "2", "3"] {
            let session = p.owner(name, async { Ok(()) }).boxed();
            sessions.insert(name, session.guard().await?);
        }
        drop(sessions.remove("2"));
        let first = sessions.remove("1").expect("it is there");
        Guard::close(first).await
    });
}

/// A10: each was kept for ever by the one that was entered inside of it.
#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn a_chain_of_pages() {
    const PAGES: u32 = 300_000;

    #[async_context]
    async fn session() -> Result<(), Fault> {
        pause(1).await;
        let ((), _) = yield_!(());
        Ok(())
    }

    type Next = Pin<Box<dyn Future<Output = Result<Page, Fault>> + Send>>;

    struct Page(Option<Next>);

    fn page(number: u32) -> Next {
        Box::pin(session().with(async move |()| {
            if number == PAGES {
                return Ok(Page(None));
            }
            let mut next = page(number + 1);
            let polled = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
            Ok(Page(Some(next)))
        }))
    }

    let _stage = Stage::alone();
    let program = async {
        let mut page = page(0).await?;
        while let Some(next) = page.0.take() {
            page = next.await?;
        }
        Ok(())
    };
    let begun = std::time::Instant::now();
    assert_eq!(Place::Task.runtime().block_on(program), Ok::<_, Fault>(()));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
}

/// An overflow of the stack ends the process.
#[test]
fn a_context_entered_inside_of_the_one_before_keeps_nothing_of_that_one() {
    let test = "order_rules::a_chain_of_pages";
    assert_eq!(in_a_process_of_its_own(test), "");
}

// More of the same kinds.

#[test]
fn a_guard_that_a_panicking_exit_owns_ends_before_an_older_one_begins() {
    let all = [Place::Thread, Place::Task, Place::Threads];
    check_in(&all, "s < h, c < h", &[Kind::Panicked], |p| async move {
        let h = p.res("h").guard().await?;
        let c = p.res("c").guard().await?;
        let work = async move {
            let _c = c;
            resume_unwind(Box::new("in exit"))
        };
        drop(p.owner("s", work).guard().await?);
        Guard::close(h).await
    });
}

/// The pool is there until its connection has gone, also where the session that had it is cut off.
#[test]
fn a_guard_that_a_cut_off_exit_was_handed_keeps_its_order() {
    let all = [Place::Thread, Place::Task, Place::Threads];
    for is_closing in [false, true] {
        check_in(
            &all,
            "s < pool, conn < pool",
            &[Kind::TimedOut],
            |p| async move {
                let pool = p.res("pool").guard().await?;
                let work = async { Ok(p.until("ended s").await) };
                let conn = p.owner("conn", work).guard().await?;
                let work = async move {
                    if is_closing {
                        return Guard::close(conn).await;
                    }
                    let _conn = conn;
                    pending().await
                };
                let session = p.owner("s", work).exit_timeout(Duration::from_millis(200));
                drop(session.guard().await.map_err(|_| Fault("enter"))?);
                Guard::close(pool).await
            },
        );
    }
}

#[test]
fn owners_two_and_three_deep_that_close_in_joined_tasks_end() {
    check("t < h, s < h, r < h, c < h", |p| async move {
        let _h = p.res("h").guard().await?;
        let c = p.res("c").guard().await?;
        let r = p.task_closer("r", c).guard().await?;
        let s = p.task_closer("s", r).guard().await?;
        let _t = p.task_closer("t", s).guard().await?;
        Ok(())
    });
    check("", |p| async move {
        let work = async move {
            in_a_task(async move {
                let c = p.res("c").guard().await?;
                let s = p.task_closer("s", c).guard().await?;
                drop(p.task_closer("t", s).guard().await?);
                Ok(())
            })
            .await
        };
        p.owner("e", work).with(async |()| Ok(())).await
    });
}

#[test]
fn owners_that_close_crosswise_end() {
    for in_tasks in [false, true] {
        check("", |p| async move {
            let [c1, c2, c3] = [
                p.owner("c1", async { Ok(()) }).boxed().guard().await?,
                p.owner("c2", async { Ok(()) }).boxed().guard().await?,
                p.owner("c3", async { Ok(()) }).boxed().guard().await?,
            ];
            let mut owners = Vec::new();
            for (name, owned) in [("s1", c2), ("s2", c3), ("s3", c1)] {
                owners.push(if in_tasks {
                    p.task_closer(name, owned).boxed().guard().await?
                } else {
                    p.closer(name, owned).boxed().guard().await?
                });
            }
            let third = owners.pop();
            drop(owners);
            drop(third);
            Ok(())
        });
    }
}

#[test]
fn a_guard_handed_late_to_an_older_context_is_closed_by_its_exit() {
    for in_a_joined_task in [false, true] {
        check("older < h, younger < h", |p| async move {
            let h = p.res("h").guard().await?;
            let (hand, handed) = oneshot::channel();
            let work = async move {
                let younger = handed.await.expect("it was handed over");
                if in_a_joined_task {
                    in_a_task(async { Guard::close(younger).await }).await
                } else {
                    Guard::close(younger).await
                }
            };
            let older = p.owner("older", work).guard().await?;
            let between = p.res("between").guard().await?;
            assert!(hand.send(p.res("younger").guard().await?).is_ok());
            drop(older);
            drop(between);
            Guard::close(h).await
        });
    }
}

#[test]
fn a_guard_that_leaves_bodies_and_is_dropped_outside_of_them_ends_before_an_older_one_begins() {
    check("x < h, late < x", |p| async move {
        let h = p.res("h").guard().await?;
        let inner = async |(): &mut ()| p.res("x").guard().await;
        let outer = async |(): &mut ()| p.res("b").with(inner).await;
        let x = p.res("a").with(outer).await?;
        p.give_up_one("late").await;
        drop(x);
        Guard::close(h).await
    });
}

#[test]
fn releases_that_are_cancelled_end_before_what_is_around_the_stack_begins() {
    check("1 < h, 2 < h, 3 < h, 0 < h", |p| async move {
        let h = p.res("h").guard().await?;
        let stack = ExitStack::new();
        let _ = stack.enter(p.res("0")).await?;
        let first = stack.enter(p.res("1")).await?;
        let second = stack.enter(p.res("2")).await?;
        let third = stack.enter(p.res("3")).await?;
        drop(second.release());
        let mut late = Box::pin(first.release());
        let polled = poll_fn(|cx| Poll::Ready(late.as_mut().poll(cx))).await;
        drop((polled, late));
        drop(third.release());
        stack.exit(Ok(())).await?;
        Guard::close(h).await
    });
}

#[test]
fn the_entries_that_are_left_on_a_stack_wait_for_younger_releases_that_are_cancelled() {
    check("3 < 0, 2 < 0", |p| async move {
        let stack = ExitStack::new();
        let _ = stack.enter(p.res("0")).await?;
        let second = stack.enter(p.res("2")).await?;
        let third = stack.enter(p.res("3")).await?;
        drop(third.release());
        drop(second.release());
        stack.exit(Ok(())).await
    });
}

/// An array drops its parts from the first to the last, so the older owner is given up first.
#[test]
fn owners_in_an_array_inside_of_a_body_that_is_given_up_end() {
    check("1 < a, 2 < a, c1 < a, c2 < a", |p| async move {
        let used = p.res("a").with(async |()| {
            let c1 = p.res("c1").guard().await?;
            let c2 = p.res("c2").guard().await?;
            let _owners = [
                p.closer("1", c1).guard().await?,
                p.closer("2", c2).guard().await?,
            ];
            p.hang("a").await
        });
        p.give_up("a", used).await;
        Ok(())
    });
}

#[test]
fn a_stack_that_an_exit_owns_is_closed_there_beside_one_that_a_guard_owns() {
    check("s < h, upper < lower", |p| async move {
        let _h = p.res("h").guard().await?;
        let stack = ExitStack::<Fault>::new();
        let c = p.res("c").guard().await?;
        stack.enter(p.res("lower")).await?;
        stack.enter(p.closer("upper", c)).await?;
        let work = async move { stack.exit(Ok(())).await };
        let _s = p.owner("s", work).guard().await?;
        Ok(())
    });
}

/// On a thread without tokio the rule for neighbours holds inside of a context only.
#[test]
fn guards_on_a_thread_without_tokio_keep_their_order_inside_of_a_context() {
    let _stage = Stage::alone();
    for seed in 0..6 {
        let p = Run::new(false, seed, None);
        let result = without_tokio(async move {
            let body = async |(): &mut ()| {
                let g = p.res("g").guard().await?;
                let f = p.res("f").guard().await?;
                let _e = p.closer("e", f).guard().await?;
                p.give_up_one("d").await;
                Guard::close(g).await
            };
            p.res("a").with(body).await
        });
        assert_eq!(result, Some(Ok(())), "{:?}", p.lines());
        p.assert_order(&[("d", "g"), ("e", "a"), ("f", "a")]);
    }
}

#[test]
fn owners_on_a_thread_without_tokio_end() {
    let _stage = Stage::alone();
    for seed in 0..6 {
        let p = Run::new(false, seed, None);
        let result: Option<Result<(), Fault>> = without_tokio(async move {
            let c1 = p.res("c1").guard().await?;
            let c2 = p.res("c2").guard().await?;
            let s1 = p.closer("s1", c1).guard().await?;
            let s2 = p.closer("s2", c2).guard().await?;
            drop(s1);
            drop(s2);
            Ok(())
        });
        assert_eq!(result, Some(Ok(())), "{:?}", p.lines());
        p.assert_order(&[]);
    }
}

/// What a body gives up is not given up by the exit that comes after that body: the exit, which
/// closes a guard, may have to end first.
#[test]
fn on_a_thread_without_tokio_the_exit_of_the_outermost_context_is_not_the_code_of_its_body() {
    let _stage = Stage::alone();
    for seed in 0..6 {
        let p = Run::new(false, seed, None);
        let result: Option<Result<(), Fault>> = without_tokio(async move {
            let c1 = p.res("c1").guard().await?;
            let c2 = p.res("c2").guard().await?;
            let s1 = p.closer("s1", c1).inside(&c2);
            s1.with(async move |()| {
                drop(c2);
                Ok(())
            })
            .await
        });
        assert_eq!(result, Some(Ok(())), "{:?}", p.lines());
        p.assert_order(&[]);
    }
}

/// Runs the future on a thread of its own, and waits for what it leaves. Gives `None` if that does
/// not end.
fn without_tokio<F>(future: F) -> Option<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(block_on(future)));
    let limit = Duration::from_secs(20);
    let ended = ended.recv_timeout(limit).ok()?;
    (detached::drain_blocking(limit) == 0).then_some(ended)
}
