//! Accounts: a key, what belongs to it, and how it changes (RFC 8555 §7.1.2, §7.3).
//!
//! An account is looked up for every request, so accounts are kept in memory, as new as the store's own answer: what
//! another node changed shows in the topic's generation, what this one changed in an epoch that its commits move.

mod create;
mod manage;
mod repo;
mod update;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;
use moka::sync::Cache;

pub use self::create::NewAccount;
pub(super) use self::create::deactivated;
pub use self::manage::{DeactivateAccount, ListAccounts, RestrictAccount, ShowAccount};
pub use self::update::AccountUpdate;

use super::Acme;
use super::external::Bound;
use super::jwk::Jwk;
use super::problem::{Problem, ProblemType};
use super::rules::NameRules;
use crate::clock::Timestamp;
use crate::error::{Kind, Result};
use crate::id::{Id, Label};
use crate::policy::{AcmeAccount, Resource, Role};
use crate::store::{Topic, Tx};

/// Accounts kept in memory.
const KEPT: u64 = 100_000;
/// Contacts of one account, and characters of one contact, at most.
const MOST_CONTACTS: usize = 10;
const LONGEST_CONTACT: usize = 320;

/// How far an account's life has come (RFC 8555 §7.1.6); there is no `revoked` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountStatus {
    /// In use.
    Valid,
    /// Given up by its holder, for good.
    Deactivated,
}

impl AccountStatus {
    /// As on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Deactivated => "deactivated",
        }
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id; the account's URL ends in it.
    pub id: Id,
    /// The authority that it is known at.
    pub authority: Label,
    /// How far it came.
    pub status: AccountStatus,
    /// Its key.
    pub key: Jwk,
    /// `mailto:` URLs.
    pub contact: Vec<String>,
    /// When it agreed to the terms of service.
    pub terms_agreed_at: Option<Timestamp>,
    /// Where those were.
    pub terms: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Whose it is, if it was made with an external account's key.
    pub bound: Option<Bound>,
    /// Which names it may ask for.
    pub rules: NameRules,
    /// Whether it need show nothing for names that the rules allow.
    pub is_trusted: bool,
    /// What role it has, if it was made for one.
    pub role: Option<Role>,
}

impl Account {
    /// What acts on it or on its orders act on.
    pub fn resource(&self) -> Resource {
        Resource::Account(self.as_known())
    }

    /// It, as the policy knows it.
    pub(super) fn as_known(&self) -> AcmeAccount {
        AcmeAccount {
            authority: self.authority.clone(),
            id: self.id,
            role: self.role,
        }
    }

    /// Whether it need show nothing for the names that it may ask for. SECURITY: only if they are named.
    pub(super) fn shows_nothing(&self) -> bool {
        self.is_trusted && !self.rules.allow.is_empty()
    }
}

/// An account that an administrator looks for.
pub(super) fn resource(authority: &Label, id: Id) -> Resource {
    Resource::Account(AcmeAccount {
        authority: authority.clone(),
        id,
        role: None,
    })
}

/// The accounts in memory.
pub(super) struct Accounts {
    kept: Cache<Id, (u64, Arc<Account>)>,
    epoch: Arc<AtomicU64>,
}

impl Accounts {
    pub(super) fn new() -> Self {
        Self {
            kept: Cache::new(KEPT),
            epoch: Arc::default(),
        }
    }

    /// A change within `tx` makes every look-up that begins after its commit read anew.
    fn changed_in(&self, tx: &Tx) {
        tx.touch(Topic::Accounts);
        let epoch = self.epoch.clone();
        tx.on_commit(move || {
            epoch.fetch_add(1, Ordering::SeqCst);
        });
    }
}

