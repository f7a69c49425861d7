//! Exits that have what was attached to the task that entered their contexts.

use std::future::pending;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_context_manager::{Carry, CarryError, contexts::join_all, detached, prelude::*};
use futures::FutureExt;
use tests::{Fault, Ledger, Stage, cancel_at_every_poll, everywhere, pause, poll_times};
use tokio::runtime::Builder;

tokio::task_local! {
    static TENANT: &'static str;
}

fn tenant() -> String {
    TENANT
        .try_with(|tenant| (*tenant).to_owned())
        .unwrap_or("nobody".to_owned())
}

#[async_context]
async fn session(ledger: Ledger) -> Result<u32, Fault> {
    pause(1).await;
    ledger.note(format!("opened for {}", tenant()));
    yield_!(1);
    pause(1).await;
    ledger.note(format!("closed for {}", tenant()));
    Ok(())
}

#[test]
fn an_exit_has_the_task_local_of_its_enter_wherever_it_runs() {
    everywhere(async |stage| {
        for form in [
            "with",
            "guard",
            "dropped",
            "stack",
            "stack dropped",
            "list",
            "joined",
            "boxed",
        ] {
            let ledger = Ledger::default();
            let context = session(ledger.clone()).carry(&TENANT);
            TENANT
                .scope("acme", async {
                    match form {
                        "with" => context.with(async |_| Ok(())).await,
                        "guard" => Guard::close(context.guard().await?).await,
                        "dropped" => context.guard().await.map(drop),
                        "stack" => {
                            let stack = ExitStack::new();
                            drop(stack.enter(context).await?);
                            stack.exit(Ok(())).await
                        }
                        "stack dropped" => {
                            let stack = ExitStack::<CarryError<Fault>>::new();
                            stack.enter(context).await.map(drop)
                        }
                        "list" => vec![context].with(async |_| Ok(())).await,
                        "joined" => join_all([context]).with(async |_| Ok(())).await,
                        _ => context.boxed().with(async |_| Ok(())).await,
                    }
                })
                .await
                .expect(form);
            detached::drain().await;
            assert_eq!(
                ledger.lines(),
                ["opened for acme", "closed for acme"],
                "{form}"
            );
        }
        assert_eq!(stage.reports(), []);
    });
}

/// A guard that is closed for somebody else closes for the one who has opened it.
#[test]
fn an_exit_has_the_value_of_its_enter_and_not_that_of_its_caller() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let open = session(ledger.clone()).carry(&TENANT).guard();
        let guard = TENANT.scope("acme", open).await.expect("it opens");
        let closed = TENANT.scope("other", Guard::close(guard)).await;
        assert_eq!(closed, Ok(()));
        assert_eq!(ledger.lines(), ["opened for acme", "closed for acme"]);
    });
}

#[test]
fn a_context_that_has_nothing_to_carry_does_not_enter() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let result = session(ledger.clone())
            .carry(&TENANT)
            .with(async |_| Ok(()))
            .await;
        assert_eq!(result, Err(CarryError::NotSet));
        assert_eq!(ledger.lines(), [""; 0]);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_context_that_carries_can_be_dropped_at_every_poll() {
    everywhere(async |stage| {
        let program = async |ledger: Ledger| {
            let used = session(ledger).carry(&TENANT).with(async |_| {
                pause(1).await;
                Ok(())
            });
            TENANT.scope("acme", used).await
        };
        cancel_at_every_poll(stage, program, |_, _, ledger| {
            let lines = ledger.lines();
            let all = ["opened for acme", "closed for acme"];
            assert!(lines.is_empty() || lines == all, "{lines:?}");
            assert_eq!(stage.reports(), []);
        })
        .await;
    });
}

/// The runtime shuts down, and the exit is finished on the thread of the crate.
#[test]
fn an_exit_whose_runtime_is_gone_has_the_value_too() {
    let stage = Stage::alone();
    let ledger = Ledger::default();
    let runtime = Builder::new_current_thread().build().expect("there is one");
    runtime.block_on(async {
        let used = session(ledger.clone()).carry(&TENANT);
        let used = used.with(async |_| pending::<Result<(), _>>().await);
        assert!(poll_times(TENANT.scope("acme", used), 3).await.is_none());
    });
    drop(runtime);
    assert_eq!(detached::drain_blocking(Duration::from_secs(20)), 0);
    assert_eq!(ledger.lines(), ["opened for acme", "closed for acme"]);
    assert_eq!(stage.reports(), []);
}

