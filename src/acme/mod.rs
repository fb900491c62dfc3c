//! The ACME server's domain (RFC 8555): what its accounts, orders and authorizations mean, and how control over a name
//! is proven.
//!
//! A request comes in by the `door`, which establishes whose it is; what changes something is an `Operation` like
//! any other, its caller the account. What only looks (a POST-as-GET of one's own account, orders, authorizations,
//! challenges) is no act: it shows the holder of a key the state of what that key made, each of whose changes has its
//! record; clients poll it, and a record each would let them fill the log. The certificate itself is downloaded by an
//! act. All state lies in the store, so that any node answers any request and a start goes on where an end cut off.
//!
//! Nothing here knows HTTP routes or JSON on the wire: `surface/acme` translates. It must never issue but through the
//! authority, nor rely on an authorization that it has not read in the same commit.

mod account;
mod authorization;
mod door;
mod external;
pub mod identifier;
mod jwk;
mod jws;
mod limits;
mod nonce;
mod order;
mod problem;
mod renewal_info;
mod repo;
mod rules;
pub mod validation;
mod work;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::Semaphore;

use self::account::Accounts;
pub use self::account::{
    Account, AccountStatus, AccountUpdate, DeactivateAccount, ListAccounts, NewAccount, RestrictAccount, ShowAccount,
};
pub use self::authorization::{Authorization, AuthorizationStatus, Challenge, ChallengeStatus};
pub use self::door::{Asked, By, Expected, Signed};
pub use self::external::{CreateExternalKey, DeleteExternalKey, ExternalKey, Grant, ListExternalKeys};
pub use self::jwk::Algorithm;
pub use self::jws::{Jws, LARGEST, Signer};
pub use self::limits::Limits;
use self::nonce::Nonces;
pub use self::order::{AskedIdentifier, NewOrder, Order, OrderPage, OrderStatus, Revocation, RevokedBy};
pub use self::problem::{Problem, ProblemType, Subproblem};
pub use self::renewal_info::{CertificateId, RenewalInfo};
pub use self::rules::{NameRules, Pattern};
use self::validation::{Method, Validator};
use crate::ca::Authority;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::id::Label;
use crate::identity::Identity;
use crate::seal::Sealer;

/// Validations that run at once.
const VALIDATING: usize = 128;

/// How the ACME server serves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where clients reach the service, for example `https://ca.example.com`; without it, what their requests name as
    /// the host.
    pub url: Option<String>,
    /// The profiles that orders may have; the first is for orders that name none.
    pub profiles: Vec<Label>,
    /// What authorities offer that do not offer `profiles`.
    pub authorities: BTreeMap<Label, Offer>,
    /// The challenges that are offered.
    pub challenges: Vec<String>,
    /// Where the terms of service are; a new account must agree to them.
    pub terms_of_service: Option<String>,
    /// Whether a new account must be bound to an external one (RFC 8555 §7.3.4).
    pub external_account_required: bool,
    /// Where people read about the service.
    pub website: Option<String>,
    /// Whether accounts that agreed to other terms than these must agree again, before they place another order.
    pub terms_must_be_agreed_again: bool,
    /// How long orders and authorizations are kept once they are over (an order with a certificate is, when that has
    /// ended), in seconds.
    pub keep_ended_s: u64,
    /// How long an order may take, in seconds.
    pub order_life_s: u64,
    /// How long an authorization holds, in seconds.
    pub authorization_life_s: u64,
    /// Whether an order relies on authorizations that its account has already; else each order shows anew.
    pub reuse_authorizations: bool,
    /// Orders on a page of an account's list.
    pub orders_per_page: u32,
    /// How much a client may ask for.
    pub limits: Limits,
    /// Where people read about the limits; without it, on a page of the service's own.
    pub limits_explanation: Option<String>,
    /// Where people read why certificates are to be replaced before their time.
    pub renewal_explanation: Option<String>,
    /// How names and addresses are looked at.
    pub validation: validation::Settings,
}

/// What an authority offers by ACME.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The profiles that orders may have, the first for orders that name none; with none it has no ACME server.
    pub profiles: Vec<Label>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            profiles: vec![
                "server-tls"
                    .parse()
                    .unwrap_or_else(|_| unreachable!("a constant label")),
            ],
            authorities: BTreeMap::new(),
            challenges: Method::ALL.map(|method| method.to_string()).to_vec(),
            terms_of_service: None,
            external_account_required: false,
            terms_must_be_agreed_again: false,
            keep_ended_s: 7 * 24 * 3_600,
            website: None,
            order_life_s: 24 * 3_600,
            authorization_life_s: 24 * 3_600,
            reuse_authorizations: false,
            orders_per_page: 100,
            limits: Limits::default(),
            limits_explanation: None,
            renewal_explanation: None,
            validation: validation::Settings::default(),
        }
    }
}

