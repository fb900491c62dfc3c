//! The roles that people make.

use super::{Authz, Grant, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::policy::{Action, CustomName, CustomRole, Role, RoleName, Scope, Verdict};
use crate::store::Tx;

/// A role that somebody made, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRole {
    /// What it is.
    pub role: CustomRole,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

impl Authz {
    /// Every role that people made.
    ///
    /// # Errors
    /// The store's.
    pub async fn custom_roles(&self) -> Result<Vec<StoredRole>> {
        repo::roles(self.0.store.read()).await
    }

    /// What a built-in role allows.
    pub fn acts_of(&self, role: Role) -> Vec<Action> {
        self.0.engine.acts_of(role).into_iter().collect()
    }

    /// Whether a role can be made.
    ///
    /// # Errors
    /// As [`CustomRole::check`].
    pub fn check_role(&self, role: &CustomRole) -> Result<()> {
        role.check(&self.0.engine)
    }

    /// Makes a role, which [`Authz::check_role`] has looked at.
    ///
    /// # Errors
    /// `Conflict`, if there is one of that name; the store's.
    pub async fn create_role(&self, tx: &Tx, role: &CustomRole) -> Result<StoredRole> {
        let now = self.0.clock.now();
        repo::insert_role(tx, role, now).await?;
        self.replace_roles(tx, role.clone());
        Ok(StoredRole {
            role: role.clone(),
            created: now,
            updated: now,
        })
    }

    /// Changes a role, for all who hold it, from the commit on.
    ///
    /// INVARIANT: nobody is denied the changing of roles everywhere.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`, if it is denied somebody at `/` and would give the right to change roles; the store's.
    pub async fn update_role(&self, tx: &Tx, role: &CustomRole) -> Result<StoredRole> {
        let before = repo::lock_role(tx, &role.name)
            .await?
            .ok_or_else(|| unknown(&role.name))?;
        if role.changes_roles() {
            let assigned = repo::assigned(tx, &role.name).await?;
            let denied = assigned
                .iter()
                .find(|one| one.verdict == Verdict::Deny && one.scope == Scope::Everything);
            if let Some(denied) = denied {
                return Err(Error::conflict(format!(
                    "the role is denied `{}` at `/`, who could not be helped if it held the right to change roles: take \
                     assignment `{}` back first",
                    denied.who, denied.id
                )));
            }
        }
        let now = self.0.clock.now();
        repo::update_role(tx, role, now).await?;
        self.replace_roles(tx, role.clone());
        Ok(StoredRole {
            role: role.clone(),
            updated: now,
            ..before
        })
    }

    /// Deletes a role that nobody holds.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`, while it is assigned; the store's.
    pub async fn delete_role(&self, tx: &Tx, name: &CustomName) -> Result<()> {
        repo::lock_role(tx, name).await?.ok_or_else(|| unknown(name))?;
        let now = self.0.clock.now();
        for assignment in repo::assigned(tx, name).await? {
            if assignment.expires.is_none_or(|end| now < end) {
                return Err(Error::conflict(format!(
                    "role `{name}` is assigned to `{}`: take its assignments back first (`{}`, for one)",
                    assignment.who, assignment.id
                )));
            }
            // It has ended, and would be of a role that there is not.
            repo::delete(tx, assignment.id).await?;
            self.replace_on_commit(tx, assignment.who.clone(), vec![assignment.id], None);
        }
        repo::delete_role(tx, name).await?;
        let name = name.clone();
        self.replace_on_commit_by(tx, move |index| index.with_roles(index.roles.without(&name)));
        Ok(())
    }

    /// Sees to it that a role of one's own is what the grant was checked with, and stays so until the transaction ends.
    pub(super) async fn hold_role(&self, tx: &Tx, grant: &Grant) -> Result<()> {
        let RoleName::Custom(name) = &grant.assignment.role else {
            return Ok(());
        };
        let stored = repo::lock_role(tx, name).await?.ok_or_else(|| unknown(name))?;
        match grant.role.as_ref() == Some(&stored.role) {
            true => Ok(()),
            false => Err(Error::conflict(format!(
                "role `{name}` was changed at the same time: look at it and try again"
            ))),
        }
    }

    fn replace_roles(&self, tx: &Tx, role: CustomRole) {
        self.replace_on_commit_by(tx, move |index| match index.roles.with(role) {
            Ok(roles) => index.with_roles(roles),
            Err(e) => {
                tracing::error!(
                    "a role does not hold together, so the roles are read anew: {}",
                    e.detail()
                );
                index.stale()
            }
        });
    }
}

pub(super) fn unknown(name: &CustomName) -> Error {
    Error::not_found(format!(
        "there is no role `{name}` that somebody made: see `chancery role definitions`"
    ))
}
