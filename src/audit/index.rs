//! Where the records lie, for readers beside the writer.
//!
//! Of a segment that is closed, offsets are looked for when somebody reads there, and kept for the last few: what is
//! held in memory does not grow with the log, but for eight bytes a segment.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::Step;
use super::segment::{self, Frames};
use crate::error::{Error, Result};

/// A record's offset is remembered for every so many records.
const STRIDE: u64 = 256;
/// Closed segments whose offsets are kept.
const KEPT: usize = 8;

/// Where the records of one segment lie.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    /// The index of its first record.
    first: u64,
    // INVARIANT: the offset of record `first + n * STRIDE`, for every such record that is durable and whole.
    offsets: Vec<u64>,
}

impl Marks {
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            offsets: Vec::new(),
        }
    }

    /// Notes that record `index` lies at `offset`; called for each record in order.
    pub(super) fn note(&mut self, index: u64, offset: u64) {
        if index.saturating_sub(self.first).is_multiple_of(STRIDE) {
            self.offsets.push(offset);
        }
    }

    /// Those of a closed segment, as far as it is whole.
    fn scan(path: &Path, first: u64) -> io::Result<Self> {
        let mut marks = Self::new(first);
        let mut frames = Frames::open(path, 0)?;
        if !matches!(frames.step()?, Step::Frame { .. }) {
            return Ok(marks);
        }
        for index in first.. {
            let offset = frames.offset();
            if !matches!(frames.step()?, Step::Frame { .. }) {
                break;
            }
            marks.note(index, offset);
        }
        Ok(marks)
    }

    /// The last record not behind `index` whose offset is known: its index and offset.
    fn nearest(&self, index: u64) -> Option<(u64, u64)> {
        let position = usize::try_from(index.checked_sub(self.first)? / STRIDE).ok()?;
        let known = position.min(self.offsets.len().checked_sub(1)?);
        let offset = self.offsets.get(known)?;
        Some((self.first + u64::try_from(known).ok()? * STRIDE, *offset))
    }
}

/// Where the records of a journal lie.
pub(super) struct Index {
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// The first record of each segment, in order.
    firsts: Vec<u64>,
    /// Of the segment that is written, the last one.
    open: Arc<Marks>,
    /// Of others, what was used last at the end.
    closed: VecDeque<Arc<Marks>>,
}

impl Index {
    /// Of a journal whose segments begin with the records `firsts`, of which the last one has the marks `open`.
    pub(super) fn new(folder: &Path, firsts: Vec<u64>, open: Marks) -> Self {
        Self {
            folder: folder.to_owned(),
            state: Mutex::new(State {
                firsts,
                open: Arc::new(open),
                closed: VecDeque::new(),
            }),
        }
    }

    /// A new segment is written, which begins with record `first`.
    pub(super) fn begin(&self, first: u64) {
        let mut state = self.state();
        // A segment without records is followed by one of the same name.
        state.firsts.retain(|known| *known != first);
        state.firsts.push(first);
        let closed = std::mem::replace(&mut state.open, Arc::new(Marks::new(first)));
        state.keep(closed);
    }

    /// Notes records of the segment that is written: index and offset of each, in order.
    pub(super) fn note(&self, records: impl Iterator<Item = (u64, u64)>) {
        let mut state = self.state();
        // A reader that has them just now leaves us a copy.
        let marks = Arc::make_mut(&mut state.open);
        records.for_each(|(index, offset)| marks.note(index, offset));
    }

    /// Records `from..until`, which are durable, as many as fit `bytes` (at least one). Blocks on the disk, never the
    /// writer.
    ///
    /// # Errors
    /// `Conflict` with record and file if one is not what was written; `Internal` if a file cannot be read.
    pub(super) fn read(&self, from: u64, until: u64, bytes: usize) -> Result<Vec<Vec<u8>>> {
        let mut left = bytes;
        let mut records = Vec::new();
        self.visit(from, until, &mut |_, record| {
            left = left.saturating_sub(record.len());
            records.push(record.to_vec());
            left > 0
        })?;
        Ok(records)
    }

