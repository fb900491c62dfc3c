//! Our own certificate authority: a root and an issuing CA with keys in the token, what they issue, revoke and publish.
//!
//! Every certificate is made in one order (`issue`): profile snapshot, to-be-signed bytes, lints on a twin, serial
//! reserved and bytes stored, signature by the HSM, signature verified, certificate stored. So after a crash anywhere
//! every certificate that may have been signed has a row by which it is found and revoked.
//!
//! It must never sign what was not linted and reserved, answer a revocation before `identity` knows of it, or make a
//! key: those come from the register of token keys.
//! To add: an act is a file with its `Operation`; a profile is a file in `pki/profiles/`.

mod crl;
mod export;
mod found;
mod halt;
mod imported;
mod inventory;
mod issue;
mod issuers;
mod limits;
mod list;
mod ocsp;
mod once;
mod repo;
mod responder;
mod revoke;
mod revoked;
mod rotation;
mod signer;
mod standing;
#[cfg(test)]
mod tests;
mod trust;
mod upkeep;
mod versions;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::{Notify, watch};

use crate::audit::Outcome;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Gate, Intent, Resolution, Resolve};
use crate::hsm::{Hsm, KeyRef};
use crate::id::Label;
use crate::identity::{Caller, Identity};
use crate::policy::{Action, Resource, system};
use crate::store::Topic;
use crate::x509::crl::Reason;
use crate::x509::hierarchy::{Hierarchy, Place};
use crate::x509::known_keys::KnownKeys;
use crate::x509::pem;
use crate::x509::profile::{Profile, Validity};

pub use self::crl::{PublishCrl, Published};
pub use self::export::{ExportIssued, Stored};
use self::halt::Halts;
pub use self::halt::{BlockKey, BlockedKey, ListBlockedKeys, ListStops, ResumeIssuing, Stop, StopIssuing};
pub use self::imported::ImportList;
pub use self::inventory::{Filter, IssuedPage, ListIssued, NamePattern, Status};
pub use self::issue::{Alone, Alongside, IssueCertificate, IssueRequest, Issued};
use self::issuers::Issuers;
pub use self::issuers::{Origin, Role, Stage};
pub use self::limits::IssueLimits;
pub use self::list::{Facts, IssuerFacts, ShowAuthority};
use self::ocsp::Bucket;
pub use self::ocsp::{Answer, Response};
pub use self::responder::RenewResponder;
pub use self::revoke::{RevokeIssued, RevokeKey, RevokeShown, revoke_proven};
pub use self::rotation::{
    ImportChain, InitAuthority, Progress, RequestCertificate, RetireIssuer, RotateAuthority, ShowRotation, Step,
    TaintIssuer,
};
use self::signer::Signer;
pub use self::standing::Standing;
use self::trust::Trust;
pub use self::trust::{BundleCertificate, TrustBundle};
pub use self::versions::{ListProfiles, ProfileVersion, ShowProfile};

/// The one list of an issuer that issues to CAs.
const ONLY_SHARD: u32 = 0;

/// Where the declarations are; the built-in ones if nothing is said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A file like `pki/hierarchy.toml`.
    pub hierarchy: Option<PathBuf>,
    /// A folder of files like those in `pki/profiles/`.
    pub profiles: Option<PathBuf>,
    /// How much a caller may have issued by request.
    pub limits: IssueLimits,
    /// Lists of RSA keys that others know, in the format of Debian's `openssl-blacklist`.
    pub known_keys: Vec<PathBuf>,
}

impl Settings {
    /// Reads the hierarchy for a place.
    ///
    /// # Errors
    /// `Invalid`, naming file and line.
    pub fn hierarchy(&self, place: Place) -> Result<Hierarchy> {
        match &self.hierarchy {
            Some(path) => Hierarchy::parse(&read(path)?, place).map_err(|e| in_file(path, e)),
            None => Ok(Hierarchy::built_in(place)?),
        }
    }

