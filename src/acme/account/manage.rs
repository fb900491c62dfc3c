//! What administrators do with accounts: look at them, say which names they may ask for, end them.

use std::sync::Arc;

use futures::FutureExt;

use super::{Account, AccountStatus, repo, resource};
use crate::acme::Acme;
use crate::acme::rules::Pattern;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label};
use crate::policy::{Action, Resource};

/// Lists accounts, oldest first.
#[derive(Clone, Debug)]
pub struct ListAccounts {
    /// At which authority.
    pub authority: Label,
    /// The last of the page before.
    pub after: Option<Id>,
    /// How many at most.
    pub limit: u32,
}

/// Shows an account.
#[derive(Clone, Debug)]
pub struct ShowAccount {
    /// At which authority.
    pub authority: Label,
    /// Which.
    pub id: Id,
}

/// Says what an account may ask for. What is left out stays.
#[derive(Clone, Debug)]
pub struct RestrictAccount {
    /// At which authority.
    pub authority: Label,
    /// Which.
    pub id: Id,
    /// The only names that it may ask for.
    pub allow: Option<Vec<Pattern>>,
    /// Names that it may not ask for.
    pub deny: Option<Vec<Pattern>>,
    /// Whether it need show nothing for names that the rules allow.
    pub is_trusted: Option<bool>,
    /// Whether its holder has agreed to the terms of service that are in force.
    pub agrees: bool,
}

/// Ends an account, with what it has not finished. Its certificates stay.
#[derive(Clone, Debug)]
pub struct DeactivateAccount {
    /// At which authority.
    pub authority: Label,
    /// Which.
    pub id: Id,
}

impl Operation for ListAccounts {
    const ACTION: Action = Action::ListAcmeAccounts;
    const EFFECT: Effect = Effect::Read;
    type Engine = Acme;
    type Output = Vec<Account>;

    fn resource(&self) -> Resource {
        Resource::Authority(self.authority.clone())
    }

    async fn run(self, acme: &Acme, _permit: &Permit) -> Result<Vec<Account>> {
        acme.0.authority.is_called(&self.authority).await?;
        repo::page(acme.0.gate.store().read(), &self.authority, self.after, self.limit).await
    }
}

impl Operation for ShowAccount {
    const ACTION: Action = Action::ShowAcmeAccount;
    const EFFECT: Effect = Effect::Read;
    type Engine = Acme;
    type Output = Account;

    fn resource(&self) -> Resource {
        resource(&self.authority, self.id)
    }

    async fn run(self, acme: &Acme, _permit: &Permit) -> Result<Account> {
        acme.managed(&self.authority, self.id).await
    }
}

impl Operation for RestrictAccount {
    const ACTION: Action = Action::RestrictAcmeAccount;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = Account;

    fn resource(&self) -> Resource {
        resource(&self.authority, self.id)
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<Account> {
        let mut account = acme.managed(&self.authority, self.id).await?;
        account.rules.allow = self.allow.unwrap_or(account.rules.allow);
        account.rules.deny = self.deny.unwrap_or(account.rules.deny);
        account.is_trusted = self.is_trusted.unwrap_or(account.is_trusted);
        if account.is_trusted && account.rules.allow.is_empty() {
            return Err(Error::invalid(
                "an account that need show nothing must have its names named: allow some",
            ));
        }
        if self.agrees {
            account.terms = acme.0.settings.terms_of_service.clone();
            account.terms_agreed_at = Some(permit.now());
            permit.note("terms", account.terms.clone().unwrap_or_default());
        }
        permit.note("rules", account.rules.to_json());
        permit.note("is_trusted", account.is_trusted.to_string());
        acme.write(permit, account, Part::Rules).await
    }
}

impl Operation for DeactivateAccount {
    const ACTION: Action = Action::DeactivateAcmeAccount;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = Account;

    fn resource(&self) -> Resource {
        resource(&self.authority, self.id)
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<Account> {
        let mut account = acme.managed(&self.authority, self.id).await?;
        account.status = AccountStatus::Deactivated;
        acme.write(permit, account, Part::Holders).await
    }
}

/// What of an account is changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// What its holder may change: contacts and status.
    Holders,
    /// What administrators say of it.
    Rules,
}

impl Acme {
    /// The account, as it is stored.
    async fn managed(&self, authority: &Label, id: Id) -> Result<Account> {
        self.0.authority.is_called(authority).await?;
        repo::find(self.0.gate.store().read(), id)
            .await?
            .filter(|account| account.authority == *authority)
            .ok_or_else(|| Error::not_found(format!("there is no account `{id}`: list them for the right one")))
    }

    /// Writes a part of an account in an act's commit; the other part may be another's to change meanwhile.
    pub(super) async fn write(&self, permit: &Permit, account: Account, part: Part) -> Result<Account> {
        let (acme, account) = (self.clone(), Arc::new(account));
        permit
            .commit({
                let account = account.clone();
                move |tx| {
                    let (acme, account) = (acme.clone(), account.clone());
                    async move {
                        acme.0.accounts.changed_in(tx);
                        match part {
                            Part::Holders => repo::update(tx, &account).await,
                            Part::Rules => repo::restrict(tx, &account).await,
                        }
                    }
                    .boxed()
                }
            })
            .await?;
        Ok(Arc::unwrap_or_clone(account))
    }
}