    /// Shows `each` of the records `from..until`, which are durable, its offset and its bytes, until it says no.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn visit(&self, from: u64, until: u64, each: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<()> {
        let mut next = from;
        while next < until {
            let (path, marks, end) = self.place(next)?;
            let (mut index, offset) = marks
                .nearest(next)
                .ok_or_else(|| damaged(next, &path, "it is missing"))?;
            let mut frames = Frames::open(&path, offset).map_err(|error| unreadable(&path, error))?;
            while next < until.min(end) {
                let offset = frames.offset();
                let record = record(&mut frames, index, &path)?;
                if index == next {
                    if !each(offset, record) {
                        return Ok(());
                    }
                    next += 1;
                }
                index += 1;
            }
        }
        Ok(())
    }

    /// The records at these `positions`, in ascending order; `near` knows of some records where they lie: that of the
    /// last one not behind a position, if it does.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn pick(&self, positions: &[u64], near: &dyn Fn(u64) -> Option<(u64, u64)>) -> Result<Vec<Vec<u8>>> {
        let mut records = Vec::with_capacity(positions.len());
        // The segment that is open, its first record and the one behind it, and which record comes next.
        let mut open: Option<(Frames, PathBuf, u64, u64)> = None;
        for position in positions {
            let start = near(*position);
            let goes_on = open.as_ref().is_some_and(|(_, _, end, next)| {
                position < end && next <= position && start.is_none_or(|(start, _)| start <= *next)
            });
            if !goes_on {
                let (path, first, end) = self.segment(*position);
                // What begins in the segment before is not known to lie anywhere in this one.
                let known = start.filter(|(start, _)| *start >= first);
                let mut frames = Frames::open_near(&path, known.map_or(0, |(_, offset)| offset))
                    .map_err(|error| unreadable(&path, error))?;
                if known.is_none() {
                    // The header.
                    frames.step().map_err(|error| unreadable(&path, error))?;
                }
                let next = known.map_or(first, |(start, _)| start);
                open = Some((frames, path, end, next));
            }
            if let Some((frames, path, _, next)) = &mut open {
                while *next < *position {
                    record(frames, *next, path)?;
                    *next += 1;
                }
                records.push(record(frames, *next, path)?.to_vec());
                *next += 1;
            }
        }
        Ok(records)
    }

    /// The segment with record `index`: its path, its first record, and the record behind its last one.
    fn segment(&self, index: u64) -> (PathBuf, u64, u64) {
        let state = self.state();
        let behind = state.firsts.partition_point(|first| *first <= index);
        let end = state.firsts.get(behind).copied().unwrap_or(u64::MAX);
        let first = behind.checked_sub(1).and_then(|at| state.firsts.get(at).copied());
        let first = first.unwrap_or_default();
        (segment::path(&self.folder, first), first, end)
    }

    /// The segment with record `index`: its path, its marks, and the record behind its last one.
    fn place(&self, index: u64) -> Result<(PathBuf, Arc<Marks>, u64)> {
        let (path, first, end) = self.segment(index);
        {
            let mut state = self.state();
            if state.open.first == first {
                return Ok((path, state.open.clone(), end));
            }
            if let Some(at) = state.closed.iter().position(|marks| marks.first == first)
                && let Some(marks) = state.closed.remove(at)
            {
                state.closed.push_back(marks.clone());
                return Ok((path, marks, end));
            }
        }
        let marks = Marks::scan(&path, first).map_err(|error| unreadable(&path, error))?;
        let marks = Arc::new(marks);
        self.state().keep(marks.clone());
        Ok((path, marks, end))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, marks: Arc<Marks>) {
        self.closed.retain(|known| known.first != marks.first);
        self.closed.push_back(marks);
        if self.closed.len() > KEPT {
            self.closed.pop_front();
        }
    }
}

/// The frame that comes next, which is record `index`.
fn record<'a>(frames: &'a mut Frames, index: u64, path: &Path) -> Result<&'a [u8]> {
    match frames.step().map_err(|error| unreadable(path, error))? {
        Step::Frame { payload, .. } => Ok(payload),
        Step::End => Err(damaged(index, path, "it is missing")),
        Step::Broken(why) => Err(damaged(index, path, why)),
    }
}

fn damaged(index: u64, path: &Path, why: &str) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Error::conflict(format!(
        "the audit log is damaged at record {index}: {why}; put back a whole copy of the node's file `{name}`"
    ))
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::internal(format!("audit journal `{}` cannot be read", path.display())).because(error)
}
