//! The journal: the log's records in files on this node's disk.
//!
//! Records are appended in batches, each with one write and one fdatasync. What was acknowledged is never rewritten.
//! Damage is never repaired here, and never passed over: only a torn end, which nobody was told is durable, is cut.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{FlockOperation, flock};

use super::disk::Disk;
use super::frame::{self, Step};
use super::segment::{self, Header, Identity, Segment};
use super::tree::{self, Tree};
use crate::error::{Error, Result};
use crate::fault;

/// Records of one batch end at so many bytes; a torn end is not longer than this and one record.
pub(super) const BATCH_BYTES: usize = 1 << 20;
const TORN_BYTES: usize = BATCH_BYTES + (1 << 17);

/// Where the records lie, for readers beside the writer.
pub(super) type Segments = Arc<RwLock<Vec<Segment>>>;

/// Why a batch did not become durable.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The write failed; nothing is known to be wrong with the file.
    Write(io::Error),
    /// The sync failed: this handle may never be trusted again.
    Sync(io::Error),
    /// The file under the journal's name is not the one that was written.
    Replaced(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(error) => write!(f, "the audit journal cannot be written: {error}"),
            Self::Sync(error) => write!(f, "the audit journal cannot be synced: {error}"),
            Self::Replaced(text) => f.write_str(text),
        }
    }
}

/// The open journal. One per folder and machine, one thread uses it.
pub(super) struct Journal {
    folder: PathBuf,
    origin: String,
    limit: u64,
    disk: Box<dyn Disk>,
    current: Current,
    segments: Segments,
    /// Held as long as the journal is open.
    _lock: File,
}

/// The segment that is written.
struct Current {
    path: PathBuf,
    file: File,
    identity: Identity,
    /// Bytes that are durable.
    length: u64,
    /// The tree before the segment's first record.
    start: Tree,
}

impl Journal {
    /// Opens the journal in `folder`, makes it if there is none, and reads all of it: `visit` sees each record with
    /// the tree before it. Returns the tree over the records.
    ///
    /// # Errors
    /// `Unavailable` if the folder cannot be used or another process has it; `Internal` with file, offset and record if
    /// anything but a torn end is damaged.
    pub(super) fn open(
        folder: &Path,
        origin: &str,
        limit: u64,
        disk: Box<dyn Disk>,
        visit: &mut dyn FnMut(&Tree, &[u8]),
    ) -> Result<(Self, Tree)> {
        let unusable = |error: io::Error| {
            Error::unavailable(format!(
                "audit journal folder `{}` cannot be used: make it writable for this user",
                folder.display()
            ))
            .because(error)
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(unusable)?;
        let lock = File::create(folder.join("lock")).map_err(unusable)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            Error::unavailable(format!(
                "audit journal `{}` is in use: stop the other process, or give each node its own folder",
                folder.display()
            ))
            .because(error)
        })?;

