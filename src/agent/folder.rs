//! The agent's folder, which others read at any moment and which a kill may leave at any step.
//!
//! ```text
//! DIR/cert.pem -> current/cert.pem      and so chain.pem, fullchain.pem, key.pem (0600), roots.pem
//! DIR/current -> versions/000002        switched by one rename: key and certificate change together
//! DIR/versions/000001/…                 the last one stays for who is reading it
//! DIR/pending/key.pem                   the next key, on disk before it is asked for
//! DIR/pinned.pem                        the root that was taken by its fingerprint, if one was
//! DIR/roots/…                           the same key and certificate with newer roots, before it is a version
//! ```
//! INVARIANT: a version is complete and on disk before it has its name, is never changed afterwards, and `current`
//! never points at anything else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::error::{Error, Result};
use super::{Current, request};
use crate::fault;
use crate::secret::Secret;
use crate::wire::Enrolled;
use crate::x509::chain::Facts;
use crate::x509::pem;

/// The leaf, PEM.
pub const CERTIFICATE: &str = "cert.pem";
/// The certificates above the leaf, PEM, the root left out.
pub const CHAIN: &str = "chain.pem";
/// Leaf and chain, PEM: what to give as a client certificate.
pub const FULL_CHAIN: &str = "fullchain.pem";
/// The private key, PKCS#8 in PEM, for its owner only.
pub const KEY: &str = "key.pem";
/// The roots to trust for the service, PEM.
pub const ROOTS: &str = "roots.pem";

/// The root that was taken by its fingerprint, PEM.
const PINNED: &str = "pinned.pem";

const FILES: [&str; 5] = [CERTIFICATE, CHAIN, FULL_CHAIN, KEY, ROOTS];
const CURRENT: &str = "current";
const LOCK: &str = "lock";
const PENDING: &str = "pending";
const NEWER_ROOTS: &str = "roots";
const VERSIONS: &str = "versions";

