//! The list of what is open or closing, and what a drain with a limit says of it.

use std::future::pending;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use async_context_manager::observe::{self, Activity, Snapshot};
use async_context_manager::prelude::*;
use async_context_manager::{detached, report};
use tests::{Stage, everywhere, on_current_thread};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

type Gate = oneshot::Receiver<()>;

/// Waits for the first gate in enter, and for the second in exit.
#[async_context]
async fn gated(enter: Option<Gate>, exit: Option<Gate>) -> Result<(), String> {
    if let Some(gate) = enter {
        let _ = gate.await;
    }
    let ((), _) = yield_!(());
    if let Some(gate) = exit {
        let _ = gate.await;
    }
    Ok(())
}

#[async_context]
async fn outer() -> Result<(), String> {
    let ((), _) = yield_!(());
    Ok(())
}

/// What is known of each, without the paths.
fn lines(snapshot: &Snapshot) -> Vec<String> {
    snapshot
        .iter()
        .map(|seen| short(&seen.to_string()))
        .collect()
}

fn short(text: &str) -> String {
    text.replace("integration::roster::", "")
}

/// While it is there, what is open is listed.
struct Listing;

impl Listing {
    fn begin() -> Self {
        observe::set_listing(true);
        Self
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        observe::set_listing(false);
    }
}

/// Other tests may have contexts open that they have forgotten.
fn open() -> Vec<String> {
    let mut lines = lines(&observe::open());
    lines.retain(|line| line.starts_with("gated") || line.starts_with("outer"));
    lines
}

#[test]
fn the_list_shows_each_activity_of_a_context() {
    on_current_thread(async |_: &Stage| {
        let _listing = Listing::begin();
        let (enter, entered) = oneshot::channel();
        let (exit, exited) = oneshot::channel();
        let task = tokio::spawn(gated(Some(entered), Some(exited)).with(async |()| {
            sleep(Duration::from_secs(5)).await;
            Ok(())
        }));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(open(), ["gated: entering for 1s"]);
        enter.send(()).expect("it is entering");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(open(), ["gated: in its body for 2s"]);
        sleep(Duration::from_secs(4)).await;
        assert_eq!(open(), ["gated: exiting for 1s"]);
        assert_eq!(observe::open()[0].age(), Duration::from_secs(7));
        exit.send(()).expect("it is exiting");
        task.await.expect("no panic").expect("no error");
        assert_eq!(open(), [""; 0]);
    });
}

#[test]
fn a_context_is_listed_inside_of_the_contexts_around_it() {
    on_current_thread(async |_: &Stage| {
        let _listing = Listing::begin();
        let guard = outer().guard().await.expect("it enters");
        let inner = gated(None, None).inside(&guard);
        let used = outer().with(async |()| {
            let used = inner.with(async |()| {
                yield_now().await;
                Ok(open())
            });
            used.await
        });
        let listed = used.await.expect("it ends well");
        assert_eq!(
            listed,
            [
                "outer: in its body for 0ms",
                "outer: in its body for 0ms",
                "gated: in its body for 0ms, inside of outer"
            ]
        );
        Guard::close(guard).await.expect("it exits");
    });
}

#[test]
fn what_is_detached_is_listed_without_being_asked_for() {
    on_current_thread(async |_: &Stage| {
        let (exit, exited) = oneshot::channel();
        let used = outer().with(async |()| {
            let used = gated(None, Some(exited)).with(async |()| Ok(pending::<()>().await));
            used.await
        });
        let limit = Duration::from_secs(1);
        assert!(timeout(limit, used).await.is_err());
        sleep(Duration::from_secs(3)).await;
        assert_eq!(
            lines(&detached::list()),
            [
                "gated: exiting for 3s, in the background, inside of outer",
                "outer: waiting for gated for 3s, in the background",
            ]
        );
        let list = detached::list();
        assert_eq!(list[1].waits_for().map(short).as_deref(), Some("gated"));
        assert_eq!(list[1].activity(), Activity::Waiting);
        assert!(list[0].is_detached());
        exit.send(()).expect("it is exiting");
        detached::drain().await;
        assert!(detached::list().is_empty());
    });
}