impl Settings {
    /// Checks what can be checked without anything else.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(&self) -> Result<()> {
        self.validation.check()?;
        self.limits.check()?;
        self.methods()?;
        if self.profiles.is_empty() {
            return Err(Error::invalid("`acme.profiles` is empty: name at least one"));
        }
        for (field, seconds) in [
            ("order_life_s", self.order_life_s),
            ("authorization_life_s", self.authorization_life_s),
        ] {
            if !(60..=366 * 24 * 3_600).contains(&seconds) {
                return Err(Error::invalid(format!(
                    "`acme.{field} = {seconds}` is no usable time: use a minute to a year"
                )));
            }
        }
        if self.orders_per_page == 0 {
            return Err(Error::invalid("`acme.orders_per_page` is 0: use at least 1"));
        }
        match &self.url {
            Some(url) if !url.starts_with("https://") || url.ends_with('/') || url.matches('/').count() != 2 => {
                Err(Error::invalid(format!(
                    "`acme.url = \"{}\"` is no address to build on: use `https://host` or `https://host:port`",
                    url.escape_debug()
                )))
            }
            _ => Ok(()),
        }
    }

    fn methods(&self) -> Result<Vec<Method>> {
        self.challenges.iter().map(|method| method.parse()).collect()
    }
}

/// The ACME server of an authority, named beside what those of all authorities share. Cheap to clone.
#[derive(Clone)]
pub struct Acme(Arc<Inner>, Label);

struct Inner {
    accounts: Accounts,
    authority: Authority,
    gate: Gate,
    identity: Identity,
    methods: Vec<Method>,
    nonces: Nonces,
    sealer: Sealer,
    settings: Settings,
    validating: Semaphore,
    validator: Validator,
}

impl Acme {
    /// Opens the ACME server of `authority`. `listeners` are the service's own, which validation must not be turned
    /// against.
    ///
    /// # Errors
    /// `Invalid` for settings that cannot be meant; the store's, the token's.
    pub async fn open(
        settings: &Settings,
        gate: Gate,
        authority: Authority,
        identity: Identity,
        sealer: &Sealer,
        listeners: Vec<SocketAddr>,
    ) -> Result<Self> {
        settings.check()?;
        let others = settings.authorities.values().flat_map(|offer| &offer.profiles);
        for profile in settings.profiles.iter().chain(others) {
            // SECURITY: who a caller of this service is, is decided by enrolment only.
            if authority.is_identity_profile(profile)? {
                return Err(Error::invalid(format!(
                    "`acme.profiles`, or that of an authority beside it, names `{profile}`, which says who a caller of the service is: leave it out"
                )));
            }
        }
        let (clock, entropy) = (gate.clock().clone(), gate.entropy().clone());
        let nonces = Nonces::open(gate.store(), sealer, clock.clone(), entropy).await?;
        let own = authority.name().clone();
        let inner = Inner {
            accounts: Accounts::new(),
            authority,
            identity,
            methods: settings.methods()?,
            nonces,
            sealer: sealer.clone(),
            settings: settings.clone(),
            validating: Semaphore::new(VALIDATING),
            validator: Validator::new(&settings.validation, listeners, clock)?,
            gate,
        };
        let acme = Self(Arc::new(inner), own);
        acme.release().await?;
        Ok(acme)
    }

    /// The authority's name, which the server's URLs hold.
    pub fn name(&self) -> &Label {
        &self.1
    }

    /// The server of another authority. Accounts, orders and external keys are each authority's own; nonces, limits and
    /// settings are the same.
    ///
    /// # Errors
    /// `NotFound` if there is no such authority, or it offers no profile; the store's.
    pub async fn of(&self, authority: &Label) -> Result<Self> {
        self.0.authority.is_called(authority).await?;
        let acme = self.beside(authority.clone());
        if acme.profiles().is_empty() {
            return Err(Error::not_found(format!(
                "the authority `{authority}` has no ACME server: `acme.authorities.{authority}` names no profile"
            )));
        }
        Ok(acme)
    }

    fn beside(&self, authority: Label) -> Self {
        Self(self.0.clone(), authority)
    }

    /// The profiles that orders may have; the first is for orders that name none.
    pub fn profiles(&self) -> &[Label] {
        let settings = &self.0.settings;
        let offer = settings.authorities.get(self.name());
        offer.map_or(&settings.profiles, |offer| &offer.profiles)
    }

    /// How it serves.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The names by which CAA and dns-persist-01 records speak of it.
    pub fn issuer_domains(&self) -> &[String] {
        self.0.validator.issuer_domains()
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.0.gate.clock().now()
    }

    /// A fresh nonce (RFC 8555 §7.2).
    pub fn nonce(&self) -> String {
        self.0.nonces.mint()
    }
}
