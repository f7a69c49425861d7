//! Runs a test on each tokio runtime, without other tests in the process, and catches the reports.

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_context_manager::detached;
use async_context_manager::report::{self, Kind, Report};
use tokio::runtime::{Builder, Runtime};

/// Lets only one test run at a time, because the hook and the count of detached exits belong to the
/// process.
static ALONE: Mutex<()> = Mutex::new(());

static REPORTS: Mutex<Vec<(Kind, String)>> = Mutex::new(Vec::new());

/// The value that each test gets.
#[derive(Debug)]
pub struct Stage {
    _alone: MutexGuard<'static, ()>,
    context: Mutex<String>,
}

impl Stage {
    /// Waits until no other test runs, and catches the reports from then on.
    #[must_use]
    pub fn alone() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        report::set_hook(|report: &Report| {
            let about = match (report.error(), report.panic()) {
                (Some(error), _) => format!("{error:?}"),
                (_, Some(panic)) => panic.message().to_owned(),
                _ => String::new(),
            };
            reports().push((report.kind(), about));
        });
        reports().clear();
        Self {
            _alone: alone,
            context: Mutex::default(),
        }
    }

    /// Takes the reports since the last call, each with its kind and its error or panic message.
    #[must_use]
    pub fn reports(&self) -> Vec<(Kind, String)> {
        std::mem::take(&mut *reports())
    }

    /// Sets what a failing test prints about its run.
    pub fn context(&self, text: String) {
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

impl Drop for Stage {
    /// Fails if a report is left: an error that the test has not asked for was lost, or reported
    /// twice.
    fn drop(&mut self) {
        let left = self.reports();
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        if std::thread::panicking() {
            eprintln!("in: {context}; reports: {left:?}");
        } else {
            assert!(
                left.is_empty(),
                "unexpected reports: {left:?}, in: {context}"
            );
        }
    }
}

/// Runs the test on both of tokio's runtimes, with paused time where possible, and waits for the
/// exits in the background.
pub fn everywhere<T: AsyncFn(&Stage)>(test: T) {
    on_current_thread(&test);
    on_multi_thread(&test);
}

/// Runs the test on a current-thread runtime with paused time.
pub fn on_current_thread(test: impl AsyncFn(&Stage)) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    on(&runtime.expect("the system has a runtime for us"), &test);
}

fn on_multi_thread(test: impl AsyncFn(&Stage)) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    on(&runtime.expect("the system has a runtime for us"), &test);
}

fn on(runtime: &Runtime, test: impl AsyncFn(&Stage)) {
    let stage = Stage::alone();
    runtime.block_on(async {
        test(&stage).await;
        detached::drain().await;
    });
    assert_eq!(detached::count(), 0);
}

/// Runs an ignored test of the calling program in a process of its own, and returns its stderr.
#[must_use]
pub fn in_a_process_of_its_own(test: &str) -> String {
    let mut process = Command::new(std::env::current_exe().expect("this is a program"));
    process.args(["--exact", test, "--ignored", "--nocapture"]);
    let output = process.output().expect("it can be run again");
    let utf8 = |bytes| String::from_utf8(bytes).expect("it is text");
    let (stdout, stderr) = (utf8(output.stdout), utf8(output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stderr
}

fn reports() -> MutexGuard<'static, Vec<(Kind, String)>> {
    REPORTS.lock().unwrap_or_else(PoisonError::into_inner)
}
