//! The register of identities.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt;

use super::Enrollment;
use crate::authz::Origin;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::identity::entry::{Entry, ca_fingerprint};
use crate::identity::register::Registration;
use crate::identity::{Identity, check_grace};
use crate::policy::{Action, Group, Resource, SpiffeId};
use crate::store::Tx;
use crate::wire::Way;

/// Registers an identity, so that join tokens can be made for it; or one more way to it.
///
/// SECURITY: whoever can show what `way` asks for becomes that identity, so this is as strong as every role it has.
#[derive(Clone, Debug)]
pub struct CreateIdentity {
    /// Its name, in this service's trust domain.
    pub id: SpiffeId,
    /// The lifetime of its certificates; `None` is the profile's default.
    pub ttl: Option<Duration>,
    /// How long after its certificate's end it may still renew; `None` is what the configuration says.
    pub grace: Option<Duration>,
    /// By what it is had, beside join tokens. With it, and with nothing else, it may be registered already.
    pub way: Option<Way>,
    /// The groups that it is in.
    pub groups: BTreeSet<Group>,
}

impl CreateIdentity {
    /// An identity that is had by join tokens, with this lifetime of its certificates.
    pub fn by_token(id: SpiffeId, ttl: Option<Duration>) -> Self {
        Self {
            id,
            ttl,
            grace: None,
            way: None,
            groups: BTreeSet::new(),
        }
    }
}

/// An identity and what was made of the ways to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The identity.
    pub registration: Registration,
    /// Its entries; of a new one those that were made with it, in lists none.
    pub entries: Vec<Entry>,
    /// In which groups it is, and by what.
    pub groups: Vec<(Origin, Group)>,
}

impl Operation for CreateIdentity {
    const ACTION: Action = Action::CreateIdentity;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = Registered;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Registered> {
        engine.check_ttl(self.ttl)?;
        self.grace.map_or(Ok(()), check_grace)?;
        let now = permit.now();
        let may_exist = self.way.is_some() && self.ttl.is_none() && self.grace.is_none() && self.groups.is_empty();
        let registration = Registration {
            id: self.id,
            ttl: self.ttl,
            grace: self.grace,
            created: now,
            disabled: None,
        };
        let entry = match self.way {
            Some(way) => Some(Entry {
                id: Id::ordered(permit.entropy(), now.unix().saturating_mul(1000))?,
                identity: registration.id.clone(),
                way,
                created: now,
            }),
            None => None,
        };
        if let Some(entry) = &entry {
            describe(permit, entry)?;
        }
        if !self.groups.is_empty() {
            permit.note("groups", spell_groups(&self.groups));
        }
        let (engine, groups) = (engine.clone(), self.groups);
        permit
            .commit(move |tx| {
                let (engine, groups) = (engine.clone(), groups.clone());
                let (identity, registration, entry) = (engine.identity, registration.clone(), entry.clone());
                async move {
                    let registration = register(&identity, tx, registration, may_exist).await?;
                    if let Some(entry) = &entry {
                        identity.add_entry(tx, entry).await?;
                    }
                    if !groups.is_empty() {
                        let (id, origin) = (&registration.id, Origin::Registration);
                        engine.authz.set_groups(tx, id, origin, &groups).await?;
                    }
                    Ok(Registered {
                        registration,
                        entries: entry.into_iter().collect(),
                        groups: by_registration(groups),
                    })
                }
                .boxed()
            })
            .await
    }
}

async fn register(identity: &Identity, tx: &Tx, registration: Registration, may_exist: bool) -> Result<Registration> {
    if may_exist && let Some(known) = identity.registered(tx, &registration.id).await? {
        return Ok(known);
    }
    identity.register(tx, &registration).await?;
    Ok(registration)
}

