//! Challenges: the client says that it is ready, and a validation finds out (RFC 8555 §7.5.1, §8).
//!
//! CRASH: that a challenge is to be validated is in the store, with a lease, before anything is asked of the network;
//! what came out is recorded in one commit. A validation that ended with its process, or whose node is gone, is taken
//! up again from its row by any node ([`Acme::resume`]). Asking the network twice harms nobody; of two outcomes the
//! first that is committed counts.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::{Authorization, AuthorizationStatus, repo};
use crate::acme::Acme;
use crate::acme::account::{self, Account};
use crate::acme::problem::{Problem, ProblemType};
use crate::acme::validation::{FailureKind, Method, Proof, Question};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::identity::Caller;
use crate::policy::{Action, Resource, system};

/// How long a node has for a validation before another may take it up: longer than the longest that one takes.
pub(in crate::acme) const LEASE: Duration = Duration::from_secs(90);

/// How far a challenge has come (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeStatus {
    /// It failed.
    Invalid,
    /// It waits for the client.
    Pending,
    /// It is being validated.
    Processing,
    /// It was passed.
    Valid,
}

impl ChallengeStatus {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Valid => "valid",
        }
    }
}

/// A challenge of an authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// How control is shown.
    pub method: Method,
    /// Its token.
    pub token: String,
    /// How far it has come.
    pub status: ChallengeStatus,
    /// When it was passed.
    pub validated: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<Problem>,
}

struct RespondToChallenge {
    account: Arc<Account>,
    authorization: Id,
    method: Method,
    account_url: String,
}

impl Operation for RespondToChallenge {
    const ACTION: Action = Action::RespondToAcmeChallenge;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        self.account.resource()
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<()> {
        permit.note("authorization", self.authorization.to_string());
        permit.note("method", self.method.as_str());
        let (holder, now) = (acme.0.gate.store().node().clone(), permit.now());
        let (id, method, url) = (self.authorization, self.method, self.account_url);
        permit
            .commit(move |tx| {
                let (holder, url) = (holder.clone(), url.clone());
                async move { repo::begin(tx, id, method, &url, &holder, now).await }.boxed()
            })
            .await
    }
}

struct RecordValidation {
    authorization: Authorization,
    /// Whose authorization it is.
    resource: Resource,
    outcome: Result<Proof, Problem>,
}

impl Operation for RecordValidation {
    const ACTION: Action = Action::RecordAcmeValidation;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        self.resource.clone()
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<()> {
        let authorization = self.authorization;
        permit.note("authorization", authorization.id.to_string());
        permit.note("identifier", authorization.identifier.to_string());
        if let Some(tried) = &authorization.tried {
            permit.note("method", tried.method.as_str());
        }
        let now = permit.now();
        let mut failure = None;
        let (status, expires, error) = match self.outcome {
            Ok(proof) => {
                let life = Duration::from_secs(acme.0.settings.authorization_life_s);
                let life = proof.reusable_for.map_or(life, |most| most.min(life));
                (AuthorizationStatus::Valid, Some(now + life), None)
            }
            Err(problem) => {
                permit.note("failure", problem.detail.clone());
                failure = acme.take_failure(authorization.account, &authorization.identifier);
                (AuthorizationStatus::Invalid, None, Some(problem))
            }
        };
        permit.note("status", status.as_str());
        let (id, error) = (authorization.id, Arc::new(error));
        // CRASH: before this commit the validation is taken up again; after it, it is decided.
        fault::point("acme.validated.before");
        permit
            .commit(move |tx| {
                let error = error.clone();
                if let Some(failure) = failure.clone() {
                    tx.together(failure.anyway());
                }
                async move { repo::decide(tx, id, status, expires, error.as_ref().as_ref(), now).await }.boxed()
            })
            .await?;
        fault::point("acme.validated.after");
        Ok(())
    }
}

