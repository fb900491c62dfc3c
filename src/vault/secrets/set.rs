//! Setting a secret: a new version, which becomes the current one unless its labels say otherwise.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use futures::FutureExt;

use super::binding;
use super::change::repo::{self, Slot};
use super::generate::Generate;
use super::label::VersionLabel;
use super::repo::{self as rows, Found};
use super::version::{SecretAttributes, Version};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, IdempotencyKey, Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::seal::SealingKey;
use crate::secret::Secret;
use crate::store::{Topic, Tx};
use crate::vault::cache::Key;
use crate::vault::retention::{self, Kept};
use crate::vault::vaults::require_in;
use crate::vault::version::VersionRef;
use crate::vault::{Vault, domain};

/// The largest value, in bytes.
pub const VALUE_MAX_BYTES: usize = 64 * 1024;

/// What must be so for a set to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The secret does not exist.
    Absent,
    /// Nothing.
    Anything,
    /// This version is current; any existing one with [`VersionRef::Current`].
    Version(VersionRef),
}

/// The value that a secret gets.
pub enum NewValue {
    /// One that is made here.
    Generated(Generate),
    /// This one, at most [`VALUE_MAX_BYTES`] bytes, kept exactly.
    Given(Secret),
}

impl From<Secret> for NewValue {
    fn from(value: Secret) -> Self {
        Self::Given(value)
    }
}

/// Sets a secret's value.
pub struct SetSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// The value.
    pub value: NewValue,
    /// What stands beside it.
    pub attributes: SecretAttributes,
    /// The labels that are to point at the new version. It becomes the current one if there are none, if
    /// [`VersionLabel::CURRENT`] is among them, or if it is the first.
    pub labels: Vec<VersionLabel>,
    /// What must be so; `Conflict` if it is not.
    pub expect: Expect,
    /// By what this set is told from others: sent again by the same caller with the same value, or to have one made, it
    /// answers the version that it made.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl Operation for SetSecret {
    const ACTION: Action = Action::SetSecret;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Version;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Version> {
        let given = matches!(self.value, NewValue::Given(_));
        let value = match self.value {
            NewValue::Given(value) => value,
            NewValue::Generated(rules) => {
                permit.note("generated", "true");
                rules.value(&*engine.entropy)?
            }
        };
        if value.len() > VALUE_MAX_BYTES {
            return Err(Error::invalid(format!(
                "the value has {} bytes: a secret holds at most {VALUE_MAX_BYTES}",
                value.len()
            )));
        }
        if let Some(label) = self.labels.iter().find(|label| label.is_previous()) {
            return Err(Error::invalid(format!(
                "`{label}` points at the version that was current before, never at a new one: leave it out"
            )));
        }
        let attributes = self.attributes.checked()?;
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        if let Some(request) = &self.idempotency_key
            && let Some(before) = engine
                .set_before(permit, &key, request, given.then_some(&value))
                .await?
        {
            permit.note("version", before.ordinal.to_string());
            permit.note("repeated", "true");
            permit.commit(|_| async { Ok(()) }.boxed()).await?;
            return Ok(before);
        }
        let domain = domain(&key.vault);
        if !engine.sealer.has(&domain) {
            // Before a data key is made for a vault that is not there.
            engine.require(&key.vault, permit.now()).await?;
        }
        let now = permit.now();
        let millis = now.unix().saturating_mul(1000);
        let work = Arc::new(Work {
            secret_id: Id::ordered(&*engine.entropy, millis)?,
            version_id: Id::ordered(&*engine.entropy, millis)?,
            key,
            sealing: engine.sealer.key(&domain).await?,
            value,
            attributes,
            becomes_current: self.labels.is_empty() || self.labels.iter().any(VersionLabel::is_current),
            labels: self.labels,
            expect: self.expect,
            request: self.idempotency_key,
            now,
            by: permit.caller().principal.to_string(),
        });
        let cache = engine.secrets.clone();
        fault::point("vault.set.before");
        let version = permit
            .commit(move |tx| {
                let (work, cache) = (work.clone(), cache.clone());
                Box::pin(async move {
                    let version = work.write(tx).await?;
                    tx.note("version", version.ordinal.to_string());
                    tx.touch(Topic::Secrets);
                    tx.on_commit(move || cache.changed(&work.key));
                    Ok(version)
                })
            })
            .await?;
        fault::point("vault.set.after");
        Ok(version)
    }
}

/// One set, as often as its transaction is run.
struct Work {
    key: Key,
    secret_id: Id,
    version_id: Id,
    sealing: SealingKey,
    value: Secret,
    attributes: SecretAttributes,
    becomes_current: bool,
    labels: Vec<VersionLabel>,
    expect: Expect,
    request: Option<IdempotencyKey>,
    now: Timestamp,
    by: String,
}

