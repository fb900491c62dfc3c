//! The journal: the log's records in files on this node's disk.
//!
//! Records are appended in batches, each with one write and one fdatasync. What was acknowledged is never rewritten.
//! Damage is never repaired here, and never passed over: only a torn batch at the very end, of which nobody was told
//! that it is durable, is cut.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::disk::Disk;
use super::frame;
use super::index::{Index, Marks};
use super::record::MAX_RECORD_BYTES;
use super::replay::{End, Older, Replay, replayed};
use super::segment::{self, Header, Identity};
use super::tree::Tree;
use crate::error::{Error, Result};
use crate::fault;

/// The most bytes of a batch, so the most that a power loss can tear.
pub(super) const BATCH_BYTES: usize = 1 << 20;
const _: () = assert!(
    frame::OVERHEAD + MAX_RECORD_BYTES <= BATCH_BYTES,
    "a record fits a batch"
);

/// The bytes that `record` takes of a batch.
pub(super) fn bytes_of(record: &[u8]) -> usize {
    frame::OVERHEAD + record.len()
}

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
    index: Arc<Index>,
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
    /// Opens the journal in `folder`, makes it if there is none, and reads it from the segment with record `from` on:
    /// `visit` sees each record with the tree before it. Returns the tree over all records, and the segments that were
    /// not read.
    ///
    /// SECURITY: of those, only the tree is known, from the header of the segment behind them. The caller compares the
    /// tree of `from` records, or of more, with a signed checkpoint, which proves that header, and has them checked.
    ///
    /// # Errors
    /// `Unavailable` if the folder cannot be used or another process has it; `Internal` with file, offset and record if
    /// anything that is read but a torn end is damaged.
    pub(super) fn open(
        folder: &Path,
        origin: &str,
        limit: u64,
        disk: Box<dyn Disk>,
        from: u64,
        visit: &mut dyn FnMut(&Tree, &[u8]),
    ) -> Result<(Self, Tree, Older)> {
        let unusable = |error: io::Error| {
            Error::unavailable(format!(
                "audit journal folder `{}` cannot be used: make it writable for this user",
                folder.display()
            ))
            .because(error)
        };
        make(folder).map_err(unusable)?;
        let lock = File::create(folder.join("lock")).map_err(unusable)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            Error::unavailable(format!(
                "audit journal `{}` is in use: stop the other process, or give each node its own folder",
                folder.display()
            ))
            .because(error)
        })?;

        let mut older = segment::list(folder).map_err(unusable)?;
        let (skipped, start) = beginning(&older, from).map_err(unusable)?;
        let mut firsts: Vec<_> = older.iter().map(|(first, _)| *first).collect();
        let read = older.split_off(skipped);
        let older = Older {
            segments: older,
            tree: start.clone(),
        };

        let mut replay = Replay::new(origin, start);
        let mut last = None;
        for (n, (first, path)) in read.iter().enumerate() {
            let start = replay.tree().clone();
            let end = if n + 1 == read.len() { End::Torn } else { End::Whole };
            let found = replay.segment(*first, path, end, visit)?;
            last = Some((path, start, found));
        }
        let tree = replay.tree().clone();
        let mut marks = Marks::new(0);
        let mut current = None;
        if let Some((path, start, found)) = last {
            let file = OpenOptions::new().read(true).write(true).open(path).map_err(unusable)?;
            settle(&*disk, &file, found.length).map_err(unusable)?;
            marks = found.marks;
            // A segment of an older format is not written on: the next start begins behind it.
            if found.header.is_current() {
                current = Some(Current::new(path.clone(), file, found.length, start).map_err(unusable)?);
            }
        } else {
            firsts.clear();
        }
        let index = Arc::new(Index::new(folder, firsts, marks));
        let current = match current {
            Some(current) => current,
            None => new_segment(folder, origin, &tree, &index).map_err(unusable)?,
        };
        let journal = Self {
            folder: folder.to_owned(),
            origin: origin.to_owned(),
            limit,
            disk,
            current,
            index,
            _lock: lock,
        };
        Ok((journal, tree, older))
    }

    /// Where the records lie.
    pub(super) fn index(&self) -> Arc<Index> {
        self.index.clone()
    }

    /// Appends `records`, at most [`BATCH_BYTES`] of them, after `tree`. They are durable on return; on an error
    /// [`Self::recover`] comes first.
    pub(super) fn append(&mut self, tree: &Tree, records: &[&[u8]]) -> Result<(), Trouble> {
        if self.current.length >= self.limit {
            self.current = new_segment(&self.folder, &self.origin, tree, &self.index).map_err(Trouble::Write)?;
        }
        let mut bytes = Vec::new();
        let mut offsets = Vec::with_capacity(records.len());
        for record in records {
            offsets.push(self.current.length + length_of(&bytes));
            let begins = bytes.is_empty();
            frame::push(&mut bytes, record, begins);
        }
        fault::point("audit.write.before");
        let Current { file, length, .. } = &self.current;
        self.disk.write(file, &bytes, *length).map_err(Trouble::Write)?;
        self.disk.sync(file).map_err(Trouble::Sync)?;
        fault::point("audit.write.after");
        let length = length + length_of(&bytes);
        self.current.check(length)?;
        self.current.length = length;
        self.index.note((tree.size()..).zip(offsets));
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
        if replayed(&path, length, &start).map_err(unusable)?.as_ref() != Some(tree) {
            return Err(format!(
                "audit journal `{name}` is not what was written: put the file back that was there"
            ));
        }
        file.set_len(length).map_err(unusable)?;
        self.disk.sync(&file).map_err(unusable)?;
        let again = Current::new(path.clone(), file, length, start).map_err(unusable)?;
        again.check(length).map_err(|trouble| trouble.to_string())?;
        self.current = again;
        if matches!(trouble, Trouble::Sync(_)) {
            // What the kernel holds of this file may differ from the disk: nothing more is written to it.
            self.current = new_segment(&self.folder, &self.origin, tree, &self.index).map_err(unusable)?;
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

/// Makes the journal's folder, if it is not there, so that it outlasts a power loss.
fn make(folder: &Path) -> io::Result<()> {
    let missing: Vec<_> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        let parent = if parent == Path::new("") {
            Path::new(".")
        } else {
            parent
        };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Which segment of `listed` a start that needs the records from `from` on begins with, and the tree before it: the
/// newest that begins early enough and whose header says what came before.
fn beginning(listed: &[(u64, PathBuf)], from: u64) -> io::Result<(usize, Tree)> {
    let early = listed.partition_point(|(first, _)| *first <= from);
    let whole = listed.first().is_some_and(|(first, _)| *first == 0);
    for (n, (first, path)) in listed.iter().enumerate().take(early).skip(1).rev() {
        let header = Header::of(path)?.filter(|header| whole && header.first == *first);
        if let Some(start) = header.and_then(|header| header.start()) {
            return Ok((n, start));
        }
    }
    Ok((0, Tree::default()))
}

/// Makes what was found of the segment that is written on durable, and nothing else of it.
///
/// CRASH: a torn end, or a batch that was written and not acknowledged, is on the disk or gone after this, never in
/// between. The former process may have ended because its sync failed: then the kernel holds bytes as written that the
/// disk has not, and a further sync would pass. Writing the last batch once more makes it write them.
fn settle(disk: &dyn Disk, file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    let from = length.saturating_sub(u64::try_from(BATCH_BYTES).unwrap_or(u64::MAX));
    let mut batch = vec![0; usize::try_from(length - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut batch, from)?;
    disk.write(file, &batch, from)?;
    disk.sync(file)
}

fn new_segment(folder: &Path, origin: &str, tree: &Tree, index: &Index) -> io::Result<Current> {
    let (file, length) = segment::create(folder, origin, tree)?;
    index.begin(tree.size());
    Current::new(segment::path(folder, tree.size()), file, length, tree.clone())
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::disk::OsDisk;
    use super::super::disk::tests::Failing;
    use super::super::tree;
    use super::*;
    use crate::error::Kind;

    const ORIGIN: &str = "chancery.test/audit/n1";

    fn open(folder: &Path, limit: u64) -> Result<(Journal, Tree)> {
        let (journal, tree, _) = open_from(folder, limit, 0)?;
        Ok((journal, tree))
    }

    fn open_from(folder: &Path, limit: u64, from: u64) -> Result<(Journal, Tree, Older)> {
        Journal::open(folder, ORIGIN, limit, Box::new(OsDisk), from, &mut |_, _| {})
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
        let records = journal.index().read(0, size, usize::MAX).unwrap();
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
            journal.index().read(311, 313, usize::MAX).unwrap(),
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
            0,
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
        let (mut journal, mut tree, _) =
            Journal::open(folder, ORIGIN, 1 << 20, Box::new(disk.clone()), 0, &mut |_, _| {}).unwrap();
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
    /// The places of `bytes` that hold the frame of `payload`.
    fn frame_of(bytes: &[u8], payload: &str) -> std::ops::Range<usize> {
        let at = bytes
            .windows(payload.len())
            .position(|window| window == payload.as_bytes())
            .unwrap();
        at - frame::OVERHEAD..at + payload.len()
    }

    #[test]
    fn a_start_reads_the_newest_part_and_the_rest_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, tree) = written(folder.path(), 5_000, 4096);
        let before = all(&journal, 5_000);
        drop(journal);
        let mut seen = 0;
        let (journal, again, older) =
            Journal::open(folder.path(), ORIGIN, 4096, Box::new(OsDisk), 4_990, &mut |_, _| {
                seen += 1
            })
            .unwrap();
        assert_eq!(again, tree);
        assert!((10..300).contains(&seen), "{seen} records were read");
        assert_eq!(older.tree.size(), 5_000 - seen);
        assert_eq!(all(&journal, 5_000), before);
        let some = |from| journal.index().read(from, 5_000, 30).unwrap();
        assert_eq!(some(2_000), [b"record 2000", b"record 2001", b"record 2002"]);
        assert_eq!(some(7).len(), 4);
        let mut checked = 0;
        older
            .check(ORIGIN, &mut |_| {
                checked += 1;
                true
            })
            .unwrap();
        assert_eq!(checked + seen, 5_000);
    }

    #[test]
    fn damage_in_an_old_segment_is_found_behind_the_start_and_by_readers() {
        let folder = tempfile::tempdir().unwrap();
        drop(written(folder.path(), 2_000, 4096));
        let (first, path) = segment::list(folder.path()).unwrap().remove(3);
        let whole = fs::read(&path).unwrap();
        let place = frame_of(&whole, &format!("record {}", first + 1));
        let spoiled = |spoil: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = whole.clone();
            spoil(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            let (journal, tree, older) = open_from(folder.path(), 4096, 2_000).unwrap();
            assert_eq!(tree.size(), 2_000);
            let found = older.check(ORIGIN, &mut |_| true).unwrap_err().detail();
            let read = journal.index().read(first, 2_000, usize::MAX);
            (found, read)
        };

        let (found, read) = spoiled(&|bytes| bytes[place.end - 1] ^= 1);
        let at = format!("byte {}, record {}", place.start, first + 1);
        assert!(found.contains(path.to_str().unwrap()) && found.contains(&at), "{found}");
        let error = read.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(
            error.public().contains(&format!("record {}: checksum", first + 1)),
            "{}",
            error.public()
        );

        // With a checksum that fits, it is the verifier's to say; but the check sees it.
        let (found, read) = spoiled(&|bytes| {
            let mut other = Vec::new();
            frame::push(&mut other, b"Record!", true);
            bytes.splice(place.clone(), other);
        });
        assert!(found.contains("are not those that it follows"), "{found}");
        assert_eq!(read.unwrap()[1], b"Record!");

        // Cut between two records, and gone.
        let (found, read) = spoiled(&|bytes| bytes.truncate(place.start));
        assert!(found.contains("a segment is missing"), "{found}");
        let error = read.unwrap_err();
        assert!(
            error.public().contains(&format!("record {}: it is missing", first + 1)),
            "{}",
            error.public()
        );
        fs::remove_file(&path).unwrap();
        let (_, _, older) = open_from(folder.path(), 4096, 2_000).unwrap();
        let found = older.check(ORIGIN, &mut |_| true).unwrap_err().detail();
        assert!(found.contains(&format!("record {first} comes next")), "{found}");
        fs::write(&path, &whole).unwrap();
        fs::remove_file(segment::path(folder.path(), 0)).unwrap();
        let text = open_from(folder.path(), 4096, 2_000).err().unwrap().detail();
        assert!(text.contains("record 0 comes next"), "{text}");
    }

    #[test]
    fn the_last_of_the_old_segments_is_compared_with_the_tree_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        drop(written(folder.path(), 2_000, 4096));
        let listed = segment::list(folder.path()).unwrap();
        let (first, path) = &listed[listed.len() - 2];
        let mut bytes = fs::read(path).unwrap();
        let place = frame_of(&bytes, &format!("record {}", first + 1));
        let mut other = Vec::new();
        frame::push(&mut other, b"Record 0000", true);
        bytes.splice(place, other);
        fs::write(path, &bytes).unwrap();
        let (_, _, older) = open_from(folder.path(), 4096, 2_000).unwrap();
        let found = older.check(ORIGIN, &mut |_| true).unwrap_err().detail();
        assert!(found.contains("not those that were signed"), "{found}");
    }

    /// As the first format had it: no frontier, no batches marked.
    fn to_first_format(path: &Path) {
        let mut frames = segment::Frames::open(path, 0).unwrap();
        let mut bytes = Vec::new();
        let frame::Step::Frame { payload, .. } = frames.step().unwrap() else {
            panic!("no header")
        };
        let mut header: serde_json::Value = serde_json::from_slice(payload).unwrap();
        header["v"] = 1.into();
        header.as_object_mut().unwrap().remove("frontier");
        frame::push(&mut bytes, &serde_json::to_vec(&header).unwrap(), false);
        while let frame::Step::Frame { payload, .. } = frames.step().unwrap() {
            frame::push(&mut bytes, payload, false);
        }
        fs::write(path, &bytes).unwrap();
    }

    #[test]
    fn a_log_of_the_first_format_is_read_whole_once() {
        let folder = tempfile::tempdir().unwrap();
        let (_, tree) = written(folder.path(), 2_000, 4096);
        for (_, path) in segment::list(folder.path()).unwrap() {
            to_first_format(&path);
        }
        // In the first format, any whole frame behind damage says that it is no torn end.
        let path = newest(folder.path());
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[frame_of(&whole, "record 1998").start + 6] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(open(folder.path(), 4096).is_err());
        fs::write(&path, &whole).unwrap();

        let mut seen = 0;
        let mut visit = |_: &Tree, _: &[u8]| seen += 1;
        let (journal, again, _) =
            Journal::open(folder.path(), ORIGIN, 4096, Box::new(OsDisk), 2_000, &mut visit).unwrap();
        assert_eq!(again, tree);
        drop(journal);
        let (journal, again, older) =
            Journal::open(folder.path(), ORIGIN, 4096, Box::new(OsDisk), 2_000, &mut visit).unwrap();
        assert_eq!(again, tree);
        assert_eq!(seen, 2_000, "the second start read nothing again");
        assert_eq!(all(&journal, 2_000).len(), 2_000);
        older.check(ORIGIN, &mut |_| true).unwrap();
    }

    #[test]
    fn a_segment_that_was_about_to_be_begun_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut tree) = written(folder.path(), 3, 1 << 20);
        // CRASH: before it had its name, and after.
        fs::write(folder.path().join("next"), b"half of a hea").unwrap();
        for _ in 0..2 {
            let (mut journal, again) = open(folder.path(), 10).unwrap();
            assert_eq!(again, tree);
            segment::create(folder.path(), ORIGIN, &tree).unwrap();
            drop(journal);
            (journal, _) = open(folder.path(), 10).unwrap();
            journal.append(&tree, &[b"next"]).unwrap();
            tree.push(tree::leaf(b"next"));
        }
        let (journal, again) = open(folder.path(), 10).unwrap();
        assert_eq!(again, tree);
        assert_eq!(all(&journal, 5), ["record 0", "record 1", "record 2", "next", "next"]);
    }

    #[test]
    fn the_largest_batch_torn_anyhow_is_cut() {
        const PAGE: usize = 4096;
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, tree) = written(folder.path(), 3, 64 << 20);
        let path = newest(folder.path());
        let durable = fs::metadata(&path).unwrap().len();
        let record = vec![b'x'; 1_000];
        let mut batch = vec![record.as_slice(); BATCH_BYTES / bytes_of(&record) - 1];
        let left = vec![b'y'; BATCH_BYTES - batch.len() * bytes_of(&record) - frame::OVERHEAD];
        batch.push(&left);
        journal.append(&tree, &batch).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let start = usize::try_from(durable).unwrap();
        assert_eq!(whole.len() - start, BATCH_BYTES);

        // A disk keeps pages of it in any order: all but one, all but the first, one of two, only the last.
        let pages = start / PAGE..whole.len().div_ceil(PAGE);
        let losses: [&dyn Fn(usize) -> bool; 5] = [
            &|page| page == pages.start,
            &|page| page == pages.end / 2,
            &|page| page % 2 == 0,
            &|page| page % 2 == 1,
            &|page| page + 1 != pages.end,
        ];
        for (n, lost) in losses.iter().enumerate() {
            let mut bytes = whole.clone();
            for page in pages.clone().filter(|page| lost(*page)) {
                bytes[(page * PAGE).max(start)..((page + 1) * PAGE).min(whole.len())].fill(0);
            }
            fs::write(&path, &bytes).unwrap();
            let (journal, found) = open(folder.path(), 64 << 20).unwrap_or_else(|error| panic!("{n}: {error:?}"));
            assert!(found.size() < tree.size() + 1_000, "{n}");
            assert_eq!(all(&journal, 3), ["record 0", "record 1", "record 2"]);
        }

        // With a batch behind it, it was durable: the same losses are damage.
        for lost in losses {
            fs::write(&path, &whole).unwrap();
            let (mut journal, tree) = open(folder.path(), 64 << 20).unwrap();
            journal.append(&tree, &[b"behind"]).unwrap();
            drop(journal);
            let mut bytes = fs::read(&path).unwrap();
            for page in pages.clone().filter(|page| lost(*page)) {
                bytes[(page * PAGE).max(start)..((page + 1) * PAGE).min(whole.len())].fill(0);
            }
            fs::write(&path, &bytes).unwrap();
            assert!(
                open(folder.path(), 64 << 20)
                    .err()
                    .unwrap()
                    .detail()
                    .contains("is damaged")
            );
        }
    }

    #[test]
    fn what_the_former_process_wrote_last_is_written_again_before_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (_, tree) = written(folder.path(), 3, 1 << 20);
        let length = fs::metadata(newest(folder.path())).unwrap().len();
        let disk = Failing::default();
        let open = || {
            Journal::open(
                folder.path(),
                ORIGIN,
                1 << 20,
                Box::new(disk.clone()),
                0,
                &mut |_, _| {},
            )
        };
        disk.set(Some("sync"));
        assert!(open().is_err(), "it cannot be made durable");
        disk.set(None);
        assert_eq!(open().unwrap().1, tree);
        assert_eq!(disk.written(), [(0, usize::try_from(length).unwrap()); 2]);
    }
}
