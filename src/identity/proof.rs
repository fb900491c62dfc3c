//! What callers showed for their certificates, remembered in the store.
//!
//! A lost answer is asked for again with the same key, and gives the same certificate; what may be shown once only is
//! refused to every other key, on every node.

use std::time::Duration;

use super::{Identity, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::x509::chain::sha256;

/// How long a certificate is given again to who showed another one for it.
pub const AGAIN: Duration = Duration::from_secs(600);

/// Something shown, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    digest: String,
    /// Until when it is remembered.
    until: Timestamp,
    /// The entry that it matched; it must still be there when it is spent.
    entry: Option<Id>,
}

impl Proof {
    /// A bearer's credential, good for one key: `what` tells it from all others.
    ///
    /// SECURITY: `what` must be a part that the issuer signed, not the signature: of one signature there are several
    /// spellings. It must be remembered for as long as the credential could be shown.
    pub(super) fn once(what: &[u8], until: Timestamp, entry: Id) -> Self {
        Self {
            digest: sha256(&[b"once\0", what].concat()),
            until,
            entry: Some(entry),
        }
    }

    /// A certificate whose key the caller has proven to hold, shown for the key that `key_digest` names. It can be shown
    /// for other keys too.
    pub fn held(fingerprint: &str, key_digest: &str, entry: Option<Id>, now: Timestamp) -> Self {
        Self {
            digest: sha256(format!("held\0{fingerprint}\0{key_digest}").as_bytes()),
            until: now + AGAIN,
            entry,
        }
    }
}

/// A proof as the store has it.
pub(super) struct Spent {
    pub(super) key_digest: String,
    pub(super) serial: Option<String>,
    pub(super) expires: Timestamp,
}

impl Identity {
    /// The certificate that this proof gave this key already.
    ///
    /// # Errors
    /// `Unauthenticated`, if another key has used it; the store's.
    pub async fn given(&self, proof: &Proof, key_digest: &str, now: Timestamp) -> Result<Option<String>> {
        let spent = repo::find_spent(self.0.store.read(), &proof.digest).await?;
        let Some(spent) = spent.filter(|spent| spent.expires > now) else {
            return Ok(None);
        };
        mine(&spent, key_digest)?;
        Ok(spent.serial)
    }

    /// Spends a proof on a key. The same key may do so again; no other one ever.
    ///
    /// # Errors
    /// `Unauthenticated`, if another key has used it or its entry is gone; `Conflict`, if it is used at the same time;
    /// the store's.
    pub async fn spend(&self, tx: &Tx, proof: &Proof, key_digest: &str, now: Timestamp) -> Result<()> {
        if let Some(entry) = proof.entry
            && repo::find_entry(tx.conn(), entry).await?.is_none()
        {
            return Err(Error::unauthenticated(
                "the registration entry was deleted at the same time: ask an administrator for another",
            ));
        }
        repo::delete_spent(tx, &proof.digest, now).await?;
        match repo::find_spent(tx.conn(), &proof.digest).await? {
            Some(spent) => mine(&spent, key_digest),
            None if repo::insert_spent(tx, &proof.digest, key_digest, proof.until).await? => Ok(()),
            None => Err(at_once()),
        }
    }

    /// Notes the certificate that a spent proof gave.
    ///
    /// # Errors
    /// `Conflict`, if it gave one already, to the same key at the same time; the store's.
    pub async fn give(&self, tx: &Tx, proof: &Proof, serial: &str) -> Result<()> {
        match repo::give_spent(tx, &proof.digest, serial).await? {
            true => Ok(()),
            false => Err(at_once()),
        }
    }

    /// Whether there are proofs that [`Identity::forget_proofs`] would forget.
    ///
    /// # Errors
    /// The store's.
    pub async fn has_ended_proofs(&self, now: Timestamp) -> Result<bool> {
        Ok(!repo::ended_proofs(self.0.store.read(), now, 1).await?.is_empty())
    }

    /// Forgets at most `most` proofs that nobody can show any more; how many.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_proofs(&self, tx: &Tx, now: Timestamp, most: u64) -> Result<u64> {
        let ended = repo::ended_proofs(tx.conn(), now, most).await?;
        repo::delete_proofs(tx, ended).await
    }
}

fn mine(spent: &Spent, key_digest: &str) -> Result<()> {
    if spent.key_digest == key_digest {
        return Ok(());
    }
    Err(Error::unauthenticated(format!(
        "this token was used by another key: wait for the next token from its issuer; if that was not yours, tell an \
         administrator to revoke certificate `{}`",
        spent.serial.as_deref().unwrap_or("(none yet)")
    )))
}

fn at_once() -> Error {
    Error::conflict("the same request is answered at the same time: send it again for the same certificate")
        .retry_after(Duration::from_secs(1))
}