/// Says in the record what an entry asks for.
fn describe(permit: &Permit, entry: &Entry) -> Result<()> {
    permit.note("entry", entry.id.to_string());
    let (by, from, what) = match &entry.way {
        Way::Oidc {
            issuer,
            audience,
            claims,
            group_claim,
            ..
        } => {
            let claims = serde_json::to_string(claims).map_err(|e| Error::internal("claims").because(e))?;
            if let Some(asked) = group_claim {
                permit.note("group_claim", format!("{} {}", asked.claim, asked.prefix));
            }
            ("oidc", issuer.clone(), format!("{audience} {claims}"))
        }
        Way::X509 { ca_pem, name, .. } => {
            let ca = match ca_pem {
                Some(ca_pem) => ca_fingerprint(ca_pem)?,
                None => "own".to_owned(),
            };
            ("x509", ca, name.clone())
        }
    };
    permit.note("by", by);
    permit.note("from", from);
    permit.note("asks", what);
    Ok(())
}

/// Groups, for the record.
pub(super) fn spell_groups(groups: &BTreeSet<Group>) -> String {
    let names: Vec<&str> = groups.iter().map(Group::as_str).collect();
    names.join(", ")
}

fn by_registration(groups: BTreeSet<Group>) -> Vec<(Origin, Group)> {
    groups.into_iter().map(|group| (Origin::Registration, group)).collect()
}

/// Sets lifetime and grace of an identity's certificates, and the groups that it is in.
///
/// SECURITY: an identity has the roles of its groups, so this is as strong as every role that a group has.
#[derive(Clone, Debug)]
pub struct UpdateIdentity {
    /// Whose.
    pub id: SpiffeId,
    /// The lifetime; `None` is the profile's default.
    pub ttl: Option<Duration>,
    /// The grace; `None` is what the configuration says.
    pub grace: Option<Duration>,
    /// The groups; those that an entry was shown stay.
    pub groups: BTreeSet<Group>,
}

impl Operation for UpdateIdentity {
    const ACTION: Action = Action::UpdateIdentity;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = Registered;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Registered> {
        engine.check_ttl(self.ttl)?;
        self.grace.map_or(Ok(()), check_grace)?;
        for (what, value) in [("ttl_s", self.ttl), ("grace_s", self.grace)] {
            permit.note(
                what,
                value.map_or_else(|| "default".to_owned(), |value| value.as_secs().to_string()),
            );
        }
        permit.note("groups", spell_groups(&self.groups));
        let engine = engine.clone();
        permit
            .commit(move |tx| {
                let (engine, op) = (engine.clone(), self.clone());
                async move {
                    let registration = engine.identity.update(tx, &op.id, op.ttl, op.grace).await?;
                    let origin = Origin::Registration;
                    engine.authz.set_groups(tx, &op.id, origin, &op.groups).await?;
                    Ok(Registered {
                        registration,
                        entries: Vec::new(),
                        groups: by_registration(op.groups),
                    })
                }
                .boxed()
            })
            .await
    }
}

/// Shows an identity and the ways to it.
#[derive(Clone, Debug)]
pub struct ShowIdentity {
    /// Whose.
    pub id: SpiffeId,
}

impl Operation for ShowIdentity {
    const ACTION: Action = Action::ShowIdentity;
    const EFFECT: Effect = Effect::Read;
    type Engine = Enrollment;
    type Output = Registered;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, _: &Permit) -> Result<Registered> {
        Ok(Registered {
            registration: engine.identity.registration(&self.id).await?,
            entries: engine.identity.entries(&self.id).await?,
            groups: engine.authz.view().await?.groups(&self.id),
        })
    }
}

/// Replaces what an entry asks for. Into the groups that were shown for it the identity comes again when it is used next.
#[derive(Clone, Debug)]
pub struct UpdateEntry {
    /// Whose entry.
    pub identity: SpiffeId,
    /// Which.
    pub id: Id,
    /// What must be shown from now on.
    pub way: Way,
}

impl Operation for UpdateEntry {
    const ACTION: Action = Action::UpdateEntry;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = Entry;