    /// Reads the profiles.
    ///
    /// # Errors
    /// `Invalid`, naming file and line.
    pub fn profiles(&self) -> Result<Vec<Profile>> {
        let Some(folder) = &self.profiles else {
            return Ok(Profile::built_in()?);
        };
        let cannot = |e: std::io::Error| Error::invalid(format!("`{}` cannot be read: {e}", folder.display()));
        let mut profiles = Vec::new();
        for entry in fs::read_dir(folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                profiles.push(Profile::parse(&read(&path)?).map_err(|e| in_file(&path, e))?);
            }
        }
        Ok(profiles)
    }

    /// Reads the lists of keys that others know.
    ///
    /// # Errors
    /// `Invalid`, naming file and line.
    pub fn known_keys(&self) -> Result<KnownKeys> {
        let mut keys = KnownKeys::default();
        for path in &self.known_keys {
            keys.add(&read(path)?).map_err(|e| in_file(path, e))?;
        }
        Ok(keys)
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Error::invalid(format!("`{}` cannot be read: {e}", path.display())))
}

fn in_file(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("`{}`: {error}", path.display()))
}

/// A key in the token, with its public half.
#[derive(Clone, Debug)]
pub struct TokenKey {
    /// How it is found.
    pub key: KeyRef,
    /// Its DER `SubjectPublicKeyInfo`.
    pub spki: Vec<u8>,
}

/// The authority's keys, from the register of token keys.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The issuing CA's; label `<authority>-issuing-1`.
    pub issuing: TokenKey,
    /// The OCSP responder's; label `<authority>-ocsp-1`.
    pub ocsp: TokenKey,
    /// The root's; label `<authority>-root-1`.
    pub root: TokenKey,
}

impl Keys {
    /// The labels of root and issuing key of the hierarchy's authority.
    pub fn labels(hierarchy: &Hierarchy) -> (String, String) {
        let authority = hierarchy.authority();
        (format!("{authority}-root-1"), format!("{authority}-issuing-1"))
    }

    /// The label of the OCSP responder's key.
    pub fn ocsp_label(hierarchy: &Hierarchy) -> String {
        format!("{}-ocsp-1", hierarchy.authority())
    }
}

/// One certificate as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// Sorts by the time of its making; the cursor of lists.
    pub id: String,
    /// The label of its issuer's key.
    pub issuer: String,
    /// `dns:…`, `ip:…`, `uri:…`.
    pub names: Vec<String>,
    /// The profile it was made by; `root` and `issuing` for CA certificates.
    pub profile: Label,
    /// Who asked.
    pub requested_by: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// SHA-256 of the subject's key, hexadecimal.
    pub spki_sha256: String,
    /// How far it came.
    pub state: State,
    /// RFC 4514; may be empty.
    pub subject: String,
    /// From when to when.
    pub validity: Validity,
}

/// How far a certificate came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Signed and stored.
    Issued,
    /// Reserved; a failure or a crash came between, so it may have been signed. It can be revoked.
    Reserved,
    /// Revoked, for good.
    Revoked {
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: Reason,
    },
}

/// An authority that is open. Cheap to clone.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    /// How often this node changed the issuers.
    advances: AtomicU64,
    /// By the DER of the id that was asked for.
    answers: moka::sync::Cache<Vec<u8>, Arc<ocsp::Response>>,
    gate: Gate,
    halts: Halts,
    hierarchy: Hierarchy,
    hsm: Hsm,
    identity: Identity,
    issuers: ArcSwap<Issuers>,
    keys: Keys,
    /// Set once, at the start; without it no key is known to others.
    known_keys: OnceLock<KnownKeys>,
    /// What other nodes and this one had changed when it was last looked at; none before the first time.
    known: Mutex<Option<(u64, u64)>>,
    /// Set once, at the start; without it nothing is limited.
    limits: OnceLock<IssueLimits>,
    /// What is left for OCSP answers that nobody else can use.
    live: Bucket,
    /// When the token last failed to sign an OCSP answer, in unix seconds.
    ocsp_failed_at: AtomicI64,
    /// Read once: a changed file counts from the next start on, for what is asked for from then on.
    profiles: BTreeMap<Label, Profile>,
    /// One look at what was changed at a time.
    reloading: tokio::sync::Mutex<()>,
    /// The label of the issuer that signs for the installation's own authority.
    signs: watch::Sender<String>,
    /// Wakes upkeep.
    woken: Notify,
}

