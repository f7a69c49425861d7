//! Checks whether the books balance: compares the database with everything that the program
//! believes.

use std::collections::BTreeMap;
use std::fmt;

use crate::bank::{Account, Bank, Transfer};
use crate::table::{Kind, Table};

#[derive(Debug)]
pub(crate) struct Audit {
    before: i128,
    after: i128,
    open_transactions: usize,
    /// What does not fit, in words.
    pub(crate) findings: Vec<String>,
}

impl Audit {
    /// Checks the bank when all transfers have ended. `opened` is what its accounts began with, and
    /// `rows` the number of rows that the table must account for.
    pub(crate) async fn of(
        bank: &Bank,
        opened: &[Account],
        rows: usize,
        table: &Table,
    ) -> Result<Self, sqlx::Error> {
        let closing = bank.balances().await?;
        let journal = bank.journal().await?;
        let mut audit = Self {
            before: opened
                .iter()
                .map(|account| i128::from(account.balance))
                .sum(),
            after: closing.values().copied().map(i128::from).sum(),
            open_transactions: bank.open_transactions().await?,
            findings: Vec::new(),
        };

        if audit.before != audit.after {
            audit.find("the totals differ".into());
        }
        if audit.open_transactions > 0 {
            audit.find("there are open transactions".into());
        }
        if table.all() != rows {
            audit.find(format!("the table tells of {} of {rows} rows", table.all()));
        }
        audit.compare_journal(&journal, &table.transferred);
        audit.compare_refusals(&bank.refusals().await?, &table.refused);
        audit.compare_balances(replay(opened, &journal), &closing);
        Ok(audit)
    }

    fn compare_journal(
        &mut self,
        journal: &BTreeMap<i64, Transfer>,
        table: &BTreeMap<i64, Transfer>,
    ) {
        for (id, transfer) in table {
            if journal.get(id) != Some(transfer) {
                self.find(format!(
                    "the transfer {id} is not in the journal as the table has it"
                ));
            }
        }
        for id in journal.keys().filter(|id| !table.contains_key(id)) {
            self.find(format!(
                "the transfer {id} is in the journal, but not in the table"
            ));
        }
    }

    fn compare_refusals(&mut self, books: &BTreeMap<i64, String>, table: &BTreeMap<i64, Kind>) {
        let table: BTreeMap<_, _> = table
            .iter()
            .map(|(id, kind)| (*id, kind.label().to_owned()))
            .collect();
        if *books != table {
            self.find("the books and the table have not the same refusals".into());
        }
    }

    fn compare_balances(&mut self, replayed: BTreeMap<i64, i128>, closing: &BTreeMap<i64, i64>) {
        for (id, balance) in replayed {
            let found = closing.get(&id).copied().map(i128::from);
            if found != Some(balance) {
                self.find(format!(
                    "by the journal, the account {id} has {balance} cents; by its balance, {found:?}"
                ));
            }
        }
    }

    fn find(&mut self, finding: String) {
        self.findings.push(finding);
    }
}

impl fmt::Display for Audit {
    /// Writes the last line of the program.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            before,
            after,
            open_transactions,
            ..
        } = self;
        write!(
            f,
            "total before = {before}, total after = {after}, open transactions = {open_transactions}"
        )
    }
}

/// The balances that result from the journal.
fn replay(opened: &[Account], journal: &BTreeMap<i64, Transfer>) -> BTreeMap<i64, i128> {
    let mut balances: BTreeMap<_, _> = opened
        .iter()
        .map(|account| (account.id, i128::from(account.balance)))
        .collect();
    for transfer in journal.values() {
        *balances.entry(transfer.from).or_default() -= i128::from(transfer.amount);
        *balances.entry(transfer.to).or_default() += i128::from(transfer.amount);
    }
    balances
}
