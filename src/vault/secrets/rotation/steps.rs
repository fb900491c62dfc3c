//! The steps of a rotation. Each may be run again after a crash at any point in it, and says in a `CRASH:` comment what
//! a crash leaves; each commits once, with the lease checked.

use std::sync::Arc;

use futures::FutureExt;

use super::configure::{pending, vacant};
use super::repo::{self, Lease};
use super::rotator::Request;
use super::schedule::retry;
use super::{Rotation, Step};
use crate::clock::Timestamp;
use crate::entropy;
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::id::Id;
use crate::identity::Caller;
use crate::policy::{Action, Resource};
use crate::secret::Secret;
use crate::store::Topic;
use crate::vault::cache::Key;
use crate::vault::secrets::binding;
use crate::vault::secrets::change::repo as change;
use crate::vault::secrets::describe::there;
use crate::vault::secrets::label::{VersionLabel, WhichVersion};
use crate::vault::secrets::repo::{self as rows, Found};
use crate::vault::secrets::version::{SecretAttributes, Version};
use crate::vault::version::VersionRef;
use crate::vault::{Vault, domain};

/// What the worker does after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onward {
    /// The next step, at once.
    Go,
    /// Nothing more for now.
    Rest,
}

/// Takes the next step of a rotation that this node holds.
pub(super) async fn take(gate: &Gate, engine: &Vault, caller: &Caller, row: Arc<Rotation>) -> Result<Onward> {
    let now = gate.clock().now();
    if row.step.is_none() && !row.policy.schedule.may_begin(now)? {
        return gate.perform(caller, engine, Reschedule(row)).await;
    }
    match row.at() {
        Step::Pending => gate.perform(caller, engine, MakePending(row)).await,
        Step::Set | Step::Test => gate.perform(caller, engine, AskRotator(row)).await,
        Step::Finish => gate.perform(caller, engine, Finish(row)).await,
    }
}

impl Rotation {
    /// The row as it will be at step `to`.
    fn reach(&self, to: Step, now: Timestamp) -> Self {
        Self {
            step: Some(to),
            next: Some(now),
            failures: 0,
            last_error: None,
            updated: now,
            ..self.clone()
        }
    }

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    fn note(&self, permit: &Permit) {
        permit.note("step", self.at().as_str());
        permit.note("rotator", self.policy.rotator.to_string());
    }
}

/// `pending`: a new value, sealed as a version that is not yet current.
struct MakePending(Arc<Rotation>);

impl Operation for MakePending {
    const ACTION: Action = Action::RunRotation;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.resource()
    }

    // CRASH: one transaction; there is a pending version and the next step, or neither. A value that was made and not
    // committed was told to nobody.
    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Onward> {
        let row = self.0;
        row.note(permit);
        let now = permit.now();
        let key = row.key();
        let id = Id::ordered(&*engine.entropy, now.unix().saturating_mul(1000))?;
        let reached = Rotation {
            version: Some(id),
            old: None,
            ..row.reach(Step::Set, now)
        };
        let work = Arc::new(Making {
            value: row.policy.generate.value(&*engine.entropy)?,
            sealing: engine.sealer.key(&domain(&key.vault)).await?,
            by: permit.caller().principal.to_string(),
            key,
            id,
            reached,
        });
        let (node, was, cache) = (engine.store.node().clone(), row.step, engine.secrets.clone());
        fault::point("rotation.pending.before");
        permit
            .commit(move |tx| {
                let (work, node, cache) = (work.clone(), node.clone(), cache.clone());
                async move {
                    let current = WhichVersion::Version(VersionRef::Current);
                    let found = rows::described(tx.conn(), &work.key, &current).await?;
                    let found = there(found, &work.key, &current, now)?;
                    found.version.check_readable(&work.key, now)?;
                    vacant(&work.key, pending(tx, &work.key, now).await?.as_ref())?;
                    let slot = change::take_slot_after(tx, &work.key, found.version.ordinal, false, now).await?;
                    let mut slot = slot.ok_or_else(moved)?;
                    slot.pointers.point(&VersionLabel::pending(), slot.latest)?;
                    change::write_pointers(tx, &slot).await?;
                    let version = Version {
                        id: work.id,
                        ordinal: slot.latest,
                        attributes: successor(&found.version, now),
                        labels: slot.pointers.of(slot.latest),
                        created: now,
                        created_by: work.by.clone(),
                        updated: now,
                        destroy: None,
                        destroyed: None,
                    };
                    let sealed = work.sealing.seal(&binding(&work.key.name, &version), &work.value)?;
                    change::insert_version(tx, &slot, &version, sealed, None).await?;
                    repo::save(tx, &node, &work.reached, was, Lease::Keep).await?;
                    tx.note("version", version.ordinal.to_string());
                    tx.touch(Topic::Secrets);
                    tx.on_commit(move || cache.changed(&work.key));
                    Ok(())
                }
                .boxed()
            })
            .await?;
        fault::point("rotation.pending.after");
        Ok(Onward::Go)
    }
}

