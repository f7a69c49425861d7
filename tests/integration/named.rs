//! Contexts with a name: `#[async_context(struct = Name)]`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{detached, prelude::*};
use futures::FutureExt;
use tests::{Fault, Ledger, everywhere, pause};
use tokio::time::{sleep, timeout};

/// Its value is the text, as it was given.
#[async_context(struct = Noting)]
async fn noting(name: &'static str, ledger: Ledger) -> Result<String, Fault> {
    ledger.note(format!("enter {name}"));
    pause(1).await;
    let (text, outcome) = yield_!(name.to_owned());
    ledger.note(format!("exit {text}: {outcome:?}"));
    pause(1).await;
    ledger.note(format!("exited {name}"));
    Ok(())
}

#[async_context(suppress, struct = Forgiving)]
async fn forgiving(error: Fault) -> Result<(), Fault> {
    let ((), outcome) = yield_!(());
    Ok(match outcome.error() {
        Some(failed) if failed.downcast_ref() == Some(&error) => Suppression::Suppress,
        Some(_) | None => Suppression::Propagate,
    })
}

#[async_context(struct = Borrowing)]
async fn borrowing<'a, T: fmt::Display + Sync, const N: usize>(
    items: &'a [T; N],
    prefix: &'a str,
) -> Result<Vec<&'a T>, Fault> {
    if prefix.is_empty() {
        return Err(Fault("no prefix"));
    }
    let (items, _) = yield_!(items.iter().collect());
    drop(items);
    Ok(())
}

/// What a type parameter is that stands in no argument and in no value.
#[async_context(struct = Made)]
async fn made<T>(_: PhantomData<u8>, (first, second): (u32, u32)) -> Result<String, Fault>
where
    T: Default + fmt::Debug + Send,
{
    let (_, _) = yield_!(format!("{:?} {}", T::default(), first + second));
    Ok(())
}

contexts! {
    #[async_context(struct = Counting)]
    async fn counting(from: u32) -> std::io::Result<u32> {
        let (_, _) = yield from;
        Ok(())
    }
}

#[test]
fn a_named_context_does_what_any_other_does() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let context: Noting = noting("a", ledger.clone());
        let result = context
            .with(async |name| {
                name.push('!');
                Ok(name.len())
            })
            .await;
        assert_eq!(result, Ok(2));
        assert_eq!(ledger.text(), "enter a, exit a!: Completed, exited a");
        let failed: Forgiving = forgiving(Fault("known"));
        assert_eq!(
            failed.with(async |()| Err::<u8, _>(Fault("known"))).await,
            Ok(None)
        );
        let failed = forgiving(Fault("known")).with(async |()| Err::<u8, _>(Fault("other")));
        assert_eq!(failed.await, Err(Fault("other")));
        let counting: Counting = counting(3);
        let counted = counting.with(async |n| Ok(*n + 1)).await;
        assert_eq!(counted.expect("nothing fails"), 4);
        let made: Made<Option<u8>> = made(PhantomData, (1, 2));
        assert_eq!(
            made.with(async |made| Ok(made.clone())).await,
            Ok("None 3".to_owned())
        );
    });
}

#[test]
fn a_named_context_that_borrows_has_one_lifetime() {
    everywhere(async |_| {
        let items = [1, 2, 3];
        let prefix = String::from("p");
        let context: Borrowing<'_, i32, 3> = borrowing(&items, &prefix);
        let sum = context.with_scoped(async |items| Ok(items.iter().copied().sum::<i32>()));
        assert_eq!(sum.await, Ok(6));
        let refused = borrowing(&["a"], "").with(async |_| Ok(())).await;
        assert_eq!(refused, Err(Fault("no prefix")));
    });
}

/// A client as many libraries have it: what it has opened, in fields.
#[derive(Debug)]
struct Client {
    session: Guard<Noting>,
    connection: Guard<Noting>,
}

impl Client {
    async fn open(ledger: &Ledger) -> Result<Self, Fault> {
        let connection = noting("connection", ledger.clone()).guard().await?;
        match noting("session", ledger.clone()).guard().await {
            Ok(session) => Ok(Self {
                session,
                connection,
            }),
            Err(error) => Err(Guard::fail(connection, error).await),
        }
    }

    async fn close(self) -> Result<(), Fault> {
        let session = Guard::close(self.session).await;
        Guard::close(self.connection).await.and(session)
    }
}

#[test]
fn a_struct_holds_guards_of_named_contexts_in_its_fields() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let client = Client::open(&ledger).await.expect("nothing fails");
        assert_eq!(*client.session, "session");
        assert_eq!(client.close().await, Ok(()));
        drop(Client::open(&ledger).await);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "enter connection, enter session, \
             exit session: Completed, exited session, \
             exit connection: Completed, exited connection, \
             enter connection, enter session, \
             exit session: Cancelled, exited session, \
             exit connection: Cancelled, exited connection"
        );
    });
}

/// A trait whose implementers each have a context of their own.
trait Backend: Sync {
    type Context: AsyncContext<Value = String, Error = Fault, Verdict = ()> + fmt::Debug + 'static;

    fn connect(&self, ledger: &Ledger) -> Self::Context;
}

struct Primary;

impl Backend for Primary {
    type Context = Noting;

    fn connect(&self, ledger: &Ledger) -> Noting {
        noting("primary", ledger.clone())
    }
}

