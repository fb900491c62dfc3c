//! Who is calling: what a client certificate says, judged for every request; and the register of who may have one.
//!
//! [`Caller`]s are made here and nowhere else. The TLS handshake proves possession of the key ([`tls`]); path,
//! validity, revocation and trust domain are judged here, each time, so that what was revoked a moment ago does not
//! get one more answer. Identities and their one-time join tokens lie in [`register`]; the operations on them are in
//! `enrollment`, because they need an authority to issue certificates.
//!
//! It must never decide what a caller may do: that is `authz`'s.

mod caller;
mod chain;
pub mod register;
mod repo;
mod tests;
pub mod tls;
mod trust;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use moka::sync::Cache;
use rustls::pki_types::CertificateDer;

pub use self::caller::Caller;
use self::chain::Path;
pub use self::trust::{Bundle, TrustSource, Trusted};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::policy::{Principal, SpiffeId, TrustDomain};
use crate::store::{Store, Topic};

/// How many callers' paths are remembered.
const PATHS: u64 = 100_000;

/// Judges callers. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    bundle: ArcSwap<trust::Parsed>,
    domain: TrustDomain,
    /// By SHA-256 of the leaf and version of the bundle. Only paths that were found are remembered.
    paths: Cache<([u8; 32], u64), Arc<Path>>,
    refused: RwLock<Refused>,
    source: OnceLock<Arc<dyn TrustSource>>,
    state: Mutex<State>,
    store: Store,
}

/// Who no longer counts.
#[derive(Default)]
struct Refused {
    /// Serials of certificates.
    revoked: HashSet<String>,
    /// SPIFFE IDs.
    disabled: HashSet<String>,
}

/// How new the bundle and the revocations are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    /// What other nodes had changed when they were read; none before the first time.
    generation: Option<u64>,
    /// Grows with every change.
    version: u64,
}

impl Identity {
    /// Callers of this trust domain. Nobody is known until [`Identity::attach`] names the authorities.
    pub fn new(domain: TrustDomain, store: Store) -> Self {
        Self(Arc::new(Inner {
            bundle: ArcSwap::from_pointee(trust::Parsed::default()),
            domain,
            paths: Cache::new(PATHS),
            refused: RwLock::default(),
            source: OnceLock::new(),
            state: Mutex::new(State {
                generation: None,
                version: 0,
            }),
            store,
        }))
    }

    /// The trust domain that callers must be of.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.domain
    }

    /// Names the authorities whose certificates count, and reads them. A second call changes nothing.
    ///
    /// # Errors
    /// The source's, the store's.
    pub async fn attach(&self, source: Arc<dyn TrustSource>) -> Result<()> {
        let _ = self.0.source.set(source);
        self.refresh().await
    }

    /// Who shows `chain`, leaf first, in `request` from `source`.
    ///
    /// # Errors
    /// `Unauthenticated`, with what to do; `Unavailable`, if the store cannot say what was revoked.
    pub async fn authenticate(
        &self,
        chain: &[CertificateDer<'_>],
        source: SocketAddr,
        request: Id,
        now: Timestamp,
    ) -> Result<Caller> {
        let leaf = chain.first().ok_or_else(chain::no_certificate)?;
        self.refresh().await?;
        let bundle = self.0.bundle.load();
        let key = (fingerprint(leaf), bundle.version);
        let path = match self.0.paths.get(&key) {
            Some(path) => path,
            None => {
                let path = Arc::new(Path::find(chain, &bundle, &self.0.domain, now)?);
                self.0.paths.insert(key, path.clone());
                path
            }
        };
        {
            let refused = self.0.refused.read().unwrap_or_else(PoisonError::into_inner);
            path.judge(now, |serial| refused.revoked.contains(serial))?;
            if refused.disabled.contains(path.id.as_str()) {
                return Err(register::disabled(&path.id));
            }
        }
        Ok(Caller {
            principal: Principal::Spiffe(path.id.clone()),
            serial: Some(path.serial.clone()),
            not_after: Some(path.validity.not_after),
            source: Some(source),
            request,
        })
    }

    /// Notes that a certificate was revoked; its next request is refused. To be called by the authority on commit,
    /// before anybody is told that it is revoked.
    pub fn note_revoked(&self, serial: &str) {
        let mut state = self.0.state();
        state.version += 1;
        self.0.refused().revoked.insert(serial.to_owned());
    }

    /// Notes that an identity was disabled, or enabled again, before anybody is told so.
    fn note_disabled(&self, id: &SpiffeId, is_disabled: bool) {
        let mut state = self.0.state();
        state.version += 1;
        let mut refused = self.0.refused();
        match is_disabled {
            true => refused.disabled.insert(id.to_string()),
            false => refused.disabled.remove(id.as_str()),
        };
    }

    /// Replaces the certificates that chains are built from. To be called by the authority on commit.
    ///
    /// # Errors
    /// `Internal`, if one cannot be read; then nothing is changed.
    pub fn note_bundle(&self, bundle: Bundle) -> Result<()> {
        let mut state = self.0.state();
        state.version += 1;
        self.0.install(bundle)
    }

    /// Reads bundle and revocations anew, if another node changed them.
    async fn refresh(&self) -> Result<()> {
        let generation = self.0.store.fresh(Topic::Authorities).await?;
        loop {
            let before = *self.0.state();
            if before.generation == Some(generation) {
                return Ok(());
            }
            let Some(source) = self.0.source.get() else {
                return Err(Error::unavailable("the service is starting: try again"));
            };
            let trusted = source.load().await?;
            let disabled = repo::disabled(self.0.store.read()).await?;
            let mut state = self.0.state();
            // A change of our own that was committed meanwhile may not be in what was read: read again.
            if *state == before {
                self.0.install(trusted.bundle)?;
                *self.0.refused() = Refused {
                    revoked: trusted.revoked,
                    disabled,
                };
                *state = State {
                    generation: Some(generation),
                    version: before.version + 1,
                };
                return Ok(());
            }
        }
    }
}

impl Inner {
    fn refused(&self) -> std::sync::RwLockWriteGuard<'_, Refused> {
        self.refused.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// INVARIANT: called with the state locked, so that no two bundles have one version.
    fn install(&self, bundle: Bundle) -> Result<()> {
        let version = self.bundle.load().version + 1;
        self.bundle.store(Arc::new(trust::Parsed::new(bundle, version)?));
        Ok(())
    }
}

fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    for (to, from) in fingerprint
        .iter_mut()
        .zip(digest::digest(&digest::SHA256, der).as_ref())
    {
        *to = *from;
    }
    fingerprint
}
