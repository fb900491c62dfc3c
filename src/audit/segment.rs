//! One file of a journal: its name, its first frame, and where its records lie.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::frame::{self, Step};
use super::tree::Tree;

/// A record's offset is remembered for every so many records.
const STRIDE: u64 = 256;
const SUFFIX: &str = ".journal";

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
    pub(super) root: String,
}

impl Header {
    /// The header of a segment that begins after `tree`.
    pub(super) fn new(origin: &str, tree: &Tree) -> Self {
        Self {
            v: 1,
            origin: origin.to_owned(),
            first: tree.size(),
            root: hex::encode(tree.root()),
        }
    }

    /// Reads the first frame.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload)
            .ok()
            .filter(|header: &Self| header.v == 1)
    }
}

/// Where the records of one segment lie.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The index of its first record.
    pub(super) first: u64,
    pub(super) path: PathBuf,
    // INVARIANT: the offset of record `first + n * STRIDE`, for every such record that is durable.
    marks: Vec<u64>,
}

impl Segment {
    pub(super) fn new(first: u64, path: PathBuf) -> Self {
        Self {
            first,
            path,
            marks: Vec::new(),
        }
    }

    /// Notes that record `index` lies at `offset`; called for each record in order.
    pub(super) fn mark(&mut self, index: u64, offset: u64) {
        if index.saturating_sub(self.first).is_multiple_of(STRIDE) {
            self.marks.push(offset);
        }
    }

    /// The nearest record at or before `index` whose offset is known: its index and offset.
    fn nearest(&self, index: u64) -> Option<(u64, u64)> {
        let position = index.checked_sub(self.first)? / STRIDE;
        let offset = self.marks.get(usize::try_from(position).ok()?)?;
        Some((self.first + position * STRIDE, *offset))
    }

    /// Reads records from `from` on into `records`, until `until` or the segment's end, or until `bytes` is used up.
    ///
    /// # Errors
    /// If the file cannot be read, or what is read is not what was written.
    pub(super) fn read(&self, from: u64, until: u64, bytes: &mut usize, records: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let Some((mut index, offset)) = self.nearest(from) else {
            return Ok(());
        };
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut file = io::BufReader::with_capacity(1 << 18, file);
        while index < until && *bytes > 0 {
            let mut head = [0; frame::OVERHEAD];
            match file.read_exact(&mut head) {
                Ok(()) => {}
                // The next record lies in the next segment.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
            let mut whole = head.to_vec();
            let (length, _) = head.split_first_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
            (&mut file)
                .take(u64::from(u32::from_le_bytes(*length)))
                .read_to_end(&mut whole)?;
            let Step::Frame { payload, .. } = frame::at(&whole, 0) else {
                return Err(io::Error::other(format!(
                    "record {index} in `{}` is damaged",
                    self.path.display()
                )));
            };
            if index >= from {
                *bytes = bytes.saturating_sub(payload.len());
                records.push(payload.to_vec());
            }
            index += 1;
        }
        Ok(())
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
/// is left without a name is overwritten by the next attempt.
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
    frame::push(&mut bytes, &serde_json::to_vec(&Header::new(origin, tree))?);
    io::Write::write_all(&mut &file, &bytes)?;
    file.sync_all()?;
    fs::rename(&unnamed, path(folder, tree.size()))?;
    File::open(folder)?.sync_all()?;
    let length = u64::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok((file, length))
}