impl Authority {
    /// Opens the authority, and makes its root and issuing certificates where the store has none. Idempotent: after a
    /// crash at any step the next start goes on where it ended.
    ///
    /// # Errors
    /// `Unavailable` if the token holds other keys than the stored certificates name; the gate's, the token's, the
    /// store's.
    pub async fn open(
        gate: Gate,
        hsm: Hsm,
        identity: Identity,
        hierarchy: Hierarchy,
        profiles: Vec<Profile>,
        keys: Keys,
    ) -> Result<Self> {
        found::establish(&gate, &hsm, &hierarchy, &keys).await?;
        let live = Bucket::new(hierarchy.ocsp_live_per_s());
        let authority = Self(Arc::new(Inner {
            advances: AtomicU64::new(0),
            answers: moka::sync::Cache::new(ocsp::KEPT),
            gate,
            halts: Halts::default(),
            hierarchy,
            hsm,
            identity,
            issuers: ArcSwap::default(),
            keys,
            known: Mutex::default(),
            known_keys: OnceLock::new(),
            limits: OnceLock::new(),
            live,
            ocsp_failed_at: AtomicI64::new(i64::MIN),
            profiles: profiles
                .into_iter()
                .map(|profile| (profile.name().clone(), profile))
                .collect(),
            reloading: tokio::sync::Mutex::default(),
            signs: watch::Sender::new(String::new()),
            woken: Notify::new(),
        }));
        authority.refresh().await?;
        authority.adopt_profiles().await?;
        authority.prove_keys().await?;
        let trust = Trust {
            authority: authority.name().clone(),
            clock: authority.0.gate.clock().clone(),
            store: authority.0.gate.store().clone(),
        };
        authority.0.identity.attach(Arc::new(trust)).await?;
        Ok(authority)
    }

    /// Says how much a caller may have issued by request; for the start, once.
    pub fn limit(&self, limits: IssueLimits) {
        self.0.limits.get_or_init(|| limits);
    }

    /// Says which keys others know, so that they are never certified; for the start, once.
    pub fn refuse(&self, known: KnownKeys) {
        self.0.known_keys.get_or_init(|| known);
    }

    /// The name of the installation's own: of the one that says who its callers are.
    pub fn name(&self) -> &Label {
        self.0.hierarchy.authority()
    }

    /// What the addresses on the plain listener begin with.
    pub fn http_url(&self) -> &str {
        self.0.hierarchy.http_url()
    }

    /// All authorities.
    ///
    /// # Errors
    /// The store's.
    pub async fn names(&self) -> Result<Vec<Label>> {
        self.refresh().await?;
        Ok(self.issuers().names().cloned().collect())
    }

    /// The label of the issuer that signs for the installation's own authority, and every change of it.
    pub fn signs(&self) -> watch::Receiver<String> {
        self.0.signs.subscribe()
    }

    /// The authority that the root with this key stands above.
    pub fn above(&self, root: &str) -> Option<Label> {
        let issuers = self.issuers();
        let root = issuers.member(root).filter(|member| member.role == Role::Root);
        root.map(|root| root.authority.clone())
    }

    /// The roots of the installation's own authority, PEM: what callers trust the service by.
    pub fn roots_pem(&self) -> String {
        let issuers = self.issuers();
        let roots: Vec<&[u8]> = issuers
            .bundled(self.name(), Role::Root)
            .map(|root| root.signer.issuer.der())
            .collect();
        pem::encode_chain(&roots)
    }

