//! Watches a run of the service: stops it at its moment, draws the tree, and finds what is still
//! open.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_context_manager::{Outcome, shutdown};

/// The moments at which the service is stopped. In every second run it has a metrics file.
pub(crate) const MOMENTS: [&str; 10] = [
    "while the directory is made",
    "while the database opens",
    "while the metrics file opens",
    "while the listener binds",
    "before the request",
    "when the request comes in",
    "before the request is answered",
    "after the request",
    "while the metrics file closes",
    "while the database closes",
];

/// One run: when it is stopped, and what it opens and closes.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) stopped_at: Option<usize>,
    pub(crate) wants_metrics: bool,
    pub(crate) running_tasks: AtomicUsize,
    pub(crate) is_answered: AtomicBool,
    pub(crate) tree: Mutex<Tree>,
}

type IsClosed = Box<dyn Fn() -> bool + Send>;

#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) lines: Vec<String>,
    open: Vec<&'static str>,
    /// The names of what was opened, and whether it is closed.
    checks: Vec<(&'static str, IsClosed)>,
    out_of_order: bool,
}

impl Run {
    /// If this is the moment, tells the service to end, so that it is dropped here. What is in the
    /// background goes on.
    pub(crate) async fn pass(&self, moment: usize) {
        if self.stopped_at == Some(moment) {
            shutdown::tell();
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn opens(&self, what: &'static str, is_closed: impl Fn() -> bool + Send + 'static) {
        let mut tree = self.tree();
        let indent = "│ ".repeat(tree.open.len());
        tree.lines.push(format!("{indent}┌ {what}"));
        tree.open.push(what);
        tree.checks.push((what, Box::new(is_closed)));
    }

    pub(crate) fn closes(&self, what: &'static str, outcome: &Outcome) {
        let mut tree = self.tree();
        tree.out_of_order |= tree.open.pop() != Some(what);
        let indent = "│ ".repeat(tree.open.len());
        tree.lines.push(format!("{indent}└ {what}: {outcome:?}"));
    }

    pub(crate) async fn counted<T>(self: Arc<Self>, task: impl Future<Output = T>) -> T {
        struct Counted(Arc<Run>);

        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.running_tasks.fetch_sub(1, Ordering::Relaxed);
            }
        }

        self.running_tasks.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(self);
        task.await
    }

    /// What is still open, or went wrong, at the end.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let tree = self.tree();
        let open = tree.checks.iter().filter(|(_, is_closed)| !is_closed());
        let mut troubles: Vec<_> = open.map(|(what, _)| format!("{what} is open")).collect();
        troubles.extend(
            tree.open
                .iter()
                .map(|what| format!("{what} was not closed")),
        );
        let tasks = self.running_tasks.load(Ordering::Relaxed);
        if tasks > 0 {
            troubles.push(format!("{tasks} tasks are running"));
        }
        if self.stopped_at.is_none() && !self.is_answered.load(Ordering::Relaxed) {
            troubles.push("the request was not answered".to_owned());
        }
        if tree.out_of_order {
            troubles.push("something was closed out of order".to_owned());
        }
        troubles
    }

    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
