//! The operations on roles: what whoever holds one may do.
//!
//! SECURITY: whoever may change a role can give everybody who holds it any right, so these acts are on
//! [`Resource::Policy`] too.

use std::collections::BTreeSet;

use futures::FutureExt;

use crate::authz::{Authz, StoredRole};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::policy::{Action, CustomName, CustomRole, Resource, Role, RoleName};

/// A role and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: RoleName,
    /// What whoever holds it may do.
    pub allow: BTreeSet<Action>,
    /// What whoever holds it may not do.
    pub deny: BTreeSet<Action>,
    /// When it was made; a built-in one was always there.
    pub created: Option<Timestamp>,
    /// When it was changed last.
    pub updated: Option<Timestamp>,
}

impl Definition {
    fn built_in(authz: &Authz, role: Role) -> Self {
        Self {
            name: role.into(),
            allow: authz.acts_of(role).into_iter().collect(),
            deny: BTreeSet::new(),
            created: None,
            updated: None,
        }
    }
}

impl From<StoredRole> for Definition {
    fn from(stored: StoredRole) -> Self {
        Self {
            name: stored.role.name.into(),
            allow: stored.role.allow,
            deny: stored.role.deny,
            created: Some(stored.created),
            updated: Some(stored.updated),
        }
    }
}

/// Makes a role.
#[derive(Clone, Debug)]
pub struct CreateRole(
    /// What it is.
    pub CustomRole,
);

impl Operation for CreateRole {
    const ACTION: Action = Action::CreateRole;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authz;
    type Output = Definition;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<Definition> {
        describe(permit, &self.0);
        authz.check_role(&self.0)?;
        let (authz, role) = (authz.clone(), self.0);
        permit
            .commit(move |tx| {
                let (authz, role) = (authz.clone(), role.clone());
                async move { authz.create_role(tx, &role).await.map(Definition::from) }.boxed()
            })
            .await
    }
}

/// Replaces what a role allows and denies, for all who hold it.
#[derive(Clone, Debug)]
pub struct UpdateRole(
    /// What it is from now on.
    pub CustomRole,
);

impl Operation for UpdateRole {
    const ACTION: Action = Action::UpdateRole;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authz;
    type Output = Definition;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<Definition> {
        describe(permit, &self.0);
        authz.check_role(&self.0)?;
        let (authz, role) = (authz.clone(), self.0);
        permit
            .commit(move |tx| {
                let (authz, role) = (authz.clone(), role.clone());
                async move { authz.update_role(tx, &role).await.map(Definition::from) }.boxed()
            })
            .await
    }
}

/// Deletes a role that nobody holds.
#[derive(Clone, Debug)]
pub struct DeleteRole {
    /// Which.
    pub name: CustomName,
}

impl Operation for DeleteRole {
    const ACTION: Action = Action::DeleteRole;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authz;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<()> {
        permit.note("role", self.name.to_string());
        let (authz, name) = (authz.clone(), self.name);
        permit
            .commit(move |tx| {
                let (authz, name) = (authz.clone(), name.clone());
                async move { authz.delete_role(tx, &name).await }.boxed()
            })
            .await
    }
}

/// Shows a role, built in or not.
#[derive(Clone, Debug)]
pub struct ShowRole {
    /// Which.
    pub name: RoleName,
}

impl Operation for ShowRole {
    const ACTION: Action = Action::ShowRole;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authz;
    type Output = Definition;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<Definition> {
        permit.note("role", self.name.to_string());
        match &self.name {
            RoleName::BuiltIn(role) => Ok(Definition::built_in(authz, *role)),
            RoleName::Custom(name) => {
                let stored = authz.custom_roles().await?;
                let found = stored.into_iter().find(|stored| stored.role.name == *name);
                found.map(Definition::from).ok_or_else(|| {
                    Error::not_found(format!(
                        "there is no role `{name}`: see `chancery role definitions` for those that there are"
                    ))
                })
            }
        }
    }
}

/// Lists roles, built in or not, in the order of their names.
#[derive(Clone, Debug)]
pub struct ListRoles {
    /// The last one of the page before.
    pub after: Option<String>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListRoles {
    const ACTION: Action = Action::ListRoles;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authz;
    type Output = Vec<Definition>;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, _: &Permit) -> Result<Vec<Definition>> {
        let built_in = Role::ALL
            .into_iter()
            .filter(|role| !role.is_for_accounts())
            .map(|role| Definition::built_in(authz, role));
        let stored = authz.custom_roles().await?.into_iter().map(Definition::from);
        let mut all: Vec<(String, Definition)> = built_in
            .chain(stored)
            .map(|role| (role.name.to_string(), role))
            .filter(|(name, _)| self.after.as_ref().is_none_or(|after| name > after))
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        Ok(all.into_iter().take(limit).map(|(_, role)| role).collect())
    }
}

fn describe(permit: &Permit, role: &CustomRole) {
    permit.note("role", role.name.to_string());
    permit.note("allow", spell(&role.allow));
    permit.note("deny", spell(&role.deny));
}

pub(super) fn spell(actions: &BTreeSet<Action>) -> String {
    let names: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
    names.join(",")
}
