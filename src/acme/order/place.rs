//! newOrder (RFC 8555 §7.4).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::{Order, OrderStatus, repo};
use crate::acme::Acme;
use crate::acme::account::Account;
use crate::acme::authorization::{self, repo::Fresh};
use crate::acme::identifier::{Asked, Identifier, IdentifierError};
use crate::acme::problem::{Problem, ProblemType, Subproblem};
use crate::acme::renewal_info::CertificateId;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label};
use crate::identity::Caller;
use crate::limit::{self, Take};
use crate::policy::{Action, Resource};

/// Identifiers of one order at most, whatever a profile says.
const MOST: usize = 100;

/// An identifier as a client wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedIdentifier {
    /// `dns` or `ip`.
    pub kind: String,
    /// The value.
    pub value: String,
}

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct NewOrder {
    /// At least one.
    pub identifiers: Vec<AskedIdentifier>,
    /// The profile that it asks for (draft-ietf-acme-profiles).
    pub profile: Option<String>,
    /// The certificate that it replaces (RFC 9773 §5).
    pub replaces: Option<String>,
    /// Whether it asks for a time from when or until when (RFC 8555 §7.4).
    pub asks_validity: bool,
}

struct CreateOrder {
    account: Arc<Account>,
    order: Order,
    fresh: Vec<Fresh>,
    /// The serial of the certificate that it replaces.
    replacing: Option<String>,
    /// What it counts for.
    takes: Vec<Take>,
}

impl Operation for CreateOrder {
    const ACTION: Action = Action::CreateAcmeOrder;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        self.account.resource()
    }

    async fn run(self, _: &Acme, permit: &Permit) -> Result<()> {
        permit.note("order", self.order.id.to_string());
        permit.note("profile", self.order.profile.as_str());
        let names: Vec<String> = self.order.identifiers.iter().map(Asked::to_string).collect();
        permit.note("names", serde_json::Value::from(names).to_string());
        if let Some(bound) = &self.account.bound {
            permit.note("identity", bound.identity.to_string());
        }
        if self.fresh.iter().any(|fresh| fresh.is_valid) {
            permit.note("is_trusted", "true");
        }
        if let Some(serial) = &self.replacing {
            permit.note("replaces", serial.clone());
        }
        let (order, fresh, now) = (Arc::new(self.order), Arc::new(self.fresh), permit.now());
        let (replacing, takes) = (self.replacing, Arc::new(self.takes));
        permit
            .commit(move |tx| {
                let (order, fresh, replacing) = (order.clone(), fresh.clone(), replacing.clone());
                for take in takes.iter() {
                    tx.together(take.clone());
                }
                async move {
                    authorization::repo::insert(tx, &fresh).await?;
                    repo::insert(tx, &order, replacing.as_deref(), now).await
                }
                .boxed()
            })
            .await
    }
}

impl Acme {
    /// Places an order: authorizations for what is not shown yet, those in force for the rest.
    ///
    /// # Errors
    /// `malformed`, `unsupportedIdentifier`, `rejectedIdentifier`, or `compound` of them; `rateLimited`,
    /// `userActionRequired`; the gate's.
    pub async fn place_order(&self, caller: &Caller, account: Arc<Account>, asked: NewOrder) -> Result<Order> {
        if asked.asks_validity {
            return Err(Problem::malformed(
                "the profile says how long certificates last: leave out `notBefore` and `notAfter`",
            )
            .into());
        }
        self.check_holder(&account).await?;
        self.check_terms(&account)?;
        let profile = self.profile(asked.profile.as_deref())?.clone();
        let identifiers = self.judge(&account, &profile, &asked.identifiers)?;
        let replacing = match &asked.replaces {
            Some(id) => Some(self.replaced(&account, id.parse()?, &identifiers).await?),
            None => None,
        };

        let now = self.now();
        let expires = now + Duration::from_secs(self.0.settings.order_life_s);
        let in_force = if self.0.settings.reuse_authorizations {
            let identifiers: Vec<&Identifier> = identifiers.iter().map(|asked| &asked.identifier).collect();
            authorization::repo::valid(self.0.gate.store().read(), account.id, &identifiers, expires).await?
        } else {
            Vec::new()
        };
        // A renewal comes whenever it must.
        let takes = match &replacing {
            Some(_) => Vec::new(),
            None => self.take_order(account.id, &identifiers),
        };
        let (clock, entropy) = (self.0.gate.clock(), &**self.0.gate.entropy());
        let (mut fresh, mut authorizations) = (Vec::new(), Vec::new());
        for asked in &identifiers {
            // SECURITY: what was shown for a name says nothing about all names below it, nor the other way round.
            let known = in_force
                .iter()
                .find(|known| known.identifier == asked.identifier && known.wildcard == asked.wildcard);
            let id = match known {
                Some(known) => known.id,
                None => {
                    let id = Id::ordered(entropy, clock.now_millis())?;
                    fresh.push(Fresh {
                        id,
                        account: account.id,
                        identifier: asked.identifier.clone(),
                        wildcard: asked.wildcard,
                        seed: Id::random(entropy)?,
                        is_valid: account.shows_nothing(),
                        expires: if account.shows_nothing() {
                            now + Duration::from_secs(self.0.settings.authorization_life_s)
                        } else {
                            expires
                        },
                    });
                    id
                }
            };
            authorizations.push(id);
        }
        let to_show = fresh.iter().filter(|fresh| !fresh.is_valid);
        let failures: Vec<Take> = to_show
            .filter_map(|fresh| self.take_failure(account.id, &fresh.identifier))
            .collect();
        limit::check(self.0.gate.store(), &failures).await?;
        let order = Order {
            id: Id::ordered(entropy, clock.now_millis())?,
            account: account.id,
            identifiers,
            authorizations,
            profile_hash: Some(self.0.authority.profile_hash(&profile)?.to_owned()),
            profile,
            expires,
            replaces: asked.replaces,
            status: OrderStatus::Pending,
            error: None,
            serial: None,
        };
        let settled = Order {
            status: if fresh.iter().all(|fresh| fresh.is_valid) {
                OrderStatus::Ready
            } else {
                OrderStatus::Pending
            },
            ..order.clone()
        };
        let op = CreateOrder {
            account,
            order,
            fresh,
            replacing,
            takes,
        };
        self.0.gate.perform(caller, self, op).await?;
        Ok(settled)
    }

