//! A stretch of [`CHUNK`] records, as the index keeps it: for each of 256 buckets one row that says which terms stand in
//! which of the records; and where the records lie.
//!
//! Rare values and frequent ones have the same form, and a stretch takes the same number of rows whatever it holds. So
//! filling is a row a bucket behind the one before, never one in the middle.

use std::collections::BTreeMap;

use super::fields::{Fields, Term};

/// Records of a stretch.
pub(super) const CHUNK: u64 = 4_096;
/// An offset is kept of every so many records.
pub(super) const STRIDE: u64 = 32;
const WORDS: usize = 64;
/// A list of positions that is longer is kept as a bit for each record.
const BITMAP: usize = 512;

/// Which records of a stretch, a bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Which([u64; WORDS]);

impl Which {
    pub(super) const NONE: Self = Self([0; WORDS]);
    pub(super) const ALL: Self = Self([u64::MAX; WORDS]);

    pub(super) fn insert(&mut self, position: u16) {
        if let Some(word) = self.0.get_mut(usize::from(position / 64)) {
            *word |= 1 << (position % 64);
        }
    }

    pub(super) fn and(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// Those before `end`, the last one first.
    pub(super) fn before(&self, end: u64) -> Vec<u16> {
        let bits = self.0.iter().zip(0u16..).flat_map(|(word, at)| {
            let set = (0..64u16).filter(move |bit| word & (1 << bit) != 0);
            set.map(move |bit| at * 64 + bit)
        });
        let mut found: Vec<_> = bits.filter(|position| u64::from(*position) < end).collect();
        found.reverse();
        found
    }
}

/// A stretch that is being built.
pub(super) struct Builder {
    terms: BTreeMap<Term, Vec<u16>>,
    next: u16,
    first_ms: i64,
    last_ms: i64,
    offsets: Vec<u8>,
}

/// A stretch, ready to be kept.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// The earliest and the latest time in it, in milliseconds.
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// Where every [`STRIDE`]th record lies in its segment; empty for rows.
    pub(super) offsets: Vec<u8>,
    /// Each bucket's row.
    pub(super) rows: Vec<(u8, Vec<u8>)>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            terms: BTreeMap::new(),
            next: 0,
            first_ms: i64::MAX,
            last_ms: i64::MIN,
            offsets: Vec::new(),
        }
    }

    /// Notes that the next record to come lies at `offset`.
    pub(super) fn lies_at(&mut self, offset: u64) {
        if u64::from(self.next).is_multiple_of(STRIDE) {
            self.offsets.extend(offset.to_le_bytes());
        }
    }

    /// Adds the next record. One that is none of ours is found by nothing.
    pub(super) fn push(&mut self, record: &[u8]) {
        let position = self.next;
        self.next += 1;
        let Some(fields) = Fields::parse(record) else { return };
        if let Some(time) = fields.time_ms() {
            self.first_ms = self.first_ms.min(time);
            self.last_ms = self.last_ms.max(time);
        }
        fields.terms(|term| {
            let positions = self.terms.entry(term).or_default();
            if positions.last() != Some(&position) {
                positions.push(position);
            }
        });
    }

    pub(super) fn finish(self) -> Chunk {
        let mut rows: Vec<(u8, Vec<u8>)> = Vec::new();
        for (term, positions) in &self.terms {
            let kept = encode(positions);
            if rows.last().is_none_or(|(bucket, _)| *bucket != term.bucket) {
                rows.push((term.bucket, Vec::new()));
            }
            if let Some((_, row)) = rows.last_mut() {
                row.extend(term.print.to_be_bytes());
                row.extend(u16::try_from(kept.len()).unwrap_or(u16::MAX).to_be_bytes());
                row.extend(kept);
            }
        }
        Chunk {
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            offsets: self.offsets,
            rows,
        }
    }
}

/// Which records have the term with this print, by its bucket's row; `None` if the row is none of ours.
pub(super) fn which(row: &[u8], print: u32) -> Option<Which> {
    let mut rest = row;
    while let Some((found, after)) = rest.split_first_chunk::<4>() {
        let (length, after) = after.split_first_chunk::<2>()?;
        let (kept, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        if u32::from_be_bytes(*found) == print {
            return decode(kept);
        }
        rest = after;
    }
    rest.is_empty().then_some(Which::NONE)
}

/// The distances from one position to the next, seven bits a byte; or a bit for each record, if that is shorter.
fn encode(positions: &[u16]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut last = 0;
    for position in positions {
        let mut distance = position - last;
        last = *position;
        while distance >= 0x80 {
            kept.push(u8::try_from(distance & 0x7f).unwrap_or_default() | 0x80);
            distance >>= 7;
        }
        kept.push(u8::try_from(distance).unwrap_or_default());
    }
    if kept.len() < BITMAP {
        return kept;
    }
    let mut bits = Which::NONE;
    positions.iter().for_each(|position| bits.insert(*position));
    bits.0.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn decode(kept: &[u8]) -> Option<Which> {
    let mut bits = Which::NONE;
    if kept.len() == BITMAP {
        let (words, _) = kept.as_chunks::<8>();
        for (to, from) in bits.0.iter_mut().zip(words) {
            *to = u64::from_le_bytes(*from);
        }
        return Some(bits);
    }
    let (mut position, mut distance, mut shift) = (0u32, 0u32, 0);
    for byte in kept {
        distance |= u32::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            position = position.checked_add(distance)?;
            bits.insert(u16::try_from(position).ok().filter(|at| u64::from(*at) < CHUNK)?);
            (distance, shift) = (0, 0);
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::record::tests::sample;

    proptest! {
        #[test]
        fn positions_come_back(set in prop::collection::btree_set(0u16..4_096, 0..4_096)) {
            let positions: Vec<_> = set.iter().copied().collect();
            let kept = encode(&positions);
            prop_assert!(kept.len() <= BITMAP);
            let mut back = decode(&kept).unwrap().before(CHUNK);
            back.reverse();
            prop_assert_eq!(back, positions);
        }

        #[test]
        fn any_bytes_are_read_without_harm(row in prop::collection::vec(any::<u8>(), 0..200), print: u32) {
            let _ = which(&row, print);
        }
    }

    #[test]
    fn a_stretch_says_where_each_term_is() {
        let mut builder = Builder::new();
        for n in 0..100 {
            let mut record = sample(n);
            record.time_ms += i64::try_from(n % 7).unwrap();
            record.action = if n % 10 == 3 { "SetSecret" } else { "ReadSecret" }.into();
            builder.lies_at(n * 500);
            builder.push(&record.to_bytes());
        }
        builder.push(b"no record");
        let chunk = builder.finish();
        assert_eq!(chunk.last_ms - chunk.first_ms, 6);
        assert_eq!(chunk.offsets.len(), 4 * 8);

        let found = |query: super::super::Query| {
            let term = query.terms()[0];
            let (_, row) = chunk.rows.iter().find(|(bucket, _)| *bucket == term.bucket)?;
            Some(which(row, term.print).unwrap().before(CHUNK))
        };
        let none = super::super::Query::default;
        let set = super::super::Query {
            action: Some("SetSecret".into()),
            ..none()
        };
        assert_eq!(found(set).unwrap(), [93, 83, 73, 63, 53, 43, 33, 23, 13, 3]);
        let one = super::super::Query {
            record: Some(sample(42).id),
            ..none()
        };
        assert_eq!(found(one).unwrap(), [42]);
        let other = super::super::Query {
            record: Some(sample(4_200).id),
            ..none()
        };
        assert!(found(other).is_none_or(|found| found.is_empty()));
    }
}
