//! Reading of an exported folder: which files belong to it, and what is in them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Finding;
use super::tree::{Hash, WIDTH};

/// The path of tile (or bundle, for `entries`) number `index` with `width` parts, within the folder.
fn path(kind: &str, index: usize, width: usize) -> PathBuf {
    let digits = index.to_string();
    let digits = format!("{}{digits}", "0".repeat((3 - digits.len() % 3) % 3));
    let groups: Vec<_> = digits.as_bytes().chunks(3).map(String::from_utf8_lossy).collect();
    let last = groups.len() - 1;
    let mut path = PathBuf::from("tile").join(kind);
    for (n, group) in groups.iter().enumerate() {
        path.push(if n < last {
            format!("x{group}")
        } else {
            group.to_string()
        });
    }
    if width < WIDTH {
        path.set_extension("p");
        path.push(width.to_string());
    }
    path
}

/// The files that hold `count` hashes or records, with the number of the first of each and how many.
pub(super) fn files(kind: &str, count: usize) -> impl Iterator<Item = (PathBuf, usize, usize)> + '_ {
    (0..count.div_ceil(WIDTH)).map(move |index| {
        let first = index * WIDTH;
        let width = (count - first).min(WIDTH);
        (path(kind, index, width), first, width)
    })
}

/// All files below `folder`, relative to it.
pub(super) fn list(folder: &Path) -> Result<BTreeSet<PathBuf>, Finding> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(|error| unreadable(&next, &error))? {
            let path = entry.map_err(|error| unreadable(&next, &error))?.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if let Ok(inside) = path.strip_prefix(folder) {
                found.insert(inside.to_owned());
            }
        }
    }
    Ok(found)
}

/// A file's bytes, `None` if it is missing.
pub(super) fn read(folder: &Path, file: &Path) -> Result<Option<Vec<u8>>, Finding> {
    match fs::read(folder.join(file)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    Finding::new(None, format!("`{}` cannot be read: {error}", path.display()))
}

/// The entries of a bundle: each has its length before it, in two bytes, most significant first. What does not parse is
/// the last.
pub(super) fn entries(mut bundle: &[u8]) -> Vec<&[u8]> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        entries.push(entry);
        bundle = rest;
    }
    if !bundle.is_empty() {
        entries.push(bundle);
    }
    entries
}

/// The hashes of a tile, `None` if it is not made of whole ones.
pub(super) fn hashes(tile: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = tile.as_chunks::<32>();
    rest.is_empty().then(|| hashes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        for (kind, index, width, expected) in [
            ("0", 0, 256, "tile/0/000"),
            ("0", 273, 112, "tile/0/273.p/112"),
            ("1", 1234, 256, "tile/1/x001/234"),
            ("entries", 1_234_067, 1, "tile/entries/x001/x234/067.p/1"),
        ] {
            assert_eq!(path(kind, index, width), Path::new(expected));
        }
    }

    #[test]
    fn a_bundle_parses_to_its_end_whatever_it_holds() {
        assert_eq!(entries(b"\0\x01a\0\0\0\x02bc"), [b"a".as_slice(), b"", b"bc"]);
        assert_eq!(entries(b"\0\x01a\xff\xffbc"), [b"a".as_slice(), b"bc"]);
        assert_eq!(entries(b"\0\x01a\0"), [b"a".as_slice(), b"\0"]);
    }
}
