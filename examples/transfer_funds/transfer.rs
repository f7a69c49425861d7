//! One transfer: its transaction, and what became of it.

use std::time::Duration;

use async_context_manager::BodyError;
use async_context_manager::prelude::*;
use async_context_manager::report::{Kind as ReportKind, Report};
use thiserror::Error;

use crate::bank::{self, Bank, Transfer};
use crate::connection::Connection;
use crate::table::Kind;
use crate::trouble::Trouble;

/// Why the body of a transaction ends without having transferred its money.
#[derive(Debug, Error)]
enum Refused {
    #[error("{}", .0.label())]
    By(Kind),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Returns `true` if the report is about a transfer that was given up, and whose caller did not
/// wait for its end. It is about a part of the transfer: its refusal, or that the part was dropped.
/// The part is undone with the whole.
pub(crate) fn is_of_one_given_up(report: &Report) -> bool {
    let refused = report.error().and_then(BodyError::downcast_ref);
    matches!(refused, Some(Refused::By(_)))
        || report.kind() == ReportKind::NotRun && report.context().ends_with("::savepoint")
}

/// Runs one transfer, from the first look at it until its transaction has ended.
pub(crate) async fn transfer(
    bank: &Bank,
    transfer: &Transfer,
    trouble: Option<Trouble>,
    time_limit: Duration,
) -> Result<Kind, sqlx::Error> {
    let ended = bank::writers_turn(bank.clone())
        .with(async |_turn| {
            let transaction = bank::transaction(bank.clone()).with(async |tx| {
                let moved = bank::savepoint(tx)
                    .err_into()
                    .with_scoped(async |tx| move_money(tx, transfer, trouble).await)
                    .await;
                match moved {
                    Ok(()) => Ok(Kind::Transferred),
                    // The part is undone, and the transaction goes on, to record the refusal.
                    Err(Refused::By(kind)) => {
                        bank::note_refusal(tx, transfer, kind.label()).await?;
                        Ok(kind)
                    }
                    Err(Refused::Database(error)) => Err(error),
                }
            });
            // When the time is up, this drops the transaction's future, wherever it stands.
            Ok(tokio::time::timeout(time_limit, transaction).await)
        })
        .await?;

    match ended {
        Ok(Ok(kind)) => Ok(kind),
        Ok(Err(error)) => match by_the_books(bank, transfer, Kind::Failed).await? {
            Kind::Failed => Err(error),
            kind => Ok(kind),
        },
        // Contexts exit in reverse order, also in the background: the turn was not given back
        // before the transaction had ended. So the answer of the books is final by now.
        Err(_elapsed) => by_the_books(bank, transfer, Kind::TimedOut).await,
    }
}

async fn move_money(
    tx: &mut Connection,
    transfer: &Transfer,
    trouble: Option<Trouble>,
) -> Result<(), Refused> {
    if !bank::lock_accounts(tx, transfer).await? {
        return Err(Refused::By(Kind::UnknownAccount));
    }
    if !bank::debit(tx, transfer).await? {
        return Err(Refused::By(Kind::TooLittleMoney));
    }
    if let Some(trouble) = trouble {
        trouble.strike().await;
    }
    if !bank::credit(tx, transfer).await? {
        return Err(Refused::By(Kind::TooMuchMoney));
    }
    bank::note_in_journal(tx, transfer).await?;
    Ok(())
}

/// A caller that gives up in the middle of a commit, or loses the connection there, does not know
/// the result. The books do: if they have no entry for the transfer, it is of the given kind.
pub(crate) async fn by_the_books(
    bank: &Bank,
    transfer: &Transfer,
    kind: Kind,
) -> Result<Kind, sqlx::Error> {
    if bank.has_in_journal(transfer).await? {
        return Ok(Kind::Transferred);
    }
    let refusal = bank.refusal(transfer).await?;
    Ok(refusal
        .and_then(|reason| Kind::refused(&reason))
        .unwrap_or(kind))
}