        let mut replay = Replay {
            origin,
            tree: Tree::default(),
            segments: Vec::new(),
        };
        let mut last = None;
        let listed = segment::list(folder).map_err(unusable)?;
        let count = listed.len();
        for (n, (first, path)) in listed.into_iter().enumerate() {
            let start = replay.tree.clone();
            let length = replay.segment(first, &path, n + 1 == count, visit)?;
            last = Some((path, length, start));
        }
        let Replay { tree, segments, .. } = replay;
        let segments = Arc::new(RwLock::new(segments));
        let current = match last {
            Some((path, length, start)) => {
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&path)
                    .map_err(unusable)?;
                // CRASH: a torn end, or a batch that was written and not acknowledged, is on the disk or gone after
                // this, never in between.
                file.set_len(length).map_err(unusable)?;
                file.sync_all().map_err(unusable)?;
                Current::new(path, file, length, start).map_err(unusable)?
            }
            None => new_segment(folder, origin, &tree, &segments).map_err(unusable)?,
        };
        let journal = Self {
            folder: folder.to_owned(),
            origin: origin.to_owned(),
            limit,
            disk,
            current,
            segments,
            _lock: lock,
        };
        Ok((journal, tree))
    }

    /// Where the records lie.
    pub(super) fn segments(&self) -> Segments {
        self.segments.clone()
    }

    /// Appends `records` after `tree`. They are durable on return; on an error [`Self::recover`] comes first.
    pub(super) fn append(&mut self, tree: &Tree, records: &[&[u8]]) -> Result<(), Trouble> {
        if self.current.length >= self.limit {
            self.current = new_segment(&self.folder, &self.origin, tree, &self.segments).map_err(Trouble::Write)?;
        }
        let mut bytes = Vec::new();
        let mut offsets = Vec::with_capacity(records.len());
        for record in records {
            offsets.push(self.current.length + length_of(&bytes));
            frame::push(&mut bytes, record);
        }
        fault::point("audit.write.before");
        let Current { file, length, .. } = &self.current;
        self.disk.write(file, &bytes, *length).map_err(Trouble::Write)?;
        self.disk.sync(file).map_err(Trouble::Sync)?;
        fault::point("audit.write.after");
        let length = length + length_of(&bytes);
        self.current.check(length)?;
        self.current.length = length;
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = segments.last_mut() {
            for (index, offset) in (tree.size()..).zip(offsets) {
                segment.mark(index, offset);
            }
        }
        Ok(())
    }

    /// After `trouble`: opens the segment anew, compares it with what is known to be durable, and cuts what is not.
    ///
    /// # Errors
    /// A text for people, if the journal cannot go on yet; it may be tried again.
    pub(super) fn recover(&mut self, tree: &Tree, trouble: &Trouble) -> Result<(), String> {
        let Current {
            path, length, start, ..
        } = &self.current;
        let (path, length, start) = (path.clone(), *length, start.clone());
        let name = path.display();
        let unusable = |error: io::Error| format!("audit journal `{name}` cannot be used: {error}");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => format!("audit journal `{name}` was deleted: put it back"),
                _ => unusable(error),
            })?;
        let bytes = fs::read(&path).map_err(unusable)?;
        let differs = || format!("audit journal `{name}` is not what was written: put the file back that was there");
        if replayed(&bytes, length, &start).as_ref() != Some(tree) {
            return Err(differs());
        }
        file.set_len(length).map_err(unusable)?;
        self.disk.sync(&file).map_err(unusable)?;
        let again = Current::new(path.clone(), file, length, start).map_err(unusable)?;
        again.check(length).map_err(|trouble| trouble.to_string())?;
        self.current = again;
        if matches!(trouble, Trouble::Sync(_)) {
            // What the kernel holds of this file may differ from the disk: nothing more is written to it.
            self.current = new_segment(&self.folder, &self.origin, tree, &self.segments).map_err(unusable)?;
        }
        Ok(())
    }
}

impl Current {
    fn new(path: PathBuf, file: File, length: u64, start: Tree) -> io::Result<Self> {
        let identity = Identity::of(&file.metadata()?);
        Ok(Self {
            path,
            file,
            identity,
            length,
            start,
        })
    }

    /// Whether the journal's name still leads to the file that was written, and it is `length` bytes long.
    fn check(&self, length: u64) -> Result<(), Trouble> {
        let path = self.path.display();
        match fs::metadata(&self.path) {
            Ok(found) if Identity::of(&found) != self.identity => {
                Err(Trouble::Replaced(format!("audit journal `{path}` was replaced")))
            }
            Ok(found) if found.len() != length => Err(Trouble::Replaced(format!(
                "audit journal `{path}` was changed by somebody else"
            ))),
            Ok(_) => Ok(()),
            Err(error) => Err(Trouble::Replaced(format!("audit journal `{path}` is gone: {error}"))),
        }
    }
}

fn new_segment(folder: &Path, origin: &str, tree: &Tree, segments: &Segments) -> io::Result<Current> {
    let (file, length) = segment::create(folder, origin, tree)?;
    let path = segment::path(folder, tree.size());
    let mut segments = segments.write().unwrap_or_else(PoisonError::into_inner);
    // A segment without records is followed by one of the same name.
    segments.retain(|segment| segment.first != tree.size());
    segments.push(Segment::new(tree.size(), path.clone()));
    Current::new(path, file, length, tree.clone())
}

