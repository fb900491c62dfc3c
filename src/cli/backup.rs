//! Backups of single objects, as files.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Failure, Result};
use super::input::Source;
use super::session::Session;
use super::settings::VaultOption;
use crate::id::ObjectName;
use crate::wire;

#[derive(Args)]
pub(super) struct Backup {
    /// Its name
    #[arg(long, value_name = "NAME")]
    pub(super) name: ObjectName,
    #[command(flatten)]
    pub(super) vault: VaultOption,
    /// Where it is written, a new file that only its owner reads; stdout if it is left out
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Restore {
    #[command(flatten)]
    pub(super) vault: VaultOption,
    /// Where the backup is: @FILE, or - for stdin
    #[arg(value_name = "FROM", default_value = "-")]
    from: String,
}

impl Backup {
    pub(super) fn keep(&self, session: &Session, backup: &wire::Backup) -> Result<()> {
        match &self.to {
            None => session.out.bare(&backup.value.0, backup),
            Some(path) => {
                write_new(path, &backup.value.0)
                    .map_err(|e| Failure::error(format!("{} cannot be written: {e}", path.display())))?;
                session.out.say(&format!("written to {}", path.display()));
                Ok(())
            }
        }
    }
}

impl Restore {
    pub(super) async fn read(&self) -> Result<wire::Restore> {
        let from: Source = self.from.parse()?;
        let bytes = from.read_up_to(wire::BACKUP_MAX_BYTES, "backup").await?;
        Ok(wire::Restore {
            value: wire::Base64(bytes.expose().to_vec()),
        })
    }
}

/// Never half of it: what cannot be written whole is taken away again.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}
