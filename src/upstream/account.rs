//! Our account with an ACME issuer (RFC 8555 §7.3).

use std::time::Duration;

use instant_acme::{Account, Error as ClientError, Key};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::error::{UpstreamError, classify};
use super::http::Http;
use super::repo::IssuerRow;
use super::{DOMAIN, Upstream, issuer, repo};
use crate::error::{Error, Result};
use crate::id::Label;
use crate::seal;
use crate::secret::Secret;
use crate::store::Tx;

/// On top of the client's own two: at 90 % bad nonces, one conversation in a thousand still fails.
pub(super) const NONCE_TRIES: u32 = 20;

/// An account that is known to its issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The issuer.
    pub issuer: Label,
    /// The account's URL, which is its id (RFC 8555 §7.1.2).
    pub account: String,
}

impl Registered {
    /// Notes the account's URL with the issuer, in the transaction of the act that used it.
    ///
    /// CRASH: if this is never reached, the next order registers again by the same key, and the issuer answers with the
    /// account that it has (RFC 8555 §7.3.1).
    ///
    /// # Errors
    /// The store's.
    pub async fn remember(&self, tx: &Tx) -> Result<()> {
        repo::set_account(tx, &self.issuer, &self.account).await
    }
}

/// An opened account. Cheap to clone.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) issuer: Label,
    pub(super) account: Account,
}

/// Holds one conversation as often as it takes not to fail by a bad nonce, which carries no blame (RFC 8555 §6.5). Gives
/// the failure together with what the server advised. A macro, because the conversation is begun anew each time.
macro_rules! insist {
    ($conversation:expr) => {{
        let mut tries = 1;
        loop {
            match $crate::upstream::http::advised($conversation).await {
                Err((error, _))
                    if $crate::upstream::error::is(&error, "badNonce")
                        && tries < $crate::upstream::account::NONCE_TRIES =>
                {
                    tries += 1;
                }
                outcome => break outcome,
            }
        }
    }};
}
pub(super) use insist;

impl Upstream {
    /// The opened account with `issuer`, registered if it never was.
    pub(super) async fn session(&self, issuer: &Label) -> Result<Session> {
        let known = self.sessions().get(issuer).cloned();
        match known {
            Some(session) => Ok(session),
            None => {
                let row = issuer::require(&self.store, issuer).await?;
                let url = row.account_url.clone();
                self.open(row, url).await
            }
        }
    }

    /// Registers anew with an issuer that does not know our account any more.
    pub(super) async fn register_again(&self, issuer: &Label) -> Result<Session> {
        let row = issuer::require(&self.store, issuer).await?;
        self.open(row, None).await
    }

    /// Classes a failed conversation. The account is opened afresh for the next, directory and all: the issuer may have
    /// moved.
    pub(super) fn failed(
        &self,
        issuer: &Label,
        what: &str,
        (error, after): (ClientError, Option<Duration>),
    ) -> UpstreamError {
        self.sessions().remove(issuer);
        classify(issuer.as_str(), what, error, after)
    }

    async fn open(&self, row: IssuerRow, account_url: Option<String>) -> Result<Session> {
        let key = self.sealer.open(DOMAIN, &binding(&row.name), &row.account_key).await?;
        let http = Http::new(row.ca_pem.as_deref(), self.clock.clone())?;
        let account = match account_url {
            Some(url) => insist!(open(&row, &url, &key, &http))
                .map_err(|(error, after)| classify(row.name.as_str(), "opening the account", error, after))?,
            None => register(&row, &key, &http).await?,
        };
        let session = Session {
            issuer: row.name.clone(),
            account,
        };
        self.sessions().insert(row.name, session.clone());
        Ok(session)
    }
}

async fn open(row: &IssuerRow, url: &str, key: &Secret, http: &Http) -> Result<Account, ClientError> {
    let key = PrivatePkcs8KeyDer::from(key.expose());
    Account::builder_with_http(Box::new(http.clone()))
        .from_parts(url.to_owned(), key, row.directory.clone())
        .await
}

async fn create(row: &IssuerRow, key: &Secret, http: &Http) -> Result<Account, ClientError> {
    let der = PrivatePkcs8KeyDer::from(key.expose());
    let pair = (
        Key::from_pkcs8_der(der.clone_key())?,
        PrivateKeyDer::Pkcs8(der.clone_key()),
    );
    let builder = Account::builder_with_http(Box::new(http.clone()));
    let (account, _credentials) = builder.create_from_key(pair, row.directory.clone()).await?;
    Ok(account)
}

async fn register(row: &IssuerRow, key: &Secret, http: &Http) -> Result<Account> {
    let failed = |what: &'static str| {
        move |(error, after): (ClientError, Option<Duration>)| classify(row.name.as_str(), what, error, after)
    };
    let account = insist!(create(row, key, http)).map_err(failed("registering the account"))?;
    if !row.contacts.is_empty() {
        let contacts: Vec<&str> = row.contacts.iter().map(String::as_str).collect();
        insist!(account.update_contacts(&contacts)).map_err(failed("setting the account's contacts"))?;
    }
    tracing::info!(issuer.name = %row.name, account.url = account.id(), "registered an account with issuer `{}`", row.name);
    Ok(account)
}

/// A new account key, PKCS#8.
pub(super) fn new_key() -> Result<Secret> {
    let (_, pkcs8) = Key::generate_pkcs8().map_err(|e| Error::internal("an account key cannot be made").because(e))?;
    Ok(Secret::new(pkcs8.secret_pkcs8_der().to_vec()))
}

/// What an account key is sealed as.
pub(super) fn binding(issuer: &Label) -> Vec<u8> {
    seal::binding(&["issuer", issuer.as_str(), "account key"])
}