/// Reading of a whole journal at start.
struct Replay<'a> {
    origin: &'a str,
    tree: Tree,
    segments: Vec<Segment>,
}

impl Replay<'_> {
    /// Reads one segment. Returns the length of what is whole in it.
    fn segment(&mut self, first: u64, path: &Path, is_last: bool, visit: &mut dyn FnMut(&Tree, &[u8])) -> Result<u64> {
        let bytes = fs::read(path).map_err(|error| {
            Error::internal(format!("audit journal `{}` cannot be read", path.display())).because(error)
        })?;
        let damage = |offset: usize, index: u64, why: &str| {
            Error::internal(format!(
                "audit journal `{}` is damaged at byte {offset}, record {index}: {why}; put back a whole copy of this file",
                path.display()
            ))
        };
        let Step::Frame { payload, next } = frame::at(&bytes, 0) else {
            return Err(damage(0, first, "its header cannot be read"));
        };
        let header = Header::parse(payload).ok_or_else(|| damage(0, first, "its header cannot be read"))?;
        if header.origin != self.origin {
            return Err(damage(
                0,
                first,
                &format!("it belongs to the log `{}`, not `{}`", header.origin, self.origin),
            ));
        }
        if header.first != first || first != self.tree.size() {
            let expected = self.tree.size();
            return Err(damage(
                0,
                expected,
                &format!(
                    "it begins with record {}, but record {expected} comes next: a segment is missing",
                    header.first
                ),
            ));
        }
        if header != Header::new(self.origin, &self.tree) {
            return Err(damage(0, first, "the records before it are not those that it follows"));
        }

        let mut segment = Segment::new(first, path.to_owned());
        let mut offset = next;
        loop {
            match frame::at(&bytes, offset) {
                Step::End => break,
                Step::Frame { payload, next } => {
                    visit(&self.tree, payload);
                    segment.mark(self.tree.size(), u64::try_from(offset).unwrap_or(u64::MAX));
                    self.tree.push(tree::leaf(payload));
                    offset = next;
                }
                Step::Broken(why) => {
                    let rest = bytes.len() - offset;
                    if !is_last || rest > TORN_BYTES || frame::any_after(&bytes, offset) {
                        return Err(damage(offset, self.tree.size(), why));
                    }
                    tracing::warn!(
                        "cut {rest} bytes of a record that was not finished from audit journal `{}`: {why}",
                        path.display()
                    );
                    break;
                }
            }
        }
        self.segments.push(segment);
        Ok(u64::try_from(offset).unwrap_or(u64::MAX))
    }
}