    fn resource(&self) -> Resource {
        Resource::Identity(self.identity.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Entry> {
        let asked = Entry {
            id: self.id,
            identity: self.identity,
            way: self.way,
            created: permit.now(),
        };
        describe(permit, &asked)?;
        let engine = engine.clone();
        permit
            .commit(move |tx| {
                let (engine, asked) = (engine.clone(), asked.clone());
                async move {
                    let (identity, id) = (&asked.identity, asked.id);
                    let entry = engine.identity.replace_entry(tx, identity, id, &asked.way).await?;
                    engine.leave_groups(tx, identity, id).await?;
                    Ok(entry)
                }
                .boxed()
            })
            .await
    }
}

/// Deletes an entry: nobody gets in by it any more. Certificates that it gave go on until they end.
#[derive(Clone, Debug)]
pub struct DeleteEntry {
    /// Whose entry.
    pub identity: SpiffeId,
    /// Which.
    pub id: Id,
}

impl Operation for DeleteEntry {
    const ACTION: Action = Action::DeleteEntry;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Identity(self.identity.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<()> {
        permit.note("entry", self.id.to_string());
        let engine = engine.clone();
        permit
            .commit(move |tx| {
                let (engine, op) = (engine.clone(), self.clone());
                async move {
                    engine.identity.remove_entry(tx, &op.identity, op.id).await?;
                    engine.leave_groups(tx, &op.identity, op.id).await
                }
                .boxed()
            })
            .await
    }
}

impl Enrollment {
    /// Takes an identity out of the groups that were shown for an entry.
    async fn leave_groups(&self, tx: &Tx, id: &SpiffeId, entry: Id) -> Result<()> {
        let none = BTreeSet::new();
        self.authz.set_groups(tx, id, Origin::Entry(entry), &none).await
    }
}

/// Disables an identity: from its next request on, on open connections too, nothing is answered to it.
///
/// Unlike an end or a revocation, no new certificate mends that.
#[derive(Clone, Debug)]
pub struct DisableIdentity {
    /// Whose.
    pub id: SpiffeId,
}

impl Operation for DisableIdentity {
    const ACTION: Action = Action::DisableIdentity;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = Registered;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Registered> {
        // SECURITY: that the last administrator stays is seen to where the role is taken away, and there only.
        if engine.authz.administrators().await?.contains(&self.id) {
            return Err(Error::conflict(format!(
                "`{}` is an administrator: take the role away first (`chancery role revoke`)",
                self.id
            )));
        }
        set_disabled(engine, permit, self.id, Some(permit.now())).await
    }
}

/// Enables an identity again: its certificates count as before, as far as they have not ended.
#[derive(Clone, Debug)]
pub struct EnableIdentity {
    /// Whose.
    pub id: SpiffeId,
}

impl Operation for EnableIdentity {
    const ACTION: Action = Action::EnableIdentity;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = Registered;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Registered> {
        set_disabled(engine, permit, self.id, None).await
    }
}

async fn set_disabled(engine: &Enrollment, permit: &Permit, id: SpiffeId, at: Option<Timestamp>) -> Result<Registered> {
    let identity = engine.identity.clone();
    let groups = engine.authz.view().await?.groups(&id);
    let registration = permit
        .commit(move |tx| {
            let (identity, id) = (identity.clone(), id.clone());
            async move { identity.set_disabled(tx, &id, at).await }.boxed()
        })
        .await?;
    Ok(Registered {
        registration,
        entries: Vec::new(),
        groups,
    })
}

/// Lists identities in the order of their ids.
#[derive(Clone, Debug)]
pub struct ListIdentities {
    /// The last one of the page before.
    pub after: Option<SpiffeId>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListIdentities {
    const ACTION: Action = Action::ListIdentities;
    const EFFECT: Effect = Effect::Read;
    type Engine = Enrollment;
    type Output = Vec<Registered>;

    fn resource(&self) -> Resource {
        Resource::Identities
    }

    async fn run(self, engine: &Enrollment, _: &Permit) -> Result<Vec<Registered>> {
        let page = engine.identity.registrations(self.after.as_ref(), self.limit).await?;
        let roles = engine.authz.view().await?;
        let registered = page.into_iter().map(|registration| Registered {
            groups: roles.groups(&registration.id),
            entries: Vec::new(),
            registration,
        });
        Ok(registered.collect())
    }
}
