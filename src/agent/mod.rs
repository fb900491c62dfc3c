//! The agent: gets a node's or workload's certificate into files and keeps it fresh.
//!
//! Holds the first enrolment with a join token, the renewals with the certificate that is there, and when to do what;
//! the files are `folder`'s. It must never ask with a key that is not on disk yet, lose a certificate that works, or
//! print. What else an agent may do for its node (attest, serve the Workload API) gets a file of its own.

mod error;
mod folder;
mod request;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use error::{Error, Result};
pub use folder::{CERTIFICATE, CHAIN, FULL_CHAIN, KEY, ROOTS};

use crate::client::{self, Client};
use crate::clock::{Clock, Timestamp};
use crate::entropy::{self, Entropy};
use crate::wire::{Enroll, Enrolled, SecretText};
use folder::Folder;

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is said to whoever runs the agent: one line on what happened.
pub type Say = Box<dyn Fn(&str) + Send + Sync>;

/// The certificate that is in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The SPIFFE ID; empty if the certificate has none.
    pub identity: String,
    /// The serial, lower-case hexadecimal.
    pub serial: String,
    /// Its validity.
    pub not_before: Timestamp,
    /// Its validity.
    pub not_after: Timestamp,
}

impl Current {
    /// Half of its life is over: the earliest moment to renew.
    fn half_life(&self) -> Timestamp {
        self.not_before + self.not_after.since(self.not_before) / 2
    }
}

/// The keeper of one folder.
pub struct Agent {
    address: String,
    roots: Option<PathBuf>,
    folder: Folder,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    say: Say,
}

impl Agent {
    /// Takes the folder, which is made if it is missing, and brings it to order after whatever ended the last agent.
    ///
    /// `roots` are trusted for the first enrolment; later ones are those that came with the certificate.
    ///
    /// # Errors
    /// [`Error::Taken`] if another agent has the folder, [`Error::Folder`] if it cannot be used.
    pub fn open(
        address: String,
        roots: Option<PathBuf>,
        folder: &Path,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        say: Say,
    ) -> Result<Self> {
        Ok(Self {
            address,
            roots,
            folder: Folder::open(folder)?,
            clock,
            entropy,
            say,
        })
    }

    /// The certificate that is there, unless its time is over.
    ///
    /// # Errors
    /// [`Error::Folder`] if what is there cannot be read.
    pub fn current(&self) -> Result<Option<Current>> {
        let now = self.clock.now();
        Ok(self.folder.current()?.filter(|current| current.not_after > now))
    }

    /// Trades the join token for the first certificate. Safe to repeat after a lost answer: the key is the same.
    ///
    /// # Errors
    /// [`Error::Service`] as it refuses or is not reached; [`Error::Folder`].
    pub async fn enroll(&self, token: SecretText) -> Result<Current> {
        let csr_pem = self.folder.next_request()?;
        let client = Client::new(client::Settings {
            address: self.address.clone(),
            roots: self.roots()?,
            identity: None,
        })?;
        self.take(client.enroll(&Enroll { token, csr_pem }).await?)
    }

    /// Trades the certificate that is there for the next.
    async fn renew(&self) -> Result<Current> {
        let csr_pem = self.folder.next_request()?;
        let client = Client::new(client::Settings {
            address: self.address.clone(),
            roots: self.folder.file(ROOTS),
            identity: Some(client::IdentityFiles {
                certificate: self.folder.file(FULL_CHAIN),
                key: self.folder.file(KEY),
            }),
        })?;
        self.take(client.reenroll(csr_pem).await?)
    }

    fn take(&self, enrolled: Enrolled) -> Result<Current> {
        let current = self.folder.install(&enrolled)?;
        (self.say)(&format!(
            "certificate of `{}`, serial {}, until {}",
            current.identity, current.serial, current.not_after
        ));
        Ok(current)
    }

