//! What became of the transfers, counted by kind.

use std::collections::BTreeMap;
use std::fmt;

use crate::bank::Transfer;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Transferred,
    TooLittleMoney,
    TooMuchMoney,
    UnknownAccount,
    InvalidAmount,
    ToOneself,
    MalformedRow,
    TimedOut,
    Panicked,
    /// The transfer failed by an error, or a panic, that was not planned.
    Failed,
    /// The transfer had begun when the user stopped the program.
    Interrupted,
    /// The transfer had not begun then.
    NotRun,
}

impl Kind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Transferred => "transferred",
            Self::TooLittleMoney => "too little money",
            Self::TooMuchMoney => "more than an account can hold",
            Self::UnknownAccount => "unknown account",
            Self::InvalidAmount => "amount not above zero",
            Self::ToOneself => "to oneself",
            Self::MalformedRow => "malformed row",
            Self::TimedOut => "timed out",
            Self::Panicked => "panicked",
            Self::Failed => "failed unexpectedly",
            Self::Interrupted => "interrupted in the middle",
            Self::NotRun => "interrupted before it began",
        }
    }

    /// The kinds of refusals, which have an entry in the books.
    const REFUSALS: [Self; 3] = [
        Self::TooLittleMoney,
        Self::TooMuchMoney,
        Self::UnknownAccount,
    ];

    pub(crate) fn refused(label: &str) -> Option<Self> {
        Self::REFUSALS
            .into_iter()
            .find(|kind| kind.label() == label)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: BTreeMap<Kind, Row>,
    /// By number, to be compared with the database.
    pub(crate) transferred: BTreeMap<i64, Transfer>,
    pub(crate) refused: BTreeMap<i64, Kind>,
}

#[derive(Debug, Default)]
struct Row {
    count: usize,
    cents: i128,
}

impl Table {
    pub(crate) fn add(&mut self, kind: Kind, transfer: Transfer) {
        let row = self.rows.entry(kind).or_default();
        row.count += 1;
        row.cents += i128::from(transfer.amount);
        if Kind::REFUSALS.contains(&kind) {
            self.refused.insert(transfer.id, kind);
        } else if kind == Kind::Transferred {
            self.transferred.insert(transfer.id, transfer);
        }
    }

    pub(crate) fn add_malformed_row(&mut self) {
        self.rows.entry(Kind::MalformedRow).or_default().count += 1;
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.rows.get(&kind).map_or(0, |row| row.count)
    }

    pub(crate) fn all(&self) -> usize {
        self.rows.values().map(|row| row.count).sum()
    }
}

impl fmt::Display for Table {
    /// The kinds that occurred, in the order of [`Kind`], and their sum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<30} {:>9} {:>18}",
            "what happened", "transfers", "cents"
        )?;
        for (kind, row) in &self.rows {
            let cents = match kind {
                // There is no amount, or no meaningful one.
                Kind::MalformedRow | Kind::InvalidAmount => "-".into(),
                _ => grouped(row.cents),
            };
            let count = grouped(row.count);
            writeln!(f, "{:<30} {count:>9} {cents:>18}", kind.label())?;
        }
        writeln!(f, "{:<30} {:>9}", "all", grouped(self.all()))
    }
}

/// Formats a number for people: `1,234,567`.
pub(crate) fn grouped(number: impl fmt::Display) -> String {
    let number = number.to_string();
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", &*number),
    };
    let mut grouped = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
