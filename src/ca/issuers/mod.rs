//! The issuers of our authorities over time: which there are, how far each came, and which of them signs.
//!
//! What the store says is taken over as one snapshot, so that whoever issues sees either the old signer or the new one
//! and never none. An issuer that is known stays the same object through all its stages: its lists and what it revoked
//! are kept.
//!
//! It must never make a key or a certificate, and never decide when a stage ends: that is `rotation`'s.

pub(super) mod repo;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::signer::Signer;
use super::{Authority, TokenKey};
use crate::clock::Timestamp;
use crate::custody;
use crate::error::{Error, Result};
use crate::id::Label;
use crate::identity::Bundle;
use crate::key_type::KeyType;
use crate::x509::chain::Issuer;

/// What an issuer signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Issuing CAs.
    Root,
    /// Subjects' certificates.
    Issuing,
}

impl Role {
    /// As in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuing => "issuing",
        }
    }
}

/// How far an issuer came, in the order in which it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its number is given out; it has no certificate yet.
    Requested,
    /// Its certificate is there.
    Prepared,
    /// It is in the trust bundle and signs nothing yet.
    Published,
    /// It signs: exactly one of each role of an authority does.
    Active,
    /// The next one signs. Its certificates are renewed at their own times.
    Replaced,
    /// Its certificates are to be replaced at once. It signs lists and OCSP answers only.
    Tainted,
    /// Nothing that it signed is valid any more. It is not in the trust bundle.
    Retired,
}

impl Stage {
    /// In their order.
    pub const ALL: [Self; 7] = [
        Self::Requested,
        Self::Prepared,
        Self::Published,
        Self::Active,
        Self::Replaced,
        Self::Tainted,
        Self::Retired,
    ];

    /// As in the store and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Prepared => "prepared",
            Self::Published => "published",
            Self::Active => "active",
            Self::Replaced => "replaced",
            Self::Tainted => "tainted",
            Self::Retired => "retired",
        }
    }

    /// Whether those who follow the trust bundle find it there.
    pub fn is_in_bundle(self) -> bool {
        (Self::Published..=Self::Tainted).contains(&self)
    }

    /// Whether its lists and OCSP answers are kept fresh.
    fn is_served(self) -> bool {
        (Self::Prepared..=Self::Tainted).contains(&self)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|stage| stage.as_str() == text)
            .ok_or_else(|| Error::internal(format!("`{text}` is no stage of an issuer")))
    }
}

/// Where what stands above an authority's issuing CAs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A CA of somebody else.
    Foreign,
    /// A root of ours, whose key is somewhere safe.
    Offline,
    /// A root of ours in the token.
    Token,
}

impl Origin {
    /// As in the store and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Offline => "offline",
            Self::Token => "token",
        }
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut all = [Self::Foreign, Self::Offline, Self::Token].into_iter();
        all.find(|origin| origin.as_str() == text).ok_or_else(|| {
            Error::invalid(format!(
                "`{}` is no place of a root: use `token`, `offline` or `foreign`",
                text.escape_debug()
            ))
        })
    }
}

/// An issuer as it is stored.
#[derive(Clone, Debug)]
pub(super) struct IssuerRow {
    pub(super) label: String,
    pub(super) authority: Label,
    pub(super) role: Role,
    pub(super) number: u32,
    pub(super) origin: Origin,
    pub(super) stage: Stage,
    pub(super) stage_at: Timestamp,
    /// The label of the root that signed it; empty for roots, and for those that are older than this.
    pub(super) parent: String,
    /// The kind of its key, if it is not the declared one.
    pub(super) key_type: Option<KeyType>,
    pub(super) serial: String,
    /// DER; empty before it is made.
    pub(super) certificate: Vec<u8>,
    /// DER, what stands above it, the root left out.
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) not_after: Timestamp,
}