    /// Whom to trust before there is a certificate.
    fn roots(&self) -> Result<PathBuf> {
        let mine = self.folder.file(ROOTS);
        match &self.roots {
            Some(roots) => Ok(roots.clone()),
            None if mine.exists() => Ok(mine),
            None => Err(client::Error::local(
                "it is not said whom to trust: give the service's roots by --cacert or CHANCERY_CACERT",
            )
            .into()),
        }
    }

    /// Renews at about half of each certificate's life, for as long as that works.
    ///
    /// # Errors
    /// [`Error::Expired`] once the certificate's time is over without a new one.
    pub async fn keep(&self, mut current: Current) -> Result<()> {
        loop {
            let due = self.due(&current)?;
            (self.say)(&format!("next renewal at {due}"));
            self.clock.sleep_until(due).await;
            current = self.renew_in_time(&current).await?;
        }
    }

    /// When to renew: half the life, and up to a tenth of it more, so that nodes do not come all at once.
    fn due(&self, current: &Current) -> Result<Timestamp> {
        let tenth = current.not_after.since(current.not_before).as_secs() / 10;
        let jitter = entropy::below(&*self.entropy, tenth + 1).map_err(Error::entropy)?;
        Ok(current.half_life() + Duration::from_secs(jitter))
    }

    /// Tries until it works or the certificate's time is over. A refusal is tried again too: what was taken away may
    /// be given back, and the certificate that works is no worse for asking.
    async fn renew_in_time(&self, current: &Current) -> Result<Current> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.renew().await {
                Ok(renewed) => return Ok(renewed),
                Err(error) => error,
            };
            let now = self.clock.now();
            if now >= current.not_after {
                return Err(Error::Expired {
                    identity: current.identity.clone(),
                    at: current.not_after,
                    why: error.to_string(),
                });
            }
            let wait = self.pause(pause.max(error.retry_in().unwrap_or_default()))?;
            // A short life is worth more attempts than a long pause leaves.
            let wait = wait.min(current.not_after.since(now) / 4).max(FIRST_PAUSE);
            (self.say)(&format!(
                "not renewed: {error}; the certificate is good until {}, trying again in {} s",
                current.not_after,
                wait.as_secs()
            ));
            self.clock.sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Enrols, and tries again while the service is not reached.
    ///
    /// # Errors
    /// [`Error::Service`] if it refuses, [`Error::Folder`].
    pub async fn enroll_in_time(&self, token: SecretText) -> Result<Current> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.enroll(token.clone()).await {
                Err(error) if error.is_transient() => error,
                done => return done,
            };
            let wait = self.pause(pause.max(error.retry_in().unwrap_or_default()))?;
            (self.say)(&format!("not enrolled: {error}; trying again in {} s", wait.as_secs()));
            self.clock.sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The pause and up to a quarter more, in whole seconds.
    fn pause(&self, pause: Duration) -> Result<Duration> {
        let more = entropy::below(&*self.entropy, pause.as_secs() / 4 + 1).map_err(Error::entropy)?;
        Ok(pause + Duration::from_secs(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::entropy::SeededEntropy;

    #[test]
    fn renewals_are_due_between_half_and_six_tenths_of_the_life() {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::open(
            "https://localhost:1".into(),
            None,
            folder.path(),
            Arc::new(ManualClock::new(Timestamp::from_unix(0))),
            Arc::new(SeededEntropy::new(7)),
            Box::new(|_| ()),
        )
        .unwrap();
        let current = Current {
            identity: "spiffe://t/a".into(),
            serial: "01".into(),
            not_before: Timestamp::from_unix(1_000),
            not_after: Timestamp::from_unix(2_000),
        };
        let due: Vec<i64> = (0..200).map(|_| agent.due(&current).unwrap().unix()).collect();
        assert!(due.iter().all(|due| (1_500..=1_600).contains(due)));
        assert!(due.iter().any(|due| *due < 1_520) && due.iter().any(|due| *due > 1_580));
    }
}
