//! By what else than a join token an identity is had: registration entries (SPIFFE ID <- who may get it).
//!
//! An entry says who vouches (an OIDC issuer, another CA, our own CA) and what of that must hold. Judging what a caller
//! shows is `oidc`'s and [`foreign`]'s; here is what may be written into an entry, and where it lies.
//!
//! SECURITY: an entry without a condition would let in everybody its source vouches for, so there is none.

use url::{Host, Url};

use super::{Identity, foreign, oidc, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::policy::{Group, SpiffeId};
use crate::store::{Topic, Tx};
use crate::wire::Way;
use crate::x509::chain::sha256;

/// How many entries one source may have: all are looked through for whoever comes with its word.
const MOST_PER_SOURCE: u64 = 1_000;
/// How long issuer, audience, a claim or a name in an entry may be, in bytes.
const LONGEST: usize = 1_024;
/// How many claims an entry may ask for.
const MOST_CLAIMS: usize = 16;

/// One way to an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its own id.
    pub id: Id,
    /// Who gets in by it.
    pub identity: SpiffeId,
    /// What must be shown.
    pub way: Way,
    /// When it was made.
    pub created: Timestamp,
}

/// The key that entries are looked up by: who vouches.
pub(super) fn source(way: &Way) -> Result<String> {
    Ok(match way {
        Way::Oidc { issuer, .. } => of_issuer(issuer),
        Way::X509 { ca_pem: None, .. } => OWN_CA.to_owned(),
        Way::X509 { ca_pem: Some(pem), .. } => of_ca(&foreign::ca(pem)?.subject),
    })
}

/// The source of entries for certificates of our own CA.
pub(super) const OWN_CA: &str = "x509:own";

/// The source of an OIDC issuer's entries.
pub(super) fn of_issuer(issuer: &str) -> String {
    format!("oidc:{issuer}")
}

/// The source of another CA's entries, by its subject as text.
pub(super) fn of_ca(subject: &str) -> String {
    format!("x509:{}", sha256(subject.as_bytes()))
}

/// The fingerprint of the CA that an entry names, for the record.
///
/// # Errors
/// `Invalid`, if it is no CA's certificate.
pub fn ca_fingerprint(ca_pem: &str) -> Result<String> {
    Ok(foreign::ca(ca_pem)?.fingerprint)
}

impl Identity {
    /// Stores an entry for a registered identity.
    ///
    /// # Errors
    /// `Invalid`, if what it asks for cannot be shown or is nothing; `NotFound`, if the identity is not registered;
    /// the store's.
    pub async fn add_entry(&self, tx: &Tx, entry: &Entry) -> Result<()> {
        self.check_way(&entry.way)?;
        if repo::find(tx.conn(), &entry.identity).await?.is_none() {
            return Err(super::register::unregistered(&entry.identity));
        }
        let source = source(&entry.way)?;
        if repo::count_entries(tx, &source).await? >= MOST_PER_SOURCE {
            return Err(Error::conflict(format!(
                "there are {MOST_PER_SOURCE} entries for this issuer or CA already: delete some, or let several \
                 callers share an identity"
            )));
        }
        repo::insert_entry(tx, entry, &source).await?;
        tx.touch(Topic::Identities);
        Ok(())
    }

    /// The entries of an identity, in the order of their making.
    ///
    /// # Errors
    /// The store's.
    pub async fn entries(&self, id: &SpiffeId) -> Result<Vec<Entry>> {
        repo::entries_of(self.0.store.read(), id).await
    }

    /// Replaces what an entry asks for.
    ///
    /// # Errors
    /// As [`Identity::add_entry`]; `NotFound`, if the identity has no such entry.
    pub async fn replace_entry(&self, tx: &Tx, identity: &SpiffeId, id: Id, way: &Way) -> Result<Entry> {
        self.check_way(way)?;
        let entry = repo::find_entry(tx.conn(), id).await?;
        let entry = entry
            .filter(|entry| entry.identity == *identity)
            .ok_or_else(|| no_entry(id))?;
        let entry = Entry {
            way: way.clone(),
            ..entry
        };
        repo::update_entry(tx, &entry, &source(way)?).await?;
        tx.touch(Topic::Identities);
        Ok(entry)
    }

