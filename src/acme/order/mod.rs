//! Orders: what an account asks a certificate for, from newOrder to the certificate (RFC 8555 §7.1.3, §7.4).
//!
//! Whether a pending order is ready, or has failed, is not stored: it follows from its authorizations and the time, and
//! is worked out whenever somebody looks.

mod certificate;
mod finalize;
mod place;
mod repo;

pub use self::certificate::{Revocation, RevokedBy};
pub use self::place::{AskedIdentifier, NewOrder};

use super::Acme;
use super::account::Account;
use super::authorization::{self, Authorization, AuthorizationStatus};
use super::identifier::Asked;
use super::problem::{Problem, ProblemType};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label};

/// How far an order's life has come (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderStatus {
    /// It ended without a certificate.
    Invalid,
    /// Authorizations are missing.
    Pending,
    /// Its certificate is being made.
    Processing,
    /// It waits for its certificate request.
    Ready,
    /// It has its certificate.
    Valid,
}

impl OrderStatus {
    /// As on the wire; `ready` is never stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Ready => "ready",
            Self::Valid => "valid",
        }
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its id; its URLs hold it.
    pub id: Id,
    /// Who placed it.
    pub account: Id,
    /// What the certificate is for.
    pub identifiers: Vec<Asked>,
    /// The authorizations that it relies on, one for each identifier.
    pub authorizations: Vec<Id>,
    /// The profile of its certificate.
    pub profile: Label,
    /// The version of the profile that it began with and keeps.
    pub(super) profile_hash: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
    /// The certificate that it replaces, as its client named it (RFC 9773 §5).
    pub replaces: Option<String>,
    /// How far it has come.
    pub status: OrderStatus,
    /// Why it ended.
    pub error: Option<Problem>,
    /// The certificate, or the serial that is reserved for it.
    pub(super) serial: Option<String>,
}

impl Order {
    /// Works out how far a pending order has come.
    fn settle(&mut self, authorizations: &[Authorization], now: Timestamp) {
        if self.status != OrderStatus::Pending {
            return;
        }
        if self.expires <= now {
            self.fail(Problem::malformed("the order was not finished in time: place another"));
            return;
        }
        let mut ready = authorizations.len() == self.authorizations.len();
        for authorization in authorizations {
            match authorization.status(now) {
                AuthorizationStatus::Valid => {}
                AuthorizationStatus::Pending => ready = false,
                ended => {
                    self.fail(Problem::unauthorized(format!(
                        "the authorization for `{}` is {}: see its challenge, then place another order",
                        authorization.identifier,
                        ended.as_str()
                    )));
                    return;
                }
            }
        }
        if ready {
            self.status = OrderStatus::Ready;
        }
    }

    fn fail(&mut self, error: Problem) {
        self.status = OrderStatus::Invalid;
        self.error = Some(error);
    }

    /// Whether the certificate is there.
    pub fn has_certificate(&self) -> bool {
        self.status == OrderStatus::Valid
    }
}

/// A page of an account's orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderPage {
    /// Newest first.
    pub orders: Vec<Id>,
    /// Where the next page begins; none at the end.
    pub next: Option<Id>,
}

impl Acme {
    /// An order of this account, as of now.
    ///
    /// # Errors
    /// `NotFound` if there is none, or it is another account's; the store's.
    pub async fn order(&self, account: &Account, id: Id) -> Result<Order> {
        Ok(self.order_with_authorizations(account, id).await?.0)
    }

    /// With what it relies on, as far as that still decides about it.
    async fn order_with_authorizations(&self, account: &Account, id: Id) -> Result<(Order, Vec<Authorization>)> {
        let mut order = self.order_as_stored(account, id).await?;
        let mut relied_on = Vec::new();
        if order.status == OrderStatus::Pending {
            relied_on = authorization::repo::all(self.0.gate.store().read(), &order.authorizations).await?;
            order.settle(&relied_on, self.now());
        }
        Ok((order, relied_on))
    }

    async fn order_as_stored(&self, account: &Account, id: Id) -> Result<Order> {
        repo::find(self.0.gate.store().read(), id)
            .await?
            .filter(|found| found.account == account.id)
            .ok_or_else(|| Error::not_found(format!("this account has no order `{id}`: see its list of orders")))
    }

    /// The account's orders that are not known to have failed (RFC 8555 §7.1.2.1), newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn orders(&self, account: &Account, before: Option<Id>) -> Result<OrderPage> {
        let limit = self.0.settings.orders_per_page;
        let mut orders = repo::page(
            self.0.gate.store().read(),
            account.id,
            before,
            self.now(),
            u64::from(limit).saturating_add(1),
        )
        .await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let next = (orders.len() > most).then(|| {
            orders.truncate(most);
            orders.last().copied()
        });
        Ok(OrderPage {
            orders,
            next: next.flatten(),
        })
    }
}

fn not_ready(order: &Order) -> Problem {
    let mut problem = Problem::new(
        ProblemType::OrderNotReady,
        format!(
            "the order is {}: only one that is ready can be finalized",
            order.status.as_str()
        ),
    );
    if let Some(error) = &order.error {
        problem.detail = format!("{}; {}", problem.detail, error.detail);
    }
    problem
}
