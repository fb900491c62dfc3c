//! Our values as Cedar's entities.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};

use super::principal::{Principal, SpiffeId};
use super::resource::{ObjectKind, Resource};
use super::scope::Scope;
use super::who::Group;
use crate::error::{BoxError, Error, Result};
use crate::id::Label;

/// The schema's entity types, parsed once.
pub(super) struct Vocabulary {
    account: EntityTypeName,
    acme_account: EntityTypeName,
    audit: EntityTypeName,
    authority: EntityTypeName,
    certificate: EntityTypeName,
    everything: EntityTypeName,
    group: EntityTypeName,
    identities: EntityTypeName,
    identity: EntityTypeName,
    issuer: EntityTypeName,
    key: EntityTypeName,
    policy: EntityTypeName,
    prefix: EntityTypeName,
    secret: EntityTypeName,
    system: EntityTypeName,
    vault: EntityTypeName,
    workload: EntityTypeName,
}

impl Vocabulary {
    pub(super) fn new() -> Result<Self> {
        let name = |text: &str| EntityTypeName::from_str(text).map_err(|e| broken("entity type", e));
        Ok(Self {
            account: name("Account")?,
            acme_account: name("AcmeAccount")?,
            audit: name("Audit")?,
            authority: name("Authority")?,
            certificate: name("Certificate")?,
            everything: name("Everything")?,
            group: name("Group")?,
            identities: name("Identities")?,
            identity: name("Identity")?,
            issuer: name("Issuer")?,
            key: name("Key")?,
            policy: name("Policy")?,
            prefix: name("Prefix")?,
            secret: name("Secret")?,
            system: name("System")?,
            vault: name("Vault")?,
            workload: name("Workload")?,
        })
    }

    pub(super) fn principal(&self, principal: &Principal) -> EntityUid {
        match principal {
            Principal::Account(_) => uid(&self.account, &principal.to_string()),
            Principal::Spiffe(id) => uid(&self.workload, id.as_str()),
            Principal::System(name) => uid(&self.system, name),
        }
    }

    /// A workload as policies in files may look at it.
    pub(super) fn workload(&self, id: &SpiffeId, groups: &[Group]) -> Result<Entity> {
        let attributes = HashMap::from([("id".to_owned(), RestrictedExpression::new_string(id.to_string()))]);
        let groups = groups.iter().map(|group| uid(&self.group, group.as_str())).collect();
        Entity::new(uid(&self.workload, id.as_str()), attributes, groups).map_err(|e| broken("a workload", e))
    }

    pub(super) fn resource(&self, resource: &Resource) -> EntityUid {
        let kind = match resource {
            Resource::Account(_) => &self.acme_account,
            Resource::Audit => &self.audit,
            Resource::Authority(_) => &self.authority,
            Resource::Everything => &self.everything,
            Resource::Identities => &self.identities,
            Resource::Identity(_) => &self.identity,
            Resource::Issuer(_) => &self.issuer,
            Resource::Object { kind, .. } => self.object(*kind),
            Resource::Policy => &self.policy,
            Resource::Vault(_) => &self.vault,
        };
        uid(kind, &resource.to_string())
    }

    pub(super) fn scope(&self, scope: &Scope) -> EntityUid {
        let kind = match scope {
            Scope::Audit => &self.audit,
            Scope::Authority(_) => &self.authority,
            Scope::Everything => &self.everything,
            Scope::Issuer(_) => &self.issuer,
            Scope::Object { kind, .. } => self.object(*kind),
            Scope::Prefix { .. } => &self.prefix,
            Scope::Vault(_) => &self.vault,
        };
        uid(kind, &scope.to_string())
    }

    fn object(&self, kind: ObjectKind) -> &EntityTypeName {
        match kind {
            ObjectKind::Certificate => &self.certificate,
            ObjectKind::Key => &self.key,
            ObjectKind::Secret => &self.secret,
        }
    }

    /// The resource and all that it lies in, up to everything.
    pub(super) fn ancestry(&self, resource: &Resource) -> Result<Vec<Entity>> {
        let everything = self.resource(&Resource::Everything);
        let this = self.resource(resource);
        Ok(match resource {
            Resource::Everything => Vec::new(),
            Resource::Account(account) => {
                let authority = self.resource(&Resource::Authority(account.authority.clone()));
                let holder = self.principal(&Principal::Account(account.clone()));
                vec![
                    Self::held(this, "holder", holder, &authority)?,
                    within(authority, everything),
                ]
            }
            Resource::Audit
            | Resource::Authority(_)
            | Resource::Identities
            | Resource::Issuer(_)
            | Resource::Policy
            | Resource::Vault(_) => vec![within(this, everything)],
            Resource::Identity(id) => {
                let register = self.resource(&Resource::Identities);
                let workload = uid(&self.workload, id.as_str());
                vec![
                    Self::held(this, "workload", workload, &register)?,
                    within(register, everything),
                ]
            }
            Resource::Object { vault, kind, name } => {
                self.object_ancestry(this, vault, *kind, name.as_str(), everything)
            }
        })
    }

    /// What belongs to somebody, who stands in this attribute, and lies in `parent`.
    fn held(this: EntityUid, attribute: &str, holder: EntityUid, parent: &EntityUid) -> Result<Entity> {
        let holder = RestrictedExpression::new_entity_uid(holder);
        let attributes = HashMap::from([(attribute.to_owned(), holder)]);
        Entity::new(this, attributes, HashSet::from([parent.clone()])).map_err(|e| broken(attribute, e))
    }

    /// An object lies in `a/b/`, that in `a/`, that in the kind as a whole, that in the vault.
    fn object_ancestry(
        &self,
        this: EntityUid,
        vault: &Label,
        kind: ObjectKind,
        name: &str,
        everything: EntityUid,
    ) -> Vec<Entity> {
        let vault = uid(&self.vault, &format!("vaults/{vault}"));
        let mut path = format!("{}/{}/", vault.id().unescaped(), kind.segment());
        let mut entities = vec![within(vault.clone(), everything)];
        let mut parent = uid(&self.prefix, &path);
        entities.push(within(parent.clone(), vault));
        for part in name.split_inclusive('/').filter(|part| part.ends_with('/')) {
            path.push_str(part);
            let prefix = uid(&self.prefix, &path);
            entities.push(within(prefix.clone(), parent));
            parent = prefix;
        }
        entities.push(within(this, parent));
        entities
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn within(this: EntityUid, parent: EntityUid) -> Entity {
    Entity::new_no_attrs(this, HashSet::from([parent]))
}

/// A built-in part of the policy that does not hold together.
pub(super) fn broken(what: &str, cause: impl Into<BoxError>) -> Error {
    Error::internal(format!("policy: {what} does not hold together")).because(cause)
}
