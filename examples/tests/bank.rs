//! Tests the contexts of `transfer_funds` around its database, dropped in the middle of their work.

#![forbid(unsafe_code)]

#[path = "../transfer_funds/bank.rs"]
#[expect(
    dead_code,
    reason = "the program has more uses for it than these tests"
)]
mod bank;
#[path = "../transfer_funds/connection.rs"]
mod connection;
#[path = "../transfer_funds/database_url.rs"]
mod database_url;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;

use async_context_manager::detached;
use async_context_manager::prelude::*;
use tokio::sync::Notify;

use bank::{
    Account, Bank, DatabaseError, Transfer, database, savepoint, transaction, writers_turn,
};
use connection::{Connection, Lent};

fn accounts() -> [Account; 2] {
    let account = |id, owner: &str, balance| {
        let owner = owner.into();
        Account { id, owner, balance }
    };
    [account(1, "Ada", 1000), account(2, "Bea", 500)]
}

fn ada_to_bea() -> Transfer {
    let note = "rent".into();
    Transfer {
        id: 7,
        from: 1,
        to: 2,
        amount: 300,
        note,
    }
}

/// Stops SQLite in the middle of its work, on its own thread, until the test lets it go on.
#[derive(Debug)]
struct Brake {
    stopped: Arc<Notify>,
    go_on: mpsc::Sender<()>,
}

impl Brake {
    fn new() -> (Self, impl FnMut() -> bool + Send + 'static) {
        let stopped = Arc::new(Notify::new());
        let (go_on, wait) = mpsc::channel();
        let brake = Self {
            stopped: Arc::clone(&stopped),
            go_on,
        };
        let mut released = false;
        let stop = move || {
            if !released {
                stopped.notify_one();
                released = wait.recv().is_ok();
            }
            true
        };
        (brake, stop)
    }

    fn release(&self) {
        self.go_on.send(()).expect("SQLite has been stopped");
    }
}

fn sqlite(connection: &mut Connection) -> &mut sqlx::SqliteConnection {
    match connection.lent() {
        Lent::Sqlite(connection) => connection,
        Lent::Postgres(_) | Lent::MariaDb(_) => unreachable!("no server is asked here"),
    }
}

/// Moves the money as a transfer does, and is stopped in the middle of the statement that credits.
async fn stop_in_a_statement(
    tx: &mut Connection,
    stop: impl FnMut() -> bool + Send + 'static,
) -> Result<(), sqlx::Error> {
    assert!(bank::debit(tx, &ada_to_bea()).await?);
    sqlite(tx)
        .lock_handle()
        .await?
        .set_progress_handler(1, stop);
    bank::credit(tx, &ada_to_bea()).await?;
    unreachable!("the test drops it before");
}

async fn transfer_and_check(bank: &Bank) -> Result<(), DatabaseError> {
    transaction(bank.clone())
        .with(async |tx| {
            assert!(bank::debit(tx, &ada_to_bea()).await?);
            assert!(bank::credit(tx, &ada_to_bea()).await?);
            bank::note_in_journal(tx, &ada_to_bea()).await
        })
        .await?;
    assert_eq!(bank.balances().await?, [(1, 700), (2, 800)].into());
    assert_eq!(bank.journal().await?, [(7, ada_to_bea())].into());
    Ok(())
}

#[tokio::test]
async fn a_transaction_cancelled_in_the_middle_of_a_statement_leaves_nothing_open() {
    let ended = database(None).with(async |bank| {
        bank.open_accounts(&accounts()).await?;
        let (brake, stop) = Brake::new();
        tokio::select! {
            ended = transaction(bank.clone()).with(async |tx| stop_in_a_statement(tx, stop).await) => {
                panic!("it can't end, but did with {ended:?}")
            }
            () = brake.stopped.notified() => {}
        }
        assert!(detached::count() > 0, "the rollback waits for the statement");
        brake.release();
        detached::drain().await;

        assert_eq!(bank.open_transactions().await?, 0);
        assert_eq!(bank.balances().await?, [(1, 1000), (2, 500)].into());
        transfer_and_check(bank).await
    });
    ended.await.expect("the bank is as good as new");
}

