//! What becomes of an order's certificate: download and revocation (RFC 8555 §7.4.2, §7.6).

use std::net::SocketAddr;
use std::sync::Arc;

use super::repo;
use crate::acme::Acme;
use crate::acme::account::Account;
use crate::acme::authorization;
use crate::acme::identifier::Identifier;
use crate::acme::jwk::Jwk;
use crate::acme::problem::{Problem, ProblemType};
use crate::error::{Error, Kind, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::identity::{Caller, RequestRef};
use crate::policy::{Action, Resource};
use crate::x509::chain;
use crate::x509::crl::Reason;
use crate::x509::name::Name;
use crate::x509::serial::Serial;

/// Reasons that a client may give (RFC 5280 §5.3.1), by their codes.
const REASONS: [Reason; 5] = [
    Reason::Unspecified,
    Reason::KeyCompromise,
    Reason::AffiliationChanged,
    Reason::Superseded,
    Reason::CessationOfOperation,
];

struct DownloadCertificate {
    account: Arc<Account>,
    order: Id,
}

impl Operation for DownloadCertificate {
    const ACTION: Action = Action::DownloadAcmeCertificate;
    const EFFECT: Effect = Effect::Read;
    type Engine = Acme;
    type Output = Vec<Vec<Vec<u8>>>;

    fn resource(&self) -> Resource {
        self.account.resource()
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<Self::Output> {
        permit.note("order", self.order.to_string());
        let order = acme.order_as_stored(&self.account, self.order).await?;
        let serial = order.serial.as_ref().filter(|_| order.has_certificate());
        let serial = serial.ok_or_else(|| Error::not_found("the order has no certificate yet: finalize it first"))?;
        permit.note("serial", serial.clone());
        let issued = acme.0.authority.issued(serial).await?;
        Ok(acme.0.authority.chains(&issued))
    }
}

/// Who asks for a revocation, and has signed for it.
pub enum RevokedBy {
    /// An account.
    Account(Arc<Account>),
    /// A key that stands in the request; it must be the certificate's.
    Key(Box<Jwk>),
}

/// What is to be revoked, and why.
pub struct Revocation {
    /// DER.
    pub certificate: Vec<u8>,
    /// The code of RFC 5280 §5.3.1, if one is given.
    pub reason: Option<u64>,
}

struct RevokeCertificate {
    resource: Resource,
    serial: Serial,
    reason: Reason,
    /// Why it may be asked for.
    ground: &'static str,
}

impl Operation for RevokeCertificate {
    const ACTION: Action = Action::RevokeAcmeCertificate;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        self.resource.clone()
    }

    async fn run(self, acme: &Acme, permit: &Permit) -> Result<()> {
        permit.note("ground", self.ground);
        acme.0
            .authority
            .revoke(permit, acme.name(), &self.serial, self.reason)
            .await?;
        Ok(())
    }
}

impl Acme {
    /// The certificate of a valid order, with each of its chains: DER, leaf first, the root left out.
    ///
    /// # Errors
    /// `NotFound` if the order is not this account's, or has none; the gate's.
    pub async fn certificate(&self, caller: &Caller, account: Arc<Account>, order: Id) -> Result<Vec<Vec<Vec<u8>>>> {
        let op = DownloadCertificate { account, order };
        self.0.gate.perform(caller, self, op).await
    }

    /// Revokes a certificate for the account that ordered it, for one that holds authorizations for all of its names,
    /// or for whoever holds its key.
    ///
    /// # Errors
    /// `malformed` for what is no certificate of ours, `badRevocationReason`, `alreadyRevoked`, `unauthorized`; the
    /// gate's.
    pub async fn revoke(
        &self,
        source: SocketAddr,
        request: RequestRef,
        by: RevokedBy,
        asked: Revocation,
    ) -> Result<()> {
        let facts = chain::Facts::read(&asked.certificate).map_err(|e| Problem::malformed(e.to_string()))?;
        let reason = reason(asked.reason)?;
        // SECURITY: a foreign certificate may have a serial of ours, so all of it is compared.
        let known = match self.0.authority.issued(&facts.serial).await {
            Ok(issued) => issued.certificate == asked.certificate,
            Err(error) if error.kind() == Kind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !known {
            return Err(
                Problem::malformed("this authority has not issued the certificate: ask the one that has")
                    .status(404)
                    .into(),
            );
        }
        let authority = self.name();
        let (caller, resource, ground) = match &by {
            RevokedBy::Account(account) => {
                let caller = Caller::account(account.as_known(), Some(source), request);
                let ground = if repo::ordered_by(self.0.gate.store().read(), &facts.serial, account.id).await? {
                    "its order"
                } else if self.holds_all(account, &facts.names).await? {
                    "authorizations for all of its names"
                } else {
                    return Err(Problem::unauthorized(
                        "the account has not ordered the certificate and is not authorized for all of its names: sign \
                         by the account that has, or by the certificate's key",
                    )
                    .into());
                };
                (caller, account.resource(), ground)
            }
            RevokedBy::Key(key) if spki_sha256(key) == facts.spki_sha256 => (
                Caller::acme(source, request),
                Resource::Authority(authority.clone()),
                "its key",
            ),
            RevokedBy::Key(_) => {
                return Err(Problem::unauthorized(
                    "the key that signed is not the certificate's: sign by it, or by the account that ordered the \
                     certificate",
                )
                .into());
            }
        };
        let op = RevokeCertificate {
            resource,
            serial: facts.serial.parse().map_err(Error::from)?,
            reason,
            ground,
        };
        match self.0.gate.perform(&caller, self, op).await {
            Err(error) if error.kind() == Kind::Conflict => {
                Err(Problem::new(ProblemType::AlreadyRevoked, "the certificate is revoked already").into())
            }
            other => other,
        }
    }

    /// Whether the account is authorized for each of a certificate's names, now.
    async fn holds_all(&self, account: &Account, names: &[Name]) -> Result<bool> {
        let mut wanted = Vec::new();
        for name in names {
            let parsed = match name {
                Name::Dns(dns) => match dns.strip_prefix("*.") {
                    Some(base) => Identifier::parse("dns", base).map(|identifier| (identifier, true)),
                    None => Identifier::parse("dns", dns).map(|identifier| (identifier, false)),
                },
                Name::Ip(ip) => Ok((Identifier::Ip(*ip), false)),
                _ => return Ok(false),
            };
            let Ok(parsed) = parsed else { return Ok(false) };
            wanted.push(parsed);
        }
        let identifiers: Vec<&Identifier> = wanted.iter().map(|(identifier, _)| identifier).collect();
        let held = authorization::repo::valid(self.0.gate.store().read(), account.id, &identifiers, self.now()).await?;
        let held = |(identifier, wildcard): &(Identifier, bool)| {
            held.iter()
                .any(|held| held.identifier == *identifier && held.wildcard == *wildcard)
        };
        Ok(!wanted.is_empty() && wanted.iter().all(held))
    }
}

fn spki_sha256(key: &Jwk) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.spki()))
}

fn reason(code: Option<u64>) -> Result<Reason, Problem> {
    let Some(code) = code else {
        return Ok(Reason::Unspecified);
    };
    let known = u8::try_from(code).ok().and_then(Reason::from_code);
    known.filter(|reason| REASONS.contains(reason)).ok_or_else(|| {
        let allowed: Vec<String> = REASONS
            .iter()
            .map(|reason| format!("{} ({reason})", reason.code()))
            .collect();
        Problem::new(
            ProblemType::BadRevocationReason,
            format!("reason {code} cannot be given here: use {}", allowed.join(", ")),
        )
    })
}
