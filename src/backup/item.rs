//! What is sealed in a backup: one item after the other, `kind (1) | length (4) | payload`. Pure.
//!
//! A table is followed by its rows, a log by its records, and the end says how many there were of both.
//!
//! A row is its cells: `kind (1) | value`, where the kind's highest bit says that there is no value, and text and bytes
//! have their length (4) before them. Numbers are big-endian.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::Cell;

const NONE: u8 = 0x80;

/// The audit log of one node, as the backup has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldLog {
    /// The node.
    pub node: String,
    /// The log's name.
    pub origin: String,
    /// Its public key, as a C2SP vkey.
    pub vkey: String,
    /// The newest checkpoint, a signed note; none before the first.
    pub checkpoint: Option<String>,
    /// How many records follow: those that the checkpoint covers, or none if they are kept on that node only.
    pub records: u64,
}

/// A table, before its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
}

/// How much there was, at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) records: u64,
}

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A table: its name and its columns.
    Table(String, Vec<String>),
    /// A row of the table before.
    Row(Vec<Cell>),
    /// An audit log.
    Log(OldLog),
    /// A record of the log before.
    Record(Vec<u8>),
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Table = 1,
    Row = 2,
    Log = 3,
    Record = 4,
    End = 5,
}

impl Kind {
    pub(super) fn of(byte: u8) -> Result<Self> {
        let all = [Self::Table, Self::Row, Self::Log, Self::Record, Self::End];
        all.into_iter().find(|kind| *kind as u8 == byte).ok_or_else(unknown)
    }
}

/// What an authentic file says that this release does not understand.
pub(super) fn unknown() -> Error {
    Error::conflict("the backup holds something that this release does not know: use the one that wrote it")
}

/// A row as bytes.
pub(super) fn pack(row: &[Cell]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for cell in row {
        match cell {
            Cell::Bytes(value) => run(&mut bytes, 1, value.as_deref())?,
            Cell::Flag(value) => fixed(&mut bytes, 2, value.map(|flag| [u8::from(flag)])),
            Cell::Int(value) => fixed(&mut bytes, 3, value.map(i32::to_be_bytes)),
            Cell::Long(value) => fixed(&mut bytes, 4, value.map(i64::to_be_bytes)),
            Cell::Text(value) => run(&mut bytes, 5, value.as_deref().map(str::as_bytes))?,
        }
    }
    Ok(bytes)
}

fn fixed<const N: usize>(bytes: &mut Vec<u8>, kind: u8, value: Option<[u8; N]>) {
    match value {
        Some(value) => {
            bytes.push(kind);
            bytes.extend(value);
        }
        None => bytes.push(kind | NONE),
    }
}

fn run(bytes: &mut Vec<u8>, kind: u8, value: Option<&[u8]>) -> Result<()> {
    let Some(value) = value else {
        bytes.push(kind | NONE);
        return Ok(());
    };
    let length = u32::try_from(value.len()).map_err(|e| Error::internal("a value is too long").because(e))?;
    bytes.push(kind);
    bytes.extend(length.to_be_bytes());
    bytes.extend(value);
    Ok(())
}

/// A row from its bytes.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<Cell>> {
    let mut left = bytes;
    let mut row = Vec::new();
    while let Some((kind, rest)) = left.split_first() {
        left = rest;
        let is_some = kind & NONE == 0;
        row.push(match kind & !NONE {
            1 => Cell::Bytes(is_some.then(|| run_of(&mut left)).transpose()?),
            2 => Cell::Flag(
                is_some
                    .then(|| fixed_of(&mut left))
                    .transpose()?
                    .map(|[flag]| flag != 0),
            ),
            3 => Cell::Int(
                is_some
                    .then(|| fixed_of(&mut left))
                    .transpose()?
                    .map(i32::from_be_bytes),
            ),
            4 => Cell::Long(
                is_some
                    .then(|| fixed_of(&mut left))
                    .transpose()?
                    .map(i64::from_be_bytes),
            ),
            5 => {
                let text = is_some.then(|| run_of(&mut left)).transpose()?;
                Cell::Text(text.map(String::from_utf8).transpose().map_err(|_| unknown())?)
            }
            _ => return Err(unknown()),
        });
    }
    Ok(row)
}

fn fixed_of<const N: usize>(left: &mut &[u8]) -> Result<[u8; N]> {
    let (value, rest) = left.split_first_chunk().ok_or_else(unknown)?;
    *left = rest;
    Ok(*value)
}

fn run_of(left: &mut &[u8]) -> Result<Vec<u8>> {
    let length = usize::try_from(u32::from_be_bytes(fixed_of(left)?)).map_err(|_| unknown())?;
    let (value, rest) = left.split_at_checked(length).ok_or_else(unknown)?;
    *left = rest;
    Ok(value.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was_and_half_of_one_does_not() {
        let row = vec![
            Cell::Bytes(Some(vec![0, 1])),
            Cell::Bytes(None),
            Cell::Flag(Some(true)),
            Cell::Flag(None),
            Cell::Int(Some(-1)),
            Cell::Int(None),
            Cell::Long(Some(i64::MIN)),
            Cell::Long(None),
            Cell::Text(Some("ä".to_owned())),
            Cell::Text(None),
        ];
        let bytes = pack(&row).unwrap();
        assert_eq!(unpack(&bytes).unwrap(), row);
        for length in 0..bytes.len() {
            assert_ne!(unpack(&bytes[..length]).ok(), Some(row.clone()), "{length}");
        }
        assert!(unpack(&[6]).is_err());
    }
}