/// What the code holds drops with the value attached.
#[test]
fn what_is_given_up_on_drops_with_the_value() {
    struct Tells(mpsc::Sender<String>);

    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send(tenant());
        }
    }

    #[async_context]
    async fn queue(tells: Tells) -> Result<(), Fault> {
        cancellable!(pending::<()>()).await;
        yield_!(());
        drop(tells);
        Ok(())
    }

    everywhere(async |_| {
        let (tell, told) = mpsc::channel();
        let used = queue(Tells(tell)).carry(&TENANT).guard();
        assert!(poll_times(TENANT.scope("acme", used), 2).await.is_none());
        assert_eq!(told.recv().as_deref(), Ok("acme"));
    });
}

/// A value whose clone panics when it is told to, and whose drop does as well.
struct Bomb(Arc<AtomicBool>);

impl Clone for Bomb {
    fn clone(&self) -> Self {
        assert!(!self.0.load(Ordering::SeqCst), "the clone");
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0.load(Ordering::SeqCst) {
            resume_unwind(Box::new("the drop"));
        }
    }
}

/// And a local of the code panics in its drop too: no panic ends the process, or is lost.
#[test]
fn what_is_carried_may_panic_at_every_step() {
    tokio::task_local! {
        static BOMB: Bomb;
    }

    struct Local(Arc<AtomicBool>);

    impl Drop for Local {
        fn drop(&mut self) {
            if self.0.load(Ordering::SeqCst) {
                resume_unwind(Box::new("the local"));
            }
        }
    }

    #[async_context]
    async fn armed(local: Local) -> Result<(), Fault> {
        yield_!(());
        drop(local);
        Ok(())
    }

    everywhere(async |stage| {
        let is_armed = Arc::new(AtomicBool::new(false));
        let context = armed(Local(Arc::clone(&is_armed))).carry(&BOMB);
        let open = BOMB.scope(Bomb(Arc::clone(&is_armed)), context.guard());
        let guard = open.await.expect("it opens");
        is_armed.store(true, Ordering::SeqCst);
        let closed = AssertUnwindSafe(Guard::close(guard)).catch_unwind().await;
        let payload = closed.expect_err("its exit has run, and panics");
        assert_eq!(payload.downcast_ref(), Some(&"the local"));
        detached::drain().await;
        let told: Vec<_> = stage.reports().into_iter().map(|(_, what)| what).collect();
        assert_eq!(told, ["the clone", "the drop"]);
    });
}

/// A value that can be attached so many times, and then panics before or after the poll.
struct Fragile {
    left: AtomicUsize,
    panics_after: bool,
}

struct Attach(Fragile);

impl Carry for Attach {
    type Carried = Fragile;

    fn capture(self) -> Option<Fragile> {
        Some(self.0)
    }

    fn attach<T>(carried: &Fragile, poll: impl FnOnce() -> T) -> T {
        let left = carried.left.fetch_sub(1, Ordering::SeqCst);
        if left == 0 && !carried.panics_after {
            resume_unwind(Box::new("attach"));
        }
        let polled = poll();
        if left == 0 {
            resume_unwind(Box::new("attach"));
        }
        polled
    }
}

/// A panic in `attach` ends an enter, and no exit.
#[test]
fn an_exit_runs_though_what_it_carries_can_not_be_attached() {
    everywhere(async |stage| {
        for panics_after in [false, true] {
            for polls in 0..6 {
                let ledger = Ledger::default();
                let left = AtomicUsize::new(polls);
                let fragile = Fragile { left, panics_after };
                let used = session(ledger.clone()).carry(Attach(fragile));
                let used = used.with(async |_| Ok(()));
                let used = AssertUnwindSafe(used).catch_unwind().await;
                let (lines, reports) = (ledger.lines(), stage.reports());
                let told = format!("{polls}, {panics_after}: {used:?}, {lines:?}, {reports:?}");
                match polls {
                    0 => assert!(used.is_err() && lines.is_empty(), "{told}"),
                    1 if !panics_after => assert!(used.is_err() && lines.is_empty(), "{told}"),
                    _ => {
                        assert!(matches!(used, Ok(Ok(()))), "{told}");
                        assert_eq!(lines, ["opened for nobody", "closed for nobody"], "{told}");
                        let has_panicked = usize::from(polls < 4);
                        assert_eq!(reports.len(), has_panicked, "{told}");
                    }
                }
            }
        }
    });
}
