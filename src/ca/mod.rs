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
mod inventory;
mod issue;
mod limits;
mod list;
mod ocsp;
mod once;
mod repo;
mod responder;
mod revoke;
mod revoked;
mod signer;
mod standing;
#[cfg(test)]
mod tests;
mod upkeep;
mod versions;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::audit::Outcome;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Gate, Intent, Resolution, Resolve};
use crate::hsm::{Hsm, KeyRef};
use crate::id::Label;
use crate::identity::{Bundle, Caller, Identity, TrustSource, Trusted};
use crate::policy::{Action, Resource, system};
use crate::store::Topic;
use crate::x509::crl::Reason;
use crate::x509::hierarchy::{Hierarchy, Place};
use crate::x509::pem;
use crate::x509::profile::{Profile, Validity};

pub use self::crl::{PublishCrl, Published};
pub use self::export::{ExportIssued, Stored};
use self::halt::Halts;
pub use self::halt::{BlockKey, BlockedKey, ListBlockedKeys, ListStops, ResumeIssuing, Stop, StopIssuing};
pub use self::inventory::{Filter, IssuedPage, ListIssued, NamePattern, Status};
pub use self::issue::{Alone, Alongside, IssueCertificate, IssueRequest, Issued};
pub use self::limits::IssueLimits;
pub use self::list::{Facts, IssuerFacts, ShowAuthority};
use self::ocsp::Bucket;
pub use self::ocsp::{Answer, Response};
pub use self::once::IdempotencyKey;
pub use self::responder::RenewResponder;
use self::responder::Responder;
pub use self::revoke::{RevokeIssued, RevokeKey, RevokeShown, revoke_proven};
use self::signer::Signer;
pub use self::standing::Standing;

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
    /// By the DER of the id that was asked for.
    answers: moka::sync::Cache<Vec<u8>, Arc<ocsp::Response>>,
    /// Keys that were revoked as compromised (SHA-256 of their SPKI): never certified again.
    compromised: RwLock<HashSet<String>>,
    gate: Gate,
    halts: Halts,
    hierarchy: Hierarchy,
    hsm: Hsm,
    identity: Identity,
    issuing: Signer,
    /// What other nodes had changed when it was last looked at; none before the first time.
    known: Mutex<Option<u64>>,
    /// Set once, at the start; without it nothing is limited.
    limits: OnceLock<IssueLimits>,
    /// What is left for OCSP answers that nobody else can use.
    live: Bucket,
    /// When the token last failed to sign an OCSP answer, in unix seconds.
    ocsp_failed_at: AtomicI64,
    /// Read once: a changed file counts from the next start on, for what is asked for from then on.
    profiles: BTreeMap<Label, Profile>,
    /// One renewal of the responder at a time.
    renewing: tokio::sync::Mutex<()>,
    responder: ArcSwapOption<Responder>,
    responder_key: TokenKey,
    revoked: Notify,
    root: Signer,
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
        let (root, issuing) = found::establish(&gate, &hsm, &hierarchy, &keys).await?;
        let issuing = Signer::open(gate.store(), issuing, keys.issuing.key, hierarchy.crl_shards()).await?;
        let root = Signer::open(gate.store(), root, keys.root.key, 1).await?;
        let live = Bucket::new(hierarchy.ocsp_live_per_s());
        let authority = Self(Arc::new(Inner {
            answers: moka::sync::Cache::new(ocsp::KEPT),
            compromised: RwLock::default(),
            gate,
            halts: Halts::default(),
            hierarchy,
            hsm,
            identity,
            issuing,
            known: Mutex::default(),
            limits: OnceLock::new(),
            live,
            ocsp_failed_at: AtomicI64::new(i64::MIN),
            profiles: profiles
                .into_iter()
                .map(|profile| (profile.name().clone(), profile))
                .collect(),
            renewing: tokio::sync::Mutex::default(),
            responder: ArcSwapOption::empty(),
            responder_key: keys.ocsp,
            revoked: Notify::new(),
            root,
        }));
        authority.refresh().await?;
        authority.adopt_profiles().await?;
        authority.0.identity.attach(Arc::new(authority.clone())).await?;
        Ok(authority)
    }

    /// Says how much a caller may have issued by request; for the start, once.
    pub fn limit(&self, limits: IssueLimits) {
        self.0.limits.get_or_init(|| limits);
    }

    /// Its name.
    pub fn name(&self) -> &Label {
        self.0.hierarchy.authority()
    }

    /// What its root is called: the label of the root's key.
    pub fn root_label(&self) -> &str {
        self.0.root.label()
    }

    /// The roots, PEM: what callers put into their trust stores.
    pub fn roots_pem(&self) -> String {
        pem::encode_chain(&[self.0.root.issuer.der()])
    }

    /// The DER certificate of the issuer with this key, for the address that certificates name.
    pub fn issuer_certificate(&self, label: &str) -> Option<&[u8]> {
        self.signer(label).map(|signer| signer.issuer.der())
    }

    /// The profile with this name.
    fn profile(&self, name: &Label) -> Result<&Profile> {
        self.0.profiles.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.0.profiles.keys().map(Label::as_str).collect();
            Error::invalid(format!("`{name}` is not a profile: use {}", known.join(", ")))
        })
    }

    fn signer(&self, label: &str) -> Option<&Signer> {
        self.signers().into_iter().find(|signer| signer.label() == label)
    }

    fn signers(&self) -> [&Signer; 2] {
        [&self.0.root, &self.0.issuing]
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

    /// Takes over what other nodes revoked, stopped and blocked.
    async fn refresh(&self) -> Result<()> {
        let store = self.0.gate.store();
        let generation = store.fresh(Topic::Authorities).await?;
        if *self.known() == Some(generation) {
            return Ok(());
        }
        for signer in self.signers() {
            if let Some((_, revision)) = repo::issuer(store.read(), signer.label()).await? {
                let seen = signer.seen.load(Ordering::SeqCst);
                let compromised = revoked::repo::compromised_keys(store.read(), signer.label(), seen).await?;
                self.compromised_mut().extend(compromised);
                // All only grow, so that a change of our own meanwhile is never lost.
                signer.seen.fetch_max(revision, Ordering::SeqCst);
                signer.revision.fetch_max(revision, Ordering::SeqCst);
            }
        }
        self.0.halts.reload(store, self.now()).await?;
        *self.known() = Some(generation);
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compromised_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashSet<String>> {
        self.0.compromised.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_compromised(&self, spki_sha256: &str) -> bool {
        let compromised = self.0.compromised.read().unwrap_or_else(PoisonError::into_inner);
        compromised.contains(spki_sha256)
    }
}

impl TrustSource for Authority {
    fn load(&self) -> BoxFuture<'_, Result<Trusted>> {
        async move {
            let mut serials = HashSet::new();
            let conn = self.0.gate.store().read();
            for signer in self.signers() {
                let mut place = revoked::repo::start();
                while let Some((chunk, next)) =
                    revoked::repo::unexpired(conn, signer.label(), self.now(), i64::MAX, &place).await?
                {
                    serials.extend(chunk.into_iter().map(|one| one.entry.serial.to_string()));
                    place = next;
                }
            }
            Ok(Trusted {
                bundle: Bundle {
                    roots: vec![self.0.root.issuer.der().to_vec()],
                    issuers: vec![self.0.issuing.issuer.der().to_vec()],
                },
                revoked: serials,
            })
        }
        .boxed()
    }

    fn is_revoked<'s>(&'s self, serial: &'s str) -> BoxFuture<'s, Result<bool>> {
        async move {
            let issued = repo::find(self.0.gate.store().read(), serial).await?;
            Ok(issued.is_some_and(|issued| matches!(issued.state, State::Revoked { .. })))
        }
        .boxed()
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
