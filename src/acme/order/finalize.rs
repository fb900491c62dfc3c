//! Finalizing: the certificate of a ready order (RFC 8555 §7.4).
//!
//! CRASH: one commit reserves the serial and turns the order from pending to `processing`, so that of two requests one
//! wins and a second certificate is never made; another stores the certificate and makes the order valid. If it fails
//! in between, the order goes back; if the process ends in between, the order is taken up again from its row, with the
//! key that it holds ([`Acme::resume`]). What was reserved first was handed to nobody; its serial stays revocable.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::place::combined;
use super::{Order, OrderStatus, not_ready, repo};
use crate::acme::Acme;
use crate::acme::account::Account;
use crate::acme::authorization::{self, Authorization};
use crate::acme::identifier::Asked;
use crate::acme::problem::{Problem, ProblemType, Subproblem};
use crate::ca::{Alongside, IssueRequest, Issued};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label};
use crate::identity::Caller;
use crate::policy::{Action, Resource};
use crate::store::Tx;
use crate::x509::csr::Csr;
use crate::x509::key::PublicKey;
use crate::x509::name::Name;

struct FinalizeOrder {
    account: Arc<Account>,
    /// As it stood when it was asked for; the reservation's commit has the last word.
    order: Order,
    /// What it relies on.
    relied_on: Vec<Authorization>,
    key: PublicKey,
    /// What is reserved for it, if it is taken up again.
    again: Option<String>,
    reserved: Reserved,
}

/// The serial that this attempt has reserved, once it has.
type Reserved = Arc<OnceLock<String>>;

impl Operation for FinalizeOrder {
    const ACTION: Action = Action::FinalizeAcmeOrder;
    const EFFECT: Effect = Effect::Act;
    type Engine = Acme;
    type Output = Order;

    fn resource(&self) -> Resource {
        self.account.resource()
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<Order> {
        let Self {
            account,
            mut order,
            relied_on,
            key,
            again,
            reserved,
        } = self;
        permit.note("order", order.id.to_string());
        if let Some(bound) = &account.bound {
            permit.note("identity", bound.identity.to_string());
        }
        acme.check_holder(&account).await?;
        check_rules(&account, &order)?;
        acme.ask_holders(&order, &relied_on).await?;
        let names: Vec<Name> = order.identifiers.iter().map(Asked::to_name).collect();
        let request = IssueRequest {
            key: key.clone(),
            names,
            profile: order.profile.clone(),
            profile_hash: order.profile_hash.clone(),
            validity: None,
        };
        let steps = Steps {
            order: order.id,
            authorizations: order.authorizations.clone(),
            key: hex::encode(key.spki()),
            again,
            reserved,
            holder: acme.0.gate.store().node().clone(),
            now: permit.now(),
        };
        let issued = acme.0.authority.issue_by(permit, acme.name(), request, steps).await?;
        order.status = OrderStatus::Valid;
        order.serial = Some(issued.serial);
        Ok(order)
    }
}

/// Whether the account may still ask for the order's names: what an administrator says counts from then on.
fn check_rules(account: &Account, order: &Order) -> Result<()> {
    let refused = order.identifiers.iter().filter_map(|asked| {
        account.rules.check(asked).err().map(|detail| Subproblem {
            kind: ProblemType::RejectedIdentifier,
            detail,
            identifier_type: asked.identifier.kind().to_owned(),
            identifier_value: asked.to_string(),
        })
    });
    match combined(refused.collect()) {
        Some(problem) => Err(problem.into()),
        None => Ok(()),
    }
}

/// What becomes of the order in the commits of its certificate.
struct Steps {
    order: Id,
    authorizations: Vec<Id>,
    key: String,
    again: Option<String>,
    reserved: Reserved,
    holder: Label,
    now: Timestamp,
}

impl Alongside for Steps {
    fn reserved<'t>(&'t self, tx: &'t Tx, serial: &'t str) -> BoxFuture<'t, Result<()>> {
        async move {
            if self.again.is_none() {
                // INVARIANT: nothing is issued on an authorization that its holder gave up a moment ago.
                let relied_on = authorization::repo::all(tx.conn(), &self.authorizations).await?;
                let good = |authorization: &Authorization| {
                    authorization.status(self.now) == authorization::AuthorizationStatus::Valid
                };
                if relied_on.len() != self.authorizations.len() || !relied_on.iter().all(good) {
                    return Err(lost_race());
                }
            }
            let from = self.again.as_deref();
            if !repo::begin(tx, self.order, from, serial, &self.key, &self.holder, self.now).await? {
                return Err(lost_race());
            }
            // The closure may run again, with the same serial.
            let _ = self.reserved.set(serial.to_owned());
            Ok(())
        }
        .boxed()
    }

    fn stored<'t>(&'t self, tx: &'t Tx, issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        repo::complete(tx, self.order, &issued.serial, issued.validity.not_after).boxed()
    }
}

fn lost_race() -> Error {
    Problem::new(
        ProblemType::OrderNotReady,
        "the order was finalized, or lost an authorization, meanwhile: read it again",
    )
    .into()
}

