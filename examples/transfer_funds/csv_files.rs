//! The two input files. A file that cannot be trusted as a whole is refused, by name and line. A
//! bad row among good transfers is reported, and the other rows count.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::num::IntErrorKind;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};
use thiserror::Error;

use crate::bank::{Account, Transfer};

#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("can't read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{file}:{line}: {problem}. Nothing was done; mend the file and try again")]
    Malformed {
        file: String,
        line: u64,
        problem: String,
    },
}

/// A row that is not a transfer.
#[derive(Debug)]
pub(crate) struct BadRow {
    pub(crate) line: u64,
    reason: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The content of a file, with its name for messages.
#[derive(Debug)]
pub(crate) struct CsvFile {
    pub(crate) name: String,
    bytes: Cow<'static, [u8]>,
}

impl CsvFile {
    /// A file that is part of the program.
    pub(crate) fn built_in(name: &str, text: &'static str) -> Self {
        Self {
            name: name.into(),
            bytes: Cow::Borrowed(text.as_bytes()),
        }
    }

    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let bytes = std::fs::read(path).map_err(|error| FileError::Unreadable {
            path: path.into(),
            error,
        })?;
        Ok(Self {
            name: path.display().to_string(),
            bytes: Cow::Owned(bytes),
        })
    }

    /// All accounts. One bad row makes the whole file bad: a bank must not be opened with an
    /// account missing.
    pub(crate) fn accounts(&self) -> Result<Vec<Account>, FileError> {
        let mut accounts = Vec::new();
        let mut lines = HashMap::new();
        for (line, record) in self.records(&["id,owner,balance"])? {
            let account = account(&record).map_err(|problem| self.malformed(line, problem))?;
            if let Some(first) = lines.insert(account.id, line) {
                let problem = format!("the account {} is in line {first} already", account.id);
                return Err(self.malformed(line, problem));
            }
            accounts.push(account);
        }
        Ok(accounts)
    }

    /// Every row, in order: a transfer, or what is wrong with the row.
    pub(crate) fn transfers(&self) -> Result<Vec<Result<Transfer, BadRow>>, FileError> {
        let mut lines = HashMap::new();
        let headers = ["id,from,to,amount,note", "id,from,to,amount"];
        let rows = self.records(&headers)?.into_iter().map(|(line, record)| {
            let transfer = transfer(&record).map_err(|reason| BadRow { line, reason })?;
            if let Some(first) = lines.insert(transfer.id, line) {
                let reason = format!("the transfer {} is in line {first} already", transfer.id);
                return Err(BadRow { line, reason });
            }
            Ok(transfer)
        });
        Ok(rows.collect())
    }

    /// The records below one of these headers, each with its line.
    fn records(&self, headers: &[&str]) -> Result<Vec<(u64, StringRecord)>, FileError> {
        let text = str::from_utf8(&self.bytes).map_err(|error| {
            let good = &self.bytes[..error.valid_up_to()];
            self.malformed(line_at(good), "this is not UTF-8".into())
        })?;
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .from_reader(text.as_bytes());

        let mut records = Vec::new();
        let (mut line, mut counted) = (1, 0);
        for record in reader.records() {
            let record = record.map_err(|error| self.malformed(line, error.to_string()))?;
            // The reader says where it began to look for the record. That may be some empty lines,
            // or half a line break, too early.
            let begun = record.position().map_or(0, csv::Position::byte);
            let rest = &text[usize::try_from(begun).unwrap_or(text.len())..];
            let start = text.len() - rest.trim_start_matches(['\r', '\n']).len();
            line += line_breaks(&text.as_bytes()[counted..start]);
            counted = start;

            if record.iter().any(|field| field.contains(['\r', '\n'])) {
                // The rows that are inside the quotes by mistake would be lost silently.
                let problem = "a quoted field goes on in the next line; is a `\"` missing?";
                return Err(self.malformed(line, problem.into()));
            }
            records.push((line, record));
        }

        let expected = || format!("the file begins with the line `{}`", headers.join("` or `"));
        let Some((line, header)) = records.first() else {
            let problem = format!("the file is empty; {}", expected());
            return Err(self.malformed(1, problem));
        };
        if !headers.iter().any(|wanted| wanted.split(',').eq(header)) {
            return Err(self.malformed(*line, format!("this is not the header; {}", expected())));
        }
        records.remove(0);
        Ok(records)
    }

    fn malformed(&self, line: u64, problem: String) -> FileError {
        let file = self.name.clone();
        FileError::Malformed {
            file,
            line,
            problem,
        }
    }
}

fn account(record: &StringRecord) -> Result<Account, String> {
    let [id, owner, balance] = fields(record)?;
    let account = Account {
        id: integer("account number", id)?,
        owner: owner.into(),
        balance: integer("balance", balance)?,
    };
    if account.balance < 0 {
        return Err(format!("the balance {balance} is below zero"));
    }
    Ok(account)
}

fn transfer(record: &StringRecord) -> Result<Transfer, String> {
    let ([id, from, to, amount], note) = if record.len() == 4 {
        (fields(record)?, "")
    } else {
        let [id, from, to, amount, note] = fields(record)?;
        ([id, from, to, amount], note)
    };
    Ok(Transfer {
        id: integer("transfer number", id)?,
        from: integer("account to take from", from)?,
        to: integer("account to bring to", to)?,
        amount: integer("amount", amount)?,
        note: note.into(),
    })
}

fn fields<const N: usize>(record: &StringRecord) -> Result<[&str; N], String> {
    let fields: Vec<&str> = record.iter().collect();
    let found = fields.len();
    fields
        .try_into()
        .map_err(|_| format!("the number of fields is {found}, not {N}"))
}

fn integer(what: &str, field: &str) -> Result<i64, String> {
    field
        .parse()
        .map_err(|error: std::num::ParseIntError| match error.kind() {
            IntErrorKind::Empty => format!("the {what} is missing"),
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
                format!("the {what} {field} does not fit 64 bits")
            }
            _ => format!("the {what} `{field}` is not a whole number"),
        })
}

/// The number of the line that begins, or continues, after this text.
fn line_at(before: &[u8]) -> u64 {
    1 + line_breaks(before)
}

fn line_breaks(text: &[u8]) -> u64 {
    text.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}