/// The tree after the first `length` bytes of a segment that begins after `start`; `None` if they are not whole.
fn replayed(bytes: &[u8], length: u64, start: &Tree) -> Option<Tree> {
    let bytes = bytes.get(..usize::try_from(length).ok()?)?;
    let mut tree = start.clone();
    let Step::Frame { next: mut offset, .. } = frame::at(bytes, 0) else {
        return None;
    };
    loop {
        match frame::at(bytes, offset) {
            Step::End => return Some(tree),
            Step::Broken(_) => return None,
            Step::Frame { payload, next } => {
                tree.push(tree::leaf(payload));
                offset = next;
            }
        }
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Records `from..until`, as many as fit `bytes` (at least one). Blocks on the disk, never the writer.
///
/// # Errors
/// `Internal` if a segment cannot be read.
pub(super) fn read(segments: &Segments, from: u64, until: u64, mut bytes: usize) -> Result<Vec<Vec<u8>>> {
    let segments: Vec<Segment> = {
        let all = segments.read().unwrap_or_else(PoisonError::into_inner);
        let begin = all.partition_point(|segment| segment.first <= from).saturating_sub(1);
        all.iter()
            .skip(begin)
            .take_while(|segment| segment.first < until)
            .cloned()
            .collect()
    };
    let mut records = Vec::new();
    for segment in segments {
        let next = from + u64::try_from(records.len()).unwrap_or(u64::MAX);
        segment
            .read(next, until, &mut bytes, &mut records)
            .map_err(|error| Error::internal("the audit journal cannot be read").because(error))?;
        if bytes == 0 {
            break;
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::super::disk::OsDisk;
    use super::super::disk::tests::Failing;
    use super::super::record::MAX_RECORD_BYTES;
    use super::*;

    const ORIGIN: &str = "chancery.test/audit/n1";

    fn open(folder: &Path, limit: u64) -> Result<(Journal, Tree)> {
        Journal::open(folder, ORIGIN, limit, Box::new(OsDisk), &mut |_, _| {})
    }

    /// A journal of records `record 0`.., one a batch.
    fn written(folder: &Path, count: u64, limit: u64) -> (Journal, Tree) {
        let (mut journal, mut tree) = open(folder, limit).unwrap();
        for n in 0..count {
            let record = format!("record {n}").into_bytes();
            journal.append(&tree, &[&record]).unwrap();
            tree.push(tree::leaf(&record));
        }
        (journal, tree)
    }

    fn all(journal: &Journal, size: u64) -> Vec<String> {
        let records = read(&journal.segments(), 0, size, usize::MAX).unwrap();
        records
            .into_iter()
            .map(|record| String::from_utf8(record).unwrap())
            .collect()
    }

    fn newest(folder: &Path) -> PathBuf {
        segment::list(folder).unwrap().pop().unwrap().1
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, tree) = written(folder.path(), 700, 4096);
        assert!(segment::list(folder.path()).unwrap().len() > 2);
        let before = all(&journal, 700);
        assert_eq!(before[699], "record 699");
        drop(journal);
        let (journal, again) = open(folder.path(), 4096).unwrap();
        assert_eq!(again, tree);
        assert_eq!(all(&journal, 700), before);
        assert_eq!(
            read(&journal.segments(), 311, 313, usize::MAX).unwrap(),
            [b"record 311", b"record 312"]
        );
    }

    #[test]
    fn a_journal_has_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let _first = open(folder.path(), 4096).unwrap();
        assert!(open(folder.path(), 4096).err().unwrap().public().contains("in use"));
    }

    #[test]
    fn the_last_frame_torn_at_any_byte_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        drop(written(folder.path(), 3, 1 << 20));
        let path = newest(folder.path());
        let whole = fs::read(&path).unwrap();
        let last = whole.len() - frame::OVERHEAD - "record 2".len();
        for cut in last..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, mut tree) = open(folder.path(), 1 << 20).unwrap();
            assert_eq!(tree.size(), 2, "cut at {cut}");
            journal.append(&tree, &[b"record 2 again"]).unwrap();
            tree.push(tree::leaf(b"record 2 again"));
            drop(journal);
            assert_eq!(open(folder.path(), 1 << 20).unwrap().1, tree, "cut at {cut}");
        }
    }

    #[test]
    fn a_byte_changed_in_the_middle_refuses_and_says_where() {
        let folder = tempfile::tempdir().unwrap();
        drop(written(folder.path(), 3, 1 << 20));
        let path = newest(folder.path());
        let whole = fs::read(&path).unwrap();
        let frame = frame::OVERHEAD + "record 0".len();
        let second = whole.len() - 2 * frame;
        for offset in 0..whole.len() - frame {
            let mut bytes = whole.clone();
            bytes[offset] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let error = open(folder.path(), 1 << 20)
                .err()
                .unwrap_or_else(|| panic!("byte {offset} was not seen"));
            let text = error.detail();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            if offset >= second {
                assert!(text.contains(&format!("byte {second}, record 1")), "{text}");
            }
        }
    }

    #[test]
    fn a_torn_end_of_a_segment_that_is_not_the_last_refuses() {
        let folder = tempfile::tempdir().unwrap();
        drop(written(folder.path(), 700, 4096));
        let (first, path) = segment::list(folder.path()).unwrap().remove(1);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(open(folder.path(), 4096).err().unwrap().detail().contains("cut short"));
        fs::remove_file(&path).unwrap();
        let text = open(folder.path(), 4096).err().unwrap().detail();
        assert!(text.contains(&format!("record {first} comes next")), "{text}");
    }

    #[test]
    fn another_nodes_journal_refuses() {
        let folder = tempfile::tempdir().unwrap();
        drop(written(folder.path(), 1, 4096));
        let other = Journal::open(
            folder.path(),
            "chancery.test/audit/n2",
            4096,
            Box::new(OsDisk),
            &mut |_, _| {},
        );
        assert!(
            other
                .err()
                .unwrap()
                .detail()
                .contains("belongs to the log `chancery.test/audit/n1`")
        );
    }

    #[test]
    fn the_longest_record_fits_a_frame() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, tree) = open(folder.path(), 4096).unwrap();
        let longest = vec![b'x'; MAX_RECORD_BYTES];
        journal.append(&tree, &[&longest]).unwrap();
        drop(journal);
        assert_eq!(open(folder.path(), 4096).unwrap().1.size(), 1);
    }

    fn failing(folder: &Path) -> (Failing, Journal, Tree) {
        let disk = Failing::default();
        let (mut journal, mut tree) =
            Journal::open(folder, ORIGIN, 1 << 20, Box::new(disk.clone()), &mut |_, _| {}).unwrap();
        journal.append(&tree, &[b"kept"]).unwrap();
        tree.push(tree::leaf(b"kept"));
        (disk, journal, tree)
    }

    #[test]
    fn a_full_disk_loses_nothing_and_is_written_on_when_there_is_space() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, mut journal, mut tree) = failing(folder.path());
        disk.set(Some("write"));
        let trouble = journal.append(&tree, &[b"no space for this"]).unwrap_err();
        assert!(matches!(trouble, Trouble::Write(_)));
        disk.set(None);
        journal.recover(&tree, &trouble).unwrap();
        journal.append(&tree, &[b"space again"]).unwrap();
        tree.push(tree::leaf(b"space again"));
        assert_eq!(all(&journal, 2), ["kept", "space again"]);
        drop(journal);
        assert_eq!(open(folder.path(), 1 << 20).unwrap().1, tree);
    }

    #[test]
    fn a_failed_sync_is_never_retried_on_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, mut journal, mut tree) = failing(folder.path());
        let suspect = newest(folder.path());
        disk.set(Some("sync"));
        let trouble = journal.append(&tree, &[b"never acknowledged"]).unwrap_err();
        assert!(matches!(trouble, Trouble::Sync(_)));
        assert!(journal.recover(&tree, &trouble).is_err(), "the disk still fails");
        disk.set(None);
        journal.recover(&tree, &trouble).unwrap();
        journal.append(&tree, &[b"next"]).unwrap();
        tree.push(tree::leaf(b"next"));
        assert_ne!(newest(folder.path()), suspect);
        assert_eq!(all(&journal, 2), ["kept", "next"]);
        drop(journal);
        assert_eq!(open(folder.path(), 1 << 20).unwrap().1, tree);
    }

    #[test]
    fn what_was_acknowledged_and_is_gone_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, mut journal, tree) = failing(folder.path());
        disk.set(Some("sync"));
        let trouble = journal.append(&tree, &[b"x"]).unwrap_err();
        disk.set(None);
        let path = newest(folder.path());
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|window| window == b"kept").unwrap();
        bytes[at] = b'K';
        fs::write(&path, &bytes).unwrap();
        assert!(
            journal
                .recover(&tree, &trouble)
                .unwrap_err()
                .contains("is not what was written")
        );
    }

    #[test]
    fn a_deleted_or_replaced_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut journal, tree) = failing(folder.path());
        let path = newest(folder.path());
        let aside = folder.path().join("aside");

        fs::rename(&path, &aside).unwrap();
        let trouble = journal.append(&tree, &[b"into nowhere"]).unwrap_err();
        assert!(matches!(trouble, Trouble::Replaced(_)), "{trouble}");
        assert!(journal.recover(&tree, &trouble).unwrap_err().contains("was deleted"));

        fs::write(&path, b"something else").unwrap();
        assert!(
            journal
                .recover(&tree, &trouble)
                .unwrap_err()
                .contains("is not what was written")
        );

        fs::rename(&aside, &path).unwrap();
        journal.recover(&tree, &trouble).unwrap();
        journal.append(&tree, &[b"next"]).unwrap();
        assert_eq!(all(&journal, 2), ["kept", "next"]);
    }
}