    /// The serial of the certificate that an order for `identifiers` is to replace (RFC 9773 §5).
    async fn replaced(&self, account: &Account, id: CertificateId, identifiers: &[Asked]) -> Result<String> {
        let standing = self.0.authority.standing(&id.issuer_key_id, &id.serial).await?;
        let serial = id.serial.to_string();
        if !repo::ordered_by(self.0.gate.store().read(), &serial, account.id).await? {
            return Err(Problem::unauthorized(format!(
                "another account has ordered the certificate `{serial}`: order by that one, or without `replaces`"
            ))
            .into());
        }
        let shared = |asked: &Asked| standing.names.contains(&repo::labelled(asked));
        if !identifiers.iter().any(shared) {
            return Err(Problem::malformed(format!(
                "the certificate `{serial}` has none of the order's names: name the one that it replaces, or leave out \
                 `replaces`"
            ))
            .into());
        }
        Ok(serial)
    }

    /// The profile that an order names, or the first.
    fn profile(&self, asked: Option<&str>) -> Result<&Label> {
        let profiles = self.profiles();
        let found = match asked {
            Some(asked) => profiles.iter().find(|profile| profile.as_str() == asked),
            None => profiles.first(),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = profiles.iter().map(Label::as_str).collect();
            let asked = asked.unwrap_or_default().escape_debug();
            let text = format!("`{asked}` is not a profile here: use {}", known.join(", "));
            Problem::new(ProblemType::InvalidProfile, text).into()
        })
    }

    /// Reads the identifiers, each once, and asks the profile and the account's rules about each.
    fn judge(&self, account: &Account, profile: &Label, asked: &[AskedIdentifier]) -> Result<Vec<Asked>> {
        if asked.is_empty() {
            return Err(Problem::malformed("the order has no identifiers: name at least one").into());
        }
        if asked.len() > MOST {
            return Err(Problem::malformed(format!("an order has at most {MOST} identifiers: place several")).into());
        }
        let mut good = Vec::new();
        let mut seen = BTreeSet::new();
        let mut bad = Vec::new();
        for one in asked {
            let judged = Asked::parse(&one.kind, &one.value).map_err(refused).and_then(|asked| {
                let judged = match self.0.authority.check_names(self.name(), profile, &[asked.to_name()]) {
                    Ok(()) => account.rules.check(&asked),
                    Err(e) => Err(e.public().to_owned()),
                };
                judged
                    .map_err(|why| (ProblemType::RejectedIdentifier, why))
                    .map(|()| asked)
            });
            match judged {
                Ok(asked) => {
                    if seen.insert(asked.clone()) {
                        good.push(asked);
                    }
                }
                Err((kind, detail)) => bad.push(Subproblem {
                    kind,
                    detail,
                    identifier_type: one.kind.clone(),
                    identifier_value: one.value.clone(),
                }),
            }
        }
        if let Some(problem) = combined(bad) {
            return Err(problem.into());
        }
        let names: Vec<_> = good.iter().map(Asked::to_name).collect();
        self.0
            .authority
            .check_names(self.name(), profile, &names)
            .map_err(|e| Problem::new(ProblemType::RejectedIdentifier, e.public()))?;
        Ok(good)
    }
}

fn refused(error: IdentifierError) -> (ProblemType, String) {
    let kind = match &error {
        IdentifierError::Unsupported(_) => ProblemType::UnsupportedIdentifier,
        IdentifierError::Malformed(_) => ProblemType::Malformed,
        IdentifierError::Rejected(_) => ProblemType::RejectedIdentifier,
    };
    (kind, error.to_string())
}

/// One problem as itself, several as `compound` (RFC 8555 §6.7.1).
pub(super) fn combined(subproblems: Vec<Subproblem>) -> Option<Problem> {
    let first = subproblems.first()?;
    let mut problem = match subproblems.as_slice() {
        [only] => Problem::new(only.kind, only.detail.clone()),
        several if several.iter().all(|one| one.kind == first.kind) => Problem::new(
            first.kind,
            format!("{} identifiers are refused: see the subproblems", several.len()),
        ),
        several => Problem::new(
            ProblemType::Compound,
            format!("{} identifiers are refused: see the subproblems", several.len()),
        ),
    };
    problem.subproblems = subproblems;
    Some(problem)
}
