//! The agent: gets a node's or workload's certificate into files and keeps it fresh.
//!
//! Holds the first enrolment with what vouches for the workload, the renewals with the certificate that is there, the way
//! back from an end or a missed rotation, and when to do what; the files are `folder`'s. It must never ask with a key that is not on disk yet, lose a certificate that works, or
//! print. What else an agent may do for its node (attest, serve the Workload API) gets a file of its own.

mod error;
mod folder;
mod follow;
mod request;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use error::{Error, Result};
pub use folder::{CERTIFICATE, CHAIN, FULL_CHAIN, KEY, ROOTS};

use crate::client::pinned::{self, Fingerprint};
use crate::client::{self, Client, IdentityFiles};
use crate::clock::{Clock, Timestamp};
use crate::entropy::{self, Entropy};
use crate::wire::{Enroll, EnrollByCertificate, EnrollByJwt, Enrolled, SecretText};
use folder::Folder;

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest JWT that is read from a file, in bytes.
const LONGEST_JWT: u64 = 64 * 1024;

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is said to whoever runs the agent: one line on what happened.
pub type Say = Box<dyn Fn(&str) + Send + Sync>;

/// What the first certificate is had by, and the next one once the last has ended.
#[derive(Clone)]
pub enum Credential {
    /// A client certificate of another CA, or one of ours that an entry takes.
    Certificate {
        /// Chain and key, PEM.
        files: IdentityFiles,
        /// The identity, if several can be had by it.
        identity: Option<String>,
    },
    /// A JWT of an OIDC issuer, in a file that somebody keeps fresh: it is read anew each time.
    Jwt {
        /// The file.
        file: PathBuf,
        /// The identity, if several can be had by it.
        identity: Option<String>,
    },
    /// A join token, good once.
    Token(SecretText),
}