#[test]
fn a_named_context_is_the_associated_type_of_a_trait_and_an_argument() {
    async fn length(backend: &impl Backend, ledger: &Ledger) -> Result<usize, Fault> {
        let context = backend.connect(ledger);
        assert!(format!("{context:?}").starts_with("Noting"));
        context.with(async |name| Ok(name.len())).await
    }

    async fn take(context: Noting) -> Result<usize, Fault> {
        context.with(async |name| Ok(name.len())).await
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        assert_eq!(length(&Primary, &ledger).await, Ok(7));
        assert_eq!(take(noting("argument", ledger)).await, Ok(8));
    });
}

#[test]
fn a_named_context_shows_its_name() {
    assert_eq!(format!("{:?}", counting(1)), "Counting { .. }");
    assert_eq!(format!("{:?}", borrowing(&[1], "p")), "Borrowing { .. }");
}

#[test]
fn a_named_context_is_as_large_as_its_arguments() {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}

    #[async_context(struct = Url)]
    async fn url(_url: String) -> Result<[u64; 64], Fault> {
        let large = [0; 512];
        pause(1).await;
        let (_, _) = yield_!([large[0]; 64]);
        Ok(())
    }

    assert_eq!(size_of::<Url>(), size_of::<String>());
    assert_eq!(size_of::<Noting>(), size_of::<(&str, Ledger)>());
    // Where the arguments have no room for a tag, the pointer of an enter by hand has.
    assert!(size_of::<Counting>() <= 2 * size_of::<usize>());
    is_send_and_sync(&url(String::new()));
    is_send_and_sync(&borrowing(&[1], "p"));
}

#[test]
fn a_named_context_can_be_entered_and_exited_by_hand() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut context = noting("a", ledger.clone());
        let name = context.enter().await.expect("nothing fails");
        let name = name + " moved";
        // What is borrowed lives as long as it has to.
        let result = context.exit(name, &Outcome::Cancelled).await;
        assert_eq!(result, Ok(()));
        assert_eq!(ledger.text(), "enter a, exit a moved: Cancelled, exited a");
        let items = vec![1].into_boxed_slice();
        let items: &[i32; 1] = (&*items).try_into().expect("there is one");
        let mut context = borrowing(items, "p");
        let value = context.enter().await.expect("nothing fails");
        assert_eq!(context.exit(value, &Outcome::Completed).await, Ok(()));
    });
}

#[test]
fn a_named_context_that_is_entered_but_not_exited_by_hand_is_reported() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let mut context = noting("a", ledger.clone());
        drop(context.enter().await);
        drop(context);
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
    });
}

#[test]
fn a_named_context_that_is_used_out_of_order_by_hand_panics() {
    everywhere(async |stage| {
        let panics = async |program: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let panic = std::panic::AssertUnwindSafe(program).catch_unwind().await;
            let panic = panic.expect_err("it panics");
            panic.downcast_ref::<String>().expect("a text").clone()
        };
        let early = panics(Box::pin(async {
            let context = noting("a", Ledger::default());
            drop(context.exit(String::new(), &Outcome::Completed).await);
        }));
        let text = early.await;
        assert!(text.ends_with("::noting` has not been entered"), "{text}");
        let twice = panics(Box::pin(async {
            let mut context = noting("a", Ledger::default());
            let value = context.enter().await.expect("nothing fails");
            drop(context.enter().await);
            drop(value);
        }));
        let text = twice.await;
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
        assert!(text.ends_with("::noting` is entered twice"), "{text}");
    });
}

#[test]
fn a_named_context_can_be_dropped_at_every_poll() {
    #[async_context(struct = Outer)]
    async fn outer(ledger: Ledger) -> Result<String, Fault> {
        let inner = noting("inner", ledger.clone()).guard().await?;
        let (_, outcome) = yield_!(inner.clone());
        pause(1).await;
        let result = Guard::exit_as(inner, outcome).await;
        ledger.note("exited outer");
        result
    }

    everywhere(async |_| {
        for polls in 0.. {
            let ledger = Ledger::default();
            let program = async {
                let guard: Guard<Outer> = outer(ledger.clone()).guard().await?;
                pause(1).await;
                Guard::close(guard).await
            };
            let has_ended = tests::poll_times(program, polls).await.is_some();
            detached::drain().await;
            let text = ledger.text();
            assert_eq!(
                text.matches("enter inner").count(),
                usize::from(!text.is_empty())
            );
            assert_eq!(
                text.ends_with("exited inner, exited outer"),
                !text.is_empty(),
                "{text}"
            );
            if has_ended {
                return;
            }
        }
    });
}

#[test]
fn the_arguments_of_a_named_context_drop_as_those_of_any_other() {
    everywhere(async |_| {
        #[async_context(struct = Keeps)]
        async fn keeps(_kept: Arc<u8>, _: Arc<u8>) -> Result<(), Fault> {
            yield_!();
            sleep(Duration::from_secs(1)).await;
            Ok(())
        }

        let kept = Arc::new(1);
        drop(keeps(kept.clone(), kept.clone()));
        assert_eq!(Arc::strong_count(&kept), 1);
        let mut by_hand = keeps(kept.clone(), kept.clone());
        by_hand.enter().await.expect("nothing fails");
        assert_eq!(Arc::strong_count(&kept), 3);
        assert_eq!(by_hand.exit((), &Outcome::Completed).await, Ok(()));
        assert_eq!(Arc::strong_count(&kept), 1);
        let used = keeps(kept.clone(), kept.clone()).with(async |()| Ok(pause(9).await));
        assert!(timeout(Duration::ZERO, used).await.is_err());
        assert_eq!(Arc::strong_count(&kept), 3);
        detached::drain().await;
        assert_eq!(Arc::strong_count(&kept), 1);
    });
}
