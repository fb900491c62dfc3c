//! `chancery ca stop-issuing|resume-issuing|stops|block-key|blocked-keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::exit::{Failure, Result};
use crate::cli::output::Columns;
use crate::cli::session::Session;
use crate::cli::vault::Most;
use crate::id::Label;
use crate::wire;
use crate::x509::inspect;

const STOP_COLUMNS: Columns = &[
    ("AUTHORITY", "authority"),
    ("PROFILE", "profile"),
    ("SINCE", "stopped"),
    ("BY", "stopped_by"),
    ("REASON", "reason"),
];

const KEY_COLUMNS: Columns = &[
    ("SPKI SHA-256", "spki_sha256"),
    ("SINCE", "blocked"),
    ("BY", "blocked_by"),
    ("REASON", "reason"),
];

#[derive(Subcommand)]
pub(super) enum Halt {
    /// Stop issuing: altogether, by an authority, by a profile. Reads and revocation go on
    StopIssuing {
        #[command(flatten)]
        what: What,
        /// Why; told to whoever is refused
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let issuing go on; says the same as the stop
    ResumeIssuing(What),
    /// List where issuing is stopped
    Stops,
    /// Block a key: it is never certified again
    BlockKey(Block),
    /// List blocked keys
    BlockedKeys(Most),
}

#[derive(Args)]
pub(super) struct What {
    /// Of this authority; of all if it is left out
    #[arg(long, value_name = "NAME")]
    authority: Option<Label>,
    /// By this profile; by all if it is left out
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Label>,
}

#[derive(Args)]
pub(super) struct Block {
    #[command(flatten)]
    which: WhichKey,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct WhichKey {
    /// SHA-256 of its SubjectPublicKeyInfo, hexadecimal
    #[arg(long, value_name = "HEX")]
    spki_sha256: Option<String>,
    /// A file with the key: a certificate, a request, a public or a private key. Only its hash is sent
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Halt {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self {
            Self::StopIssuing { what, reason } => {
                let stop = wire::StopIssuing {
                    authority: what.authority,
                    profile: what.profile,
                    reason,
                };
                session.out.one(&client.stop_issuing(&stop).await?, STOP_COLUMNS)
            }
            Self::ResumeIssuing(what) => {
                let resume = wire::ResumeIssuing {
                    authority: what.authority,
                    profile: what.profile,
                };
                client.resume_issuing(&resume).await?;
                session.out.say("issuing goes on");
                Ok(())
            }
            Self::Stops => session.out.list(&client.issuing_stops().await?, STOP_COLUMNS),
            Self::BlockKey(block) => {
                let key = block.key()?;
                session.out.one(&client.block_key(&key).await?, KEY_COLUMNS)
            }
            Self::BlockedKeys(Most { limit }) => session.out.list(&client.blocked_keys(limit).await?, KEY_COLUMNS),
        }
    }
}

impl Block {
    fn key(self) -> Result<wire::BlockKey> {
        let spki_sha256 = match (self.which.spki_sha256, self.which.file) {
            (Some(hash), _) => hash,
            (None, Some(path)) => {
                let bytes = std::fs::read(&path)
                    .map(zeroize::Zeroizing::new)
                    .map_err(|e| Failure::usage(format!("`{}` cannot be read: {e}", path.display())))?;
                inspect::spki_sha256(&bytes)
                    .map_err(|e| Failure::usage(format!("`{}` holds no key: {e}", path.display())))?
            }
            (None, None) => return Err(Failure::usage("say which key: --spki-sha256 or a file")),
        };
        Ok(wire::BlockKey {
            spki_sha256,
            reason: self.reason,
        })
    }
}
