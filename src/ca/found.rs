//! Founding: the root's and the issuing CA's certificates, made once, through the gate.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::issue::{self, Alongside, Issued, Prepared};
use super::issuers::{self, IssuerRow, Origin, Role, Stage};
use super::{Keys, TokenKey};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::hsm::Hsm;
use crate::id::Label;
use crate::identity::Caller;
use crate::policy::{Action, Resource, system};
use crate::store::{Topic, Tx};
use crate::x509::chain::Issuer;
use crate::x509::hierarchy::Hierarchy;
use crate::x509::key::PublicKey;
use crate::x509::serial::Serial;
use crate::x509::tbs;

/// The profile that root certificates are listed under.
pub(super) const ROOT: &str = "root";
/// The profile that issuing CA certificates are listed under.
pub(super) const ISSUING: &str = "issuing";

/// What founding works on.
struct Foundry {
    clock: Arc<dyn Clock>,
    hierarchy: Hierarchy,
    hsm: Hsm,
}

/// Makes a root's certificate over its own key.
struct FoundRoot {
    authority: Label,
    key: TokenKey,
}

/// Makes an issuing CA's certificate, signed by the root.
struct FoundIssuing {
    authority: Label,
    key: TokenKey,
    root: Issuer,
    root_key: TokenKey,
}

/// Makes what is not stored yet.
pub(super) async fn establish(gate: &Gate, hsm: &Hsm, hierarchy: &Hierarchy, keys: &Keys) -> Result<()> {
    let foundry = Foundry {
        clock: gate.clock().clone(),
        hierarchy: hierarchy.clone(),
        hsm: hsm.clone(),
    };
    let root = match stored(gate, &keys.root).await? {
        Some(root) => root,
        None => {
            let operation = FoundRoot {
                authority: hierarchy.authority().clone(),
                key: keys.root.clone(),
            };
            perform(gate, &foundry, &keys.root, operation).await?
        }
    };
    if stored(gate, &keys.issuing).await?.is_none() {
        let operation = FoundIssuing {
            authority: hierarchy.authority().clone(),
            key: keys.issuing.clone(),
            root,
            root_key: keys.root.clone(),
        };
        perform(gate, &foundry, &keys.issuing, operation).await?;
    }
    Ok(())
}

async fn perform<O>(gate: &Gate, foundry: &Foundry, key: &TokenKey, operation: O) -> Result<Issuer>
where
    O: Operation<Engine = Foundry, Output = Issuer>,
{
    let caller = Caller::system(system::BOOTSTRAP, gate.entropy().as_ref())?;
    match gate.perform(&caller, foundry, operation).await {
        // Another node of a new cluster was faster; its certificate counts.
        Err(e) if e.kind() == Kind::Conflict => stored(gate, key)
            .await?
            .ok_or_else(|| Error::internal("an issuer is there and is not").because(e)),
        other => other,
    }
}

/// The stored certificate for a key.
async fn stored(gate: &Gate, key: &TokenKey) -> Result<Option<Issuer>> {
    let Some((certificate, _)) = issuers::repo::issuer(gate.store().read(), &key.key.label).await? else {
        return Ok(None);
    };
    let issuer = Issuer::read(&certificate)?.signing_as(key.key.kind);
    issuers::check_key(&issuer, key)?;
    Ok(Some(issuer))
}

impl Operation for FoundRoot {
    const ACTION: Action = Action::CreateAuthority;
    const EFFECT: Effect = Effect::Act;
    type Engine = Foundry;
    type Output = Issuer;

    fn resource(&self) -> Resource {
        Resource::Authority(self.authority.clone())
    }

    async fn run(self, foundry: &Foundry, permit: &Permit) -> Result<Issuer> {
        let declaration = foundry.hierarchy.root();
        let public = PublicKey::from_spki(&self.key.spki)?.signing_as(self.key.key.kind);
        let validity = declaration.validity(permit.now(), None);
        let serial = Serial::random(permit.entropy())?;
        let tbs = tbs::root(declaration, &public, &serial, validity)?;
        let prepared = Prepared::new(permit, tbs, None, ROOT, &self.key.key.label, &*foundry.clock)?;
        let alongside = InsertIssuer::new(foundry, &self.key, Role::Root, permit.now());
        let issued = issue::sign_and_store(&foundry.hsm, &self.key.key, None, &[], permit, prepared, alongside).await?;
        Ok(Issuer::read(&issued.certificate)?.signing_as(self.key.key.kind))
    }
}

impl Operation for FoundIssuing {
    const ACTION: Action = Action::CreateAuthority;
    const EFFECT: Effect = Effect::Act;
    type Engine = Foundry;
    type Output = Issuer;

    fn resource(&self) -> Resource {
        Resource::Authority(self.authority.clone())
    }

    async fn run(self, foundry: &Foundry, permit: &Permit) -> Result<Issuer> {
        let declaration = foundry.hierarchy.issuing();
        let public = PublicKey::from_spki(&self.key.spki)?.signing_as(self.key.key.kind);
        let validity = declaration.validity(permit.now(), Some(self.root.validity()));
        let serial = Serial::random(permit.entropy())?;
        let root_label = &self.root_key.key.label;
        let pointers = foundry.hierarchy.pointers(root_label, super::ONLY_SHARD);
        let tbs = tbs::issuing(declaration, &public, &serial, validity, &self.root, &pointers)?;
        let prepared = Prepared::new(permit, tbs, Some(&self.root), ISSUING, root_label, &*foundry.clock)?;
        let alongside = InsertIssuer::new(foundry, &self.key, Role::Issuing, permit.now());
        let root = Some(&self.root);
        let issued =
            issue::sign_and_store(&foundry.hsm, &self.root_key.key, root, &[], permit, prepared, alongside).await?;
        Ok(Issuer::read(&issued.certificate)?.signing_as(self.key.key.kind))
    }
}

/// Makes the issuer known in the commit that stores its certificate.
struct InsertIssuer {
    authority: Label,
    label: String,
    now: Timestamp,
    parent: String,
    role: Role,
}

impl InsertIssuer {
    fn new(foundry: &Foundry, key: &TokenKey, role: Role, now: Timestamp) -> Self {
        let authority = foundry.hierarchy.authority().clone();
        Self {
            parent: match role {
                Role::Root => String::new(),
                Role::Issuing => issuers::key_label(&authority, Role::Root, 1),
            },
            authority,
            label: key.key.label.clone(),
            now,
            role,
        }
    }
}

impl Alongside for InsertIssuer {
    fn stored<'t>(&'t self, tx: &'t Tx, issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        async move {
            let row = IssuerRow {
                label: self.label.clone(),
                authority: self.authority.clone(),
                role: self.role,
                number: 1,
                origin: Origin::Token,
                stage: Stage::Active,
                stage_at: self.now,
                parent: self.parent.clone(),
                key_type: None,
                serial: issued.serial.clone(),
                certificate: issued.certificate.clone(),
                chain: Vec::new(),
                not_after: issued.validity.not_after,
            };
            issuers::repo::insert(tx, &row).await?;
            tx.touch(Topic::Authorities);
            Ok(())
        }
        .boxed()
    }
}