#[tokio::test]
async fn the_writers_turn_is_not_given_back_before_a_transaction_cancelled_in_it_has_ended() {
    let ended = database(None).with(async |bank| {
        bank.open_accounts(&accounts()).await?;
        let (brake, stop) = Brake::new();
        let given_up = AtomicBool::new(false);
        let mut turn = pin!(writers_turn(bank.clone()).with(async |_| {
            tokio::select! {
                ended = transaction(bank.clone()).with(async |tx| stop_in_a_statement(tx, stop).await) => {
                    panic!("it can't end, but did with {ended:?}")
                }
                () = brake.stopped.notified() => {}
            }
            given_up.store(true, Ordering::Relaxed);
            Ok(())
        }));
        poll_fn(|cx| {
            assert!(turn.as_mut().poll(cx).is_pending(), "the statement is still running");
            if given_up.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
            let again = poll_fn(|cx| Poll::Ready(turn.as_mut().poll(cx))).await;
            assert!(again.is_pending(), "the statement is still running");
        }
        brake.release();
        turn.await?;

        // No drain is needed: the end of the writer's turn is enough.
        assert_eq!(bank.balances().await?, [(1, 1000), (2, 500)].into());
        assert_eq!(bank.open_transactions().await?, 0);
        transfer_and_check(bank).await
    });
    ended.await.expect("the bank is as good as new");
}

#[tokio::test]
async fn a_transaction_cancelled_in_the_middle_of_its_commit_is_committed() {
    let ended = database(None).with(async |bank| {
        bank.open_accounts(&accounts()).await?;
        let (brake, stop) = Brake::new();
        tokio::select! {
            ended = transaction(bank.clone()).with(async |tx| {
                assert!(bank::debit(tx, &ada_to_bea()).await?);
                assert!(bank::credit(tx, &ada_to_bea()).await?);
                bank::note_in_journal(tx, &ada_to_bea()).await?;
                sqlite(tx).lock_handle().await?.set_commit_hook(stop);
                Ok(())
            }) => panic!("it can't end, but did with {ended:?}"),
            () = brake.stopped.notified() => {}
        }
        assert!(detached::count() > 0, "the commit goes on");
        brake.release();
        detached::drain().await;

        assert!(bank.has_in_journal(&ada_to_bea()).await?);
        assert_eq!(bank.balances().await?, [(1, 700), (2, 800)].into());
        assert_eq!(bank.open_transactions().await?, 0);
        Ok(())
    });
    ended.await.expect("the bank is as good as new");
}

#[tokio::test]
async fn a_transaction_that_stays_open_is_found() {
    let ended = database(None).with(async |bank| {
        bank.open_accounts(&accounts()).await?;
        assert_eq!(bank.open_transactions().await?, 0);
        // Begun by hand, so no context ends it.
        bank.pool.acquire().await?.run("BEGIN IMMEDIATE").await?;
        assert_eq!(bank.open_transactions().await?, 1);
        Ok(())
    });
    ended.await.expect("all but the transaction is well");
}

#[tokio::test]
async fn a_part_that_fails_is_undone_alone() {
    let ended = database(None).with(async |bank| {
        bank.open_accounts(&accounts()).await?;
        transaction(bank.clone())
            .with(async |tx| {
                let part = savepoint(tx).with_scoped(async |tx| {
                    assert!(bank::debit(tx, &ada_to_bea()).await?);
                    Err::<(), _>(sqlx::Error::RowNotFound)
                });
                assert!(part.await.is_err());
                bank::note_refusal(tx, &ada_to_bea(), "no reason").await?;
                let part =
                    savepoint(tx).with_scoped(async |tx| bank::credit(tx, &ada_to_bea()).await);
                assert!(part.await?);
                Ok(())
            })
            .await?;
        assert_eq!(bank.balances().await?, [(1, 1000), (2, 800)].into());
        assert_eq!(bank.refusals().await?, [(7, "no reason".into())].into());
        Ok(())
    });
    ended.await.expect("the part's error stays with the part");
}

#[tokio::test]
async fn a_transaction_whose_statement_was_given_up_is_not_committed() {
    let ended = database(None).with(async |bank| {
        bank.open_accounts(&accounts()).await?;
        let (brake, stop) = Brake::new();
        let ended = transaction(bank.clone())
            .with(async |tx| {
                tokio::select! {
                    ended = stop_in_a_statement(tx, stop) => panic!("it can't end, but did with {ended:?}"),
                    () = brake.stopped.notified() => {}
                }
                brake.release();
                Ok(())
            })
            .await;
        assert!(matches!(ended, Err(sqlx::Error::Protocol(_))), "{ended:?}");
        assert_eq!(bank.balances().await?, [(1, 1000), (2, 500)].into());
        assert_eq!(bank.open_transactions().await?, 0);
        Ok(())
    });
    ended.await.expect("the bank is as good as new");
}
