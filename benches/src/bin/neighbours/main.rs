//! Runs the neighbours of this crate through the same situations, and prints the results as two
//! tables: all of them for `benches/README.md`, and the most important ones for `README.md`.
//!
//! Each cell is a process of its own, because some neighbours abort the process, or hang.
//!
//! ```sh
//! cargo run -p benches --bin neighbours                        # the tables
//! cargo run -p benches --bin neighbours -- --check README.md   # does this file have one of them?
//! ```

#![forbid(unsafe_code)]

mod crates;
mod scene;

use std::fmt::Write as _;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use async_context_manager::report;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::crates::Neighbour;
use crate::scene::{Fault, Scene, comes, count, position};

#[derive(Parser)]
struct Options {
    /// Fails if one of these files has neither table.
    #[arg(long, num_args = 1..)]
    check: Vec<PathBuf>,
    /// One cell alone: the numbers of the neighbour and of the situation.
    #[arg(long, num_args = 2)]
    cell: Option<Vec<usize>>,
}

type Situation = (&'static str, fn(&Neighbour) -> &'static str);

const SITUATIONS: [Situation; 14] = [
    ("the body returns: closing is awaited", body_returns),
    ("closing knows whether the body failed", closing_knows),
    ("the body panics: it is closed", body_panics),
    ("dropped in the body: it is closed", dropped_in_the_body),
    (
        "dropped while it opens: it is closed",
        dropped_while_opening,
    ),
    (
        "dropped while it closes: closed once",
        dropped_while_closing,
    ),
    ("nested, dropped: the inner one first", nested_and_dropped),
    (
        "the inner one given up earlier: it goes first",
        inner_given_up,
    ),
    ("the runtime shuts down: it is closed", runtime_shuts_down),
    (
        "dropped outside of a runtime: it is closed",
        dropped_outside,
    ),
    (
        "dropped on a current-thread runtime: it is closed",
        on_current_thread,
    ),
    ("the program can wait for the background", waiting),
    ("closing fails: its error is", closing_fails),
    ("body and closing fail: told", both_fail),
];

/// The columns of the short table: a heading, and the number of the situation.
const SHORT: [(&str, usize); 7] = [
    ("closing is awaited", 0),
    ("it knows the outcome", 1),
    ("dropped in the body: closed", 3),
    ("while it opens: closed", 4),
    ("while it closes: once", 5),
    ("nested: the inner one first", 6),
    ("an error of closing is", 12),
];

const BRIEF: Duration = Duration::from_millis(50);
const LONGER: Duration = Duration::from_millis(150);

static REPORTS: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(cell) = options.cell {
        report::set_hook(|_| {
            REPORTS.fetch_add(1, Ordering::Relaxed);
        });
        let (_, run) = SITUATIONS[cell[1]];
        println!("{}", run(&crates::ALL[cell[0]]));
        // Exits without a join of the runtimes' threads, which may hang.
        std::process::exit(0);
    }
    let cells = cells();
    let (all, short) = (all(&cells), short(&cells));
    println!("{all}\n{short}");
    let has_a_table = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.contains(&all) || text.contains(&short)
    };
    let mut outcome = ExitCode::SUCCESS;
    for path in options.check.iter().filter(|path| !has_a_table(path)) {
        eprintln!("{} has another table", path.display());
        outcome = ExitCode::FAILURE;
    }
    outcome
}

/// Returns a row for each situation, with a cell for each neighbour.
fn cells() -> Vec<Vec<String>> {
    let row = |row| {
        let cells: Vec<_> = (0..crates::ALL.len())
            .map(|column| start(column, row))
            .collect();
        cells.into_iter().map(result).collect()
    };
    (0..SITUATIONS.len()).map(row).collect()
}

fn head<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let rule = " --- |".repeat(names.len());
    let names: Vec<_> = names.collect();
    format!("| | {} |\n| --- |{rule}\n", names.join(" | "))
}

fn all(cells: &[Vec<String>]) -> String {
    let mut table = head(crates::ALL.iter().map(|neighbour| neighbour.name));
    for ((situation, _), cells) in SITUATIONS.iter().zip(cells) {
        let _ = writeln!(table, "| {situation} | {} |", cells.join(" | "));
    }
    table
}

fn short(cells: &[Vec<String>]) -> String {
    let mut table = head(SHORT.iter().map(|(heading, _)| *heading));
    for (column, neighbour) in crates::ALL.iter().enumerate() {
        let cells: Vec<_> = SHORT.iter().map(|(_, row)| &*cells[*row][column]).collect();
        let _ = writeln!(table, "| {} | {} |", neighbour.name, cells.join(" | "));
    }
    table
}

