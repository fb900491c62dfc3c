//! Roles, their assignments, and why a decision is what it is.

use reqwest::Method;

use super::{Client, Result};
use crate::wire::{self, paths};

/// No query.
const NONE: &[(); 0] = &[];

impl Client {
    /// Assigns a role.
    pub async fn assign_role(&self, assign: &wire::AssignRole) -> Result<wire::RoleAssignment> {
        self.change(Method::POST, paths::route::ROLE_ASSIGNMENTS, assign).await
    }

    /// Lists role assignments, `most` at most.
    pub async fn role_assignments(&self, most: Option<usize>) -> Result<Vec<wire::RoleAssignment>> {
        self.all(paths::route::ROLE_ASSIGNMENTS, most).await
    }

    /// Whether an identity may do something, and by what.
    pub async fn check_policy(&self, asked: &wire::CheckPolicy) -> Result<wire::PolicyDecision> {
        self.change(Method::POST, paths::route::POLICY_CHECK, asked).await
    }

    /// What a change to the roles would alter.
    pub async fn simulate_policy(&self, asked: &wire::SimulatePolicy) -> Result<wire::PolicyAlterations> {
        self.change(Method::POST, paths::route::POLICY_SIMULATE, asked).await
    }

    /// What an identity holds, or who may do something, `most` at most.
    pub async fn explain_policy(
        &self,
        mut query: wire::ExplainQuery,
        most: Option<usize>,
    ) -> Result<Vec<wire::PolicyReason>> {
        let mut reasons = Vec::new();
        loop {
            let left = most.map(|most| most.saturating_sub(reasons.len()));
            query.limit = left.and_then(|left| u32::try_from(left).ok());
            let page: wire::Page<wire::PolicyReason> = self.get(paths::route::POLICY_EXPLAIN, &query).await?;
            reasons.extend(page.items.into_iter().take(left.unwrap_or(usize::MAX)));
            if page.next.is_none() || page.next == query.cursor || most.is_some_and(|most| reasons.len() >= most) {
                return Ok(reasons);
            }
            query.cursor = page.next;
        }
    }

    /// Makes a role.
    pub async fn create_role(&self, role: &wire::CreateRole) -> Result<wire::Role> {
        self.change(Method::POST, paths::route::ROLES, role).await
    }

    /// Lists roles and what they mean, `most` at most.
    pub async fn roles(&self, most: Option<usize>) -> Result<Vec<wire::Role>> {
        self.all(paths::route::ROLES, most).await
    }

    /// What a role means.
    pub async fn role(&self, name: &str) -> Result<wire::Role> {
        self.get(&paths::role(name), NONE).await
    }

    /// Replaces what a role means.
    pub async fn update_role(&self, name: &str, role: &wire::UpdateRole) -> Result<wire::Role> {
        self.change(Method::PUT, &paths::role(name), role).await
    }

    /// Deletes a role that nobody holds.
    pub async fn delete_role(&self, name: &str) -> Result<()> {
        self.send(Method::DELETE, &paths::role(name), NONE, None)
            .await
            .map(drop)
    }

    /// Takes a role assignment back.
    pub async fn revoke_role(&self, id: &str) -> Result<()> {
        self.send(Method::DELETE, &paths::role_assignment(id), NONE, None)
            .await
            .map(drop)
    }
}