impl IssuerRow {
    /// The label of the root above it; a root's own.
    pub(super) fn parent_label(&self) -> String {
        match (self.role, self.parent.as_str()) {
            (Role::Root, _) => self.label.clone(),
            // The first one of an older installation.
            (Role::Issuing, "") => key_label(&self.authority, Role::Root, 1),
            (Role::Issuing, parent) => parent.to_owned(),
        }
    }
}

/// The label of an issuer's key.
pub(super) fn key_label(authority: &Label, role: Role, number: u32) -> String {
    format!("{authority}-{}-{number}", role.as_str())
}

/// An issuer that has a certificate.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) authority: Label,
    pub(super) number: u32,
    /// The label of the root above it; a root's own.
    pub(super) parent: String,
    pub(super) role: Role,
    pub(super) signer: Arc<Signer>,
    pub(super) stage: Stage,
}

/// All issuers that have certificates, as of one moment.
#[derive(Default)]
pub(super) struct Issuers {
    /// Who signs subjects' certificates, by authority.
    active: BTreeMap<Label, Arc<Signer>>,
    members: Vec<Member>,
    /// All authorities, those included whose first certificate is still awaited.
    names: BTreeSet<Label>,
    /// How many steps the issuers took together: it grows with each.
    pub(super) sequence: u64,
}

impl Issuers {
    /// Who signs for an authority now.
    pub(super) fn active(&self, authority: &Label) -> Result<&Arc<Signer>> {
        self.active
            .get(authority)
            .ok_or_else(|| match self.is_known(authority) {
                true => nobody_signs(authority),
                false => unknown(authority),
            })
    }

    /// Whether there is such an authority.
    pub(super) fn is_known(&self, authority: &Label) -> bool {
        self.names.contains(authority)
    }

    /// All authorities.
    pub(super) fn names(&self) -> impl Iterator<Item = &Label> {
        self.names.iter()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// Those that issued to subjects.
    pub(super) fn issuing(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.role == Role::Issuing)
    }

    /// Those whose lists and answers are kept fresh.
    pub(super) fn served(&self) -> impl Iterator<Item = &Member> {
        let own = |member: &&Member| member.signer.key.is_some() && member.stage.is_served();
        self.members.iter().filter(own)
    }

    pub(super) fn member(&self, label: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.signer.label() == label)
    }

    pub(super) fn signer(&self, label: &str) -> Option<&Arc<Signer>> {
        self.member(label).map(|member| &member.signer)
    }

    /// The roots that the followers of some trust bundle find there.
    pub(super) fn published_roots(&self) -> impl Iterator<Item = &Issuer> {
        let roots = self.members.iter().filter(|member| member.role == Role::Root);
        roots
            .filter(|root| root.stage.is_in_bundle())
            .map(|root| &root.signer.issuer)
    }

    /// Those of an authority that the followers of its trust bundle find there, oldest first.
    pub(super) fn bundled<'a>(&'a self, authority: &'a Label, role: Role) -> impl Iterator<Item = &'a Member> {
        let own = self.members.iter().filter(move |member| member.authority == *authority);
        own.filter(move |member| member.role == role && member.stage.is_in_bundle())
    }
}

pub(super) fn nobody_signs(authority: &Label) -> Error {
    Error::unavailable(format!(
        "the authority `{authority}` has no issuer that signs yet: `ca rotate --name {authority} --watch` says what is \
         awaited, and a root that is not in the token awaits `ca csr` and `ca import`"
    ))
}

pub(super) fn unknown(authority: &Label) -> Error {
    Error::not_found(format!(
        "there is no authority `{authority}`: `ca list` names those that there are"
    ))
}

/// What callers' chains are built from. SECURITY: only the installation's own authority says who a caller is; another one
/// may end in a root that is somebody else's.
pub(super) fn bundle(rows: &[IssuerRow], own: &Label) -> Bundle {
    let mut bundle = Bundle::default();
    let own = rows.iter().filter(|row| row.authority == *own);
    for row in own.filter(|row| row.stage.is_in_bundle()) {
        match row.role {
            Role::Root => bundle.roots.push(row.certificate.clone()),
            Role::Issuing => {
                bundle.issuers.push(row.certificate.clone());
                bundle.issuers.extend(row.chain.iter().cloned());
            }
        }
    }
    bundle
}