struct Making {
    key: Key,
    id: Id,
    value: Secret,
    sealing: crate::seal::SealingKey,
    by: String,
    reached: Rotation,
}

/// What stands beside the value that follows that of `before`: it expires as long after its making.
fn successor(before: &Version, now: Timestamp) -> SecretAttributes {
    let attributes = &before.attributes;
    SecretAttributes {
        enabled: true,
        not_before: None,
        expires: attributes.expires.map(|at| now + at.since(before.created)),
        content_type: attributes.content_type.clone(),
        tags: attributes.tags.clone(),
    }
}

fn moved() -> Error {
    Error::unavailable("the secret was changed at this very moment")
}

/// `set` and `test`: the rotator is asked, with the value that is current and the one that is pending.
struct AskRotator(Arc<Rotation>);

impl Operation for AskRotator {
    const ACTION: Action = Action::RunRotation;
    const EFFECT: Effect = Effect::Act;
    type Engine = Vault;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.resource()
    }

    // CRASH: the rotator may have done it, or not. It is asked again, with the same values and the same token, and must
    // find done what is done. Its intent is closed with an unknown outcome.
    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Onward> {
        let row = self.0;
        row.note(permit);
        let (now, key, step) = (permit.now(), row.key(), row.at());
        let new = engine.opened(&key, VersionRef::Id(row.version()?), now).await?;
        let old = engine.opened(&key, VersionRef::Current, now).await?;
        permit.note("version", new.0.ordinal.to_string());
        permit.note("replaces", old.0.ordinal.to_string());
        still_pending(&key, &new.0)?;
        let node = engine.store.node().clone();
        let (held, holder) = (row.clone(), node.clone());
        permit
            .intend(move |tx| {
                let (row, node) = (held.clone(), holder.clone());
                async move { repo::hold(tx, &node, &row, now).await }.boxed()
            })
            .await?;
        let request = Request {
            step,
            key: &key,
            old: (&old.0, &old.1),
            new: (&new.0, &new.1),
            now,
        };
        engine.rotators.ask(&row.policy.rotator, request).await?;
        let (next, before, after) = match step {
            Step::Test => (Step::Finish, "rotation.test.before", "rotation.test.after"),
            _ => (Step::Test, "rotation.set.before", "rotation.set.after"),
        };
        let reached = Arc::new(Rotation {
            old: Some(old.0.ordinal),
            ..row.reach(next, permit.now())
        });
        let was = row.step;
        fault::point(before);
        permit
            .commit(move |tx| {
                let (node, reached) = (node.clone(), reached.clone());
                async move { repo::save(tx, &node, &reached, was, Lease::Keep).await }.boxed()
            })
            .await?;
        fault::point(after);
        Ok(Onward::Go)
    }
}

/// `finish`: the tested version becomes the current one.
struct Finish(Arc<Rotation>);

impl Operation for Finish {
    const ACTION: Action = Action::RunRotation;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.resource()
    }

    // CRASH: one transaction; either all of it is so, or nothing.
    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Onward> {
        let row = self.0;
        row.note(permit);
        let (now, node, was) = (permit.now(), engine.store.node().clone(), row.step);
        let begins = row.policy.schedule.next(now, now, draw(engine)?)?;
        let finished = Rotation {
            step: None,
            version: None,
            old: None,
            due: Some(begins),
            next: Some(begins),
            rotated: Some(now),
            ..row.reach(Step::Finish, now)
        };
        let again = row.reach(Step::Test, now);
        let wanted = WhichVersion::Version(VersionRef::Id(row.version()?));
        let work = Arc::new((finished, again, row.old));
        fault::point("rotation.finish.before");
        let found = engine
            .change_secret(permit, row.key(), wanted, None, move |tx, secret| {
                let (work, node) = (work.clone(), node.clone());
                async move {
                    let (finished, again, old) = &*work;
                    let version = &secret.found.version;
                    version.check_readable(&secret.key, now)?;
                    still_pending(&secret.key, version)?;
                    if Some(secret.slot.pointers.current) != *old {
                        // Somebody set another value since the test: it is seen once more whether this one still holds.
                        tx.note("again", "the current version is another one since the test");
                        return repo::save(tx, &node, again, was, Lease::Keep).await;
                    }
                    secret.slot.pointers.point(&VersionLabel::current(), version.ordinal)?;
                    secret.slot.pointers.remove(&VersionLabel::pending())?;
                    change::write_pointers(tx, &secret.slot).await?;
                    repo::save(tx, &node, finished, was, Lease::Release).await
                }
                .boxed()
            })
            .await?;
        fault::point("rotation.finish.after");
        if !found.version.is_current() {
            return Ok(Onward::Go);
        }
        tracing::info!(
            secret.vault = %row.vault, secret.name = %row.name, secret.version = found.version.ordinal,
            "secret `{}` of vault `{}` is rotated: version {}", row.name, row.vault, found.version.ordinal
        );
        Ok(Onward::Rest)
    }
}

