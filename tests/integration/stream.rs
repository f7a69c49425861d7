//! Streams that own a context.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::testing::cancel_everywhere;
use async_context_manager::{Items, detached, prelude::*};
use futures::stream::{self, FusedStream, FuturesUnordered, Stream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use tests::{
    End, Fault, Ledger, Script, everywhere, generated, generated_suppressing, on_current_thread,
    pause,
};
use tokio::time::sleep;

/// So many numbers, with an await before each.
fn numbers(
    script: Script,
    count: u32,
) -> impl FusedStream<Item = Result<u32, Fault>> + Send + Unpin {
    let ledger = script.ledger.clone();
    generated(script).stream(async move |_, items| {
        let _local = ledger.on_drop("body over");
        for number in 0..count {
            pause(1).await;
            ledger.note(format!("sends {number}"));
            items.send(number).await;
        }
        Ok(())
    })
}

/// Polls it once.
async fn poll_once<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    poll_fn(|cx| Poll::Ready(stream.poll_next_unpin(cx))).await
}

#[test]
fn the_exit_of_a_stream_has_ended_before_it_gives_none() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut numbers = numbers(Script::new("c", &ledger), 2);
        while let Some(number) = numbers.next().await {
            ledger.note(format!("takes {number:?}"));
        }
        ledger.note("none");
        assert_eq!(
            ledger.text(),
            "enter c, entered c, sends 0, takes Ok(0), sends 1, takes Ok(1), body over, \
             exit c: completed, exited c, none"
        );
        assert!(numbers.is_terminated());
        for _ in 0..3 {
            assert_eq!(poll_once(&mut numbers).await, Poll::Ready(None));
        }
    });
}

#[test]
fn an_error_of_enter_body_or_exit_is_the_last_item_once() {
    everywhere(async |stage| {
        for (enter, body, exit, error) in [
            (End::Fail("enter"), End::Ok, End::Ok, "enter"),
            (End::Ok, End::Fail("body"), End::Ok, "body"),
            (End::Ok, End::Ok, End::Fail("exit"), "exit"),
            (End::Ok, End::Fail("body"), End::Fail("exit"), "body"),
        ] {
            let ledger = Ledger::default();
            let script = Script::new("c", &ledger).enter(enter).exit(exit);
            let mut stream = generated(script).stream(async move |name, items| {
                items.send(*name).await;
                body.come().map(|_| ())
            });
            let items = stream.by_ref().collect::<Vec<_>>().await;
            let (last, before) = items.split_last().expect("there is an error");
            assert_eq!(last, &Err(Fault(error)));
            assert_eq!(before.len(), usize::from(enter == End::Ok));
            assert!(stream.is_terminated());
            assert_eq!(poll_once(&mut stream).await, Poll::Ready(None));
            let sees = match (enter, body) {
                (End::Fail(_), _) => 0,
                (_, End::Ok) => ledger.count("exit c: completed"),
                _ => ledger.count("exit c: failed(Fault(\"body\"))"),
            };
            assert_eq!(sees, usize::from(enter == End::Ok), "{}", ledger.text());
            let reports = stage.reports();
            if error == "body" && exit != End::Ok {
                assert_eq!(reports, [(Kind::ExitFailed, "Fault(\"exit\")".into())]);
            } else {
                assert_eq!(reports, []);
            }
        }
    });
}

#[test]
fn an_error_that_exit_suppresses_ends_the_stream() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Suppress);
        let stream = generated_suppressing(script).stream(async |name, items| {
            items.send(*name).await;
            Err(Fault("body"))
        });
        assert_eq!(stream.collect::<Vec<_>>().await, [Ok("c")]);
        assert!(ledger.has("exit c: failed(Fault(\"body\"))"));
    });
}

#[test]
fn a_panic_in_a_stream_goes_on_at_the_poll_after_exit_and_then_there_is_nothing() {
    everywhere(async |_| {
        for (enter, body, exit, message) in [
            (End::Panic("enter"), End::Ok, End::Ok, "enter"),
            (End::Ok, End::Panic("body"), End::Ok, "body"),
            (End::Ok, End::Ok, End::Panic("exit"), "exit"),
        ] {
            let ledger = Ledger::default();
            let script = Script::new("c", &ledger).enter(enter).exit(exit);
            let mut stream = generated(script).stream(async move |name, items| {
                items.send(*name).await;
                body.come().map(|_| ())
            });
            let ended = AssertUnwindSafe(stream.by_ref().collect::<Vec<_>>());
            let payload = ended.catch_unwind().await.expect_err("it panics");
            assert_eq!(payload.downcast_ref(), Some(&message));
            assert_eq!(ledger.count("exited c"), usize::from(enter == End::Ok));
            assert!(stream.is_terminated());
            assert_eq!(poll_once(&mut stream).await, Poll::Ready(None));
        }
    });
}

#[test]
fn a_stream_that_was_never_polled_runs_nothing() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        drop(numbers(Script::new("c", &ledger), 2));
        detached::drain().await;
        assert_eq!(ledger.text(), "");
    });
}

