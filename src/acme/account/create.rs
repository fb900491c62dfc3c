//! newAccount: finding an account by its key, or making it (RFC 8555 §7.3, §7.3.1).

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use serde_json::Value;

use super::{Account, AccountStatus, check_contacts, repo};
use crate::acme::Acme;
use crate::acme::external::{self, Bound};
use crate::acme::jwk::Jwk;
use crate::acme::problem::{Problem, ProblemType};
use crate::error::{Error, Kind, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::identity::{Caller, RequestRef};
use crate::limit::Take;
use crate::policy::{Action, Resource};

/// What a client asks for in newAccount.
#[derive(Clone, Debug, Default)]
pub struct NewAccount {
    /// URLs.
    pub contact: Vec<String>,
    /// Only an account that there is already is wanted.
    pub only_existing: bool,
    /// The terms of service are agreed to.
    pub terms_agreed: bool,
    /// The binding to an external account (RFC 8555 §7.3.4).
    pub binding: Option<Value>,
}

struct CreateAccount {
    account: Account,
    take: Option<Take>,
}

impl Operation for CreateAccount {
    const ACTION: Action = Action::CreateAcmeAccount;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Authority(self.account.authority.clone())
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<()> {
        permit.note("account", self.account.id.to_string());
        permit.note("key", self.account.key.thumbprint());
        if let Some(bound) = &self.account.bound {
            permit.note("external_key", bound.key.to_string());
            permit.note("identity", bound.identity.to_string());
            if let Some(role) = self.account.role {
                permit.note("role", role.as_str());
            }
        }
        // An account of somebody who may not act is of no use.
        acme.check_holder(&self.account).await?;
        let (account, take, now) = (Arc::new(self.account), self.take, permit.now());
        permit
            .commit(move |tx| {
                let (account, take) = (account.clone(), take.clone());
                async move {
                    if let Some(take) = take {
                        tx.together(take);
                    }
                    if let Some(bound) = &account.bound {
                        external::repo::take(tx, bound.key, now).await?;
                    }
                    repo::insert(tx, &account).await
                }
                .boxed()
            })
            .await
    }
}

impl Acme {
    /// The account of the key that signed the request to `url`; made if there is none. The answer says whether it was
    /// made.
    ///
    /// # Errors
    /// `accountDoesNotExist` if only an existing one is wanted and there is none, `unauthorized` if it was deactivated
    /// or its binding is no good, `externalAccountRequired` without a binding where one is needed, `userActionRequired`
    /// without agreement to the terms, `unsupportedContact`, `invalidContact`, `rateLimited`; the gate's.
    pub async fn enter(
        &self,
        source: SocketAddr,
        request: RequestRef,
        url: &str,
        key: Jwk,
        asked: NewAccount,
    ) -> Result<(Account, bool)> {
        if let Some(account) = self.account_of(&key).await? {
            return existing(account);
        }
        if asked.only_existing {
            return Err(Problem::new(
                ProblemType::AccountDoesNotExist,
                "no account has this key: make one without `onlyReturnExisting`",
            )
            .into());
        }
        check_contacts(&asked.contact)?;
        if let Some(terms) = &self.0.settings.terms_of_service
            && !asked.terms_agreed
        {
            return Err(Problem::new(
                ProblemType::UserActionRequired,
                format!("the terms of service are not agreed to: read `{terms}` and agree to them"),
            )
            .into());
        }
        let external = match &asked.binding {
            Some(document) => Some((self.verify_binding(document, &key, url).await?, document)),
            None if self.0.settings.external_account_required => {
                return Err(Problem::new(
                    ProblemType::ExternalAccountRequired,
                    "accounts here are bound to an external account: get a key for one from an administrator",
                )
                .into());
            }
            None => None,
        };
        let (bound, grant) = match external {
            Some((external, document)) => {
                let bound = Bound {
                    key: external.id,
                    identity: external.grant.identity.clone(),
                    document: document.clone(),
                };
                (Some(bound), Some(external.grant))
            }
            None => (None, None),
        };
        let now = self.now();
        let account = Account {
            id: Id::ordered(&**self.0.gate.entropy(), self.0.gate.clock().now_millis())?,
            authority: self.name().clone(),
            status: AccountStatus::Valid,
            key,
            contact: asked.contact,
            terms_agreed_at: asked.terms_agreed.then_some(now),
            terms: self.0.settings.terms_of_service.clone().filter(|_| asked.terms_agreed),
            created: now,
            bound,
            role: grant.as_ref().and_then(|grant| grant.role),
            is_trusted: grant.as_ref().is_some_and(|grant| grant.is_trusted),
            rules: grant.map(|grant| grant.rules).unwrap_or_default(),
        };
        let caller = Caller::acme(source, request);
        let create = CreateAccount {
            account: account.clone(),
            take: self.take_account(source),
        };
        match self.0.gate.perform(&caller, self, create).await {
            Ok(()) => Ok((account, true)),
            // Made meanwhile by another request with the same key.
            Err(error) if error.kind() == Kind::Conflict => match self.account_of(&account.key).await? {
                Some(account) => existing(account),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

fn existing(account: Account) -> Result<(Account, bool)> {
    match account.status {
        AccountStatus::Valid => Ok((account, false)),
        AccountStatus::Deactivated => Err(deactivated()),
    }
}

/// RFC 8555 §7.3.6.
pub(in crate::acme) fn deactivated() -> Error {
    Problem::unauthorized("this account was deactivated, for good: make another, with another key")
        .status(401)
        .into()
}