impl Acme {
    /// The account with this id, as of now.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn account(&self, id: Id) -> Result<Option<Arc<Account>>> {
        let accounts = &self.0.accounts;
        let store = self.0.gate.store();
        // INVARIANT: both are read before the row, so that a row that a commit replaced meanwhile is no hit later.
        let version = accounts.epoch.load(Ordering::SeqCst);
        let version = version.wrapping_add(store.fresh(Topic::Accounts).await?);
        if let Some((kept, account)) = accounts.kept.get(&id)
            && kept == version
        {
            return Ok(Some(account));
        }
        let Some(account) = repo::find(store.read(), id).await?.map(Arc::new) else {
            return Ok(None);
        };
        accounts.kept.insert(id, (version, account.clone()));
        Ok(Some(account))
    }

    /// The account that has this key.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn account_of(&self, key: &Jwk) -> Result<Option<Account>> {
        repo::with_key(self.0.gate.store().read(), self.name(), &key.thumbprint()).await
    }

    /// Whether an account has agreed to the terms that are in force.
    ///
    /// # Errors
    /// `userActionRequired`.
    pub(super) fn check_terms(&self, account: &Account) -> Result<(), Problem> {
        let settings = &self.0.settings;
        match &settings.terms_of_service {
            Some(terms) if settings.terms_must_be_agreed_again && account.terms.as_ref() != Some(terms) => {
                Err(Problem::new(
                    ProblemType::UserActionRequired,
                    format!(
                        "the terms of service have changed: read `{terms}` and tell an administrator that the account \
                         `{}` agrees to them",
                        account.id
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Whether the identity that an account belongs to may still act.
    ///
    /// # Errors
    /// `unauthorized` if it is disabled or not registered any more; the store's.
    pub(super) async fn check_holder(&self, account: &Account) -> Result<()> {
        let Some(bound) = &account.bound else { return Ok(()) };
        let gone = |what: &str| {
            Problem::unauthorized(format!(
                "the identity `{}` that this account belongs to is {what}: ask an administrator",
                bound.identity
            ))
        };
        match self.0.identity.registration(&bound.identity).await {
            Ok(registration) if registration.disabled.is_some() => Err(gone("disabled").into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == Kind::NotFound => Err(gone("not registered").into()),
            Err(error) => Err(error),
        }
    }

    /// Whether any account, of whatever authority, has this key (DER).
    pub(super) async fn is_account_key(&self, spki: &[u8]) -> Result<bool> {
        repo::has_spki(self.0.gate.store().read(), &spki_sha256(spki)).await
    }
}

fn spki_sha256(spki: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, spki))
}

/// Judges contacts (RFC 8555 §7.3).
///
/// # Errors
/// `unsupportedContact` for another scheme than `mailto`, `invalidContact` for what is no single address.
fn check_contacts(contacts: &[String]) -> Result<(), Problem> {
    if contacts.len() > MOST_CONTACTS {
        return Err(Problem::new(
            ProblemType::InvalidContact,
            format!("an account has at most {MOST_CONTACTS} contacts: give fewer"),
        ));
    }
    for contact in contacts {
        let shown: String = contact
            .chars()
            .take(LONGEST_CONTACT)
            .flat_map(char::escape_debug)
            .collect();
        let invalid = |why: &str| {
            Err(Problem::new(
                ProblemType::InvalidContact,
                format!("the contact `{shown}` {why}"),
            ))
        };
        let Some(address) = contact.strip_prefix("mailto:") else {
            return Err(Problem::new(
                ProblemType::UnsupportedContact,
                format!("the contact `{shown}` is no `mailto:` URL: others are not supported"),
            ));
        };
        if contact.len() > LONGEST_CONTACT {
            return invalid("is too long");
        }
        if address.contains(['?', ',']) {
            return invalid("has header fields or several addresses: give one address a contact");
        }
        let good = address.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty()
                && host.contains('.')
                && !host.contains('@')
                && !host.starts_with('.')
                && !host.ends_with('.')
        }) && address.bytes().all(|byte| byte.is_ascii_graphic());
        if !good {
            return invalid("is no e-mail address");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_36_contacts_are_single_mail_addresses() {
        let check = |text: &str| check_contacts(&[text.to_owned()]).map_err(|problem| problem.kind);
        assert_eq!(check("mailto:a@example.com"), Ok(()));
        assert_eq!(check("tel:+123"), Err(ProblemType::UnsupportedContact));
        for bad in [
            "mailto:a@example.com?subject=x",
            "mailto:a@example.com,b@example.com",
            "mailto:a",
            "mailto:@example.com",
            "mailto:a@example",
            "mailto:a b@example.com",
        ] {
            assert_eq!(check(bad), Err(ProblemType::InvalidContact), "{bad}");
        }
    }
}
