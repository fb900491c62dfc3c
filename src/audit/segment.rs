//! One file of a journal: its name, its first frame, and its frames in a row.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::frame::{self, Step};
use super::tree::Tree;
use crate::fault;

const SUFFIX: &str = ".journal";
/// Segments of the first format have no frontier, and do not mark batches.
const FORMAT: u32 = 2;

/// The first frame of a segment. It ties the segment to the log and to everything before it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    v: u32,
    /// The log's name.
    pub(super) origin: String,
    /// The index of the segment's first record.
    pub(super) first: u64,
    /// The root of all records before it, in hexadecimal.
    root: String,
    /// The tree's frontier there, in hexadecimal, so that what comes before need not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    frontier: Option<String>,
}

impl Header {
    /// The header of a segment that begins after `tree`.
    pub(super) fn new(origin: &str, tree: &Tree) -> Self {
        Self {
            v: FORMAT,
            origin: origin.to_owned(),
            first: tree.size(),
            root: hex::encode(tree.root()),
            frontier: Some(hex::encode(tree.frontier())),
        }
    }

    /// Reads the first frame.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let header: Self = serde_json::from_slice(payload).ok()?;
        match header.v {
            1 => header.frontier.is_none().then_some(header),
            FORMAT => header.start().is_some().then_some(header),
            _ => None,
        }
    }

    /// The header of the segment at `path`; `None` if there is none that can be read.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        match Frames::open(path, 0)?.step()? {
            Step::Frame { payload, .. } => Ok(Self::parse(payload)),
            Step::End | Step::Broken(_) => Ok(None),
        }
    }

    /// Whether the segment's format is the one that is written now.
    pub(super) fn is_current(&self) -> bool {
        self.v == FORMAT
    }

    /// The tree before the segment's first record, if the header holds it.
    ///
    /// SECURITY: it is what the file says. Only a signed checkpoint of this tree, or of one that it grew into, makes it
    /// true.
    pub(super) fn start(&self) -> Option<Tree> {
        let frontier = hex::decode(self.frontier.as_ref()?).ok()?;
        Tree::of(self.first, &frontier).filter(|tree| hex::encode(tree.root()) == self.root)
    }

    /// Whether a segment with this header may follow the records of `tree`.
    pub(super) fn follows(&self, tree: &Tree) -> bool {
        self.first == tree.size() && self.root == hex::encode(tree.root())
    }
}

/// The frames of a segment, one after the other.
pub(super) struct Frames {
    file: BufReader<File>,
    offset: u64,
    frame: Vec<u8>,
}

impl Frames {
    /// Those from `offset` on, where a frame starts.
    pub(super) fn open(path: &Path, offset: u64) -> io::Result<Self> {
        Self::open_for(path, offset, 1 << 18)
    }

    /// The same, for few frames.
    pub(super) fn open_near(path: &Path, offset: u64) -> io::Result<Self> {
        Self::open_for(path, offset, 1 << 14)
    }

    fn open_for(path: &Path, offset: u64, bytes: usize) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self {
            file: BufReader::with_capacity(bytes, file),
            offset,
            frame: Vec::new(),
        })
    }

    /// Where the next frame starts.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; after one that is broken, nothing sensible.
    pub(super) fn step(&mut self) -> io::Result<Step<'_>> {
        self.frame.clear();
        let head = u64::try_from(frame::OVERHEAD).unwrap_or_default();
        (&mut self.file).take(head).read_to_end(&mut self.frame)?;
        if let Some(length) = frame::payload_length(&self.frame).and_then(|length| u64::try_from(length).ok()) {
            (&mut self.file).take(length).read_to_end(&mut self.frame)?;
        }
        let step = frame::at(&self.frame, 0);
        if matches!(step, Step::Frame { .. }) {
            self.offset += u64::try_from(self.frame.len()).unwrap_or_default();
        }
        Ok(step)
    }
}

/// What tells a file from another that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(file: &fs::Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }
}

/// The path of the segment that begins at record `first`.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}{SUFFIX}"))
}

/// The segments in `folder` by their first record, in order.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let first = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(SUFFIX))
            .filter(|name| name.len() == 20)
            .and_then(|name| name.parse().ok());
        if let Some(first) = first {
            segments.push((first, path));
        }
    }
    segments.sort();
    Ok(segments)
}

/// Makes the segment that begins after `tree`. Returns its file, open for writing, and its length.
///
/// CRASH: the segment gets its name only once its header is on the disk, so a named segment always has a header; what
/// is left without a name is overwritten by the next attempt. A segment without records follows one that is whole, and
/// is written on; one of the same name takes its place if the next attempt comes first.
pub(super) fn create(folder: &Path, origin: &str, tree: &Tree) -> io::Result<(File, u64)> {
    let unnamed = folder.join("next");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unnamed)?;
    let mut bytes = Vec::new();
    frame::push(&mut bytes, &serde_json::to_vec(&Header::new(origin, tree))?, false);
    io::Write::write_all(&mut &file, &bytes)?;
    file.sync_all()?;
    fault::point("audit.segment.before");
    fs::rename(&unnamed, path(folder, tree.size()))?;
    File::open(folder)?.sync_all()?;
    fault::point("audit.segment.after");
    let length = u64::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok((file, length))
}
