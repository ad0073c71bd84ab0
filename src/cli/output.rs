//! What commands print: text, JSON, tables, and failures that do not end the command.

use std::io::Write;

use serde::Serialize;

use crate::cli::exit::{Exit, Failed};

/// What stands in a cell that has no value.
pub const NONE: &str = "-";

/// Prints to standard output. A reader that has left, as in `| head`, is no error.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a line of an output that goes on until nobody reads it; false when that is so.
pub fn print_line(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// A value as JSON in one line.
pub fn json_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A value as indented JSON.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// A row of titles and rows of cells, in columns as wide as their widest cell.
pub fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    let all = || std::iter::once(&titles).chain(rows);

    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> =
        (0..titles.len()).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    all().map(line).collect()
}

/// The cell of a value that may be missing.
pub fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

/// Values by name as `a=1,b=2`; nothing is a dash.
pub fn pairs<'a, V: ToString + 'a>(
    values: impl IntoIterator<Item = (&'a String, &'a V)>,
) -> String {
    let pairs: Vec<String> =
        values.into_iter().map(|(name, value)| format!("{name}={}", value.to_string())).collect();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}

/// The failures of a command that does one thing after the other and goes on past what fails.
#[derive(Debug, Default)]
pub struct Failures(Vec<(String, Exit)>);

impl Failures {
    /// Says at once what failed, and why.
    pub fn say(&mut self, subject: &str, failed: &Failed) {
        eprintln!("ratequeue: {subject}: {}", failed.text);
        self.0.push((subject.to_owned(), failed.exit));
    }

    /// Prints the summary of a command that processed several items. `done` is the participle:
    /// `applied`.
    pub fn sum_up(self, all: usize, done: &str) -> Result<Exit, Failed> {
        let Some((_, exit)) = self.0.first() else { return Ok(Exit::Done) };
        let subjects: Vec<&str> = self.0.iter().map(|(subject, _)| subject.as_str()).collect();
        let text =
            format!("{} of {all} could not be {done}: {}", subjects.len(), subjects.join(", "));
        Err(Failed::new(*exit, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_characters() {
        let rows = [
            ["é", "long cell"].map(str::to_owned).to_vec(),
            ["abc", "x"].map(str::to_owned).to_vec(),
        ];
        assert_eq!(table(&["A", "B", "C"], &rows), "A    B          C\né    long cell\nabc  x\n");
    }
}
