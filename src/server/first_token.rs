//! How the first administrator's one-time token reaches whoever set the service up.

use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// Writes the token to `file`, readable by the owner only, or else to stderr.
///
/// # Errors
/// `Invalid`, if the file cannot be written; the token is not lost: the next start makes another.
pub fn hand_over(token: &Secret, file: Option<&Path>) -> Result<()> {
    let Some(path) = file else {
        let mut stderr = std::io::stderr().lock();
        let written = stderr
            .write_all(b"no administrator yet: enrol the first with this one-time token (chancery agent enroll): ")
            .and_then(|()| stderr.write_all(token.expose()))
            .and_then(|()| stderr.write_all(b"\n"));
        return written.map_err(|e| Error::unavailable("the first administrator's token cannot be shown").because(e));
    };
    let cannot = |e: std::io::Error| {
        Error::invalid(format!(
            "the first administrator's token cannot be written to `{}`: {e}",
            path.display()
        ))
        .because(e)
    };
    use std::os::unix::fs::OpenOptionsExt;
    let partial = path.with_extension("partial");
    // A file that another end left may have other rights.
    let _ = std::fs::remove_file(&partial);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .map_err(cannot)?;
    file.write_all(token.expose())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(cannot)?;
    std::fs::rename(&partial, path).map_err(cannot)?;
    tracing::info!(file = %path.display(), "no administrator yet: enrol the first with the one-time token in the file");
    Ok(())
}