    /// The DER certificate of the issuer with this key, for the address that certificates name.
    pub fn issuer_certificate(&self, label: &str) -> Option<Vec<u8>> {
        let issuers = self.issuers();
        issuers.signer(label).map(|signer| signer.issuer.der().to_vec())
    }

    /// The profile with this name.
    fn profile(&self, name: &Label) -> Result<&Profile> {
        self.0.profiles.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.0.profiles.keys().map(Label::as_str).collect();
            Error::invalid(format!("`{name}` is not a profile: use {}", known.join(", ")))
        })
    }

    /// The issuers, as this node last saw them.
    fn issuers(&self) -> arc_swap::Guard<Arc<Issuers>> {
        self.0.issuers.load()
    }

    fn signer(&self, label: &str) -> Option<Arc<Signer>> {
        self.issuers().signer(label).cloned()
    }

    fn caller(&self) -> Result<Caller> {
        Caller::system(system::CA, self.0.gate.entropy().as_ref())
    }

    fn now(&self) -> Timestamp {
        self.0.gate.clock().now()
    }

    /// What an act on this authority acts on.
    fn resource(name: &Label) -> Resource {
        Resource::Authority(name.clone())
    }

    /// Takes over what was changed: issuers by any node, and what other nodes revoked and stopped.
    async fn refresh(&self) -> Result<()> {
        let store = self.0.gate.store();
        let now_seen = (
            store.fresh(Topic::Authorities).await?,
            self.0.advances.load(Ordering::SeqCst),
        );
        if *self.known() == Some(now_seen) {
            return Ok(());
        }
        // INVARIANT: one at a time, so that what was read earlier never takes the place of what was read later.
        let _alone = self.0.reloading.lock().await;
        let seen = (
            store.fresh(Topic::Authorities).await?,
            self.0.advances.load(Ordering::SeqCst),
        );
        if *self.known() == Some(seen) {
            return Ok(());
        }
        self.reload_issuers().await?;
        for (label, revision) in issuers::repo::revisions(store.read()).await? {
            let Some(signer) = self.signer(&label) else { continue };
            // It only grows, so that a change of our own meanwhile is never lost.
            signer.revision.fetch_max(revision, Ordering::SeqCst);
        }
        self.0.halts.reload(store).await?;
        *self.known() = Some(seen);
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<(u64, u64)>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Resolve for Authority {
    /// CRASH: an intent with a serial was closed by the commit that stored the certificate, so an open one means that
    /// the certificate may have been signed and never was handed out. Its row stays, as `reserved`.
    async fn resolve(&self, intent: &Intent) -> Result<Option<Resolution>> {
        let reason = match intent.detail.get("serial") {
            Some(serial) if repo::find(self.0.gate.store().read(), serial).await?.is_some() => {
                format!(
                    "the process ended in between; `{serial}` may have been signed, was not handed out, can be revoked"
                )
            }
            _ if intent.action == Action::PublishCrl.as_str() => {
                "the process ended in between; the number stays unused and a newer list is made".to_owned()
            }
            _ => return Ok(None),
        };
        Ok(Some(Resolution {
            outcome: Outcome::Unknown,
            reason,
        }))
    }
}

/// How much of a lifetime must be left before its end is warned of.
fn is_ending(validity: Validity, now: Timestamp) -> bool {
    let life = validity.not_after.since(validity.not_before);
    validity.not_after.since(now) < life / 5
}

/// The longest that upkeep sleeps.
const UPKEEP_EVERY: Duration = Duration::from_secs(3_600);
/// How far ahead of ours another node's clock may be. What is of a later time was made before our clock was put back:
/// whoever has the right time does not take it yet, so it is made anew.
const AHEAD: Duration = Duration::from_secs(300);

/// Whether something failed less than so many seconds ago; not if that lies ahead, before a clock was put back.
fn has_just_failed(failed_at: i64, pause_s: i64, now: Timestamp) -> bool {
    (0..pause_s).contains(&now.unix().saturating_sub(failed_at))
}
