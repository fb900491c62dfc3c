//! Who may have certificates, and the one-time tokens by which they get the first.
//!
//! A join token is 256 random bits; the store keeps its digest only. It is bound to the first key that uses it, so that
//! a caller which lost the answer can ask again and gets the same certificate, and nobody else can.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Identity, repo};
use crate::clock::Timestamp;
use crate::entropy::{self, Entropy};
use crate::error::{Error, Result};
use crate::policy::SpiffeId;
use crate::secret::Secret;
use crate::store::{Topic, Tx};

/// What every join token begins with, so that scanners for leaked credentials find it.
const PREFIX: &str = "cj_";

/// Random bytes in a join token.
const TOKEN_BYTES: usize = 32;

/// The longest text that is looked at as a join token.
const MAX_TOKEN_LEN: usize = 64;

/// What the holder of an unknown join token is told.
pub const UNKNOWN_TOKEN: &str = "the join token is not known: ask an administrator for a new one";

/// Who may have certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The name in its certificates.
    pub id: SpiffeId,
    /// The lifetime of its certificates; none is the profile's.
    pub ttl: Option<Duration>,
    /// How long after its certificate's end it may still renew; none is what the configuration says.
    pub grace: Option<Duration>,
    /// When it was registered.
    pub created: Timestamp,
    /// Since when it is disabled: it has no request answered and gets no certificate.
    pub disabled: Option<Timestamp>,
}

/// A one-time credential for the first certificate.
pub struct JoinToken(Secret);

impl JoinToken {
    /// A fresh token.
    ///
    /// # Errors
    /// As [`Entropy::fill`].
    pub fn random(entropy: &dyn Entropy) -> Result<Self> {
        let bytes: [u8; TOKEN_BYTES] = entropy::bytes(entropy)?;
        Ok(Self(Secret::new(
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into_bytes(),
        )))
    }

    /// What a caller gave as a token.
    ///
    /// # Errors
    /// `Invalid`, if it does not look like one; the text never repeats it.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.starts_with(PREFIX) && text.len() <= MAX_TOKEN_LEN {
            Ok(Self(Secret::new(text.as_bytes().to_vec())))
        } else {
            Err(Error::invalid(format!(
                "that is not a join token: give the whole text that begins with `{PREFIX}`"
            )))
        }
    }

    /// The token, to be shown once.
    pub fn into_secret(self) -> Secret {
        self.0
    }

    /// What the store knows it by.
    ///
    /// SECURITY: a lookup by digest tells nothing about other tokens by the time it takes, and with 256 random bits no
    /// salt is needed.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(hex::encode(digest::digest(&digest::SHA256, self.0.expose())))
    }
}

/// A join token's digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDigest(String);

impl TokenDigest {
    /// In hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose token it is.
    pub registration: Registration,
    /// The certificate that it gave this key already.
    pub serial: Option<String>,
}

/// A token as the store has it.
pub(super) struct StoredToken {
    pub(super) expires: Timestamp,
    pub(super) identity: SpiffeId,
    /// The key that it is bound to.
    pub(super) key_digest: Option<String>,
    pub(super) serial: Option<String>,
}

impl Identity {
    /// Registers an identity.
    ///
    /// # Errors
    /// `Invalid`, if it is of another trust domain; `Conflict`, if it is registered; the store's.
    pub async fn register(&self, tx: &Tx, registration: &Registration) -> Result<()> {
        if registration.id.trust_domain() != self.trust_domain().as_str() {
            return Err(Error::invalid(format!(
                "`{}` is not of this service's trust domain: begin it with `spiffe://{}/`",
                registration.id,
                self.trust_domain()
            )));
        }
        repo::insert(tx, registration).await?;
        tx.touch(Topic::Identities);
        Ok(())
    }

    /// The registration of `id`.
    ///
    /// # Errors
    /// `NotFound`; the store's.
    pub async fn registration(&self, id: &SpiffeId) -> Result<Registration> {
        repo::find(self.0.store.read(), id)
            .await?
            .ok_or_else(|| unregistered(id))
    }

    /// The registration of `id`, as this change sees it.
    ///
    /// # Errors
    /// The store's.
    pub async fn registered(&self, tx: &Tx, id: &SpiffeId) -> Result<Option<Registration>> {
        repo::find(tx.conn(), id).await
    }

    /// The registration of an identity that may have a certificate now.
    ///
    /// # Errors
    /// `Denied`, if it is not registered; `Unauthenticated`, if it is disabled; the store's.
    pub async fn enrollable(&self, id: &SpiffeId) -> Result<Registration> {
        let registration = repo::find(self.0.store.read(), id).await?.ok_or_else(|| {
            Error::denied(format!(
                "`{id}` is not registered: ask an administrator to register it and for a join token"
            ))
        })?;
        match registration.disabled {
            Some(_) => Err(disabled(id)),
            None => Ok(registration),
        }
    }

    /// Sets lifetime and grace of an identity's certificates.
    ///
    /// # Errors
    /// `NotFound`; the store's.
    pub async fn update(
        &self,
        tx: &Tx,
        id: &SpiffeId,
        ttl: Option<Duration>,
        grace: Option<Duration>,
    ) -> Result<Registration> {
        let before = repo::find(tx.conn(), id).await?.ok_or_else(|| unregistered(id))?;
        repo::update(tx, id, ttl, grace).await?;
        tx.touch(Topic::Identities);
        Ok(Registration { ttl, grace, ..before })
    }

