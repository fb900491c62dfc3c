//! Authorizations: what an account may be certified for, and the challenges by which it shows that (RFC 8555 §7.1.4,
//! §7.1.5, §7.5).
//!
//! An authorization has a challenge of each method that fits its identifier. One of them is tried, once: it decides
//! over the authorization. The challenges' tokens are made from a seed that is in the store only, so that each is as
//! good as random and none needs a row of its own.

mod challenge;
pub(super) mod repo;

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use futures::FutureExt;

pub use self::challenge::{Challenge, ChallengeStatus};
pub(super) use self::challenge::{LEASE, spell};

use super::Acme;
use super::account::Account;
use super::identifier::Identifier;
use super::problem::{Problem, ProblemType};
use super::validation::Method;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::identity::Caller;
use crate::policy::{Action, Resource};

/// How far an authorization's life has come (RFC 8555 §7.1.6); nobody revokes one here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationStatus {
    /// Given up by its holder.
    Deactivated,
    /// It was valid, and its time is over.
    Expired,
    /// Its challenge failed, or none was tried in time.
    Invalid,
    /// Nothing is shown yet.
    Pending,
    /// It may be relied on.
    Valid,
}

impl AuthorizationStatus {
    /// As on the wire and, but for `expired`, in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deactivated => "deactivated",
            Self::Expired => "expired",
            Self::Invalid => "invalid",
            Self::Pending => "pending",
            Self::Valid => "valid",
        }
    }
}

/// An authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Its id; its URL ends in it.
    pub id: Id,
    /// Whose it is.
    pub account: Id,
    /// What it is for, without `*.`.
    pub identifier: Identifier,
    /// Whether it is for all names one label below (RFC 8555 §7.1.4).
    pub wildcard: bool,
    /// When it ends, or must have been shown.
    pub expires: Timestamp,
    stored: AuthorizationStatus,
    seed: [u8; 16],
    tried: Option<Tried>,
}

/// The challenge that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tried {
    method: Method,
    account_url: String,
    validated: Option<Timestamp>,
    error: Option<Problem>,
}

impl Authorization {
    /// How far it has come by `now`.
    pub fn status(&self, now: Timestamp) -> AuthorizationStatus {
        match self.stored {
            AuthorizationStatus::Pending if self.expires <= now => AuthorizationStatus::Invalid,
            AuthorizationStatus::Valid if self.expires <= now => AuthorizationStatus::Expired,
            stored => stored,
        }
    }

    /// The method by which it was shown, and the account's URL as its client has it.
    pub(super) fn shown_by(&self) -> Option<(Method, &str)> {
        let tried = self.tried.as_ref()?;
        Some((tried.method, &tried.account_url))
    }

    /// The method of its challenge, once that has decided.
    fn decided_by(&self) -> Option<Method> {
        let tried = self.tried.as_ref()?;
        (self.stored != AuthorizationStatus::Pending).then_some(tried.method)
    }

    /// Its challenge of a method.
    pub fn challenge(&self, method: Method) -> Challenge {
        let tried = self.tried.as_ref().filter(|tried| tried.method == method);
        let status = match (tried, self.stored) {
            (None, _) => ChallengeStatus::Pending,
            (Some(tried), _) if tried.validated.is_some() => ChallengeStatus::Valid,
            (Some(_), AuthorizationStatus::Pending) => ChallengeStatus::Processing,
            (Some(_), _) => ChallengeStatus::Invalid,
        };
        Challenge {
            method,
            token: self.token(method),
            status,
            validated: tried.and_then(|tried| tried.validated),
            error: tried.and_then(|tried| tried.error.clone()),
        }
    }

    /// A challenge's token, as hard to guess as the 128 bits of the seed (RFC 8555 §8.3).
    fn token(&self, method: Method) -> String {
        let input = [self.seed.as_slice(), method.as_str().as_bytes()].concat();
        BASE64URL.encode(digest::digest(&digest::SHA256, &input))
    }
}

struct DeactivateAuthorization {
    account: Arc<Account>,
    authorization: Id,
}

impl Operation for DeactivateAuthorization {
    const ACTION: Action = Action::DeactivateAcmeAuthorization;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        self.account.resource()
    }

    async fn run(self, _: &Acme, permit: &Permit) -> Result<()> {
        permit.note("authorization", self.authorization.to_string());
        let id = self.authorization;
        permit
            .commit(move |tx| async move { repo::deactivate(tx, id).await }.boxed())
            .await
    }
}

impl Acme {
    /// The challenges of an authorization. Once one has decided, only that (RFC 8555 §7.1.4); if nothing need be shown,
    /// none.
    pub fn challenges(&self, authorization: &Authorization) -> Vec<Challenge> {
        match authorization.decided_by() {
            Some(method) => vec![authorization.challenge(method)],
            None if authorization.stored == AuthorizationStatus::Valid => Vec::new(),
            None => self
                .0
                .validator
                .methods(&authorization.identifier, authorization.wildcard)
                .filter(|method| self.0.methods.contains(method))
                .map(|method| authorization.challenge(method))
                .collect(),
        }
    }

    /// An authorization of this account.
    ///
    /// # Errors
    /// `NotFound` if there is none, or it is another account's; the store's.
    pub async fn authorization(&self, account: &Account, id: Id) -> Result<Authorization> {
        repo::find(self.0.gate.store().read(), id)
            .await?
            .filter(|found| found.account == account.id)
            .ok_or_else(|| Error::not_found(format!("this account has no authorization `{id}`: see its orders")))
    }

    /// Gives up an authorization; it is never relied on afterwards, by pending orders neither (RFC 8555 §7.5.2).
    ///
    /// # Errors
    /// As [`Acme::authorization`]; `malformed` if it is not pending or valid; the gate's.
    pub async fn deactivate_authorization(
        &self,
        caller: &Caller,
        account: Arc<Account>,
        id: Id,
    ) -> Result<Authorization> {
        let found = self.authorization(&account, id).await?;
        match found.status(self.now()) {
            AuthorizationStatus::Pending | AuthorizationStatus::Valid => {}
            other => {
                let text = format!("an authorization that is {} cannot be deactivated", other.as_str());
                return Err(Problem::new(ProblemType::Malformed, text).into());
            }
        }
        let op = DeactivateAuthorization {
            account: account.clone(),
            authorization: id,
        };
        self.0.gate.perform(caller, self, op).await?;
        self.authorization(&account, id).await
    }
}
