//! The independent verifier of audit logs: `chancery audit verify`.
//!
//! It judges records, tiles and checkpoints against a public key that comes from outside, and says in words which
//! record is wrong. It must never share code with the room that writes the log (`audit`), nor with `export`: an error
//! made once may not be made again here. A new check of records goes to `ledger`, of files to this file.

mod difference;
mod folder;
mod ledger;
mod note;
mod proof;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

use self::ledger::Ledger;
pub use self::note::checkpoints;
use self::note::{Checkpoint, Key};
pub use self::proof::{Proven, verify_proof};
use self::tree::Hash;

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Finding {
    record: Option<u64>,
    text: String,
}

impl Finding {
    fn new(record: Option<u64>, text: String) -> Self {
        Self { record, text }
    }

    /// The index of the first record that is concerned, where one can be named.
    pub fn record(&self) -> Option<u64> {
        self.record
    }
}

/// An act that was begun, and that no record closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIntent {
    /// Its record's index.
    pub record: u64,
    /// Its record's id.
    pub id: String,
    /// When it was begun.
    pub time: String,
    /// What was about to happen.
    pub action: String,
    /// To what.
    pub resource: String,
}

/// What is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// How many records are proven to be those that were signed.
    pub proven: u64,
    /// How many more there are, which no checkpoint covers yet.
    pub unproven: u64,
    /// The size of the older checkpoint that is proven to be a beginning of this log.
    pub since: Option<u64>,
    /// Acts begun and not closed, of the proven records.
    pub open_intents: Vec<OpenIntent>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log `{}`: {} records proven", self.origin, self.proven)?;
        if let Some(since) = self.since {
            write!(f, ", the first {since} of them as the older checkpoint had them")?;
        }
        if self.unproven > 0 {
            write!(
                f,
                "; records {} to {} are not proven: no checkpoint covers them yet",
                self.proven,
                self.proven + self.unproven - 1
            )?;
        }
        for intent in &self.open_intents {
            write!(
                f,
                "\nrecord {} (id {}): {} of `{}`, begun at {}, has no outcome yet",
                intent.record, intent.id, intent.action, intent.resource, intent.time
            )?;
        }
        Ok(())
    }
}

/// A log as a running service tells it: its records in order, and its newest checkpoint.
pub struct Source {
    key: Key,
    /// Older checkpoints, by what they cover.
    since: Vec<Checkpoint>,
    ledger: Ledger,
}

impl Source {
    /// A log to be judged by `key` (a C2SP vkey), of which `since` holds older checkpoints: one, or many behind each other.
    ///
    /// # Errors
    /// If the key cannot be used, or did not sign all of `since`.
    pub fn new(key: &str, since: Option<&str>) -> Result<Self, Finding> {
        let key = Key::parse(key)?;
        let mut since = since.map(|text| older(&key, text)).transpose()?.unwrap_or_default();
        since.sort_by_key(|since| since.size);
        Ok(Self {
            key,
            since,
            ledger: Ledger::default(),
        })
    }

    /// Adds the next record.
    pub fn push(&mut self, record: &[u8]) {
        self.ledger.push(record);
    }

    /// How many records were added: the index of the next.
    pub fn size(&self) -> u64 {
        self.ledger.size()
    }

    /// Judges the records by `checkpoint`. Those that came after it was signed are counted as unproven.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn finish(self, checkpoint: &str) -> Result<Report, Finding> {
        let checkpoint = self.key.open(checkpoint, "the checkpoint")?;
        let Some(covered) = prefix(&self.ledger.hashes, checkpoint.size) else {
            return Err(Finding::new(
                Some(self.ledger.size()),
                format!(
                    "the log was cut: it has {} records, but its checkpoint covers {}",
                    self.ledger.size(),
                    checkpoint.size
                ),
            ));
        };
        if tree::root(covered) != checkpoint.root {
            self.ledger.check()?;
            self.check_since(&checkpoint)?;
            return Err(not_those_signed(&checkpoint, self.since.last()));
        }
        self.report(&checkpoint)
    }

    /// Everything but the checkpoint's own root, which fits.
    fn report(self, checkpoint: &Checkpoint) -> Result<Report, Finding> {
        self.check_since(checkpoint)?;
        self.ledger.check()?;
        Ok(Report {
            origin: self.key.name().to_owned(),
            proven: checkpoint.size,
            unproven: self.ledger.size() - checkpoint.size,
            since: self.since.last().map(|since| since.size),
            open_intents: self.ledger.open_intents(checkpoint.size),
        })
    }

    fn check_since(&self, checkpoint: &Checkpoint) -> Result<(), Finding> {
        let covers = |since: &&Checkpoint| since.size <= checkpoint.size && since.size <= self.ledger.size();
        let sizes: Vec<usize> = self
            .since
            .iter()
            .take_while(covers)
            .filter_map(|since| usize::try_from(since.size).ok())
            .collect();
        let roots = tree::roots(&self.ledger.hashes, &sizes);
        if let Some((since, _)) = self.since.iter().zip(&roots).find(|(since, root)| since.root != **root) {
            return Err(Finding::new(
                None,
                format!(
                    "the first {} records are not those of the older checkpoint: the log was rewritten after it was \
                     signed",
                    since.size
                ),
            ));
        }
        match self.since.get(roots.len()) {
            None => Ok(()),
            Some(since) => Err(Finding::new(
                Some(checkpoint.size),
                format!(
                    "the log was rolled back: the older checkpoint covers {} records, the newest only {}",
                    since.size, checkpoint.size
                ),
            )),
        }
    }
}

