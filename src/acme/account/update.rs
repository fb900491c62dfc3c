//! Changes of an account: contacts, the end, another key (RFC 8555 §7.3.2, §7.3.5, §7.3.6).

use std::sync::Arc;

use futures::FutureExt;

use super::manage::Part;
use super::{Account, AccountStatus, check_contacts, repo};
use crate::acme::Acme;
use crate::acme::jwk::Jwk;
use crate::acme::problem::{Problem, ProblemType};
use crate::error::{Kind, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::identity::Caller;
use crate::policy::{Action, Resource};

/// What a client asks for on its account; everything else that it sends there is ignored (RFC 8555 §7.3.2).
#[derive(Clone, Debug, Default)]
pub struct AccountUpdate {
    /// URLs that take the place of the old ones.
    pub contact: Option<Vec<String>>,
    /// The account is given up.
    pub deactivate: bool,
}

struct UpdateAccount {
    account: Account,
}

impl Operation for UpdateAccount {
    const ACTION: Action = Action::UpdateAcmeAccount;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        self.account.resource()
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<()> {
        permit.note("status", self.account.status.as_str());
        acme.write(permit, self.account, Part::Holders).await.map(drop)
    }
}

struct RolloverKey {
    account: Arc<Account>,
    key: Jwk,
}

impl Operation for RolloverKey {
    const ACTION: Action = Action::RolloverAcmeKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        self.account.resource()
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<()> {
        let Self { account, key } = self;
        permit.note("old_key", account.key.thumbprint());
        permit.note("key", key.thumbprint());
        let (acme, key) = (acme.clone(), Arc::new(key));
        permit
            .commit(move |tx| {
                let (acme, account, key) = (acme.clone(), account.clone(), key.clone());
                async move {
                    acme.0.accounts.changed_in(tx);
                    repo::replace_key(tx, &account, &key).await
                }
                .boxed()
            })
            .await
    }
}

impl Acme {
    /// Changes an account and gives it as it is then.
    ///
    /// # Errors
    /// `unsupportedContact`, `invalidContact`; the gate's.
    pub async fn update_account(&self, caller: &Caller, account: &Account, update: AccountUpdate) -> Result<Account> {
        let mut changed = account.clone();
        if let Some(contact) = update.contact {
            check_contacts(&contact)?;
            changed.contact = contact;
        }
        if update.deactivate {
            changed.status = AccountStatus::Deactivated;
        }
        let op = UpdateAccount {
            account: changed.clone(),
        };
        self.0.gate.perform(caller, self, op).await?;
        Ok(changed)
    }

    /// Gives an account another key. Whoever asks has shown both.
    ///
    /// # Errors
    /// 409 with the other account, if one has the key already; the gate's.
    pub async fn roll_over(&self, caller: &Caller, account: Arc<Account>, key: Jwk) -> Result<()> {
        let taken = |holder: Account| {
            let mut problem = Problem::malformed("another account has the new key: make a fresh one").status(409);
            problem.account = Some(holder.id);
            problem
        };
        if let Some(holder) = self.account_of(&key).await? {
            return Err(taken(holder).into());
        }
        let op = RolloverKey {
            account,
            key: key.clone(),
        };
        match self.0.gate.perform(caller, self, op).await {
            Err(error) if error.kind() == Kind::Conflict => match self.account_of(&key).await? {
                Some(holder) => Err(taken(holder).into()),
                None => Err(Problem::new(
                    ProblemType::Malformed,
                    "the account's key was changed meanwhile: read the account and try again",
                )
                .status(409)
                .into()),
            },
            other => other,
        }
    }
}
