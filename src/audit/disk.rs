//! The two calls by which a record becomes durable, behind a trait so that a test can make them fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Writes and syncs a segment.
pub(super) trait Disk: Send {
    /// Writes all of `bytes` at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written to `file` is on the disk.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The operating system's own.
pub(super) struct OsDisk;

impl Disk for OsDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Fails as told: `write` after half of the bytes, `sync` after all of them.
    #[derive(Clone, Default)]
    pub(in super::super) struct Failing(Arc<Mutex<Told>>);

    #[derive(Default)]
    struct Told {
        fails: Option<&'static str>,
        /// So many calls of that kind succeed first.
        after: u32,
        written: Vec<(u64, usize)>,
    }

    impl Failing {
        pub(in super::super) fn set(&self, what: Option<&'static str>) {
            let mut told = self.0.lock().unwrap();
            (told.fails, told.after) = (what, 0);
        }

        /// Fails after `count` calls of that kind.
        pub(in super::super) fn after(&self, count: u32, what: &'static str) {
            let mut told = self.0.lock().unwrap();
            (told.fails, told.after) = (Some(what), count);
        }

        /// The most bytes of one write.
        pub(in super::super) fn largest(&self) -> usize {
            self.written().iter().map(|(_, bytes)| *bytes).max().unwrap_or(0)
        }

        /// Each write: offset and bytes.
        pub(in super::super) fn written(&self) -> Vec<(u64, usize)> {
            self.0.lock().unwrap().written.clone()
        }

        fn fails(&self, what: &str) -> bool {
            let mut told = self.0.lock().unwrap();
            if told.fails != Some(what) {
                return false;
            }
            let passes = told.after > 0;
            told.after = told.after.saturating_sub(1);
            !passes
        }
    }

    impl Disk for Failing {
        fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
            {
                let mut told = self.0.lock().unwrap();
                told.written.push((offset, bytes.len()));
            }
            if self.fails("write") {
                OsDisk.write(file, &bytes[..bytes.len() / 2], offset)?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            OsDisk.write(file, bytes, offset)
        }

        fn sync(&self, file: &File) -> io::Result<()> {
            if self.fails("sync") {
                return Err(io::Error::other("the device is gone"));
            }
            OsDisk.sync(file)
        }
    }
}