/// The older checkpoints in a text; where none can be told apart, the text itself is taken for one.
fn older(key: &Key, text: &str) -> Result<Vec<Checkpoint>, Finding> {
    let mut notes = checkpoints(text);
    if notes.is_empty() {
        notes.push(text.to_owned());
    }
    notes
        .iter()
        .map(|note| key.open(note, "the older checkpoint"))
        .collect()
}

fn prefix(hashes: &[Hash], size: u64) -> Option<&[Hash]> {
    hashes.get(..usize::try_from(size).ok()?)
}

fn not_those_signed(checkpoint: &Checkpoint, since: Option<&Checkpoint>) -> Finding {
    let from = since.map_or(0, |since| since.size);
    Finding::new(
        None,
        format!(
            "the records are not those that were signed: one or more of records {from} to {} were changed, and nothing \
             here tells which",
            checkpoint.size.saturating_sub(1)
        ),
    )
}

/// Judges the export in `folder` by `key` (a C2SP vkey), which must come from elsewhere. With `since`, one or more older
/// checkpoints, also that the log only grew since then.
///
/// # Errors
/// The first thing that is wrong; where a record can be named, it is.
pub fn verify_export(folder: &Path, key: &str, since: Option<&str>) -> Result<Report, Finding> {
    let mut source = Source::new(key, since)?;
    let note = folder::read(folder, Path::new("checkpoint"))?.ok_or_else(|| {
        Finding::new(
            None,
            format!("`{}` holds no `checkpoint`: it is no export", folder.display()),
        )
    })?;
    let note =
        String::from_utf8(note).map_err(|_| Finding::new(None, "the checkpoint was changed: it is no text".into()))?;
    let checkpoint = source.key.open(&note, "the checkpoint")?;
    let size = usize::try_from(checkpoint.size)
        .map_err(|_| Finding::new(None, "the log is too large for this machine".into()))?;

    let mut extra = folder::list(folder)?;
    extra.remove(Path::new("checkpoint"));
    let mut missing = None;
    for (file, first, width) in folder::files("entries", size) {
        extra.remove(&file);
        let Some(bundle) = folder::read(folder, &file)? else {
            missing.get_or_insert((file, first, width));
            continue;
        };
        folder::entries(&bundle)
            .into_iter()
            .for_each(|entry| source.push(entry));
    }
    let tiles = Tiles::read(folder, size, &mut extra)?;

    let whole = missing.is_none() && source.ledger.hashes.len() == size;
    if !whole || tree::root(&source.ledger.hashes) != checkpoint.root {
        if let Some(finding) = beyond(&source.ledger, &checkpoint) {
            return Err(finding);
        }
        if let Some((file, first, width)) = missing {
            return Err(Finding::new(
                u64::try_from(first).ok(),
                format!(
                    "the log was cut: `{}` with records {first} to {} is missing",
                    file.display(),
                    first + width - 1
                ),
            ));
        }
        if let Some(finding) = tiles.accuse(&source.ledger, &checkpoint) {
            return Err(finding);
        }
        // The tiles were changed along with the records; what is left to go by is the records themselves.
        source.ledger.check()?;
        source.check_since(&checkpoint)?;
        return Err(not_those_signed(&checkpoint, source.since.last()));
    }
    tiles.compare(&tree::levels(&source.ledger.hashes))?;
    if let Some(file) = extra.first() {
        return Err(Finding::new(
            Some(checkpoint.size),
            format!(
                "`{}` is no part of this log: its checkpoint covers {} records and nothing more",
                file.display(),
                checkpoint.size
            ),
        ));
    }
    source.report(&checkpoint)
}

