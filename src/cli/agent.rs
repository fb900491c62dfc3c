//! `chancery agent enroll`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure, Result};
use super::output::Columns;
use super::session::Session;
use crate::agent::{self, Agent as Keeper, Credential};
use crate::client::IdentityFiles;
use crate::client::pinned::Fingerprint;
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
    /// Get a certificate with a join token, a JWT or another certificate, and renew it for as long as this runs
    Enroll(Enroll),
}

#[derive(Args)]
struct Enroll {
    /// The file with the join token, - for stdin; not needed once there is a certificate
    #[arg(long, value_name = "FILE", conflicts_with_all = ["jwt_file", "cert_file"])]
    token_file: Option<PathBuf>,
    /// The file with a JWT of an OIDC issuer, for example a projected service account token; read anew each time
    #[arg(long, value_name = "FILE", conflicts_with = "cert_file")]
    jwt_file: Option<PathBuf>,
    /// A client certificate that a registration entry takes, PEM, its chain behind it
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// The identity to get, if JWT or certificate is good for several
    #[arg(long, value_name = "SPIFFE_ID", conflicts_with = "token_file")]
    id: Option<String>,
    /// Trust the service by its root with this fingerprint: the first time, and after a rotation that was missed
    #[arg(long, value_name = "sha256:HEX")]
    root_fingerprint: Option<Fingerprint>,
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
        let mut keeper = Keeper::open(
            service.address,
            service.roots,
            &self.dir,
            Arc::new(SystemClock),
            Arc::new(OsEntropy),
            Box::new(move |message| out.say(message)),
        )?;
        let pinned = self.pin(&mut keeper, session).await?;
        let (current, credential) = match keeper.current()? {
            Some(current) if !pinned => (current, self.lasting()),
            // With another root a certificate is renewed at once, so that the roots that come with it are there too.
            _ => self.first(&keeper, session).await?,
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
            kept = keeper.keep(current, credential.as_ref()) => Ok(kept?),
            _ = end.recv() => Ok(()),
        }
    }

    /// Trusts the service by the fingerprint that is given, unless that was done before and its roots have changed since:
    /// a unit file goes on naming the first one.
    async fn pin(&self, keeper: &mut Keeper, session: &Session) -> Result<bool> {
        let Some(fingerprint) = &self.root_fingerprint else {
            return Ok(false);
        };
        if keeper.is_trusting(fingerprint).await? {
            return Ok(false);
        }
        match keeper.bootstrap(fingerprint).await {
            Ok(()) => Ok(true),
            // Nobody is there now: the certificate that is works meanwhile.
            Err(error) if error.is_transient() && !self.once && keeper.current()?.is_some() => {
                session
                    .out
                    .say(&format!("the service is not asked for its root: {error}"));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A certificate where there is none that works: by the one that is there, which may have grace, else anew.
    async fn first(&self, keeper: &Keeper, session: &Session) -> Result<(agent::Current, Option<Credential>)> {
        if keeper.has_certificate()? {
            match keeper.renew().await {
                Ok(current) => return Ok((current, self.lasting())),
                Err(error) => session
                    .out
                    .say(&format!("the certificate that is there is not renewed: {error}")),
            }
        }
        let credential = match self.lasting() {
            Some(credential) => credential,
            None => Credential::Token(self.token(session).await?),
        };
        let current = if self.once {
            keeper.enroll(&credential).await?
        } else {
            keeper.enroll_in_time(&credential).await?
        };
        Ok((current, Some(credential)))
    }

    /// What is good for more than one certificate.
    fn lasting(&self) -> Option<Credential> {
        let identity = self.id.clone();
        if let Some(file) = self.jwt_file.clone() {
            return Some(Credential::Jwt { file, identity });
        }
        let (certificate, key) = (self.cert_file.clone()?, self.key_file.clone()?);
        Some(Credential::Certificate {
            files: IdentityFiles { certificate, key },
            identity,
        })
    }

    async fn token(&self, session: &Session) -> Result<SecretText> {
        let Some(file) = &self.token_file else {
            return Err(Failure::usage(format!(
                "there is no valid certificate in `{}`: give a join token by --token-file (or --jwt-file, --cert-file)",
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
