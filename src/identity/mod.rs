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
pub mod entry;
mod foreign;
mod oidc;
pub mod proof;
pub mod register;
mod repo;
#[cfg(test)]
mod tests;
pub mod tls;
mod trust;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use moka::sync::Cache;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;

pub use self::caller::{Caller, RequestRef};
use self::chain::Path;
pub use self::oidc::Shown;
pub use self::trust::{Bundle, TrustSource, Trusted};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::policy::{Principal, SpiffeId, TrustDomain};
use crate::store::{Store, Topic};

/// How many callers' paths are remembered.
const PATHS: u64 = 100_000;

/// The longest grace that an expired certificate may have: what is away for longer is enrolled anew by somebody.
pub const LONGEST_GRACE: Duration = Duration::from_secs(30 * 86_400);

/// How callers are judged.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many seconds after its certificate's end an identity may still renew, if its registration says nothing else.
    /// None, unless it is said.
    pub grace_s: u64,
    /// Whether OIDC issuers may be on this machine, and asked over plain HTTP there. For a try-out.
    pub oidc_loopback: bool,
}

impl Settings {
    /// # Errors
    /// `Invalid`, if the grace is longer than [`LONGEST_GRACE`].
    pub fn check(&self) -> Result<()> {
        check_grace(self.grace())
    }

    fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_s)
    }
}

/// Whether a grace may be so long.
///
/// # Errors
/// `Invalid`.
pub fn check_grace(grace: Duration) -> Result<()> {
    if grace > LONGEST_GRACE {
        return Err(Error::invalid(format!(
            "a grace of {} s is too long: at most {} s, then enrol anew",
            grace.as_secs(),
            LONGEST_GRACE.as_secs()
        )));
    }
    Ok(())
}

/// Judges callers. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    bundle: ArcSwap<trust::Parsed>,
    domain: TrustDomain,
    issuers: oidc::Issuers,
    /// By SHA-256 of the leaf and version of the bundle. Only paths that were found are remembered.
    paths: Cache<([u8; 32], u64), Arc<Path>>,
    refused: RwLock<Refused>,
    settings: Settings,
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
    /// Callers of this trust domain, judged as by default. Nobody is known until [`Identity::attach`] names the
    /// authorities.
    pub fn new(domain: TrustDomain, store: Store) -> Self {
        Self::configured(domain, store, Settings::default())
    }

    /// Callers of this trust domain, judged by these settings.
    pub fn configured(domain: TrustDomain, store: Store, settings: Settings) -> Self {
        Self(Arc::new(Inner {
            bundle: ArcSwap::from_pointee(trust::Parsed::default()),
            domain,
            issuers: oidc::Issuers::default(),
            paths: Cache::new(PATHS),
            refused: RwLock::default(),
            settings,
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
        request: RequestRef,
        now: Timestamp,
    ) -> Result<Caller> {
        let path = self.path(chain, now).await?;
        self.judge(&path, now, Duration::ZERO)?;
        caller(&path, source, request)
    }

    /// As [`Identity::authenticate`], for renewing only: a certificate that ended counts for as long as its identity has
    /// grace. One that is revoked, or whose identity is disabled, has none.
    ///
    /// # Errors
    /// As [`Identity::authenticate`].
    pub async fn authenticate_renewing(
        &self,
        chain: &[CertificateDer<'_>],
        source: SocketAddr,
        request: RequestRef,
        now: Timestamp,
    ) -> Result<Caller> {
        let path = self.path(chain, now).await?;
        let grace = match path.validity.not_after < now {
            true => self.grace(path.id()?).await?,
            false => Duration::ZERO,
        };
        // SECURITY: what is remembered of revocations is of certificates that have not ended.
        if !grace.is_zero() && self.source()?.is_revoked(&path.serial).await? {
            return Err(chain::revoked(&path.serial));
        }
        self.judge(&path, now, grace)?;
        caller(&path, source, request)
    }

    /// How long an identity may renew after its certificate's end.
    async fn grace(&self, id: &SpiffeId) -> Result<Duration> {
        match self.registration(id).await {
            Ok(registration) => Ok(registration.grace.unwrap_or_else(|| self.0.settings.grace())),
            Err(e) if e.kind() == Kind::NotFound => Ok(Duration::ZERO),
            Err(e) => Err(e),
        }
    }

    /// The path of a chain to one of our roots.
    async fn path(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<Arc<Path>> {
        let leaf = chain.first().ok_or_else(chain::no_certificate)?;
        self.refresh().await?;
        let bundle = self.0.bundle.load();
        let key = (fingerprint(leaf), bundle.version);
        if let Some(path) = self.0.paths.get(&key) {
            return Ok(path);
        }
        let path = Arc::new(Path::find(chain, &bundle, &self.0.domain, now)?);
        self.0.paths.insert(key, path.clone());
        Ok(path)
    }

    /// Whether a path's holder counts now. Banned comes before ended: no new certificate would mend it.
    fn judge(&self, path: &Path, now: Timestamp, grace: Duration) -> Result<()> {
        let refused = self.0.refused.read().unwrap_or_else(PoisonError::into_inner);
        if let Ok(id) = path.id()
            && refused.disabled.contains(id.as_str())
        {
            return Err(register::disabled(id));
        }
        path.judge(now, grace, |serial| refused.revoked.contains(serial))
    }

    fn source(&self) -> Result<&Arc<dyn TrustSource>> {
        self.0
            .source
            .get()
            .ok_or_else(|| Error::unavailable("the service is starting: try again"))
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
            let trusted = self.source()?.load().await?;
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

fn caller(path: &Path, source: SocketAddr, request: RequestRef) -> Result<Caller> {
    Ok(Caller {
        principal: Principal::Spiffe(path.id()?.clone()),
        serial: Some(path.serial.clone()),
        not_after: Some(path.validity.not_after),
        source: Some(source),
        request,
    })
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
