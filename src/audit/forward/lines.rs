//! A file or stdout: records as lines.
//!
//! What blocks is done by a thread of its own, which the process does not wait for when it ends: a disk or a pipe that
//! hangs holds up this sink and nothing else.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};

use rustix::fs::OFlags;
use tokio::sync::oneshot;

/// What the thread is asked for, and whom it tells.
struct Task {
    /// What is to be written; nothing: what was written is made durable.
    bytes: Option<Vec<u8>>,
    done: oneshot::Sender<std::result::Result<(), String>>,
}

pub(super) struct Lines {
    tasks: SyncSender<Task>,
}

enum Place {
    File {
        path: PathBuf,
        open: Option<File>,
        /// Whether what an earlier file of this name took may not be durable.
        is_lost: bool,
    },
    Stdout {
        /// Whether the last line may not be whole.
        is_torn: bool,
    },
}

impl Lines {
    pub(super) fn file(path: PathBuf) -> std::io::Result<Self> {
        Self::start(Place::File {
            path,
            open: None,
            is_lost: false,
        })
    }

    pub(super) fn stdout() -> std::io::Result<Self> {
        Self::start(Place::Stdout { is_torn: false })
    }

    fn start(place: Place) -> std::io::Result<Self> {
        let (tasks, waiting) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("audit-sink".into())
            .spawn(move || serve(place, &waiting))?;
        Ok(Self { tasks })
    }

    /// Writes `bytes`, whole lines.
    pub(super) async fn write(&self, bytes: Vec<u8>) -> std::result::Result<(), String> {
        self.ask(Some(bytes)).await
    }

    /// Returns once what was written is durable.
    pub(super) async fn sync(&self) -> std::result::Result<(), String> {
        self.ask(None).await
    }

    async fn ask(&self, bytes: Option<Vec<u8>>) -> std::result::Result<(), String> {
        let (done, heard) = oneshot::channel();
        self.tasks
            .try_send(Task { bytes, done })
            .map_err(|_| "it still has not taken what it was given before".to_owned())?;
        heard.await.unwrap_or_else(|_| Err("its thread is gone".to_owned()))
    }
}

fn serve(mut place: Place, waiting: &Receiver<Task>) {
    while let Ok(task) = waiting.recv() {
        // Whoever gave up asks again.
        if task.done.is_closed() {
            continue;
        }
        let done = match &task.bytes {
            Some(bytes) => place.write(bytes),
            None => place.sync(),
        };
        let _ = task.done.send(done);
    }
}

impl Place {
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        match self {
            Self::Stdout { is_torn } => {
                let mut stdout = std::io::stdout().lock();
                let end: &[u8] = if *is_torn { b"\n" } else { b"" };
                *is_torn = true;
                stdout
                    .write_all(end)
                    .and_then(|()| stdout.write_all(bytes))
                    .and_then(|()| stdout.flush())
                    .map_err(|e| format!("stdout: {e}"))?;
                *is_torn = false;
                Ok(())
            }
            Self::File { path, open, is_lost } => {
                append(path, open, is_lost, bytes).map_err(|e| format!("file `{}`: {e}", path.display()))
            }
        }
    }

    /// An error says that what was written since the last time may be lost, and comes once.
    fn sync(&mut self) -> std::result::Result<(), String> {
        let Self::File { path, open, is_lost } = self else {
            return Ok(());
        };
        if std::mem::take(is_lost) {
            return Err(format!("file `{}` was rotated before it was durable", path.display()));
        }
        // A failed sync is never repeated on its file: the second one succeeds and says nothing of what was lost.
        if let Some(file) = open.take() {
            file.sync_data()
                .map_err(|e| format!("file `{}`: {e}", path.display()))?;
            *open = Some(file);
        }
        Ok(())
    }
}

/// Writes lines into the file that has this name now.
fn append(path: &Path, open: &mut Option<File>, is_lost: &mut bool, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = match open.take() {
        Some(file) if is_at(&file, path).unwrap_or(false) => file,
        old => {
            // Rotated: nobody syncs the old one later.
            *is_lost |= old.is_some_and(|old| old.sync_data().is_err());
            opened(path)?
        }
    };
    // On an error the file is opened anew, and what was begun gets its end.
    file.write_all(bytes)?;
    *open = Some(file);
    Ok(())
}

/// Whether this file still has this name.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let (one, other) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Opens a file for lines behind those that are there. One that was torn is ended, so that the next one stands alone.
fn opened(path: &Path) -> std::io::Result<File> {
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        // A pipe that nobody reads must not hold up whoever opens it.
        .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0))
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    } else {
        // It may be new, and its name has to last as long as what it holds.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_rotated_file_is_made_anew_and_a_torn_line_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "whole\nto").unwrap();
        let lines = Lines::file(path.clone()).unwrap();
        lines.write(b"one\n".to_vec()).await.unwrap();
        lines.sync().await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nto\none\n");

        let old = folder.path().join("audit.jsonl.1");
        std::fs::rename(&path, &old).unwrap();
        lines.write(b"two\n".to_vec()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "whole\nto\none\n");

        std::fs::remove_file(&path).unwrap();
        lines.write(b"three\n".to_vec()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(
            lines
                .write(b"four\n".to_vec())
                .await
                .unwrap_err()
                .contains("audit.jsonl")
        );
        std::fs::remove_dir(&path).unwrap();
        lines.write(b"four\n".to_vec()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
    }
}
