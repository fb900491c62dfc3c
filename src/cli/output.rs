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
    // The columns for a spreadsheet (RFC 4180), headed by the API's names
    Csv,
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

    /// Whether data is for a spreadsheet.
    pub(super) fn is_csv(&self) -> bool {
        self.format() == Format::Csv
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
        let mut listing = self.listing(columns);
        listing.add(items)?;
        listing.end()
    }

    /// Begins a list that is written as it comes.
    pub(super) fn listing(&self, columns: Columns) -> Listing<'_> {
        Listing {
            out: self,
            columns,
            begun: false,
            rows: Vec::new(),
        }
    }

    /// Writes one thing; as a table, one line a column.
    pub(super) fn one<T: Serialize>(&self, item: &T, columns: Columns) -> Result<()> {
        let row = || Ok::<_, Failure>(row(&to_value(item)?, columns));
        match self.format() {
            Format::Table => write(card(columns, &row()?).as_bytes()),
            Format::Tsv => write(tsv(&[row()?]).as_bytes()),
            Format::Csv => write([csv_head(columns), csv(&[row()?])].concat().as_bytes()),
            format @ (Format::Json | Format::Yaml | Format::None) => self.tree(item, format),
        }
    }

    /// Writes `bytes` as they are, unless a structure was asked for: then `whole`.
    pub(super) fn bare<T: Serialize>(&self, bytes: &[u8], whole: &T) -> Result<()> {
        match self.asked {
            None | Some(Format::Csv | Format::Table | Format::Tsv) => write(bytes),
            Some(format @ (Format::Json | Format::Yaml | Format::None)) => self.tree(whole, format),
        }
    }

    fn tree<T: Serialize>(&self, data: &T, format: Format) -> Result<()> {
        match format {
            Format::Yaml => write(yaml::document(&to_value(data)?).as_bytes()),
            Format::None => Ok(()),
            Format::Csv | Format::Json | Format::Table | Format::Tsv => {
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

/// A list that is written as it comes; only a table waits for its end, which its widths depend on.
pub(super) struct Listing<'a> {
    out: &'a Output,
    columns: Columns,
    /// Whether anything was written.
    begun: bool,
    /// A table's.
    rows: Vec<Vec<String>>,
}

impl Listing<'_> {
    /// Writes the next items. `false`: nobody reads any more.
    pub(super) fn add<T: Serialize>(&mut self, items: &[T]) -> Result<bool> {
        if items.is_empty() {
            return Ok(true);
        }
        let rows = || -> Result<Vec<_>> {
            let rows = items.iter().map(|item| Ok(row(&to_value(item)?, self.columns)));
            rows.collect()
        };
        let text = match self.out.format() {
            Format::Table => {
                let rows = rows()?;
                self.rows.extend(rows);
                return Ok(true);
            }
            Format::None => return Ok(true),
            Format::Csv if self.begun => csv(&rows()?),
            Format::Csv => [csv_head(self.columns), csv(&rows()?)].concat(),
            Format::Json => json_items(items, self.begun)?,
            Format::Tsv => tsv(&rows()?),
            Format::Yaml => yaml::document(&to_value(&items)?),
        };
        self.begun = true;
        pass(text.as_bytes())
    }

    /// Writes the end.
    pub(super) fn end(self) -> Result<()> {
        match self.out.format() {
            Format::Table if self.rows.is_empty() => {
                self.out.say("nothing to list");
                Ok(())
            }
            Format::Table => write(table(self.columns, &self.rows).as_bytes()),
            Format::Csv if !self.begun => write(csv_head(self.columns).as_bytes()),
            Format::Json if self.begun => write(b"\n]\n"),
            format @ (Format::Json | Format::Yaml) if !self.begun => self.out.tree(&[(); 0], format),
            Format::Csv | Format::Json | Format::None | Format::Tsv | Format::Yaml => Ok(()),
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
    pass(bytes).map(drop)
}

/// The same; `false` if the reader has gone away.
pub(super) fn pass(bytes: &[u8]) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::error(format!("the output cannot be written: {e}"))),
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

/// Items of a pretty JSON array, without its end.
fn json_items<T: Serialize>(items: &[T], begun: bool) -> Result<String> {
    let mut text = String::new();
    for (n, item) in items.iter().enumerate() {
        let item = serde_json::to_string_pretty(item).map_err(unwritable)?;
        text.push_str(if n == 0 && !begun { "[\n  " } else { ",\n  " });
        text.push_str(&item.replace('\n', "\n  "));
    }
    Ok(text)
}

fn csv_head(columns: Columns) -> String {
    let paths: Vec<&str> = columns.iter().map(|(_, path)| *path).collect();
    format!("{}\r\n", paths.join(","))
}

fn csv(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| csv_cell(cell)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// SECURITY: a spreadsheet takes what begins like this for a formula and runs it; an apostrophe makes it text.
fn csv_cell(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let cell = format!("{}{cell}", if formula { "'" } else { "" });
    if cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
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

    #[test]
    fn a_list_in_pieces_is_the_list() {
        let all = [
            serde_json::json!({"a": [1, {"b": "x\ny"}]}),
            serde_json::json!({}),
            serde_json::json!([]),
        ];
        let pieces = [
            json_items(&all[..1], false).unwrap(),
            json_items(&all[1..], true).unwrap(),
        ];
        let whole = serde_json::to_string_pretty(&all).unwrap();
        assert_eq!(pieces.concat() + "\n]", whole);
    }

    #[test]
    fn a_spreadsheet_reads_cells_and_runs_none() {
        let text = csv(&[vec![
            "=HYPERLINK(\"http://x\")".into(),
            "+1".into(),
            "-1".into(),
            "@x".into(),
            "a, b".into(),
            "a\nb".into(),
            "dns:a=b".into(),
        ]]);
        assert_eq!(
            text,
            "\"'=HYPERLINK(\"\"http://x\"\")\",'+1,'-1,'@x,\"a, b\",\"a\nb\",dns:a=b\r\n"
        );
        assert_eq!(csv_head(COLUMNS), "name,current.serial,dns_names\r\n");
    }
}
