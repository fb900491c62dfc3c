//! Reading of a journal's segments in a row, each checked against what comes before it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::frame::{self, Step};
use super::index::Marks;
use super::journal::BATCH_BYTES;
use super::segment::{Frames, Header};
use super::tree::{self, Tree};
use crate::error::{Error, Result};

/// The records read so far.
pub(super) struct Replay<'a> {
    origin: &'a str,
    tree: Tree,
}

/// One segment, as it was found.
pub(super) struct Found {
    pub(super) header: Header,
    pub(super) marks: Marks,
    /// Bytes of it that are whole; more only if its end is torn.
    pub(super) length: u64,
}

/// What may be wrong with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its last batch may be torn.
    Torn,
    /// Nothing.
    Whole,
}

impl<'a> Replay<'a> {
    /// Of the log `origin`, whose records before the first segment to come are those of `tree`.
    pub(super) fn new(origin: &'a str, tree: Tree) -> Self {
        Self { origin, tree }
    }

    /// The tree over the records read so far, and over those before.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Reads the segment at `path`, named after record `first`: `visit` sees each record with the tree before it.
    ///
    /// # Errors
    /// `Internal` with file, offset and record if anything is damaged that may not be.
    pub(super) fn segment(
        &mut self,
        first: u64,
        path: &Path,
        end: End,
        visit: &mut dyn FnMut(&Tree, &[u8]),
    ) -> Result<Found> {
        let unreadable = |error: io::Error| {
            Error::internal(format!("audit journal `{}` cannot be read", path.display())).because(error)
        };
        let mut frames = Frames::open(path, 0).map_err(unreadable)?;
        let header = match frames.step().map_err(unreadable)? {
            Step::Frame { payload, .. } => Header::parse(payload),
            Step::End | Step::Broken(_) => None,
        };
        let header = header.ok_or_else(|| damage(path, 0, first, "its header cannot be read"))?;
        self.fits(&header, first, path)?;

        let mut marks = Marks::new(first);
        loop {
            let offset = frames.offset();
            match frames.step().map_err(unreadable)? {
                Step::End => break,
                Step::Frame { payload, .. } => {
                    visit(&self.tree, payload);
                    marks.note(self.tree.size(), offset);
                    self.tree.push(tree::leaf(payload));
                }
                Step::Broken(why) => {
                    let torn = match end {
                        End::Torn => torn(path, offset, header.is_current()).map_err(unreadable)?,
                        End::Whole => None,
                    };
                    let Some(rest) = torn else {
                        return Err(damage(path, offset, self.tree.size(), why));
                    };
                    tracing::warn!(
                        "cut {rest} bytes of a batch that was not finished from audit journal `{}`: {why}",
                        path.display()
                    );
                    break;
                }
            }
        }
        Ok(Found {
            header,
            marks,
            length: frames.offset(),
        })
    }

    fn fits(&self, header: &Header, first: u64, path: &Path) -> Result<()> {
        let origin = self.origin;
        if header.origin != origin {
            let why = format!("it belongs to the log `{}`, not `{origin}`", header.origin);
            return Err(damage(path, 0, first, &why));
        }
        let expected = self.tree.size();
        if header.first != first || first != expected {
            let why = format!(
                "it begins with record {}, but record {expected} comes next: a segment is missing",
                header.first
            );
            return Err(damage(path, 0, expected, &why));
        }
        if !header.follows(&self.tree) {
            return Err(damage(
                path,
                0,
                first,
                "the records before it are not those that it follows",
            ));
        }
        Ok(())
    }
}

/// The segments that a start did not read, and the tree over them.
pub(super) struct Older {
    pub(super) segments: Vec<(u64, PathBuf)>,
    pub(super) tree: Tree,
}

impl Older {
    /// Reads them all and compares: `visit` sees each record, and says whether to go on.
    ///
    /// # Errors
    /// As [`Replay::segment`], for anything that is damaged.
    pub(super) fn check(&self, origin: &str, visit: &mut dyn FnMut(&[u8]) -> bool) -> Result<()> {
        let mut replay = Replay::new(origin, Tree::default());
        let mut on = true;
        for (first, path) in &self.segments {
            replay.segment(*first, path, End::Whole, &mut |_, record| on = visit(record))?;
            if !on {
                return Ok(());
            }
        }
        if let Some((_, last)) = self.segments.last()
            && replay.tree != self.tree
        {
            let why = "its records are not those that were signed";
            return Err(damage(last, 0, replay.tree.size(), why));
        }
        Ok(())
    }
}

/// The tree after the first `length` bytes of the segment at `path`, which begins after `start`; `None` if they are not
/// whole.
pub(super) fn replayed(path: &Path, length: u64, start: &Tree) -> io::Result<Option<Tree>> {
    let mut tree = start.clone();
    let mut frames = Frames::open(path, 0)?;
    let Step::Frame { .. } = frames.step()? else {
        return Ok(None);
    };
    while frames.offset() < length {
        let Step::Frame { payload, .. } = frames.step()? else {
            return Ok(None);
        };
        tree.push(tree::leaf(payload));
    }
    Ok((frames.offset() == length).then_some(tree))
}

/// How many bytes from `offset` on are a torn batch; `None` if they are not, or not all of them.
fn torn(path: &Path, offset: u64, marked: bool) -> io::Result<Option<u64>> {
    let rest = fs::metadata(path)?.len().saturating_sub(offset);
    let Some(size) = usize::try_from(rest).ok().filter(|size| *size <= BATCH_BYTES) else {
        return Ok(None);
    };
    let mut bytes = vec![0; size];
    File::open(path)?.read_exact_at(&mut bytes, offset)?;
    Ok((!frame::batch_after(&bytes, 0, marked)).then_some(rest))
}

fn damage(path: &Path, offset: u64, index: u64, why: &str) -> Error {
    Error::internal(format!(
        "audit journal `{}` is damaged at byte {offset}, record {index}: {why}; put back a whole copy of this file",
        path.display()
    ))
}