impl Acme {
    /// Has an order's certificate made. `csr` is PKCS #10, DER.
    ///
    /// # Errors
    /// `orderNotReady`; `badCSR`, after which the order is ready still; the authority's and the gate's, after which it
    /// is ready again.
    pub async fn finalize(&self, caller: &Caller, account: Arc<Account>, id: Id, csr: &[u8]) -> Result<Order> {
        let (order, relied_on) = self.order_with_authorizations(&account, id).await?;
        if order.status != OrderStatus::Ready {
            return Err(not_ready(&order).into());
        }
        let csr = Csr::parse(csr).map_err(|e| bad_csr(e.to_string()))?;
        let wanted: Vec<Name> = order.identifiers.iter().map(Asked::to_name).collect();
        if csr.names().len() != wanted.len() || !wanted.iter().all(|name| csr.names().contains(name)) {
            let list = |names: &[Name]| names.iter().map(Name::to_string).collect::<Vec<_>>().join(", ");
            return Err(bad_csr(format!(
                "the request names `{}`, the order `{}`: make one for exactly the names of the order",
                list(csr.names()),
                list(&wanted)
            ))
            .into());
        }
        if csr.key().spki() == account.key.spki() || self.is_account_key(csr.key().spki()).await? {
            return Err(bad_csr("the request's key is an account's key: make a key of its own").into());
        }
        let reserved = Reserved::default();
        let op = FinalizeOrder {
            account,
            order,
            relied_on,
            key: csr.key().clone(),
            again: None,
            reserved: reserved.clone(),
        };
        match self.0.gate.perform(caller, self, op).await {
            Ok(order) => Ok(order),
            Err(error) => {
                if let Some(serial) = reserved.get() {
                    self.give_back(id, serial.clone()).await;
                }
                // Neither a profile nor a lint speaks ACME.
                if error.kind() == Kind::Invalid && !Problem::is_in(&error) {
                    return Err(bad_csr(error.public()).into());
                }
                Err(error)
            }
        }
    }

    /// Makes an order ready again whose certificate this node failed to make.
    async fn give_back(&self, id: Id, serial: String) {
        let given_back = self
            .0
            .gate
            .store()
            .transact(move |tx| {
                let serial = serial.clone();
                async move { repo::give_back(tx, id, &serial).await }.boxed()
            })
            .await;
        if let Err(error) = given_back {
            tracing::warn!(order.id = %id, error = %error.detail(), "an order stays in processing until its lease ends");
        }
    }

    /// Whether the holder of each name lets this authority issue for it, now (RFC 8659): an authorization says nothing
    /// about that, however new it is.
    async fn ask_holders(&self, order: &Order, relied_on: &[Authorization]) -> Result<()> {
        // INVARIANT: each name is asked for, by its own name.
        let asked = order.identifiers.iter().map(|asked| async {
            let shown = relied_on
                .iter()
                .find(|known| known.identifier == asked.identifier && known.wildcard == asked.wildcard)
                .and_then(Authorization::shown_by);
            let (method, account_url) = shown.map_or((None, ""), |(method, url)| (Some(method), url));
            self.0
                .validator
                .check_caa(&asked.identifier, asked.wildcard, method, account_url)
                .await
                .map_err(|failure| Subproblem {
                    kind: authorization::spell(failure.kind),
                    detail: failure.detail,
                    identifier_type: asked.identifier.kind().to_owned(),
                    identifier_value: asked.to_string(),
                })
        });
        let refused = futures::future::join_all(asked).await;
        match combined(refused.into_iter().filter_map(Result::err).collect()) {
            Some(problem) => Err(problem.status(403).into()),
            None => Ok(()),
        }
    }

    async fn fail_order(&self, id: Id, problem: Problem) -> Result<()> {
        let problem = Arc::new(problem);
        self.0
            .gate
            .store()
            .transact(move |tx| {
                let problem = problem.clone();
                async move { repo::fail(tx, id, &problem).await }.boxed()
            })
            .await
    }

    /// Takes up the orders whose certificate was being made when its process ended.
    pub(in crate::acme) async fn resume_orders(&self) -> Result<()> {
        let store = self.0.gate.store();
        let (node, now) = (store.node().clone(), self.now());
        let left = store
            .transact(move |tx| {
                let node = node.clone();
                async move { repo::claim(tx, &node, now).await }.boxed()
            })
            .await?;
        for (order, key) in left {
            let Some(account) = self.account(order.account).await? else {
                continue;
            };
            let request = Id::random(&**self.0.gate.entropy())?;
            let caller = Caller::account(account.as_known(), None, request.into());
            let (id, account_authority) = (order.id, account.authority.clone());
            let op = FinalizeOrder {
                relied_on: authorization::repo::all(store.read(), &order.authorizations).await?,
                account,
                key: PublicKey::from_spki(&key)?,
                again: order.serial.clone(),
                order,
                reserved: Reserved::default(),
            };
            let acme = self.beside(account_authority);
            if let Err(error) = self.0.gate.perform(&caller, &acme, op).await {
                tracing::warn!(order.id = %id, error = %error.detail(), "an order was taken up in vain");
                // What will not work later either (a key that was revoked as compromised since) ends the order.
                if error.kind() == Kind::Invalid {
                    self.fail_order(id, bad_csr(error.public())).await?;
                }
            }
        }
        Ok(())
    }
}

fn bad_csr(why: impl Into<String>) -> Problem {
    Problem::new(ProblemType::BadCsr, why)
}
