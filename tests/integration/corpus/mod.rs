//! Programs of all kinds. In each of them everything goes wrong that can, wherever it can, on both
//! runtimes; and the [laws](tests::Law) hold after every run.

use std::cell::RefCell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;

use async_context_manager::detached;
use async_context_manager::testing::{Faults, Run, cancel_everywhere, inject_everywhere};
use futures::FutureExt;
use tests::{Fact, Fault, Ledger, Scene, Seen, broken_laws, everywhere};

/// The programs of a module, each as a test.
macro_rules! programs {
    ($($program:ident),+ $(,)?) => {
        pub(super) const NAMES: &[&str] = &[$(stringify!($program)),+];

        mod keeps_the_laws {
            $(
                #[test]
                fn $program() {
                    crate::corpus::prove(super::$program);
                }
            )+
        }
    };
}

mod beside;
mod cancelling;
mod forms;
mod guards;
mod inside;
mod limits;
mod nesting;
mod panicking;
mod stacks;
mod streams;
mod suppressing;
mod tasks;
mod together;
mod wrong;

#[test]
fn there_are_at_least_forty_programs_and_no_two_of_a_name() {
    let modules = [
        beside::NAMES,
        cancelling::NAMES,
        forms::NAMES,
        guards::NAMES,
        inside::NAMES,
        limits::NAMES,
        nesting::NAMES,
        panicking::NAMES,
        stacks::NAMES,
        streams::NAMES,
        suppressing::NAMES,
        tasks::NAMES,
        together::NAMES,
    ];
    let mut names = modules.concat();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 40, "{}", names.len());
    assert_eq!(names.len(), count);
    assert!(beside::NAMES.len() >= 15, "{}", beside::NAMES.len());
}

/// Runs a program, and tells how it ended.
async fn staged<F>(program: impl FnOnce(Scene) -> F, scene: Scene) -> Seen
where
    F: Future<Output = Result<(), Fault>>,
{
    let ledger = scene.ledger.clone();
    let mut program = pin!(AssertUnwindSafe(program(scene)).catch_unwind());
    // It drops before the program does.
    let over = ledger.unless_over(Fact::Over);
    let ended = program.as_mut().await;
    drop(over);
    match ended {
        Ok(Ok(())) => Seen::Completed,
        Ok(Err(Fault(name))) => Seen::Failed(name),
        Err(payload) => Seen::panicked(&*payload),
    }
}

fn prove<F>(program: impl Fn(Scene) -> F)
where
    F: Future<Output = Result<(), Fault>>,
{
    everywhere(async |_| {
        let current = RefCell::new(Ledger::default());
        let start = |faults: Faults| {
            let scene = Scene::new(faults);
            current.replace(scene.ledger.clone());
            staged(&program, scene)
        };
        let check = |run: &Run<Seen>| {
            let facts = current.borrow().facts();
            let ended = run.output().copied().unwrap_or(Seen::Cancelled);
            let broken = broken_laws(&facts, ended, run.reports(), detached::count());
            assert!(
                broken.is_empty(),
                "{run}: {broken:#?}\nafter {facts:#?}\nand {:#?}, ended: {ended:?}",
                run.reports()
            );
        };
        let runs = cancel_everywhere(|| start(Faults::default()), check).await;
        assert!(runs > 6, "a program with hardly an await proves little");
        let runs = inject_everywhere(start, check).await;
        assert!(runs > 30, "a program that hardly fails proves little");
    });
}