/// Records after the last one that is signed, if the signed ones are all there.
fn beyond(ledger: &Ledger, checkpoint: &Checkpoint) -> Option<Finding> {
    let signed = prefix(&ledger.hashes, checkpoint.size)?;
    let more = ledger.size() > checkpoint.size && tree::root(signed) == checkpoint.root;
    more.then(|| {
        let first = usize::try_from(checkpoint.size).unwrap_or(usize::MAX);
        Finding::new(
            Some(checkpoint.size),
            format!(
                "{} was added: the checkpoint covers {} records",
                ledger.name(first),
                checkpoint.size
            ),
        )
    })
}

/// The hash tiles as they are in the folder.
struct Tiles {
    levels: Vec<Vec<TileFile>>,
}

struct TileFile {
    file: PathBuf,
    first: usize,
    width: usize,
    hashes: Option<Vec<Hash>>,
}

impl Tiles {
    /// Reads all tiles of a log with `size` records, and takes them off the list of files.
    fn read(folder: &Path, size: usize, files: &mut std::collections::BTreeSet<PathBuf>) -> Result<Self, Finding> {
        let mut levels = Vec::new();
        let mut count = size;
        while count > 0 {
            let mut level = Vec::new();
            for (file, first, width) in folder::files(&levels.len().to_string(), count) {
                files.remove(&file);
                let hashes = folder::read(folder, &file)?
                    .and_then(|tile| folder::hashes(&tile))
                    .filter(|hashes| hashes.len() == width);
                level.push(TileFile {
                    file,
                    first,
                    width,
                    hashes,
                });
            }
            levels.push(level);
            count /= tree::WIDTH;
        }
        Ok(Self { levels })
    }

    /// Whether every tile holds what the records say.
    fn compare(&self, expected: &[Vec<Hash>]) -> Result<(), Finding> {
        for (level, (tiles, expected)) in self.levels.iter().zip(expected).enumerate() {
            for tile in tiles {
                let name = tile.file.display();
                let Some(hashes) = &tile.hashes else {
                    return Err(Finding::new(
                        None,
                        format!("hash tile `{name}` is missing or cut; the records are whole"),
                    ));
                };
                let wrong = hashes
                    .iter()
                    .zip(expected.iter().skip(tile.first))
                    .position(|(a, b)| a != b);
                if let Some(wrong) = wrong {
                    let index = tile.first + wrong;
                    let (what, record) = match level {
                        0 => (format!("record {index}"), u64::try_from(index).ok()),
                        _ => (format!("part {index}"), None),
                    };
                    return Err(Finding::new(
                        record,
                        format!("hash tile `{name}` was changed at the hash of {what}; the records are whole"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Names the record that is wrong, going by those tiles that the checkpoint vouches for.
    fn accuse(&self, found: &Ledger, checkpoint: &Checkpoint) -> Option<Finding> {
        let leaves: Vec<Hash> = self
            .levels
            .first()
            .into_iter()
            .flatten()
            .flat_map(|tile| tile.hashes.clone().unwrap_or_else(|| vec![[0; 32]; tile.width]))
            .collect();
        if tree::root(&leaves) == checkpoint.root {
            return difference::name(found, &leaves);
        }
        self.accuse_tile(found)
    }

    /// The leaf tiles do not give the root. A full one whose records do not give the hash that the tile above holds for
    /// it was changed together with its records: that narrows the search to its 256 records.
    fn accuse_tile(&self, found: &Ledger) -> Option<Finding> {
        let above = self.levels.get(1)?.iter().flat_map(|tile| {
            let hashes = tile.hashes.iter().flatten().copied().map(Some);
            hashes.chain(std::iter::repeat(None)).take(tile.width)
        });
        let mut parts = found.hashes.chunks(tree::WIDTH).zip(above).enumerate();
        let (part, _) = parts.find(|(_, (records, above))| above.is_some_and(|above| tree::root(records) != above))?;
        let first = part * tree::WIDTH;
        Some(Finding::new(
            u64::try_from(first).ok(),
            format!(
                "one of records {first} to {} was changed, and the hash tile of these records with it",
                first + tree::WIDTH - 1
            ),
        ))
    }
}
