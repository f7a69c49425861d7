//! The transfers, many at a time, each in its own task.

use std::collections::HashMap;
use std::time::Duration;

use async_context_manager::{detached, shutdown};
use indicatif::ProgressBar;
use tokio::task::{self, JoinError, JoinSet};

use crate::bank::{Bank, Transfer};
use crate::csv_files::BadRow;
use crate::table::{Kind, Table};
use crate::transfer::{by_the_books, transfer};
use crate::trouble::{Trouble, is_planned_panic, troubles};

#[derive(Debug)]
pub(crate) struct Traffic<'a> {
    pub(crate) bank: &'a Bank,
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    pub(crate) time_limit: Duration,
    pub(crate) progress: &'a ProgressBar,
    pub(crate) verbose: bool,
}

/// A transfer that can be tried, and the trouble that is planned for it.
type Order = (Transfer, Option<Trouble>);

/// The running transfers: their tasks, and the transfer of each task.
#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<Result<Kind, sqlx::Error>>,
    transfers: HashMap<task::Id, Transfer>,
}

impl Traffic<'_> {
    /// Runs the transfers until all have ended, or until the program is told to end. No transaction
    /// is running any more when this returns.
    pub(crate) async fn run(
        self,
        rows: Vec<Result<Transfer, BadRow>>,
    ) -> Result<Table, sqlx::Error> {
        let mut told = shutdown::told();
        let mut table = Table::default();
        let mut orders = self.sort_out(rows, &mut table).into_iter();
        let mut running = Running::default();
        loop {
            while running.tasks.len() < self.workers
                && let Some(order) = orders.next()
            {
                self.start(order, &mut running);
            }
            tokio::select! {
                biased;
                () = &mut told => break,
                ended = running.tasks.join_next_with_id() => match ended {
                    Some(ended) => self.settle(ended, &mut running.transfers, &mut table),
                    None => return Ok(table),
                },
            }
        }

        self.say("interrupted: ending what is open; once more to quit on the spot");
        for (transfer, _) in orders {
            self.note(&mut table, Kind::NotRun, transfer);
        }
        self.stop(running, &mut table).await?;
        Ok(table)
    }

    /// Counts the rows that cannot be tried, and returns the others.
    fn sort_out(&self, rows: Vec<Result<Transfer, BadRow>>, table: &mut Table) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut troubles = troubles(self.seed);
        for row in rows {
            match row {
                Err(_) => table.add_malformed_row(),
                Ok(transfer) if transfer.amount <= 0 => {
                    self.note(table, Kind::InvalidAmount, transfer);
                }
                Ok(transfer) if transfer.from == transfer.to => {
                    self.note(table, Kind::ToOneself, transfer);
                }
                Ok(transfer) => orders.push((transfer, troubles.next().flatten())),
            }
        }
        orders
    }

    fn start(&self, (order, trouble): Order, running: &mut Running) {
        let (bank, time_limit) = (self.bank.clone(), self.time_limit);
        let kept = order.clone();
        let task = running
            .tasks
            .spawn(async move { transfer(&bank, &order, trouble, time_limit).await });
        running.transfers.insert(task.id(), kept);
    }

    /// Drops the transfers wherever they stand. Their contexts exit in the background.
    async fn stop(&self, mut running: Running, table: &mut Table) -> Result<(), sqlx::Error> {
        running.tasks.abort_all();
        // An aborted task has dropped what it holds only once it is joined. Only then do its
        // contexts count as detached.
        while let Some(ended) = running.tasks.join_next_with_id().await {
            self.settle(ended, &mut running.transfers, table);
        }
        detached::drain().await;
        for transfer in running.transfers.into_values() {
            let kind = by_the_books(self.bank, &transfer, Kind::Interrupted).await?;
            self.note(table, kind, transfer);
        }
        Ok(())
    }

    /// Counts what became of a task's transfer. The transfer of an aborted task stays in `running`,
    /// because the task cannot tell.
    fn settle(
        &self,
        ended: Result<(task::Id, Result<Kind, sqlx::Error>), JoinError>,
        running: &mut HashMap<task::Id, Transfer>,
        table: &mut Table,
    ) {
        let (id, kind) = match ended {
            Ok((id, Ok(kind))) => (id, kind),
            Ok((id, Err(error))) => {
                self.say(&format!("error: a transfer failed: {error}"));
                (id, Kind::Failed)
            }
            Err(aborted) if aborted.is_cancelled() => return,
            Err(panicked) => {
                let id = panicked.id();
                match panicked.try_into_panic() {
                    Ok(payload) if is_planned_panic(&*payload) => (id, Kind::Panicked),
                    _ => (id, Kind::Failed),
                }
            }
        };
        if let Some(transfer) = running.remove(&id) {
            self.note(table, kind, transfer);
        }
    }

    fn note(&self, table: &mut Table, kind: Kind, transfer: Transfer) {
        if self.verbose {
            self.say(&format!("transfer {}: {}", transfer.id, kind.label()));
        }
        table.add(kind, transfer);
        self.progress.inc(1);
    }

    /// Writes a line to stderr that the progress bar does not overwrite.
    fn say(&self, line: &str) {
        self.progress.suspend(|| eprintln!("{line}"));
    }
}
