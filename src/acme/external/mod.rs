//! External accounts (RFC 8555 §7.3.4): keys by which an administrator says beforehand whose an ACME account is, and
//! what it may ask for.
//!
//! SECURITY: the MAC key is shown once, when it is made; the store has it sealed. An account keeps what its key said:
//! deleting the key takes nothing from accounts that were made with it.

mod binding;
pub(super) mod repo;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

pub(super) use self::binding::Bound;

use super::Acme;
use super::rules::NameRules;
use crate::clock::Timestamp;
use crate::entropy::{self, Entropy};
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label};
use crate::policy::{Action, Resource, Role, SpiffeId};
use crate::seal::binding;
use crate::secret::Secret;

/// Octets of a MAC key: enough for each of the algorithms (RFC 7518 §3.2).
const KEY: usize = 64;
/// The first six bits of what begins with `-` in base64url (RFC 4648 §5).
const DASH: u8 = 62;
/// The sealing domain.
const DOMAIN: &str = "acme";

/// What a key says about the accounts that are made with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose they are.
    pub identity: SpiffeId,
    /// Which names they may ask for.
    pub rules: NameRules,
    /// Whether they need show nothing for names that the rules allow.
    pub is_trusted: bool,
    /// What they may do, at the key's authority and for themselves; without it what any account may.
    pub role: Option<Role>,
}

impl Grant {
    /// Judges it.
    ///
    /// # Errors
    /// `Invalid` for trust without bounds, and for a role that no account can have.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(role) = self.role.filter(|role| !role.is_for_accounts()) {
            return Err(Error::invalid(format!(
                "role `{role}` is not for accounts of the ACME server: use `{}` or `{}`",
                Role::AcmeClient,
                Role::AcmeRequester
            )));
        }
        if self.is_trusted && self.rules.allow.is_empty() {
            return Err(Error::invalid(
                "an account that need show nothing must have its names named: allow some",
            ));
        }
        Ok(())
    }
}

/// A key, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalKey {
    /// Its id, which clients call `kid`.
    pub id: Id,
    /// At which authority.
    pub authority: Label,
    /// What it says.
    pub grant: Grant,
    /// Whether more than one account may be made with it.
    pub is_reusable: bool,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Until when accounts may be made with it.
    pub expires: Option<Timestamp>,
    /// How many accounts were made with it.
    pub used: u64,
}

/// Makes a key.
#[derive(Clone, Debug)]
pub struct CreateExternalKey {
    /// What it says.
    pub grant: Grant,
    /// Whether more than one account may be made with it.
    pub is_reusable: bool,
    /// For how long accounts may be made with it; for good if it is not said.
    pub life: Option<Duration>,
    /// At which authority.
    pub authority: Label,
}

/// Lists keys, oldest first.
#[derive(Clone, Debug)]
pub struct ListExternalKeys {
    /// At which authority.
    pub authority: Label,
    /// The last of the page before.
    pub after: Option<Id>,
    /// How many at most.
    pub limit: u32,
}

/// Deletes a key.
#[derive(Clone, Debug)]
pub struct DeleteExternalKey {
    /// At which authority.
    pub authority: Label,
    /// Which.
    pub id: Id,
}

impl Operation for CreateExternalKey {
    const ACTION: Action = Action::CreateAcmeExternalKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = (ExternalKey, Secret);

    fn resource(&self) -> Resource {
        Resource::Authority(self.authority.clone())
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<Self::Output> {
        acme.0.authority.is_called(&self.authority).await?;
        self.grant.check()?;
        // A slip of the pen would be found out by nobody later.
        acme.0.identity.registration(&self.grant.identity).await?;
        let value = drawn(permit.entropy())?;
        let key = ExternalKey {
            id: Id::ordered(permit.entropy(), acme.0.gate.clock().now_millis())?,
            authority: self.authority,
            grant: self.grant,
            is_reusable: self.is_reusable,
            created: permit.now(),
            created_by: permit.caller().principal.to_string(),
            expires: self.life.map(|life| permit.now() + life),
            used: 0,
        };
        permit.note("key", key.id.to_string());
        permit.note("identity", key.grant.identity.to_string());
        permit.note("is_trusted", key.grant.is_trusted.to_string());
        if let Some(role) = key.grant.role {
            permit.note("role", role.as_str());
        }
        let sealed = acme.0.sealer.seal(DOMAIN, &bound_to(key.id), &value).await?;
        let row = Arc::new((key.clone(), sealed));
        permit
            .commit(move |tx| {
                let row = row.clone();
                async move { repo::insert(tx, &row.0, &row.1).await }.boxed()
            })
            .await?;
        Ok((key, value))
    }
}

impl Operation for ListExternalKeys {
    const ACTION: Action = Action::ListAcmeExternalKeys;
    const EFFECT: Effect = Effect::Read;
    type Engine = Acme;
    type Output = Vec<ExternalKey>;

    fn resource(&self) -> Resource {
        Resource::Authority(self.authority.clone())
    }

    async fn run(self, acme: &Acme, _permit: &Permit) -> Result<Self::Output> {
        acme.0.authority.is_called(&self.authority).await?;
        repo::page(acme.0.gate.store().read(), &self.authority, self.after, self.limit).await
    }
}

impl Operation for DeleteExternalKey {
    const ACTION: Action = Action::DeleteAcmeExternalKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Authority(self.authority.clone())
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<()> {
        acme.0.authority.is_called(&self.authority).await?;
        permit.note("key", self.id.to_string());
        let (authority, id) = (self.authority, self.id);
        permit
            .commit(move |tx| {
                let authority = authority.clone();
                async move { repo::delete(tx, &authority, id).await }.boxed()
            })
            .await
    }
}

/// What the sealed value of a key is bound to.
fn bound_to(id: Id) -> Vec<u8> {
    binding(&["acme-external-key", &id.to_string()])
}
/// A key that does not begin with `-` in base64url: certbot, for one, would take it for an option.
fn drawn(entropy: &dyn Entropy) -> Result<Secret> {
    loop {
        let bytes = entropy::bytes::<KEY>(entropy)?;
        if bytes.first().is_some_and(|first| first >> 2 != DASH) {
            return Ok(Secret::new(bytes.to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    /// Bytes of one value, then of the next.
    struct Rising(AtomicU8);

    impl Entropy for Rising {
        fn fill(&self, bytes: &mut [u8]) -> Result<()> {
            bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
            Ok(())
        }
    }

    #[test]
    fn no_key_is_taken_for_an_option() {
        let entropy = Rising(AtomicU8::new(247));
        assert_eq!(drawn(&entropy).unwrap().expose(), [247; KEY]);
        assert_eq!(drawn(&entropy).unwrap().expose(), [252; KEY]);
    }
}
