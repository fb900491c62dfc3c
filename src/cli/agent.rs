//! `chancery agent enroll`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure, Result};
use super::output::Columns;
use super::session::Session;
use crate::agent::{self, Agent as Keeper};
use crate::clock::SystemClock;
use crate::entropy::OsEntropy;
use crate::wire::SecretText;

const COLUMNS: Columns = &[
    ("IDENTITY", "identity"),
    ("SERIAL", "serial"),
    ("NOT AFTER", "not_after"),
    ("FOLDER", "folder"),
];

#[derive(Args)]
pub(super) struct Agent {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Get a certificate with a join token, and renew it for as long as this runs
    Enroll(Enroll),
}

#[derive(Args)]
struct Enroll {
    /// The file with the join token, - for stdin; not needed once there is a certificate
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where cert.pem, chain.pem, fullchain.pem, key.pem and roots.pem are kept
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// End once there is a certificate, instead of renewing it
    #[arg(long)]
    once: bool,
}

/// What is in the folder, as data.
#[derive(Serialize)]
struct Kept {
    identity: String,
    serial: String,
    not_before: String,
    not_after: String,
    folder: String,
}

impl Agent {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Enroll(enroll) => enroll.run(session).await,
        }
    }
}

impl Enroll {
    async fn run(self, session: &Session) -> Result<()> {
        let service = session.service();
        let out = session.out.clone();
        let keeper = Keeper::open(
            service.address,
            service.roots,
            &self.dir,
            Arc::new(SystemClock),
            Arc::new(OsEntropy),
            Box::new(move |message| out.say(message)),
        )?;
        let current = match keeper.current()? {
            Some(current) => current,
            None => {
                let token = self.token(session).await?;
                if self.once {
                    keeper.enroll(token).await?
                } else {
                    keeper.enroll_in_time(token).await?
                }
            }
        };
        let kept = Kept {
            identity: current.identity.clone(),
            serial: current.serial.clone(),
            not_before: current.not_before.to_string(),
            not_after: current.not_after.to_string(),
            folder: self.dir.display().to_string(),
        };
        session.out.one(&kept, COLUMNS)?;
        if self.once {
            return Ok(());
        }
        let mut end = signal(SignalKind::terminate())
            .map_err(|e| Failure::error(format!("the signal to end cannot be waited for: {e}")))?;
        tokio::select! {
            kept = keeper.keep(current) => Ok(kept?),
            _ = end.recv() => Ok(()),
        }
    }

    async fn token(&self, session: &Session) -> Result<SecretText> {
        let Some(file) = &self.token_file else {
            return Err(Failure::usage(format!(
                "there is no valid certificate in `{}`: give a join token by --token-file",
                self.dir.display()
            )));
        };
        let text = zeroize::Zeroizing::new(session.text_of(file).await?);
        Ok(SecretText::new(text.trim().to_owned()))
    }
}

impl From<agent::Error> for Failure {
    fn from(error: agent::Error) -> Self {
        let exit = match error {
            agent::Error::Service(error) => return error.into(),
            agent::Error::Answer(_) | agent::Error::Folder { .. } | agent::Error::Local(_) => Exit::Error,
            agent::Error::Expired { .. } => Exit::Denied,
            agent::Error::Taken(_) => Exit::Conflict,
        };
        Self::new(exit, error.to_string())
    }
}