#[test]
fn an_exit_that_is_awaited_is_listed_with_what_it_waits_for() {
    on_current_thread(async |_: &Stage| {
        let _listing = Listing::begin();
        let (exit, exited) = oneshot::channel();
        let task = tokio::spawn(outer().with(async |()| {
            let inner = gated(None, Some(exited)).guard().await?;
            drop(inner);
            Ok(())
        }));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(
            open(),
            [
                "outer: waiting for gated for 1s",
                "gated: exiting for 1s, in the background, inside of outer",
            ]
        );
        exit.send(()).expect("it is exiting");
        task.await.expect("no panic").expect("no error");
    });
}

#[test]
fn an_enter_in_the_background_is_listed_as_such() {
    on_current_thread(async |_: &Stage| {
        let (enter, entered) = oneshot::channel();
        let used = gated(Some(entered), None).with(async |()| Ok(()));
        assert!(timeout(Duration::from_secs(1), used).await.is_err());
        yield_now().await;
        assert_eq!(
            lines(&detached::list()),
            ["gated: entering for 0ms, in the background"]
        );
        enter.send(()).expect("it is entering");
        detached::drain().await;
    });
}

#[test]
fn the_list_can_be_asked_for_from_other_threads_while_it_changes() {
    everywhere(async |_: &Stage| {
        let _listing = Listing::begin();
        let together = Arc::new(Barrier::new(2));
        let (begin, end) = (Arc::clone(&together), Arc::clone(&together));
        let looker = thread::spawn(move || {
            begin.wait();
            for _ in 0..2_000 {
                let _ = observe::open().to_string();
                let _ = detached::list();
            }
        });
        end.wait();
        let mut tasks = Vec::new();
        for _ in 0..20 {
            tasks.push(tokio::spawn(async {
                for _ in 0..50 {
                    let guard = outer().guard().await.expect("it enters");
                    let inner = gated(None, None).inside(&guard).guard().await;
                    drop(guard);
                    yield_now().await;
                    drop(inner);
                }
            }));
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        looker.join().expect("no panic");
        detached::drain().await;
        assert_eq!(open(), [""; 0]);
    });
}

#[test]
fn nothing_is_listed_that_was_entered_while_the_list_was_off() {
    on_current_thread(async |_: &Stage| {
        let guard = outer().guard().await.expect("it enters");
        let listing = Listing::begin();
        assert_eq!(open(), [""; 0]);
        let other = outer().guard().await.expect("it enters");
        drop(listing);
        assert_eq!(open(), ["outer: in its body for 0ms"]);
        Guard::close(other).await.expect("it exits");
        Guard::close(guard).await.expect("it exits");
        assert_eq!(open(), [""; 0]);
    });
}

#[test]
fn a_drain_with_a_limit_reports_once_and_by_name_what_is_left() {
    on_current_thread(async |stage: &Stage| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let (exit, exited) = oneshot::channel();
        drop(gated(None, Some(exited)).guard().await);
        let (other, closed) = oneshot::channel();
        drop(gated(None, Some(closed)).independent().guard().await);
        report::set_hook(move |report| {
            let left = report.left().map_or(0, |left| left.len());
            let line = format!("{left} {}", short(&report.to_string()));
            log.lock().expect("no panic").push(line);
        });
        let left = detached::drain_timeout(Duration::from_secs(2)).await;
        report::reset_hook();
        assert_eq!(left, 2);
        assert_eq!(
            *told.lock().expect("no panic"),
            [
                "2 async context `gated`: has not ended when the limit of a drain was over; \
                 2 left: gated: exiting for 2s, in the background; \
                 gated: exiting for 2s, in the background"
            ]
        );
        exit.send(()).expect("it is exiting");
        other.send(()).expect("it is exiting");
        assert_eq!(detached::drain_timeout(Duration::from_secs(2)).await, 0);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn the_list_of_many_shows_the_oldest_and_counts_the_others() {
    on_current_thread(async |_: &Stage| {
        let mut gates = Vec::new();
        for index in 0..30 {
            let (exit, exited) = oneshot::channel();
            gates.push(exit);
            if index == 25 {
                drop(outer().guard().await);
            }
            drop(gated(None, Some(exited)).independent().guard().await);
        }
        let text = short(&detached::list().to_string());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 22);
        assert_eq!(lines[0], "31 contexts, the oldest first:");
        assert_eq!(
            lines[20],
            "     0ms  gated: exiting for 0ms, in the background"
        );
        assert_eq!(lines[21], "          and 11 more: 10 of gated, 1 of outer");
        let all = format!("{:#}", detached::list());
        assert_eq!(all.lines().count(), 32);
        drop(gates);
        detached::drain().await;
    });
}