#[test]
fn a_stream_dropped_between_two_items_drops_its_body_and_exits_as_cancelled() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let mut numbers = numbers(Script::new("c", &ledger), 3);
        assert_eq!(numbers.next().await, Some(Ok(0)));
        drop(numbers);
        assert_eq!(detached::count(), 1);
        ledger.note("dropped");
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "enter c, entered c, sends 0, body over, dropped, exit c: cancelled, exited c"
        );
    });
}

#[test]
fn a_stream_is_dropped_at_every_poll() {
    everywhere(async |stage| {
        let ledger = std::cell::RefCell::new(Ledger::default());
        let runs = cancel_everywhere(
            || {
                let fresh = Ledger::default();
                ledger.replace(fresh.clone());
                async move {
                    let outer = generated(Script::new("outer", &fresh));
                    let body = async |_: &mut _| {
                        numbers(Script::new("c", &fresh), 3)
                            .try_collect::<Vec<_>>()
                            .await
                    };
                    outer.with(body).await
                }
            },
            |run| {
                let ledger = ledger.borrow();
                ledger.check_nesting();
                assert!(run.reports().is_empty(), "{run}");
                if let Some(output) = run.output() {
                    assert_eq!(output, &Ok(vec![0, 1, 2]));
                }
                let over = ledger.count("body over");
                assert_eq!(over, usize::from(ledger.has("entered c") && over > 0));
            },
        )
        .await;
        assert!(runs > 20, "{runs}");
        drop(stage.reports());
    });
}

#[test]
fn a_body_is_never_more_than_one_item_ahead() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut numbers = numbers(Script::new("c", &ledger), 100);
        for taken in 1..50 {
            numbers.next().await;
            assert_eq!(ledger.count("sends"), taken);
            // Nobody polls it: nothing runs.
            pause(5).await;
            assert_eq!(ledger.count("sends"), taken);
        }
    });
}

#[test]
fn combinators_take_a_stream_as_any_other() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let new = |name, count| numbers(Script::new(name, &ledger), count);

        assert_eq!(
            new("take", 9).take(2).collect::<Vec<_>>().await,
            [Ok(0), Ok(1)]
        );
        detached::drain().await;
        assert!(ledger.has("exit take: cancelled"));

        let both = stream::select(new("left", 3), new("right", 2));
        assert_eq!(both.collect::<Vec<_>>().await.len(), 5);
        assert!(ledger.has("exit left: completed") && ledger.has("exit right: completed"));

        let squares = new("buffered", 5).map(async |number| {
            pause(3).await;
            number.map(|number| number * number)
        });
        let squares = squares.buffered(3).try_collect::<Vec<_>>().await;
        assert_eq!(squares, Ok(vec![0, 1, 4, 9, 16]));

        let flat = stream::iter([new("first", 2), new("second", 2)]).flatten();
        assert_eq!(flat.try_collect::<Vec<_>>().await, Ok(vec![0, 1, 0, 1]));
        let position = |line: &str| ledger.lines().iter().position(|known| known == line);
        assert!(position("exited first") < position("enter second"));

        assert_eq!(new("collected", 2).try_collect().await, Ok(vec![0, 1]));
        detached::drain().await;
        ledger_is_even(&ledger);
    });
}

fn ledger_is_even(ledger: &Ledger) {
    assert_eq!(ledger.count("entered "), ledger.count("exited "));
}

#[test]
fn a_stream_goes_through_a_body_and_its_error_is_the_body_s() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger);
        let rows = generated(script).stream(async |name, items| {
            // It borrows from the value, as a query does from its connection.
            let rows: Pin<Box<dyn Stream<Item = Result<String, Fault>> + Send + '_>> =
                stream::iter([Ok(()), Ok(()), Err(Fault("of the rows")), Ok(())])
                    .map_ok(|()| name.to_owned())
                    .boxed();
            items.send_all(rows).await?;
            Ok(())
        });
        let fault = Fault("of the rows");
        let rows = tokio::spawn(rows.collect::<Vec<_>>()).await;
        assert_eq!(
            rows.expect("it does not panic"),
            [Ok("c".into()), Ok("c".into()), Err(fault)]
        );
        assert!(ledger.has("exit c: failed(Fault(\"of the rows\"))"));
    });
}

#[test]
fn an_item_whose_send_is_given_up_is_not_sent() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let items = generated(Script::new("c", &ledger)).stream(async |_, items| {
            // Polled, and dropped in the same poll of the stream.
            let _ = items.send("given up").now_or_never();
            items.send("sent").await;
            // Dropped when it was taken.
            let mut sending = Box::pin(items.send("taken"));
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                if polls == 1 {
                    let _ = sending.as_mut().poll(cx);
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            drop(sending);
            drop(items.send("never polled"));
            Ok(())
        });
        assert_eq!(items.collect::<Vec<_>>().await, [Ok("sent"), Ok("taken")]);
    });
}