    /// Whether an entry asks for `way` still; until the transaction ends nobody changes that.
    ///
    /// # Errors
    /// The store's.
    pub async fn holds_entry(&self, tx: &Tx, id: Id, way: &Way) -> Result<bool> {
        let entry = repo::lock_entry(tx, id).await?;
        Ok(entry.is_some_and(|entry| entry.way == *way))
    }

    /// Removes an entry: from the commit on nobody gets in by it. Certificates that it gave go on until they end.
    ///
    /// # Errors
    /// `NotFound`; the store's.
    pub async fn remove_entry(&self, tx: &Tx, identity: &SpiffeId, id: Id) -> Result<()> {
        if !repo::delete_entry(tx, identity, id).await? {
            return Err(no_entry(id));
        }
        tx.touch(Topic::Identities);
        Ok(())
    }

    /// Whether an entry may say this.
    fn check_way(&self, way: &Way) -> Result<()> {
        match way {
            Way::Oidc {
                issuer,
                audience,
                claims,
                ca_pem,
                group_claim,
            } => {
                oidc::check_url(issuer, self.0.settings.oidc_loopback)?;
                if Url::parse(issuer).is_ok_and(|url| url.query().is_some()) {
                    return Err(Error::invalid(format!(
                        "the issuer `{issuer}` has a query: give it as its tokens' `iss` has it"
                    )));
                }
                if audience.is_empty() || claims.is_empty() || claims.len() > MOST_CLAIMS {
                    return Err(Error::invalid(format!(
                        "an entry by oidc names an audience and 1 to {MOST_CLAIMS} claims, for example \
                         `--audience chancery --claim sub=system:serviceaccount:prod:web`"
                    )));
                }
                bounded(
                    [issuer, audience]
                        .into_iter()
                        .chain(claims.keys())
                        .chain(claims.values())
                        .chain(group_claim.iter().flat_map(|asked| [&asked.claim, &asked.prefix])),
                )?;
                if let Some(asked) = group_claim {
                    // What is not one before a group's name never becomes one.
                    format!("{}x", asked.prefix).parse::<Group>()?;
                }
                if let Some(pem) = ca_pem {
                    oidc::roots(pem)?;
                }
                Ok(())
            }
            Way::X509 { ca_pem, name, crl_pem } => {
                bounded([name])?;
                foreign::check(ca_pem.as_deref(), name, crl_pem.as_deref())
            }
        }
    }
}

fn bounded<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<()> {
    if texts
        .into_iter()
        .any(|text| text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control))
    {
        return Err(Error::invalid(format!(
            "a text in the entry is empty, has control characters or is longer than {LONGEST} bytes"
        )));
    }
    Ok(())
}

/// The entry that lets a caller in: that of the identity it asks for, or of the only one that there is.
///
/// # Errors
/// `Invalid`, if there are several identities to choose from.
pub(super) fn choose(taking: Vec<Entry>, wanted: Option<&SpiffeId>) -> Result<Option<Entry>> {
    let mut fitting = taking
        .into_iter()
        .filter(|entry| wanted.is_none_or(|wanted| entry.identity == *wanted));
    let Some(first) = fitting.next() else { return Ok(None) };
    match fitting.all(|other| other.identity == first.identity) {
        true => Ok(Some(first)),
        false => Err(Error::invalid(
            "several identities can be had by that: say which one (`--id`)",
        )),
    }
}

fn no_entry(id: Id) -> Error {
    Error::not_found(format!(
        "the identity has no entry `{id}`: see `chancery identity show` for those that it has"
    ))
}

/// Whether the host of a URL is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