impl Credential {
    /// Whether it may be good a second time.
    fn is_lasting(&self) -> bool {
        match self {
            Self::Certificate { .. } | Self::Jwt { .. } => true,
            Self::Token(_) => false,
        }
    }
}

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
    /// A root that was taken by its fingerprint: it is trusted instead of whatever the folder holds, until a certificate
    /// has brought the service's roots.
    pinned: Option<PathBuf>,
    /// Whether one has: from then on they are trusted, and what the service replaces them by.
    has_roots: AtomicBool,
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
            pinned: None,
            has_roots: AtomicBool::new(false),
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

    /// Whether there is a certificate, whatever its time.
    ///
    /// # Errors
    /// [`Error::Folder`] if what is there cannot be read.
    pub fn has_certificate(&self) -> Result<bool> {
        Ok(self.folder.current()?.is_some())
    }

    /// Trusts the service by the root with this fingerprint from now on, until a certificate brings its roots: for a
    /// first enrolment without any roots, and for a node that missed a rotation.
    ///
    /// # Errors
    /// [`Error::Service`], if the service is not reached or shows no such root; [`Error::Folder`].
    pub async fn bootstrap(&mut self, fingerprint: &Fingerprint) -> Result<()> {
        let root = pinned::root(&self.address, fingerprint).await?;
        self.pinned = Some(self.folder.pin(&root)?);
        self.has_roots.store(false, Ordering::Relaxed);
        (self.say)(&format!("the service is trusted by its root `{fingerprint}`"));
        Ok(())
    }

    /// Whether the root with this fingerprint was trusted here before, and the roots that certificates have brought since
    /// then do still: then it need not be asked for again, and may be gone.
    ///
    /// SECURITY: a root that is new here is somebody's word that those before are not to be trusted any more.
    ///
    /// # Errors
    /// [`Error::Folder`] if what is there cannot be read.
    pub async fn is_trusting(&self, fingerprint: &Fingerprint) -> Result<bool> {
        let known = self.folder.known_roots()?;
        if !self.has_certificate()? || !known.iter().any(|root| fingerprint.is_of(root)) {
            return Ok(false);
        }
        let client = Client::new(client::Settings {
            address: self.address.clone(),
            roots: self.folder.file(ROOTS),
            identity: None,
        });
        let asked = match client {
            Ok(client) => client.trust_bundle().await,
            Err(error) => Err(error),
        };
        // Whatever the service answers, it is the service that does.
        Ok(asked.map_or_else(|error| error.status().is_some(), |_| true))
    }

    /// Trades a credential for a certificate. Safe to repeat after a lost answer: the key is the same.
    ///
    /// # Errors
    /// [`Error::Service`] as it refuses or is not reached; [`Error::Folder`].
    pub async fn enroll(&self, credential: &Credential) -> Result<Current> {
        let csr_pem = self.folder.next_request()?;
        let client = |identity| {
            Client::new(client::Settings {
                address: self.address.clone(),
                roots: self.roots()?,
                identity,
            })
            .map_err(Error::from)
        };
        let enrolled = match credential.clone() {
            Credential::Certificate { files, identity } => {
                let enroll = EnrollByCertificate { identity, csr_pem };
                client(Some(files))?.enroll_by_certificate(&enroll).await?
            }
            Credential::Jwt { file, identity } => {
                let jwt = read_jwt(&file)?;
                let enroll = EnrollByJwt { jwt, identity, csr_pem };
                client(None)?.enroll_by_jwt(&enroll).await?
            }
            Credential::Token(token) => client(None)?.enroll(&Enroll { token, csr_pem }).await?,
        };
        self.take(enrolled)
    }

    /// Trades the certificate that is there for the next. One that has ended too: its identity may have grace.
    ///
    /// # Errors
    /// [`Error::Service`] as it refuses or is not reached; [`Error::Folder`].
    pub async fn renew(&self) -> Result<Current> {
        let csr_pem = self.folder.next_request()?;
        self.take(self.client()?.reenroll(csr_pem).await?)
    }

    /// With the certificate and the roots that are there.
    fn client(&self) -> Result<Client> {
        Ok(Client::new(client::Settings {
            address: self.address.clone(),
            roots: self.pinned().cloned().unwrap_or_else(|| self.folder.file(ROOTS)),
            identity: Some(IdentityFiles {
                certificate: self.folder.file(FULL_CHAIN),
                key: self.folder.file(KEY),
            }),
        })?)
    }

    /// The next certificate by the one that is there or, if that is refused, by a credential that lasts.
    async fn renew_or_enroll(&self, credential: Option<&Credential>) -> Result<Current> {
        let refused = match self.renew().await {
            Err(error) if !error.is_transient() => error,
            done => return done,
        };
        match credential.filter(|credential| credential.is_lasting()) {
            Some(credential) => {
                (self.say)(&format!("not renewed: {refused}; enrolling anew"));
                self.enroll(credential).await
            }
            None => Err(refused),
        }
    }

    fn take(&self, enrolled: Enrolled) -> Result<Current> {
        let current = self.folder.install(&enrolled)?;
        self.has_roots.store(true, Ordering::Relaxed);
        (self.say)(&format!(
            "certificate of `{}`, serial {}, until {}",
            current.identity, current.serial, current.not_after
        ));
        Ok(current)
    }

    fn pinned(&self) -> Option<&PathBuf> {
        self.pinned.as_ref().filter(|_| !self.has_roots.load(Ordering::Relaxed))
    }

    /// Whom to trust before there is a certificate.
    fn roots(&self) -> Result<PathBuf> {
        if let Some(pinned) = self.pinned() {
            return Ok(pinned.clone());
        }
        let mine = self.folder.file(ROOTS);
        match &self.roots {
            _ if self.has_roots.load(Ordering::Relaxed) => Ok(mine),
            Some(roots) => Ok(roots.clone()),
            None if mine.exists() => Ok(mine),
            None => Err(client::Error::local(
                "it is not said whom to trust: give the service's roots by --cacert or CHANCERY_CACERT, or the fingerprint \
                 of its root by --root-fingerprint",
            )
            .into()),
        }
    }

    /// Renews at about half of each certificate's life, and once another issuer signs, for as long as that works; with a
    /// credential that lasts, enrols anew when the certificate is refused. Keeps the roots fresh meanwhile.
    ///
    /// # Errors
    /// [`Error::Expired`] once the certificate's time is over and the service refuses a new one.
    pub async fn keep(&self, mut current: Current, credential: Option<&Credential>) -> Result<()> {
        let mut seen = None;
        loop {
            let due = self.due(&current)?;
            (self.say)(&format!("next renewal at {due}"));
            self.follow_until(due, &mut seen).await;
            current = self.renew_in_time(&current, credential).await?;
        }
    }

    /// When to renew: half the life, and up to a tenth of it more, so that nodes do not come all at once.
    fn due(&self, current: &Current) -> Result<Timestamp> {
        let tenth = current.not_after.since(current.not_before).as_secs() / 10;
        let jitter = entropy::below(&*self.entropy, tenth + 1).map_err(Error::entropy)?;
        Ok(current.half_life() + Duration::from_secs(jitter))
    }

    /// Tries until it works, or until the certificate's time is over and the service says no. A refusal before that is
    /// tried again too: what was taken away may be given back, and the certificate that works is no worse for asking.
    async fn renew_in_time(&self, current: &Current, credential: Option<&Credential>) -> Result<Current> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.renew_or_enroll(credential).await {
                Ok(renewed) => return Ok(renewed),
                Err(error) => error,
            };
            let now = self.clock.now();
            let is_over = now >= current.not_after;
            let may_change = error.is_transient() || credential.is_some_and(Credential::is_lasting);
            if is_over && !may_change {
                return Err(Error::Expired {
                    identity: current.identity.clone(),
                    at: current.not_after,
                    why: error.to_string(),
                });
            }
            let wait = self.pause(pause.max(error.retry_in().unwrap_or_default()))?;
            // A short life is worth more attempts than a long pause leaves.
            let wait = match is_over {
                true => wait,
                false => wait.min(current.not_after.since(now) / 4).max(FIRST_PAUSE),
            };
            (self.say)(&format!(
                "not renewed: {error}; the certificate {} {}, trying again in {} s",
                if is_over { "ended at" } else { "is good until" },
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
    pub async fn enroll_in_time(&self, credential: &Credential) -> Result<Current> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.enroll(credential).await {
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

/// SECURITY: no text repeats what is in the file.
fn read_jwt(file: &Path) -> Result<SecretText> {
    use std::io::Read;
    let cannot = |why: String| Error::Folder {
        what: "cannot read the token in",
        path: file.to_owned(),
        why,
    };
    let mut text = zeroize::Zeroizing::new(String::new());
    std::fs::File::open(file)
        .and_then(|file| file.take(LONGEST_JWT).read_to_string(&mut text))
        .map_err(|e| cannot(e.to_string()))?;
    match text.trim() {
        "" => Err(cannot("it is empty".to_owned())),
        token => Ok(SecretText::new(token.to_owned())),
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