pub(super) struct Folder {
    path: PathBuf,
    /// Held for as long as this agent lives.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, takes its lock, and finishes a switch that a kill cut off.
    pub(super) fn open(path: &Path) -> Result<Self> {
        make(path, 0o700)?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("cannot open", &lock_path))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Taken(path.to_owned()));
        }
        make(&path.join(VERSIONS), 0o755)?;
        let folder = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        // CRASH: a version with a name is complete, whatever `current` says; the switch to it is made up for.
        if let Some(newest) = folder.versions()?.last() {
            folder.switch_to(*newest)?;
        }
        Ok(folder)
    }

    /// A file for others to read.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Keeps a root that was taken by its fingerprint; where it lies.
    pub(super) fn pin(&self, root_pem: &str) -> Result<PathBuf> {
        write(&self.path, PINNED, root_pem.as_bytes(), 0o644)?;
        Ok(self.path.join(PINNED))
    }

    /// The roots that came with the certificate, and the one that was taken by its fingerprint, DER.
    pub(super) fn known_roots(&self) -> Result<Vec<Vec<u8>>> {
        let mut known = Vec::new();
        for path in [self.path.join(PINNED), self.file(ROOTS)] {
            match fs::read_to_string(&path) {
                // What cannot be read vouches for nothing.
                Ok(roots) => known.extend(pem::decode_all(pem::CERTIFICATE, &roots).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed("cannot read", &path)(e)),
            }
        }
        Ok(known)
    }

    /// What the certificate that is there says.
    pub(super) fn current(&self) -> Result<Option<Current>> {
        let path = self.path.join(CURRENT).join(FULL_CHAIN);
        match fs::read_to_string(&path) {
            Ok(chain) => Ok(Some(describe(request::leaf(&chain)?))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("cannot read", &path)(e)),
        }
    }

    /// The request for the next certificate; its key is on disk.
    ///
    /// CRASH: a key that is there already may have been asked for with its answer lost. It is used again, so that a
    /// join token which was used by it still works.
    pub(super) fn next_request(&self) -> Result<String> {
        let pending = self.path.join(PENDING);
        make(&pending, 0o700)?;
        let path = pending.join(KEY);
        let key = match fs::read(&path) {
            Ok(key) => Secret::new(key),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = request::new_key()?;
                fault::point("agent.key.before");
                write(&pending, KEY, key.expose(), 0o600)?;
                fault::point("agent.key.after");
                key
            }
            Err(e) => return Err(failed("cannot read", &path)(e)),
        };
        request::request(&key)
    }

    /// Makes the answer to the pending request current.
    pub(super) fn install(&self, enrolled: &Enrolled) -> Result<Current> {
        let pending = self.path.join(PENDING);
        let key_path = pending.join(KEY);
        let key = Secret::new(fs::read(&key_path).map_err(failed("cannot read", &key_path))?);
        let facts = request::leaf_for(&key, &enrolled.chain_pem)?;
        let (leaf, rest) = request::split(&enrolled.chain_pem)?;
        for (name, text) in [
            (CERTIFICATE, &leaf),
            (CHAIN, &rest),
            (FULL_CHAIN, &enrolled.chain_pem),
            (ROOTS, &enrolled.roots_pem),
        ] {
            write(&pending, name, text.as_bytes(), 0o644)?;
        }
        // CRASH: before this the next start asks again with the same key; after it the next start switches.
        self.make_version(&pending)?;
        Ok(describe(facts))
    }

    /// Gives a finished folder its number, and switches to it.
    fn make_version(&self, finished: &Path) -> Result<()> {
        let versions = self.path.join(VERSIONS);
        let number = self.versions()?.last().map_or(1, |last| last.saturating_add(1));
        let version = versions.join(name_of(number));
        fault::point("agent.version.before");
        fs::rename(finished, &version).map_err(failed("cannot make", &version))?;
        sync(&versions)?;
        sync(&self.path)?;
        fault::point("agent.version.after");
        self.switch_to(number)
    }

    /// Puts newer roots beside the key and the certificate that are there. `false`: they are those that are there.
    ///
    /// CRASH: before the version has its number nothing has changed, and the roots are fetched again.
    pub(super) fn install_roots(&self, roots_pem: &str) -> Result<bool> {
        let read = |name: &str| {
            let path = self.path.join(CURRENT).join(name);
            fs::read(&path).map(Secret::new).map_err(failed("cannot read", &path))
        };
        if read(ROOTS)?.expose() == roots_pem.as_bytes() {
            return Ok(false);
        }
        let newer = self.path.join(NEWER_ROOTS);
        make(&newer, 0o700)?;
        for (name, mode) in [(CERTIFICATE, 0o644), (CHAIN, 0o644), (FULL_CHAIN, 0o644), (KEY, 0o600)] {
            write(&newer, name, read(name)?.expose(), mode)?;
        }
        write(&newer, ROOTS, roots_pem.as_bytes(), 0o644)?;
        self.make_version(&newer)?;
        Ok(true)
    }

    /// The certificates above the leaf, PEM.
    pub(super) fn chain(&self) -> Result<String> {
        let path = self.path.join(CURRENT).join(CHAIN);
        fs::read_to_string(&path).map_err(failed("cannot read", &path))
    }

    /// Points `current` at a version, by one rename, and clears what came before the one that it pointed at.
    fn switch_to(&self, number: u64) -> Result<()> {
        let current = self.path.join(CURRENT);
        let target = Path::new(VERSIONS).join(name_of(number));
        // Before the switch, so that the first time too all five names come to be at once.
        for name in FILES {
            let target = Path::new(CURRENT).join(name);
            if fs::read_link(self.path.join(name)).ok().as_ref() != Some(&target) {
                link(&self.path, &target, name)?;
            }
        }
        if fs::read_link(&current).ok().as_ref() != Some(&target) {
            // The version may have been made by an agent that could not say so any more.
            set_mode(&self.path.join(&target), 0o755)?;
            fault::point("agent.switch.before");
            link(&self.path, &target, CURRENT)?;
            fault::point("agent.switch.after");
        }
        for old in self
            .versions()?
            .into_iter()
            .filter(|old| old.saturating_add(1) < number)
        {
            let path = self.path.join(VERSIONS).join(name_of(old));
            fs::remove_dir_all(&path).map_err(failed("cannot remove", &path))?;
        }
        Ok(())
    }

    /// The versions that are there, oldest first.
    fn versions(&self) -> Result<Vec<u64>> {
        let path = self.path.join(VERSIONS);
        let mut versions: Vec<u64> = fs::read_dir(&path)
            .map_err(failed("cannot read", &path))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        versions.sort_unstable();
        Ok(versions)
    }
}

fn name_of(version: u64) -> String {
    format!("{version:06}")
}

fn describe(facts: Facts) -> Current {
    Current {
        identity: facts.spiffe_id.unwrap_or_default(),
        serial: facts.serial,
        not_before: facts.validity.not_before,
        not_after: facts.validity.not_after,
    }
}

/// Makes a folder, if it is missing; one that is there keeps its mode.
fn make(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(failed("cannot make", path))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("cannot set the mode of", path))
}

/// Writes a file whole: beside, synced, renamed, its folder synced.
fn write(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let path = folder.join(name);
    let beside = folder.join(format!(".{name}.new"));
    let written = (|| {
        // What an earlier kill left may have another mode.
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    })();
    written.map_err(failed("cannot write", &path))?;
    sync(folder)
}

/// Makes `folder/name` a link to `target`, replacing one that is there by one rename.
fn link(folder: &Path, target: &Path, name: &str) -> Result<()> {
    let path = folder.join(name);
    let beside = folder.join(format!(".{name}.new"));
    let linked = (|| {
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        symlink(target, &beside)?;
        fs::rename(&beside, &path)
    })();
    linked.map_err(failed("cannot link", &path))?;
    sync(folder)
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("cannot sync", folder))
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |e| Error::Folder {
        what,
        path: path.clone(),
        why: e.to_string(),
    }
}
