//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::csv_files::{CsvFile, FileError};
use crate::database_url::DatabaseUrl;

/// Runs bank transfers concurrently against a real database, SQLite, PostgreSQL or MariaDB, with
/// errors, panics, timeouts and Ctrl-C thrown at them, and proves that no cent and no open
/// transaction is lost.
///
/// Each transfer is an `async with` block of the crate async-context-manager: its transaction is
/// committed if the block completes, and rolled back whatever else happens.
///
/// Exits with 0 if the books balance and agree with the table, also after an interruption; with 1
/// if they do not, or if something unexpected went wrong; with 2 for a wrong option; with 130 or
/// 143 if a second signal ends it at once.
#[derive(Debug, Parser)]
#[command(name = "transfer_funds", version)]
pub(crate) struct Options {
    /// The accounts, as CSV with the header `id,owner,balance`, balances in cents [default: 220
    /// accounts that are built in]
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,

    /// The transfers, as CSV with the header `id,from,to,amount,note` (the note is optional),
    /// amounts in cents [default: 2,200 transfers that are built in]
    #[arg(long, value_name = "FILE")]
    transfers: Option<PathBuf>,

    /// A database to keep the bank in, and to look into afterwards: a file that does not exist yet,
    /// such as `sqlite://bank.db`, or an empty database on a server, such as
    /// `postgres://localhost/bank` or `mysql://root@localhost/bank` [default: an SQLite file in a
    /// temporary directory, removed at the end]
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<DatabaseUrl>,

    /// How many transfers are under way at the same time
    #[arg(long, value_name = "N", default_value = "16",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) workers: u16,

    /// Decides which transfers hit a slow check or panic
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,

    /// How many milliseconds a transaction may take. A slow check takes an hour
    #[arg(long, value_name = "MS", default_value = "100")]
    pub(crate) time_limit: u64,

    /// Name every bad row, and tell what becomes of each transfer, on stderr
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

impl Options {
    pub(crate) fn accounts_file(&self) -> Result<CsvFile, FileError> {
        match &self.accounts {
            Some(path) => CsvFile::open(path),
            None => Ok(CsvFile::built_in(
                "examples/data/accounts.csv",
                include_str!("../data/accounts.csv"),
            )),
        }
    }

    pub(crate) fn transfers_file(&self) -> Result<CsvFile, FileError> {
        match &self.transfers {
            Some(path) => CsvFile::open(path),
            None => Ok(CsvFile::built_in(
                "examples/data/transfers.csv",
                include_str!("../data/transfers.csv"),
            )),
        }
    }
}
