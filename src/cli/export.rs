//! Writes a log as static files, in the layout of C2SP tlog-tiles (c2sp.org/tlog-tiles): `checkpoint`,
//! `tile/<level>/<n>` and `tile/entries/<n>`, with `.p/<width>` for what is not full.
//!
//! It believes what it is given and checks nothing: that is `verify`'s work, with which it shares no code.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

/// Hashes of a full tile, and records of a full bundle.
const WIDTH: usize = 256;

/// A folder that is being filled.
pub struct Export {
    folder: PathBuf,
    /// The bundle that is not full yet.
    bundle: Vec<u8>,
    records: usize,
    /// For each level, the tile that is not full yet, and how many full ones are written.
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    hashes: Vec<[u8; 32]>,
    full: u64,
}

impl Export {
    /// Begins in `folder`, which is made; it must not hold anything yet.
    ///
    /// # Errors
    /// If the folder holds something, or cannot be made.
    pub fn begin(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        if fs::read_dir(folder)?.next().is_some() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("`{}` is not empty: give a new folder", folder.display()),
            ));
        }
        Ok(Self {
            folder: folder.to_owned(),
            bundle: Vec::new(),
            records: 0,
            levels: Vec::new(),
        })
    }

    /// Adds the next record.
    ///
    /// # Errors
    /// If a file cannot be written, or the record is longer than the layout can say.
    pub fn push(&mut self, record: &[u8]) -> io::Result<()> {
        let length = u16::try_from(record.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a record is longer than 65,535 bytes"))?;
        self.bundle.extend(length.to_be_bytes());
        self.bundle.extend(record);
        self.records += 1;
        if self.records == WIDTH {
            let full = self.levels.first().map_or(0, |level| level.full);
            write(&self.folder, "entries", full, WIDTH, &self.bundle)?;
            self.bundle.clear();
            self.records = 0;
        }
        self.grow(0, hash(&[&[0], record]))
    }

    /// Writes what is not full, and the checkpoint last: a folder without one is no export.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn finish(self, checkpoint: &str) -> io::Result<()> {
        if self.records > 0 {
            let full = self.levels.first().map_or(0, |level| level.full);
            write(&self.folder, "entries", full, self.records, &self.bundle)?;
        }
        for (n, level) in self.levels.iter().enumerate() {
            if !level.hashes.is_empty() {
                let hashes = level.hashes.concat();
                write(&self.folder, &n.to_string(), level.full, level.hashes.len(), &hashes)?;
            }
        }
        store(&self.folder.join("checkpoint"), checkpoint.as_bytes())?;
        fs::File::open(&self.folder)?.sync_all()
    }

    fn grow(&mut self, n: usize, new: [u8; 32]) -> io::Result<()> {
        if self.levels.len() == n {
            self.levels.push(Level::default());
        }
        let Some(level) = self.levels.get_mut(n) else {
            return Ok(());
        };
        level.hashes.push(new);
        if level.hashes.len() < WIDTH {
            return Ok(());
        }
        let hashes = std::mem::take(&mut level.hashes);
        write(&self.folder, &n.to_string(), level.full, WIDTH, &hashes.concat())?;
        level.full += 1;
        self.grow(n + 1, top(hashes))
    }
}

/// The root of a full tile.
fn top(mut hashes: Vec<[u8; 32]>) -> [u8; 32] {
    while hashes.len() > 1 {
        hashes = hashes.chunks(2).map(|pair| hash(&[&[1], &pair.concat()])).collect();
    }
    hashes.pop().unwrap_or_default()
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, &parts.concat()).as_ref()) {
        *to = *from;
    }
    hash
}

/// Writes tile or bundle `n`.
fn write(folder: &Path, kind: &str, n: u64, width: usize, bytes: &[u8]) -> io::Result<()> {
    // 1234067 is written x001/x234/067 (tlog-tiles, "Merkle Tree").
    let mut name = format!("{:03}", n % 1000);
    let mut rest = n / 1000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1000);
        rest /= 1000;
    }
    if width < WIDTH {
        name = format!("{name}.p/{width}");
    }
    store(&folder.join("tile").join(kind).join(name), bytes)
}

fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_named_by_its_index_in_groups_of_three() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "0", 1_234_067, WIDTH, b"").unwrap();
        write(folder.path(), "entries", 0, 7, b"").unwrap();
        assert!(folder.path().join("tile/0/x001/x234/067").is_file());
        assert!(folder.path().join("tile/entries/000.p/7").is_file());
    }

    #[test]
    fn a_folder_that_holds_something_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x"), "").unwrap();
        assert!(
            Export::begin(folder.path())
                .err()
                .unwrap()
                .to_string()
                .contains("not empty")
        );
    }
}
