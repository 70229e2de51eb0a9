//! Columns that line up.

use std::fmt;

use super::output;

/// A table with a heading.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(super) fn new(heading: [&str; N]) -> Self {
        Table { rows: vec![heading.map(str::to_owned)] }
    }

    /// Adds a row. What devices say may hold anything, but looks like no row of its own.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| output::plain(&cell)));
    }
}

/// Every cell but the last of a row is padded; each row ends its line.
impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if index + 1 == N {
                    f.write_str(cell)?;
                } else {
                    write!(f, "{cell:<width$}  ")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_escaped() {
        let mut table = Table::new(["ID"]);
        table.row(["a\u{1b}[2J\nb".into()]);
        assert_eq!(table.to_string(), "ID\na\\u{1b}[2J\\nb\n");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["ID", "BOARD"]);
        table.row(["pump-7".into(), "x".into()]);
        assert_eq!(table.to_string(), "ID      BOARD\npump-7  x\n");
    }
}