impl Authority {
    /// Takes over the issuers as they are stored.
    pub(super) async fn reload_issuers(&self) -> Result<()> {
        let store = self.0.gate.store();
        let before = self.0.issuers.load_full();
        let rows = repo::issuers(store.read()).await?;
        let mut issuers = Issuers::default();
        for row in rows {
            issuers.sequence += row.stage as u64;
            issuers.names.insert(row.authority.clone());
            if row.stage == Stage::Requested {
                continue;
            }
            let known = before
                .signer(&row.label)
                .filter(|known| known.issuer.der() == row.certificate);
            let signer = match known {
                Some(signer) if signer.chain == row.chain => signer.clone(),
                _ => Arc::new(self.open_signer(&row).await?),
            };
            if row.role == Role::Issuing && row.stage == Stage::Active {
                issuers.active.insert(row.authority.clone(), signer.clone());
            }
            let parent = row.parent_label();
            issuers.members.push(Member {
                authority: row.authority,
                number: row.number,
                parent,
                role: row.role,
                signer,
                stage: row.stage,
            });
        }
        let signs = |issuers: &Issuers| {
            issuers
                .active(self.name())
                .map(|signer| signer.label().to_owned())
                .unwrap_or_default()
        };
        let active = signs(&issuers);
        self.0.issuers.store(Arc::new(issuers));
        self.0.signs.send_if_modified(|before| {
            let changed = *before != active;
            *before = active;
            changed
        });
        Ok(())
    }

    /// Refuses a token that shows other keys than the certificates name, or none.
    pub(super) async fn prove_keys(&self) -> Result<()> {
        let issuers = self.0.issuers.load_full();
        for member in issuers.served() {
            let (label, signer) = (member.signer.label(), &member.signer);
            let shown = self.0.hsm.find(label).await?.and_then(|half| half.spki_der);
            let Some(spki) = shown else {
                return Err(Error::unavailable(format!(
                    "the token does not hold the key `{label}` of an issuer: bring that token back or restore it; no new \
                     key is made in its place"
                )));
            };
            let key = signer.key()?.clone();
            check_key(&signer.issuer, &TokenKey { key, spki })?;
        }
        Ok(())
    }

    async fn open_signer(&self, row: &IssuerRow) -> Result<Signer> {
        let (store, keys) = (self.0.gate.store(), &self.0.keys);
        let first = [&keys.root, &keys.issuing]
            .into_iter()
            .find(|first| first.key.label == row.label);
        let key = match first {
            // A root that is elsewhere signs nothing here; its list may be imported.
            _ if row.role == Role::Root && row.origin != Origin::Token => {
                return Signer::open(store, Issuer::read(&row.certificate)?, Vec::new(), &row.label, None, 1).await;
            }
            Some(first) => first.key.clone(),
            None => custody::registered(store, &row.label).await?.ok_or_else(|| {
                Error::internal(format!(
                    "the issuer `{}` has no key in the register of token keys",
                    row.label
                ))
            })?,
        };
        let shards = match row.role {
            Role::Root => 1,
            Role::Issuing => self.0.hierarchy.crl_shards(),
        };
        let issuer = Issuer::read(&row.certificate)?.signing_as(key.kind);
        let chain = row.chain.clone();
        Signer::open(store, issuer, chain, &row.label, Some(key), shards).await
    }
}

/// Refuses a key of the token that is not the one in the certificate.
///
/// # Errors
/// `Unavailable`.
pub(super) fn check_key(issuer: &Issuer, key: &TokenKey) -> Result<()> {
    // SECURITY: a token with another key of that label is another token; nothing it signs would verify.
    if issuer.key().spki() == key.spki {
        return Ok(());
    }
    Err(Error::unavailable(format!(
        "the token's key `{}` is not the one in the stored certificate: this is another token or another database; \
         bring back the one that belongs",
        key.key.label
    )))
}
