//! Tables, as lines with tabs and as JSON.

use std::fmt;

/// Columns with names, and rows.
pub(crate) struct Table {
    /// The key in the JSON.
    pub(crate) key: &'static str,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

pub(crate) enum Cell {
    Text(String),
    /// A number with this many digits after the point.
    Number(f64, usize),
    Missing,
}

impl Table {
    pub(crate) fn new(key: &'static str, columns: &[&'static str]) -> Self {
        Self {
            key,
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row for an aim.
    pub(crate) fn aim(&mut self, aim: String, measured: f64, word: &str, limit: f64, kept: bool) {
        self.rows.push(vec![
            Cell::Text(aim),
            Cell::Number(measured, 2),
            Cell::Text(format!("{word} {limit}")),
            if kept { "yes" } else { "no" }.into(),
        ]);
    }

    pub(crate) fn json(&self) -> String {
        let row = |row: &Vec<Cell>| {
            let cells = self.columns.iter().zip(row);
            let cells = cells.map(|(column, cell)| match cell {
                Cell::Text(text) => format!("{column:?}: {text:?}"),
                Cell::Number(..) => format!("{column:?}: {cell}"),
                Cell::Missing => format!("{column:?}: null"),
            });
            format!("    {{{}}}", cells.collect::<Vec<_>>().join(", "))
        };
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        format!("  {:?}: [\n{}\n  ]", self.key, rows.join(",\n"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.columns.join("\t"))?;
        for row in &self.rows {
            let cells: Vec<_> = row.iter().map(Cell::to_string).collect();
            writeln!(f, "{}", cells.join("\t"))?;
        }
        Ok(())
    }
}

impl Cell {
    pub(crate) fn some(number: Option<f64>, digits: usize) -> Self {
        number.map_or(Self::Missing, |number| Self::Number(number, digits))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number, digits) => write!(f, "{number:.digits$}"),
            Self::Missing => f.write_str("-"),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