#[test]
fn a_send_with_a_waker_of_its_own_is_woken_when_its_item_was_taken() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let items = generated(Script::new("c", &ledger)).stream(async |_, items| {
            for number in 0..3 {
                // It polls what is in it only where that was woken.
                let mut all = FuturesUnordered::new();
                all.push(items.send(number));
                all.next().await;
            }
            Ok(())
        });
        let all = tokio::time::timeout(Duration::from_secs(9), items.try_collect::<Vec<_>>());
        assert_eq!(all.await.expect("it is woken"), Ok(vec![0, 1, 2]));
    });
}

#[test]
fn a_stream_can_be_polled_by_one_task_after_another() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut numbers = numbers(Script::new("c", &ledger), 20);
        for number in 0..20 {
            let task = tokio::spawn(async move { (numbers.next().await, numbers) });
            let (item, rest) = task.await.expect("it does not panic");
            assert_eq!(item, Some(Ok(number)));
            numbers = rest;
        }
        assert_eq!(numbers.next().await, None);
        assert!(ledger.has("exit c: completed"));
    });
}

#[test]
fn streams_and_guards_side_by_side_exit_in_reverse() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        {
            let _older = generated(Script::new("older", &ledger)).guard().await;
            let mut stream = numbers(Script::new("stream", &ledger), 2);
            stream.next().await;
            let _younger = generated(Script::new("younger", &ledger)).guard().await;
        }
        detached::drain().await;
        let exits = ledger.lines();
        let exits = exits.iter().filter(|line| line.starts_with("exited"));
        assert_eq!(
            exits.collect::<Vec<_>>(),
            ["exited younger", "exited stream", "exited older"]
        );
    });
}

#[test]
fn what_the_body_of_a_stream_opens_is_inside_of_its_context() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let open = ledger.clone();
        let mut stream = generated(Script::new("c", &ledger)).stream(async move |_, items| {
            let inner = generated(Script::new("inner", &open)).guard().await?;
            items.send(1).await;
            drop(inner); // in the background
            Ok(())
        });
        let polled = pin!(async { while stream.next().await.is_some() {} });
        polled.await;
        ledger.check_nesting();
        assert_eq!(ledger.count("exited"), 2);
    });
}

#[test]
fn without_a_tokio_runtime_a_stream_does_the_same() {
    let _stage = tests::Stage::alone();
    let ledger = Ledger::default();
    futures::executor::block_on(async {
        let all = numbers(Script::new("c", &ledger), 3).try_collect::<Vec<_>>();
        assert_eq!(all.await, Ok(vec![0, 1, 2]));
        let mut dropped = numbers(Script::new("d", &ledger), 3);
        assert_eq!(dropped.next().await, Some(Ok(0)));
    });
    assert_eq!(detached::drain_blocking(Duration::from_secs(50)), 0);
    assert!(ledger.has("exited c") && ledger.has("exited d"));
}

#[test]
fn a_drop_of_an_item_or_of_a_local_that_panics_keeps_no_exit_from_running() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            End::Panic("bomb").come().expect("it panics");
        }
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut stream = generated(Script::new("c", &ledger)).stream(async |_, items| {
            let _bomb = Bomb;
            items.send(1).await;
            items.send(2).await;
            Ok(())
        });
        stream.next().await;
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(stream)));
        assert!(dropped.is_err());
        detached::drain().await;
        assert!(ledger.has("exited c"));
    });
}

/// The item's type is inferred, the value has a lifetime, and the future has to be `Send`.
#[test]
fn a_stream_can_be_a_part_of_a_spawned_task() {
    #[async_context]
    async fn text() -> Result<&'static str, Fault> {
        let (_, _) = yield_!("a b");
        Ok(())
    }

    fn words() -> impl Stream<Item = Result<String, Fault>> + Send + Unpin + 'static {
        text().stream(async |text, items| {
            for word in text.split(' ') {
                sleep(Duration::from_millis(1)).await;
                items.send(word.to_owned()).await;
            }
            Ok(())
        })
    }

    async fn named(text: &mut &'static str, items: &mut Items<char>) -> Result<(), Fault> {
        for char in text.chars() {
            items.send(char).await;
        }
        Ok(())
    }

    everywhere(async |_| {
        let task = tokio::spawn(async { words().try_collect::<Vec<_>>().await });
        assert_eq!(
            task.await.expect("no panic"),
            Ok(vec!["a".into(), "b".into()])
        );
        let task = tokio::spawn(async { text().stream(named).try_collect::<String>().await });
        assert_eq!(task.await.expect("no panic"), Ok("a b".into()));
    });
}

/// Case C13: what `async-stream` loses is there.
#[test]
fn a_question_mark_in_the_body_of_a_stream_is_what_exit_sees() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let lines = generated(Script::new("session", &ledger)).stream(async |_, items| {
            for line in ["1", "2", "x", "4"] {
                let number: u32 = line.parse().map_err(|_| Fault("not a number"))?;
                items.send(number).await;
            }
            Ok(())
        });
        let lines = lines.collect::<Vec<_>>().await;
        assert_eq!(lines, [Ok(1), Ok(2), Err(Fault("not a number"))]);
        assert_eq!(detached::count(), 0);
        assert!(ledger.has("exit session: failed(Fault(\"not a number\"))"));
    });
}