/// Puts a rotation off to its next time, because it could not begin in its window.
struct Reschedule(Arc<Rotation>);

impl Operation for Reschedule {
    const ACTION: Action = Action::RunRotation;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.resource()
    }

    // CRASH: it is put off when it is looked at again.
    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Onward> {
        let row = self.0;
        let now = permit.now();
        let begins = row
            .policy
            .schedule
            .next(row.rotated.unwrap_or(now), now, draw(engine)?)?;
        permit.note("missed", row.due.map(|due| due.to_string()).unwrap_or_default());
        permit.note("next", begins.to_string());
        tracing::warn!(
            secret.vault = %row.vault, secret.name = %row.name,
            "the rotation of secret `{}` of vault `{}` missed its window; it begins at {begins}", row.name, row.vault
        );
        let later = Rotation {
            due: Some(begins),
            next: Some(begins),
            updated: now,
            ..Rotation::clone(&row)
        };
        commit(engine, permit, row.step, later).await?;
        Ok(Onward::Rest)
    }
}

/// After a failed step, which is recorded as failed already: what went wrong is kept, and when to try again.
pub(super) struct Defer {
    pub(super) row: Arc<Rotation>,
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl Operation for Defer {
    const ACTION: Action = Action::RunRotation;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        self.row.resource()
    }

    // CRASH: the failure is not counted, and the step is tried again when this node is back or the lease is over.
    async fn run(self, engine: &Vault, permit: &Permit) -> Result<()> {
        let Self { row, kind, text } = self;
        row.note(permit);
        let now = permit.now();
        let failures = row.failures.saturating_add(1);
        let next = match kind {
            Kind::Internal | Kind::RateLimited | Kind::Unavailable => retry(failures, now, draw(engine)?),
            // Somebody has to change something first.
            Kind::Conflict | Kind::Denied | Kind::Invalid | Kind::NotFound | Kind::Unauthenticated => None,
        };
        let text = match next {
            Some(_) => text,
            None => format!("paused after {failures} failed tries, the last one: {text}; mend it, then rotate again"),
        };
        permit.note("failures", failures.to_string());
        permit.note("next", next.map_or_else(|| "never".to_owned(), |at| at.to_string()));
        if next.is_none() {
            tracing::error!(
                secret.vault = %row.vault, secret.name = %row.name, rotation.step = %row.at(),
                "the rotation of secret `{}` of vault `{}` is {text}", row.name, row.vault
            );
        }
        let deferred = Rotation {
            step: Some(row.at()),
            next,
            failures,
            paused: next.is_none(),
            last_error: Some(text),
            updated: now,
            ..Rotation::clone(&row)
        };
        commit(engine, permit, row.step, deferred).await
    }
}

/// Commits a row that nobody works on any more.
async fn commit(engine: &Vault, permit: &Permit, was: Option<Step>, row: Rotation) -> Result<()> {
    let (node, row) = (engine.store.node().clone(), Arc::new(row));
    permit
        .commit(move |tx| {
            let (node, row) = (node.clone(), row.clone());
            async move { repo::save(tx, &node, &row, was, Lease::Release).await }.boxed()
        })
        .await
}

/// Checks that the version is still the one that is to become current.
///
/// # Errors
/// `Conflict` if its label was taken away.
fn still_pending(key: &Key, version: &Version) -> Result<()> {
    if version.labels.contains(&VersionLabel::pending()) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "the label `{}` was taken from version {} of secret `{}` of vault `{}`, which gives this rotation up",
        VersionLabel::PENDING,
        version.ordinal,
        key.name,
        key.vault
    )))
}

fn draw(engine: &Vault) -> Result<u64> {
    entropy::bytes(&*engine.entropy).map(u64::from_be_bytes)
}

impl Vault {
    /// A version with its value, for a rotator. SECURITY: whoever calls this has an intent in the log before the value
    /// leaves.
    async fn opened(&self, key: &Key, version: VersionRef, now: Timestamp) -> Result<(Version, Secret)> {
        let Found::Live(Some(row)) = rows::sealed(&self.store, key, version).await? else {
            return Err(Error::not_found(format!(
                "secret `{}` of vault `{}` is gone, or the version that is to replace its value",
                key.name, key.vault
            )));
        };
        row.version.check_readable(key, now)?;
        let value = self.sealer.open(&row.domain, &row.binding, &row.sealed).await?;
        Ok((Version::clone(&row.version), value))
    }
}
