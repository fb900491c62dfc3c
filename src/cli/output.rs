//! Data on stdout, messages on stderr.
//!
//! A command hands over what the API answered and the columns of its table; the format is the caller's choice. Text
//! that comes from elsewhere is shown without control characters: nobody's object name may move a terminal's cursor.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::exit::{Failure, Result};
use super::yaml;

/// A table's columns: heading, and where the value is (`current.serial`).
pub(super) type Columns = &'static [(&'static str, &'static str)];

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    // As the API has it
    Json,
    // Nothing
    None,
    // Columns for people
    Table,
    // The table's columns, separated by tabs, without headings
    Tsv,
    // The same as JSON
    Yaml,
}

/// Where a command's data and messages go.
#[derive(Clone)]
pub(super) struct Output {
    asked: Option<Format>,
    quiet: bool,
}

impl Output {
    pub(super) fn new(asked: Option<Format>, quiet: bool) -> Self {
        Self { asked, quiet }
    }

    /// Whether messages are not wanted.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether data is for people.
    pub(super) fn is_table(&self) -> bool {
        self.format() == Format::Table
    }

    fn format(&self) -> Format {
        self.asked.unwrap_or_else(|| {
            if io::stdout().is_terminal() {
                Format::Table
            } else {
                Format::Json
            }
        })
    }

    /// Writes a list.
    pub(super) fn list<T: Serialize>(&self, items: &[T], columns: Columns) -> Result<()> {
        let rows =
            || -> Result<Vec<Vec<String>>> { items.iter().map(|item| Ok(row(&to_value(item)?, columns))).collect() };
        match self.format() {
            Format::Table if items.is_empty() => {
                self.say("nothing to list");
                Ok(())
            }
            Format::Table => write(table(columns, &rows()?).as_bytes()),
            Format::Tsv => write(tsv(&rows()?).as_bytes()),
            format @ (Format::Json | Format::Yaml | Format::None) => self.tree(&items, format),
        }
    }

    /// Writes one thing; as a table, one line a column.
    pub(super) fn one<T: Serialize>(&self, item: &T, columns: Columns) -> Result<()> {
        let row = || Ok::<_, Failure>(row(&to_value(item)?, columns));
        match self.format() {
            Format::Table => write(card(columns, &row()?).as_bytes()),
            Format::Tsv => write(tsv(&[row()?]).as_bytes()),
            format @ (Format::Json | Format::Yaml | Format::None) => self.tree(item, format),
        }
    }

    /// Writes `bytes` as they are, unless a structure was asked for: then `whole`.
    pub(super) fn bare<T: Serialize>(&self, bytes: &[u8], whole: &T) -> Result<()> {
        match self.asked {
            None | Some(Format::Table | Format::Tsv) => write(bytes),
            Some(format @ (Format::Json | Format::Yaml | Format::None)) => self.tree(whole, format),
        }
    }

    fn tree<T: Serialize>(&self, data: &T, format: Format) -> Result<()> {
        match format {
            Format::Yaml => write(yaml::document(&to_value(data)?).as_bytes()),
            Format::None => Ok(()),
            Format::Json | Format::Table | Format::Tsv => {
                let mut json = serde_json::to_vec_pretty(data).map_err(unwritable)?;
                json.push(b'\n');
                write(&json)
            }
        }
    }

    /// Says something to people.
    pub(super) fn say(&self, message: &str) {
        if !self.quiet {
            // Nothing is left to do if stderr is gone.
            let _ = writeln!(io::stderr().lock(), "{}", printable(message));
        }
    }
}

/// Whether `NO_COLOR` (no-color.org) lets us.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
pub(super) fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes to stdout. A reader that has gone away has seen enough.
pub(super) fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::error(format!("the output cannot be written: {e}")))
        }
        _ => Ok(()),
    }
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::error(format!("the answer cannot be written: {error}"))
}

fn to_value<T: Serialize>(data: &T) -> Result<Value> {
    serde_json::to_value(data).map_err(unwritable)
}

fn row(item: &Value, columns: Columns) -> Vec<String> {
    columns
        .iter()
        .map(|(_, path)| {
            let found = path.split('.').try_fold(item, |at, key| at.get(key));
            printable(&cell(found.unwrap_or(&Value::Null)))
        })
        .collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| format!("{key}={}", cell(value)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// The text with its control characters escaped. Lines stay lines only where they are ours: this is for one line.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn table(columns: Columns, rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Disabled)
        .set_header(columns.iter().map(|(heading, _)| *heading))
        .add_rows(rows.iter().map(|row| row.iter().map(|cell| cell.replace('\n', " "))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn card(columns: Columns, row: &[String]) -> String {
    let width = columns.iter().map(|(heading, _)| heading.len()).max().unwrap_or(0);
    let mut text = String::new();
    for ((heading, _), cell) in columns.iter().zip(row) {
        if !cell.is_empty() {
            let cell = cell.trim_end().replace('\n', &format!("\n{:width$}  ", ""));
            // Writing to a string does not fail.
            let _ = writeln!(text, "{heading:width$}  {cell}");
        }
    }
    text
}

fn tsv(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('\n', "\\n")).collect();
        text.push_str(&cells.join("\t"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns = &[("NAME", "name"), ("SERIAL", "current.serial"), ("DNS", "dns_names")];

    fn rows() -> Vec<Vec<String>> {
        [
            serde_json::json!({"name": "www", "current": {"serial": "0a"}, "dns_names": ["a.test", "b.test"]}),
            serde_json::json!({"name": "x\u{1b}[2J\t", "dns_names": []}),
        ]
        .iter()
        .map(|item| row(item, COLUMNS))
        .collect()
    }

    #[test]
    fn a_table_has_its_columns_and_moves_no_cursor() {
        assert_eq!(
            table(COLUMNS, &rows()),
            "NAME          SERIAL  DNS\n\
             www           0a      a.test, b.test\n\
             x\\u{1b}[2J\\t\n"
        );
    }

    #[test]
    fn one_thing_leaves_out_what_is_not_there() {
        assert_eq!(
            card(COLUMNS, &rows()[0]),
            "NAME    www\nSERIAL  0a\nDNS     a.test, b.test\n"
        );
        assert_eq!(
            card(COLUMNS, &["a\nb\n".into(), String::new(), String::new()]),
            "NAME    a\n        b\n"
        );
    }

    #[test]
    fn tabs_and_lines_in_values_do_not_split_a_row() {
        let tsv = tsv(&[vec!["a\nb".into(), printable("c\td")]]);
        assert_eq!(tsv, "a\\nb\tc\\td\n");
    }
}
