//! The door: whose request it is (RFC 8555 §6.2 to §6.5), before anything is done for anybody.
//!
//! SECURITY: in this order: the request can be read, means this very URL, brings a nonce of ours, is signed by the key
//! that it names; only then is the nonce taken back, so that nobody without a key of an account writes anything here.
//! Whoever is refused on the way is a stranger: recorded in aggregate, not one by one.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Acme;
use super::account::{Account, AccountStatus, deactivated};
use super::jwk::Jwk;
use super::jws::{Jws, Signer};
use super::problem::{Problem, ProblemType};
use crate::error::{Error, Kind, Result};
use crate::identity::{Caller, RequestRef};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The body.
    pub body: Vec<u8>,
    /// The URL that it was sent to, as the client wrote it.
    pub url: String,
    /// What the URLs of accounts begin with; the rest is the id.
    pub accounts: String,
    /// Where it comes from.
    pub source: SocketAddr,
    /// Its id.
    pub request: RequestRef,
}

/// Who may sign at a path (RFC 8555 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An account.
    Account,
    /// An account or, for a revocation, a certificate's key.
    Either,
    /// A key that may have no account yet.
    Key,
}

/// A request whose signature holds.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Whose it is.
    pub by: By,
    /// What it brings; empty in a POST-as-GET.
    pub payload: Vec<u8>,
    /// The URL that was signed.
    pub url: String,
    /// Where it comes from.
    pub source: SocketAddr,
    /// Its id.
    pub request: RequestRef,
}

/// Whose request it is.
#[derive(Clone, Debug)]
pub enum By {
    /// An account's that is in use.
    Account {
        /// The account.
        account: Arc<Account>,
        /// It, as acts know it.
        caller: Caller,
        /// Its URL, as the client wrote it.
        url: String,
    },
    /// Of whoever holds this key.
    Key(Box<Jwk>),
}

impl Acme {
    /// Establishes whose request it is, and takes its nonce back.
    ///
    /// # Errors
    /// `malformed`, `badSignatureAlgorithm`, `badPublicKey`, `unauthorized`, `badNonce`, `accountDoesNotExist`; the
    /// store's.
    pub async fn admit(&self, asked: Asked, expected: Expected) -> Result<Signed> {
        let source = asked.source;
        let admitted = self.judge_request(asked, expected).await;
        if let Err(error) = &admitted
            && !matches!(error.kind(), Kind::Internal | Kind::Unavailable)
        {
            self.0.gate.refuse(source.ip(), reason(Problem::of(error).kind));
        }
        admitted
    }

    async fn judge_request(&self, asked: Asked, expected: Expected) -> Result<Signed> {
        let jws = Jws::parse(&asked.body)?;
        if jws.url != asked.url {
            return Err(Problem::unauthorized(format!(
                "the signed `url` is `{}`, the request went to `{}`: sign the URL that you send to",
                jws.url.escape_debug(),
                asked.url
            ))
            .into());
        }
        let nonce = jws.nonce.as_deref().ok_or_else(|| {
            Problem::new(
                ProblemType::BadNonce,
                "the protected header has no nonce: try again with the one of this answer",
            )
        })?;
        let nonce = self.0.nonces.check(nonce)?;
        let by = match (&jws.signer, expected) {
            (Signer::Key(key), Expected::Key | Expected::Either) => {
                jws.verify(key)?;
                By::Key(key.clone())
            }
            (Signer::Account(url), Expected::Account | Expected::Either) => {
                let account = self.account_at(url, &asked.accounts).await?;
                jws.verify(&account.key)?;
                if account.status != AccountStatus::Valid {
                    return Err(deactivated());
                }
                By::Account {
                    caller: Caller::account(account.as_known(), Some(asked.source), asked.request),
                    account,
                    url: url.clone(),
                }
            }
            (Signer::Key(_), Expected::Account) => {
                return Err(Problem::malformed("this path takes requests of accounts: name yours by `kid`").into());
            }
            (Signer::Account(_), Expected::Key) => {
                return Err(Problem::malformed("this path takes the key itself: name it by `jwk`").into());
            }
        };
        self.0.nonces.take(nonce).await?;
        Ok(Signed {
            by,
            payload: jws.payload,
            url: jws.url,
            source: asked.source,
            request: asked.request,
        })
    }

    async fn account_at(&self, url: &str, accounts: &str) -> Result<Arc<Account>> {
        let unknown = || {
            Error::from(Problem::new(
                ProblemType::AccountDoesNotExist,
                format!(
                    "there is no account `{}`: make one, or find it by its key",
                    url.escape_debug()
                ),
            ))
        };
        let id = url
            .strip_prefix(accounts)
            .and_then(|id| id.parse().ok())
            .ok_or_else(unknown)?;
        let account = self.account(id).await?.ok_or_else(unknown)?;
        if account.authority == *self.name() {
            Ok(account)
        } else {
            Err(unknown())
        }
    }
}

impl Signed {
    /// The account that signed.
    ///
    /// # Errors
    /// `malformed` if a bare key did.
    pub fn account(&self) -> Result<(&Arc<Account>, &Caller, &str)> {
        match &self.by {
            By::Account { account, caller, url } => Ok((account, caller, url)),
            By::Key(_) => Err(Problem::malformed("this path takes requests of accounts: name yours by `kid`").into()),
        }
    }

    /// What it brings, as the JSON object that its path takes.
    ///
    /// # Errors
    /// `malformed`.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        Ok(Jws::read(&self.payload)?)
    }

    /// Whether it only looks (RFC 8555 §6.3).
    pub fn is_get(&self) -> bool {
        self.payload.is_empty()
    }

    /// The new key of a key change, shown by the inner signature (RFC 8555 §7.3.5).
    ///
    /// # Errors
    /// `malformed`, `unauthorized`, `badSignatureAlgorithm`, `badPublicKey`.
    pub fn rolled_over(&self) -> Result<Jwk> {
        let (account, _, url) = self.account()?;
        let inner = Jws::parse(&self.payload)?;
        let Signer::Key(key) = &inner.signer else {
            return Err(Problem::malformed("the inner JWS names its key by `jwk`, the new one").into());
        };
        inner.verify(key)?;
        if inner.nonce.is_some() {
            return Err(Problem::malformed("the inner JWS has a nonce: leave it out").into());
        }
        if inner.url != self.url {
            return Err(Problem::malformed("the inner JWS has another `url` than the outer one").into());
        }
        let said: KeyChange = Jws::read(&inner.payload)?;
        if said.account != url {
            return Err(Problem::malformed("the inner JWS is for another account than the outer one").into());
        }
        let old = Jwk::new(said.old_key)?;
        if old != account.key {
            return Err(Problem::malformed("`oldKey` is not the account's key: it may have been changed").into());
        }
        Ok((**key).clone())
    }
}

/// What the inner JWS of a key change says.
#[derive(serde::Deserialize)]
struct KeyChange {
    account: String,
    #[serde(rename = "oldKey")]
    old_key: super::jwk::Members,
}

/// A refusal as the log counts it; a few texts only, whatever strangers send.
fn reason(kind: ProblemType) -> &'static str {
    match kind {
        ProblemType::BadNonce => "an ACME request with a nonce that is not good",
        ProblemType::AccountDoesNotExist => "an ACME request of an account that does not exist",
        ProblemType::Unauthorized => "an ACME request whose signature or address is not good",
        _ => "an ACME request that cannot be read",
    }
}