impl Work {
    async fn write(&self, tx: &Tx) -> Result<Version> {
        let mut slot = match self.slot(tx).await? {
            Some(slot) => slot,
            None => self.slot_otherwise(tx).await?,
        };
        if let Some(request) = &self.request
            && repo::is_taken(tx, &slot, request).await?
        {
            return Err(overtaken(request));
        }
        let others: Vec<_> = self.labels.iter().filter(|label| !label.is_current()).collect();
        if !others.is_empty() {
            for label in others {
                slot.pointers.point(label, slot.latest)?;
            }
            repo::write_pointers(tx, &slot).await?;
        }
        let version = Version {
            id: self.version_id,
            ordinal: slot.latest,
            attributes: self.attributes.clone(),
            labels: slot.pointers.of(slot.latest),
            created: self.now,
            created_by: self.by.clone(),
            updated: self.now,
            destroy: None,
            destroyed: None,
        };
        let sealed = self.sealing.seal(&binding(&self.key.name, &version), &self.value)?;
        repo::insert_version(tx, &slot, &version, sealed, self.request.as_ref()).await?;
        Ok(version)
    }

    async fn slot(&self, tx: &Tx) -> Result<Option<Slot>> {
        match self.expect {
            Expect::Absent => repo::take_first_slot(tx, &self.key, &self.secret_id, self.now).await,
            Expect::Anything => repo::take_slot(tx, &self.key, &self.secret_id, self.becomes_current, self.now).await,
            Expect::Version(VersionRef::Ordinal(ordinal)) => self.slot_after(tx, ordinal).await,
            Expect::Version(wanted) => {
                match rows::described(tx.conn(), &self.key, &VersionRef::Current.into()).await? {
                    Found::Live(Some(found)) if wanted.is_met_by(found.version.id, found.version.ordinal) => {
                        self.slot_after(tx, found.version.ordinal).await
                    }
                    _ => Ok(None),
                }
            }
        }
    }

    async fn slot_after(&self, tx: &Tx, ordinal: u64) -> Result<Option<Slot>> {
        require_in(tx, &self.key.vault, self.now).await?;
        repo::take_slot_after(tx, &self.key, ordinal, self.becomes_current, self.now).await
    }

    /// Why there was no slot; or one after all, where a deleted secret of that name is no longer kept.
    async fn slot_otherwise(&self, tx: &Tx) -> Result<Slot> {
        let Key { vault, name } = &self.key;
        require_in(tx, vault, self.now).await?;
        let found = rows::described(tx.conn(), &self.key, &VersionRef::Current.into()).await?;
        match (found, self.expect) {
            (Found::Deleted(deleted), Expect::Absent | Expect::Anything) if !deleted.is_kept(self.now) => {
                retention::repo::purge(tx, Kept::Secret, &self.key, self.now).await?;
                self.slot(tx)
                    .await?
                    .ok_or_else(|| Error::internal(format!("secret `{name}` of vault `{vault}` is still there")))
            }
            (Found::Deleted(deleted), _) if deleted.is_kept(self.now) => Err(deleted.conflict(Kept::Secret, vault)),
            (Found::Live(Some(found)), _) => Err(Error::conflict(format!(
                "secret `{name}` of vault `{vault}` is at version {}, which is not what you expect: read it and decide \
                 again",
                found.version.ordinal
            ))),
            (Found::Nothing | Found::Deleted(_) | Found::Live(None), _) => Err(Error::conflict(format!(
                "vault `{vault}` has no secret `{name}` yet, where you expect a version: set it without that"
            ))),
        }
    }
}

impl Vault {
    /// The version that the same set made before; whatever its value is, if none is given.
    async fn set_before(
        &self,
        permit: &Permit,
        key: &Key,
        request: &IdempotencyKey,
        value: Option<&Secret>,
    ) -> Result<Option<Version>> {
        permit.note("idempotency_key", request.to_string());
        let Found::Live(Some(row)) = rows::sealed_by_request(&self.store, key, request).await? else {
            return Ok(None);
        };
        let refuse = |why: &str| {
            Err(Error::conflict(format!(
                "the idempotency key `{request}` {why}: use a new key for a new request"
            )))
        };
        // SECURITY: first whose it is, so that nobody else learns by trying what the value is.
        if row.version.created_by != permit.caller().principal.to_string() {
            return refuse("was used by somebody else");
        }
        if row.version.is_destroyed(permit.now()) {
            return refuse("made a version that was destroyed");
        }
        let Some(value) = value else {
            return Ok(Some(Version::clone(&row.version)));
        };
        let before = self.sealer.open(&row.domain, &row.binding, &row.sealed).await?;
        match verify_slices_are_equal(before.expose(), value.expose()) {
            Ok(()) => Ok(Some(Version::clone(&row.version))),
            Err(_) => refuse("was used for another value"),
        }
    }
}

fn overtaken(request: &IdempotencyKey) -> Error {
    Error::conflict(format!(
        "another request with the idempotency key `{request}` is under way: send the same again"
    ))
    .retry_after(Duration::from_secs(1))
}