fn start(column: usize, row: usize) -> Child {
    let this = std::env::current_exe().expect("a program knows itself");
    Command::new(this)
        .args(["--cell", &column.to_string(), &row.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts once more")
}

fn result(mut child: Child) -> String {
    let begun = Instant::now();
    while child.try_wait().expect("it is our child").is_none() {
        if begun.elapsed() > Duration::from_secs(20) {
            child.kill().expect("it is our child");
            return "hangs".to_owned();
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it is our child");
    if output.status.success() {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    } else {
        assert_eq!(
            output.status.code(),
            None,
            "a mistake of this program's own"
        );
        "**aborts**".to_owned()
    }
}

fn runtime() -> Runtime {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("the system has a runtime for us")
}

fn said(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "**no**" }
}

/// Gives the use up in the middle. It is dropped on a worker, like the future of a task.
fn give_up(runtime: &Runtime, neighbour: &Neighbour, scene: Scene) {
    let using = (neighbour.using)(scene);
    let task = runtime.spawn(async move { timeout(BRIEF, using).await.is_err() });
    let _ = runtime.block_on(task);
}

fn endless() -> Scene {
    Scene::new(pending)
}

fn body_returns(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    let mut scene = Scene::new(async || Ok(()));
    scene.closing = BRIEF;
    let using = (neighbour.using)(scene);
    let task = runtime.spawn(async move {
        let _ = using.await;
        count("closed it") == 1
    });
    said(runtime.block_on(task).is_ok_and(|closed| closed))
}

fn closing_knows(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    let using = (neighbour.using)(Scene::new(async || Err(Fault::Body)));
    let _ = runtime.block_on(runtime.spawn(using));
    comes("closed it");
    said(count("knows") == 1)
}

fn body_panics(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    let using = (neighbour.using)(Scene::new(async || panic!("the body")));
    let _ = runtime.block_on(runtime.spawn(using));
    said(comes("closed it"))
}

fn dropped_in_the_body(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    give_up(&runtime, neighbour, endless());
    said(comes("closed it"))
}

fn dropped_while_opening(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    let mut scene = endless();
    scene.opening = LONGER;
    give_up(&runtime, neighbour, scene);
    said(comes("closed it"))
}

fn dropped_while_closing(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    let mut scene = Scene::new(async || Ok(()));
    scene.closing = LONGER;
    give_up(&runtime, neighbour, scene);
    said(comes("closed it") && count("closing it") == 1)
}

/// Returns a scene with another one in its body, which closes more slowly.
fn nested(neighbour: &Neighbour, inner_is_given_up: bool) -> Scene {
    let using = neighbour.using;
    let mut outer = Scene::new(move || async move {
        let mut inner = endless();
        inner.name = "inner";
        inner.closing = LONGER;
        if inner_is_given_up {
            let _ = timeout(BRIEF, using(inner)).await;
            Ok(())
        } else {
            using(inner).await
        }
    });
    outer.name = "outer";
    outer
}

fn inner_was_first() -> &'static str {
    if !comes("closed outer") || !comes("closed inner") {
        return "not closed";
    }
    said(position("closed inner") < position("closing outer"))
}

fn nested_and_dropped(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    give_up(&runtime, neighbour, nested(neighbour, false));
    inner_was_first()
}

fn inner_given_up(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    let _ = runtime.block_on(runtime.spawn((neighbour.using)(nested(neighbour, true))));
    inner_was_first()
}

/// Shuts the runtime down during a use.
fn runtime_shuts_down(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    runtime.spawn((neighbour.using)(endless()));
    comes("opened it");
    drop(runtime);
    if comes("closed it") {
        "yes"
    } else if REPORTS.load(Ordering::Relaxed) > 0 {
        "no, reported"
    } else {
        "**no**"
    }
}

fn dropped_outside(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    let mut using = (neighbour.using)(endless());
    runtime.block_on(poll_fn(|cx| {
        let _ = using.as_mut().poll(cx);
        if count("opened it") == 1 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    if catch_unwind(AssertUnwindSafe(|| drop(using))).is_err() {
        return "**panics**";
    }
    said(comes("closed it"))
}

fn on_current_thread(neighbour: &Neighbour) -> &'static str {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has a runtime for us");
    let using = (neighbour.using)(endless());
    let given_up = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async { timeout(BRIEF, using).await.is_err() })
    }));
    if given_up.is_err() {
        return "**panics**";
    }
    runtime.block_on(async { tokio::time::sleep(BRIEF).await });
    said(count("closed it") == 1)
}

fn waiting(neighbour: &Neighbour) -> &'static str {
    let runtime = runtime();
    let mut scene = endless();
    scene.closing = LONGER;
    give_up(&runtime, neighbour, scene);
    if let Some(waiting) = neighbour.waiting {
        runtime.block_on(waiting());
    }
    match (count("closed it"), neighbour.waiting) {
        (1, Some(_)) => "yes",
        (1, None) => "blocks a thread",
        _ => "**no**",
    }
}

fn ends(neighbour: &Neighbour, mut scene: Scene) -> Result<(), Fault> {
    let runtime = runtime();
    scene.closing_fails = true;
    let ended = runtime.block_on(runtime.spawn((neighbour.using)(scene)));
    comes("closed it");
    ended.expect("nothing panics")
}

fn closing_fails(neighbour: &Neighbour) -> &'static str {
    match ends(neighbour, Scene::new(async || Ok(()))) {
        Err(Fault::Closing) => "returned",
        _ => "**lost**",
    }
}

fn both_fail(neighbour: &Neighbour) -> &'static str {
    let result = ends(neighbour, Scene::new(async || Err(Fault::Body)));
    match (result, REPORTS.load(Ordering::Relaxed)) {
        (Err(Fault::Body), 1) => "both",
        (Err(Fault::Body), _) => "the body's",
        _ => "**the closing's**",
    }
}
