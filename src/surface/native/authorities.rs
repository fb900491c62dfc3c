//! `/api/authorities`: our own authority, its root beside it, and what it issued.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;

use super::body::{Body, InQuery, created, cursor, next};
use super::{Answer, Created};
use crate::ca::{
    self, ExportIssued, Facts, Filter, IssueCertificate, IssueRequest, IssuedCertificate, IssuerFacts, ListIssued,
    RevokeIssued, RevokeKey, RevokeShown, Role, ShowAuthority, State as Made, Status,
};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::id::{Id, Label};
use crate::identity::Caller;
use crate::surface::frame::RequestId;
use crate::surface::{Peer, Shared, perform};
use crate::wire::{self, Page, PageQuery, RevocationReason};
use crate::x509::X509Error;
use crate::x509::crl::Reason;
use crate::x509::csr::Csr;
use crate::x509::pem;

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(_): InQuery<PageQuery>,
) -> Answer<Page<wire::Authority>> {
    let mut items = Vec::new();
    for authority in services.authority.names().await? {
        let own = authority == *services.authority.name();
        let op = ShowAuthority { authority };
        let facts = match perform(&services, caller.clone(), |services| &services.authority, op).await {
            Err(e) if !own && e.kind() == Kind::Denied => continue,
            facts => facts?,
        };
        items.push(spell_issuing(&facts).unwrap_or_else(|_| spell_awaited(&facts)));
        for root in facts.issuers.iter().filter(|issuer| issuer.role == Role::Root) {
            items.push(spell_issuer(root.label.parse()?, root));
        }
    }
    Ok(Json(Page { items, next: None }))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer<wire::Authority> {
    // A root has no acts of its own here, so what is decided on is the authority that it stands above.
    let authority = match services.authority.above(&name) {
        Some(authority) => authority,
        None => name.parse()?,
    };
    let facts = perform(
        &services,
        caller,
        |services| &services.authority,
        ShowAuthority { authority },
    )
    .await?;
    Ok(Json(match facts.issuers.iter().find(|issuer| issuer.label == name) {
        Some(root) => spell_issuer(root.label.parse()?, root),
        None => spell_issuing(&facts).unwrap_or_else(|_| spell_awaited(&facts)),
    }))
}

pub(super) async fn issue(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(asked): Body<wire::Issue>,
) -> Created<wire::Issued> {
    let idempotency_key = headers
        .get(wire::IDEMPOTENCY_KEY)
        .map(|key| String::from_utf8_lossy(key.as_bytes()).parse())
        .transpose()?;
    let csr = Csr::parse(asked.csr_pem.as_bytes()).map_err(Error::from)?;
    let op = IssueCertificate {
        authority: name.parse()?,
        idempotency_key,
        request: IssueRequest::from_csr(&csr, asked.profile, asked.ttl_s.map(Duration::from_secs)),
    };
    let issued = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(created(wire::Issued {
        chain_pem: issued.chain_pem(),
        serial: issued.serial,
        not_before: issued.validity.not_before,
        not_after: issued.validity.not_after,
    }))
}

pub(super) async fn issued(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    InQuery(query): InQuery<wire::IssuedQuery>,
) -> Answer<Page<wire::IssuedCertificate>> {
    let now = services.gate.clock().now();
    let op = ListIssued {
        authority: name.parse()?,
        limit: query.limit(),
        cursor: query.cursor.clone(),
        filter: filter(query, now)?,
    };
    let page = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(|one| spell(one, now)).collect(),
        next: page.next,
    }))
}

pub(super) async fn stored(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::StoredCertificate>> {
    let op = ExportIssued {
        authority: name.parse()?,
        after: cursor::<Id>(&query)?.map(|id| id.to_string()),
        limit: query.limit(),
    };
    let stored = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(Page {
        next: next(&query, &stored, |last| last.id.clone()),
        items: stored
            .into_iter()
            .map(|one| wire::StoredCertificate {
                serial: one.serial,
                issuer: one.issuer,
                names: one.names,
                profile: one.profile,
                spki_sha256: one.spki_sha256,
                certificate_pem: pem::encode_chain(&[one.certificate]),
            })
            .collect(),
    }))
}

fn filter(asked: wire::IssuedQuery, now: Timestamp) -> Result<Filter> {
    let within = asked.expires_within_s.map(|seconds| now + Duration::from_secs(seconds));
    Ok(Filter {
        expires_after: asked.expires_after.or_else(|| within.map(|_| now)),
        expires_before: match (asked.expires_before, within) {
            (Some(before), Some(within)) => Some(before.min(within)),
            (before, within) => before.or(within),
        },
        issuer: asked.issuer,
        name: asked.name.map(|name| name.parse()).transpose()?,
        owner: asked.owner,
        profile: asked.profile,
        serial: asked.serial.map(|serial| serial.parse()).transpose()?,
        spki_sha256: asked.spki_sha256.map(|hash| hash.to_ascii_lowercase()),
        status: asked.status.map(|status| match status {
            wire::CertificateStatus::Expired => Status::Expired,
            wire::CertificateStatus::Issued => Status::Issued,
            wire::CertificateStatus::Reserved => Status::Reserved,
            wire::CertificateStatus::Revoked => Status::Revoked,
        }),
    })
}