    /// Disables an identity at a time, or enables it again. On commit its next request knows, on every node.
    ///
    /// # Errors
    /// `NotFound`; the store's.
    pub async fn set_disabled(&self, tx: &Tx, id: &SpiffeId, at: Option<Timestamp>) -> Result<Registration> {
        let before = repo::find(tx.conn(), id).await?.ok_or_else(|| unregistered(id))?;
        if before.disabled.is_some() == at.is_some() {
            return Ok(before);
        }
        repo::set_disabled(tx, id, at).await?;
        // With what was revoked, because callers are judged by both at once.
        tx.touch(Topic::Authorities);
        let (identity, whose) = (self.clone(), id.clone());
        tx.on_commit(move || identity.note_disabled(&whose, at.is_some()));
        Ok(Registration { disabled: at, ..before })
    }

    /// A page of registrations in the order of their ids, those after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn registrations(&self, after: Option<&SpiffeId>, limit: u32) -> Result<Vec<Registration>> {
        repo::page(self.0.store.read(), after, limit).await
    }

    /// Stores a join token for a registered identity, good until `expires`.
    ///
    /// # Errors
    /// `NotFound`, if the identity is not registered; the store's.
    pub async fn issue_token(
        &self,
        tx: &Tx,
        token: &TokenDigest,
        id: &SpiffeId,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<()> {
        if repo::find(tx.conn(), id).await?.is_none() {
            return Err(unregistered(id));
        }
        repo::insert_token(tx, token, id, now, expires).await
    }

    /// Whether a token with this digest was ever made.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_token_known(&self, token: &TokenDigest) -> Result<bool> {
        Ok(repo::find_token(self.0.store.read(), token).await?.is_some())
    }

    /// What a token is good for, to the key that asks (SHA-256 of its SubjectPublicKeyInfo in hexadecimal). Nothing is
    /// bound yet.
    ///
    /// # Errors
    /// As [`Identity::claim`].
    pub async fn look_up(&self, token: &TokenDigest, key_digest: &str, now: Timestamp) -> Result<Claim> {
        let row = repo::find_token(self.0.store.read(), token).await?;
        let row = usable(row, key_digest, now)?;
        let registration = self.registration(&row.identity).await?;
        if registration.disabled.is_some() {
            return Err(disabled(&registration.id));
        }
        Ok(Claim {
            registration,
            serial: row.serial,
        })
    }

    /// Binds a token to the key that asks. The same key may ask again until the token ends; no other key ever.
    ///
    /// # Errors
    /// `Unauthenticated`, with what to do; the store's.
    pub async fn claim(&self, tx: &Tx, token: &TokenDigest, key_digest: &str, now: Timestamp) -> Result<()> {
        if !repo::claim_token(tx, token, key_digest, now).await? {
            usable(repo::find_token(tx.conn(), token).await?, key_digest, now)?;
        }
        Ok(())
    }

    /// Notes the certificate that a claimed token gave.
    ///
    /// # Errors
    /// `Conflict`, if it gave one already, to the same key at the same time; the store's.
    pub async fn redeem(&self, tx: &Tx, token: &TokenDigest, serial: &str) -> Result<()> {
        if repo::redeem_token(tx, token, serial).await? {
            Ok(())
        } else {
            Err(Error::conflict(
                "the same request is answered at the same time: send it again for the same certificate",
            ))
        }
    }

    /// Whether there are tokens that [`Identity::remove_tokens`] would remove.
    ///
    /// # Errors
    /// The store's.
    pub async fn has_ended_tokens(&self, before: Timestamp, keep: &SpiffeId) -> Result<bool> {
        let found = repo::ended_tokens(self.0.store.read(), before, keep, 1).await?;
        Ok(!found.is_empty())
    }

    /// Removes for good at most `most` tokens that ended at `before`; how many. One that gave `keep` a certificate
    /// stays: [`Identity::has_enrolled`] asks for it.
    ///
    /// # Errors
    /// The store's.
    pub async fn remove_tokens(&self, tx: &Tx, before: Timestamp, keep: &SpiffeId, most: u64) -> Result<u64> {
        let digests = repo::ended_tokens(tx.conn(), before, keep, most).await?;
        repo::delete_tokens(tx, digests).await
    }

    /// Whether one of these has ever got a certificate by a join token.
    ///
    /// # Errors
    /// The store's.
    pub async fn has_enrolled(&self, ids: &[SpiffeId]) -> Result<bool> {
        repo::has_redeemed_token(self.0.store.read(), ids).await
    }
}

/// The token, if this key may use it.
fn usable(row: Option<StoredToken>, key_digest: &str, now: Timestamp) -> Result<StoredToken> {
    let Some(row) = row else {
        return Err(Error::unauthenticated(UNKNOWN_TOKEN));
    };
    if row.expires <= now {
        return Err(Error::unauthenticated(format!(
            "the join token ended at {}: ask an administrator for a new one",
            row.expires
        )));
    }
    if row.key_digest.as_deref().is_some_and(|bound| bound != key_digest) {
        return Err(Error::unauthenticated(format!(
            "the join token was used by another key: if that was not yours, tell an administrator to revoke \
             certificate `{}` of `{}`, and ask for a new token",
            row.serial.as_deref().unwrap_or("(none yet)"),
            row.identity
        )));
    }
    Ok(row)
}

/// Banned, which no new certificate mends.
pub(super) fn disabled(id: &SpiffeId) -> Error {
    Error::unauthenticated(format!(
        "`{id}` is disabled: ask an administrator to enable it again (`chancery identity enable`)"
    ))
}

pub(super) fn unregistered(id: &SpiffeId) -> Error {
    Error::not_found(format!(
        "there is no identity `{id}`: register it with `chancery identity create`"
    ))
}
