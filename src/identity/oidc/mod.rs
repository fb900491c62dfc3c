//! Callers that an OIDC issuer vouches for: a JWT for our audience, signed by a key that the issuer publishes
//! (OpenID Connect Discovery 1.0, RFC 7519, with RFC 8725's advice).
//!
//! `token` reads and judges a token, `keys` keeps each issuer's keys, `fetch` gets them. Signatures are verified by
//! `jsonwebtoken`; everything else about a token is judged here, against the house's clock.
//!
//! SECURITY: only issuers that a registration entry names are ever asked, nothing of a token is believed before its
//! signature is verified, and a token stands in no text, log or record.

mod fetch;
mod keys;
#[cfg(test)]
mod tests;
mod token;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) use self::fetch::{check_url, roots};
use self::keys::IssuerKeys;
use self::token::{Claims, Unverified};
use super::entry::Entry;
use super::proof::Proof;
use super::{Identity, entry, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::policy::{Group, SpiffeId};
use crate::wire::Way;

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(60);
/// How many groups a token may name.
const MOST_GROUPS: usize = 256;
/// What a token without a way in is told.
const NO_ENTRY: &str = "no registration entry takes this token: check its issuer, audience and claims, or ask an \
                        administrator for an entry (`chancery identity create --by oidc`)";

/// An issuer and the roots to trust for it, if they are not the system's.
type Known = (String, Option<String>);

/// The keys of the issuers that were asked so far.
#[derive(Default)]
pub(super) struct Issuers(Mutex<HashMap<Known, Arc<IssuerKeys>>>);

impl Issuers {
    fn of(&self, issuer: &str, ca_pem: Option<&str>, loopback: bool) -> Result<Arc<IssuerKeys>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (issuer.to_owned(), ca_pem.map(str::to_owned));
        if let Some(keys) = known.get(&key) {
            return Ok(keys.clone());
        }
        let keys = Arc::new(IssuerKeys::new(issuer, ca_pem, loopback)?);
        known.insert(key, keys.clone());
        Ok(keys)
    }
}

/// What a caller showed, and the entry that takes it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The entry.
    pub entry: Entry,
    /// What is remembered of it.
    pub proof: Proof,
    /// Who it was, in the words of who vouches: for the record.
    pub subject: String,
    /// In which groups it is, by the claim that the entry names for that.
    pub groups: Option<BTreeSet<Group>>,
}

impl Identity {
    /// Judges a JWT, shown for `wanted` or for the one identity that it fits.
    ///
    /// # Errors
    /// `Unauthenticated`, with what to do; `Invalid`, if it fits several identities; `Unavailable`, if the issuer does
    /// not tell its keys; the store's.
    pub async fn judge_jwt(&self, jwt: &str, wanted: Option<&SpiffeId>, now: Timestamp) -> Result<Shown> {
        let token = Unverified::parse(jwt)?;
        let source = entry::of_issuer(token.issuer());
        let entries = repo::entries_by(self.0.store.read(), vec![source]).await?;
        if entries.is_empty() {
            return Err(Error::unauthenticated(NO_ENTRY));
        }
        let (claims, ca) = self.verify(&token, &entries, now).await?;
        claims.judge_time(now)?;
        let taking = entries
            .into_iter()
            .filter(|entry| takes(entry, ca.as_deref(), &claims))
            .collect();
        let entry = entry::choose(taking, wanted)?.ok_or_else(|| Error::unauthenticated(NO_ENTRY))?;
        Ok(Shown {
            proof: Proof::once(token.signed(), claims.expires + SKEW * 2, entry.id),
            subject: claims.subject(),
            groups: groups(&entry, &claims)?,
            entry,
        })
    }

    /// The claims, once a key of the issuer has signed them, and the roots by which it was asked for that key.
    async fn verify(
        &self,
        token: &Unverified<'_>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(Claims, Option<String>)> {
        let mut cas: Vec<Option<String>> = entries.iter().filter_map(|entry| ca_of(&entry.way)).collect();
        cas.sort();
        cas.dedup();
        let mut failure = Error::unauthenticated(NO_ENTRY);
        for ca in cas {
            let issuer = self
                .0
                .issuers
                .of(token.issuer(), ca.as_deref(), self.0.settings.oidc_loopback)?;
            match issuer.verify(token, now).await {
                Ok(claims) => return Ok((claims, ca)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The roots to trust for an entry's issuer, if it is one: its own or the system's.
fn ca_of(way: &Way) -> Option<Option<String>> {
    match way {
        Way::Oidc { ca_pem, .. } => Some(ca_pem.clone()),
        Way::X509 { .. } => None,
    }
}

/// The groups that a token says, if the entry asks for them.
///
/// SECURITY: one that cannot be a group's name refuses the token: left out, it could be one that is denied something.
fn groups(entry: &Entry, said: &Claims) -> Result<Option<BTreeSet<Group>>> {
    let Way::Oidc {
        group_claim: Some(asked),
        ..
    } = &entry.way
    else {
        return Ok(None);
    };
    let named = said.texts(&asked.claim)?;
    let groups = named
        .into_iter()
        .map(|name| format!("{}{name}", asked.prefix).parse())
        .collect::<Result<BTreeSet<Group>>>()
        .map_err(|e| {
            let said = e.public().to_owned();
            Error::unauthenticated(format!("the token names a group that cannot be one: {said}")).because(e)
        })?;
    if groups.len() > MOST_GROUPS {
        return Err(Error::unauthenticated(format!(
            "the token names {} groups, and at most {MOST_GROUPS} are taken: have its issuer name fewer",
            groups.len()
        )));
    }
    Ok(Some(groups))
}

fn takes(entry: &Entry, ca: Option<&str>, said: &Claims) -> bool {
    match &entry.way {
        Way::Oidc {
            audience,
            claims,
            ca_pem,
            ..
        } => {
            ca_pem.as_deref() == ca
                && said.is_for(audience)
                && claims.iter().all(|(name, value)| said.says(name, value))
        }
        Way::X509 { .. } => false,
    }
}