pub(super) async fn revoke(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((name, serial)): Path<(String, String)>,
    Body(asked): Body<wire::Revoke>,
) -> Answer<wire::IssuedCertificate> {
    let op = RevokeIssued {
        authority: name.parse()?,
        reason: reason(asked.reason),
        serial: serial.parse().map_err(|e: X509Error| Error::from(e))?,
    };
    let now = services.gate.clock().now();
    let revoked = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(spell(revoked, now)))
}

pub(super) async fn revoke_shown(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(asked): Body<wire::RevokeShown>,
) -> Answer<wire::RevokedSerials> {
    let authority = name.parse()?;
    let revoked = match asked {
        wire::RevokeShown::Certificate {
            certificate_pem,
            reason: why,
        } => {
            let shown = pem::decode_all(pem::CERTIFICATE, &certificate_pem).map_err(Error::from)?;
            let certificate = shown
                .into_iter()
                .next()
                .ok_or_else(|| Error::invalid("there is no certificate in `certificate_pem`: send it as PEM"))?;
            let op = RevokeShown {
                authority,
                certificate,
                reason: reason(why),
            };
            vec![perform(&services, caller, |services| &services.authority, op).await?]
        }
        wire::RevokeShown::Key { spki_sha256 } => {
            let op = RevokeKey {
                authority,
                spki_sha256: spki_sha256.to_ascii_lowercase(),
            };
            perform(&services, caller, |services| &services.authority, op).await?
        }
    };
    Ok(Json(serials(revoked)))
}

/// Ungated: the key's signature says that its holder asks, and revoking passes the gate as a part of the service.
pub(super) async fn revoke_proven(
    State(services): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(request)): Extension<RequestId>,
    Body(asked): Body<wire::CompromisedKey>,
) -> Answer<wire::RevokedSerials> {
    // CRASH: as in `perform`.
    let revoked = tokio::spawn(async move {
        ca::revoke_proven(&services.authority, peer.addr, request, asked.csr_pem.as_bytes()).await
    })
    .await
    .map_err(|e| Error::internal("a revocation ended by a fault of ours").because(e))??;
    Ok(Json(serials(revoked)))
}

fn serials(revoked: Vec<IssuedCertificate>) -> wire::RevokedSerials {
    wire::RevokedSerials {
        serials: revoked.into_iter().map(|one| one.serial).collect(),
    }
}

fn reason(asked: RevocationReason) -> Reason {
    match asked {
        RevocationReason::AffiliationChanged => Reason::AffiliationChanged,
        RevocationReason::CessationOfOperation => Reason::CessationOfOperation,
        RevocationReason::KeyCompromise => Reason::KeyCompromise,
        RevocationReason::Superseded => Reason::Superseded,
        RevocationReason::Unspecified => Reason::Unspecified,
    }
}

fn spell_issuing(facts: &Facts) -> Result<wire::Authority> {
    let issuing = facts.active(Role::Issuing)?;
    Ok(wire::Authority {
        parent: Some(issuing.parent.parse()?),
        profiles: facts.profiles.clone(),
        ..spell_issuer(facts.name.clone(), issuing)
    })
}

/// One whose first certificate is awaited: it has a name and nothing else.
fn spell_awaited(facts: &Facts) -> wire::Authority {
    wire::Authority {
        name: facts.name.clone(),
        subject: String::new(),
        key_type: String::new(),
        serial: String::new(),
        not_before: None,
        not_after: None,
        parent: None,
        profiles: Vec::new(),
        certificate_pem: String::new(),
    }
}

fn spell_issuer(name: Label, issuer: &IssuerFacts) -> wire::Authority {
    wire::Authority {
        name,
        subject: issuer.subject.clone(),
        key_type: issuer.key_type.to_string(),
        serial: issuer.serial.clone(),
        not_before: Some(issuer.validity.not_before),
        not_after: Some(issuer.validity.not_after),
        parent: None,
        profiles: Vec::new(),
        certificate_pem: pem::encode_chain(&[&issuer.certificate]),
    }
}

fn spell(issued: IssuedCertificate, now: Timestamp) -> wire::IssuedCertificate {
    let status = match issued.status(now) {
        Status::Expired => wire::CertificateStatus::Expired,
        Status::Issued => wire::CertificateStatus::Issued,
        Status::Reserved => wire::CertificateStatus::Reserved,
        Status::Revoked => wire::CertificateStatus::Revoked,
    };
    let (revoked, reason) = match issued.state {
        Made::Issued | Made::Reserved => (None, None),
        Made::Revoked { at, reason } => (Some(at), spell_reason(reason)),
    };
    wire::IssuedCertificate {
        serial: issued.serial,
        subject: issued.subject,
        names: issued.names,
        issuer: issued.issuer,
        profile: issued.profile,
        owner: issued.requested_by,
        spki_sha256: issued.spki_sha256,
        state: status.to_string(),
        not_before: issued.validity.not_before,
        not_after: issued.validity.not_after,
        revoked,
        reason,
    }
}

/// `None` for what nobody can ask for here.
fn spell_reason(reason: Reason) -> Option<RevocationReason> {
    match reason {
        Reason::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
        Reason::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
        Reason::KeyCompromise => Some(RevocationReason::KeyCompromise),
        Reason::PrivilegeWithdrawn => None,
        Reason::Superseded => Some(RevocationReason::Superseded),
        Reason::Unspecified => Some(RevocationReason::Unspecified),
    }
}