impl Acme {
    /// The client says that a challenge can be validated; it begins at once. Whatever was tried before stays as it is.
    /// `account_url` is the account's URL as the client has it.
    ///
    /// # Errors
    /// As [`Acme::authorization`]; `NotFound` for a method that is not offered; the gate's.
    pub async fn respond(
        &self,
        caller: &Caller,
        account: Arc<Account>,
        id: Id,
        method: Method,
        account_url: &str,
    ) -> Result<Authorization> {
        let found = self.authorization(&account, id).await?;
        if !self
            .challenges(&found)
            .iter()
            .any(|challenge| challenge.method == method)
        {
            return Err(Error::not_found(format!(
                "the authorization has no challenge `{method}`: see which it has"
            )));
        }
        if found.tried.is_some() || found.status(self.now()) != AuthorizationStatus::Pending {
            return Ok(found);
        }
        let op = RespondToChallenge {
            account: account.clone(),
            authorization: id,
            method,
            account_url: account_url.to_owned(),
        };
        fault::point("acme.respond.before");
        let begun = match self.0.gate.perform(caller, self, op).await {
            Ok(()) => true,
            // Another response was first.
            Err(error) if error.kind() == Kind::Conflict => false,
            Err(error) => return Err(error),
        };
        fault::point("acme.respond.after");
        let begun_with = self.authorization(&account, id).await?;
        if begun {
            let (acme, authorization) = (self.clone(), begun_with.clone());
            tokio::spawn(async move { acme.validate(authorization, account).await });
        }
        Ok(begun_with)
    }

    /// Takes up the validations whose node has had its time.
    pub(in crate::acme) async fn resume_validations(&self) -> Result<()> {
        let store = self.0.gate.store();
        let (node, now) = (store.node().clone(), self.now());
        let left = store
            .transact(move |tx| {
                let node = node.clone();
                async move { repo::claim(tx, &node, now).await }.boxed()
            })
            .await?;
        for authorization in left {
            let Some(account) = self.account(authorization.account).await? else {
                continue;
            };
            let acme = self.clone();
            tokio::spawn(async move { acme.validate(authorization, account).await });
        }
        Ok(())
    }

    async fn validate(&self, authorization: Authorization, account: Arc<Account>) {
        let Some(tried) = authorization.tried.clone() else {
            return;
        };
        // The semaphore is never closed.
        let _one = self.0.validating.acquire().await;
        let outcome = self
            .0
            .validator
            .validate(&Question {
                method: tried.method,
                identifier: &authorization.identifier,
                wildcard: authorization.wildcard,
                token: &authorization.token(tried.method),
                thumbprint: &account.key.thumbprint(),
                account_url: &tried.account_url,
            })
            .await;
        let id = authorization.id;
        let op = RecordValidation {
            resource: account::resource(&account.authority, account.id),
            authorization,
            outcome: outcome.map_err(|failure| Problem::new(spell(failure.kind), failure.detail)),
        };
        let recorded = match Caller::system(system::ACME, &**self.0.gate.entropy()) {
            Ok(caller) => self.0.gate.perform(&caller, self, op).await,
            Err(error) => Err(error),
        };
        match recorded {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::Conflict => {}
            Err(error) => tracing::warn!(
                authorization.id = %id, error = %error.detail(), "a validation was not recorded; it is done again"
            ),
        }
    }
}

/// What a failure is called on the wire.
pub(in crate::acme) fn spell(kind: FailureKind) -> ProblemType {
    match kind {
        FailureKind::Caa => ProblemType::Caa,
        FailureKind::Connection => ProblemType::Connection,
        FailureKind::Dns => ProblemType::Dns,
        FailureKind::IncorrectResponse => ProblemType::IncorrectResponse,
        FailureKind::Malformed => ProblemType::Malformed,
        FailureKind::RejectedIdentifier => ProblemType::RejectedIdentifier,
        FailureKind::Tls => ProblemType::Tls,
        FailureKind::Unauthorized => ProblemType::Unauthorized,
    }
}
